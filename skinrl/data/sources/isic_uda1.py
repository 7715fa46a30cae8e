"""UDA-1: a collection of dermoscopic images of the ISIC Archive in the public domain, melanomas and naevi.

From the archive by `isic image download --collections ID`, which writes images and a `metadata.csv`; or any part of it
with a table `labels.csv` that has the archive's field names. The archive renamed its fields over the years; both names
are read. Patients are known in few releases of the metadata, if at all. The images are also part of the challenges of
2016 to 2019.
"""

from __future__ import annotations

from skinrl.data.sources.cells import age_band, first_of, if_there, lower
from skinrl.data.sources.table import SourceTable

SOURCE = SourceTable(
    name="isic_uda1",
    table=("metadata.csv", "labels.csv"),
    image=first_of("isic_id", "image_id"),
    label=first_of("diagnosis", "diagnosis_3"),
    labels="isic_uda1",
    patient=if_there("patient_id"),
    lesion=if_there("lesion_id"),
    modality="dermoscopy",
    slices={
        "age": age_band("age_approx"),
        "sex": lower("sex"),
        "site": if_there("anatom_site_general"),
        "confirmed_by": first_of("diagnosis_confirm_type", "confirm_type"),
    },
    layout="documentation",
    layout_from="the ISIC Archive's fields (github.com/ImageMarkup/isic-cli); a table of 60 of its images was read",
    recognised=False,  # every collection of the archive has these columns
)
