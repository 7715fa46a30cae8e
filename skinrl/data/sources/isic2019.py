"""ISIC 2019: 25,331 dermoscopic images in eight classes for training, 8,238 for the test, some of none of them.

From challenge.isic-archive.com/data: ground truth, metadata and images of each part. The training part holds HAM10000
and BCN20000; some of its file names end in `_downsampled`. Lesions are known for a part of the training images alone.
"""

from __future__ import annotations

from skinrl.data.sources.cells import age_band, if_there, lower, one_hot
from skinrl.data.sources.rows import Join
from skinrl.data.sources.table import SourceTable

SOURCE = SourceTable(
    name="isic2019",
    table={"train": "ISIC_2019_Training_GroundTruth.csv", "test": "ISIC_2019_Test_GroundTruth.csv"},
    joins=(
        Join(
            table={"train": "ISIC_2019_Training_Metadata.csv", "test": "ISIC_2019_Test_Metadata.csv"},
            on="image",
        ),
    ),
    image="image",
    label=one_hot("MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC", "UNK"),
    labels="isic2019",
    folders=(
        "ISIC_2019_Training_Input/ISIC_2019_Training_Input",
        "ISIC_2019_Training_Input",
        "ISIC_2019_Test_Input/ISIC_2019_Test_Input",
        "ISIC_2019_Test_Input",
        "images",
        ".",
    ),
    lesion=if_there("lesion_id"),
    modality="dermoscopy",
    slices={"age": age_band("age_approx"), "sex": lower("sex"), "site": lower("anatom_site_general")},
    layout="documentation",
    layout_from="challenge.isic-archive.com/data/#2019; the training metadata as published",
    published={"train": 25331, "test": 8238},
)
