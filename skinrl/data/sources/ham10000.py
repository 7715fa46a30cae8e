"""HAM10000: 10,015 dermoscopic images of 7,470 pigmented lesions, seven classes (Tschandl et al. 2018).

From Harvard Dataverse (doi 10.7910/DVN/DBW86T): `HAM10000_metadata` without a suffix and two archives of images, or
the copies of both on Kaggle. No official split: the 10,015 are the training part of ISIC 2018 task 3 (source
`isic2018`, which has the test part). Several images of one lesion, so splits go by lesion; patients are unknown.
"""

from __future__ import annotations

from skinrl.data.sources.cells import age_band, lower
from skinrl.data.sources.table import SourceTable

SOURCE = SourceTable(
    name="ham10000",
    table=("HAM10000_metadata", "HAM10000_metadata.csv", "HAM10000_metadata.tab"),
    image="image_id",
    label="dx",
    labels="ham10000",
    folders=(
        "HAM10000_images_part_1",
        "HAM10000_images_part_2",
        "ham10000_images_part_1",
        "ham10000_images_part_2",
        "images",
        ".",
    ),
    lesion="lesion_id",
    modality="dermoscopy",
    slices={
        "age": age_band("age"),
        "sex": lower("sex"),
        "site": lower("localization"),
        "confirmed_by": lower("dx_type"),
    },
    layout="documentation",
    layout_from="Tschandl et al. 2018, doi 10.1038/sdata.2018.161, and the dataset's page, doi 10.7910/DVN/DBW86T",
    published={"rows": 10015},
)
