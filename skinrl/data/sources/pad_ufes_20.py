"""PAD-UFES-20: clinical photographs from smartphones, six diagnoses (Pacheco et al. 2020, doi 10.17632/zr7vgbcyr2.1).

As published: `metadata.csv` and the images, in one folder or in the archive's three parts. Its table names PNG
files; a JPEG of the same stem is found too. No official split. Patient details were recorded mainly for biopsied
lesions, so that their mere absence tells much about the diagnosis: they slice results and reach no prompt.
"""

from __future__ import annotations

from skinrl.data.sources.cells import age_band, lower, tone
from skinrl.data.sources.table import SourceTable

_PARTS = tuple(f"imgs_part_{n}" for n in (1, 2, 3))

SOURCE = SourceTable(
    name="pad_ufes_20",
    table="metadata.csv",
    image="img_id",
    label="diagnostic",
    labels="pad_ufes_20",
    # The archive's parts unpack to a folder of their own name.
    folders=("images", ".", *_PARTS, *(f"{part}/{part}" for part in _PARTS), *(f"images/{part}" for part in _PARTS)),
    patient="patient_id",
    lesion="lesion_id",
    modality="clinical",
    skin_tone=tone("fitzpatrick", "fitspatrick"),
    slices={"age": age_band("age"), "sex": lower("gender"), "site": lower("region"), "biopsied": lower("biopsed")},
    layout="published files",
    layout_from="metadata.csv as published, doi 10.17632/zr7vgbcyr2.1",
    published={"rows": 2298},
)
