"""ISIC 2018 task 3: HAM10000 as training part, with the challenge's validation and test parts (Codella et al. 2019).

From challenge.isic-archive.com/data: a ground truth and a folder of images for each part, and the lesions of the
training part. Lesions of the other parts are not published, so that images of one lesion there count as several.
"""

from __future__ import annotations

from skinrl.data.sources.cells import if_there, one_hot
from skinrl.data.sources.rows import Join
from skinrl.data.sources.table import SourceTable


def _truth(part: str) -> tuple[str, ...]:
    name = f"ISIC2018_Task3_{part}_GroundTruth"
    return f"{name}.csv", f"{name}/{name}.csv"  # the archive unpacks to a folder of its own name


SOURCE = SourceTable(
    name="isic2018",
    table={"train": _truth("Training"), "validation": _truth("Validation"), "test": _truth("Test")},
    joins=(Join(table={"train": "ISIC2018_Task3_Training_LesionGroupings.csv"}, on="image"),),
    image="image",
    label=one_hot("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC"),
    labels="isic2018",
    folders=(
        "ISIC2018_Task3_Training_Input",
        "ISIC2018_Task3_Validation_Input",
        "ISIC2018_Task3_Test_Input",
        "images",
        ".",
    ),
    lesion=if_there("lesion_id"),
    modality="dermoscopy",
    slices={"confirmed_by": if_there("diagnosis_confirm_type")},
    layout="documentation",
    layout_from="challenge.isic-archive.com/data/#2018; Codella et al. 2019, arXiv 1902.03368",
    published={"train": 10015, "validation": 193, "test": 1512},
)
