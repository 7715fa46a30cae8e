"""DERM12345: 12,345 dermoscopic images in 40 classes, from Turkey (Yilmaz et al. 2024).

From Harvard Dataverse (doi 10.7910/DVN/DAXZ7P; also in the ISIC Archive, doi 10.34970/705541): a table for
training and one for test, images in a folder per class. The official split is kept, and a patient in both parts
refused. A table without patients does as well; then each image stands for itself.
"""

from __future__ import annotations

from skinrl.data.sources.cells import if_there
from skinrl.data.sources.table import SourceTable

_FOLDERS = ("derm12345_train_part_1", "derm12345_train_part_2", "derm12345_test", "train", "test", "images", ".")

SOURCE = SourceTable(
    name="derm12345",
    table={part: (f"derm12345_metadata_{part}.csv", f"derm12345_metadata_{part}.tab") for part in ("train", "test")},
    image="image_id",
    label="label",
    labels="derm12345",
    folders=tuple(place for folder in _FOLDERS for place in (f"{folder}/{{label}}", folder)),
    patient=if_there("patient_id"),
    modality="dermoscopy",
    layout="documentation",
    layout_from="Yilmaz et al. 2024, doi 10.1038/s41597-024-04104-3, and public code that reads its tables",
    published={"rows": 12345},
)
