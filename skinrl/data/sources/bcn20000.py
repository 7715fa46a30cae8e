"""BCN20000: dermoscopic images from the Hospital Clinic in Barcelona (Hernandez-Perez et al. 2024).

From figshare (doi 10.6084/m9.figshare.24140028): `bcn_20k_train.csv` and a folder of 12,413 images. The test part
(6,533 images, some of none of the eight classes) is not read: public code that reads its table takes no diagnosis from
it. Splits go by lesion.
"""

from __future__ import annotations

from skinrl.data.sources.cells import age_band, lower
from skinrl.data.sources.table import SourceTable

SOURCE = SourceTable(
    name="bcn20000",
    table="bcn_20k_train.csv",
    image="bcn_filename",
    label="diagnosis",
    labels="bcn20000",
    folders=("bcn_20k_train", "bcn_20k_train/{diagnosis}", "images", "."),
    lesion="lesion_id",
    modality="dermoscopy",
    slices={"age": age_band("age_approx"), "sex": lower("sex"), "site": lower("anatom_site_general")},
    layout="documentation",
    layout_from="the authors' code, github.com/imatge-upc/BCN20000, and others that read its table",
    published={"rows": 12413},
)
