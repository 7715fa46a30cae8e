"""What a GPU recipe is tried out on: its architecture in small, and a folder that looks like PAD-UFES-20."""

from __future__ import annotations

import csv
import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from tiny_model import random_image

REPOSITORY = Path(__file__).resolve().parents[1]
RECIPES = REPOSITORY / "recipes"
# The columns of the published table, in its order
COLUMNS = (
    *("patient_id", "lesion_id", "smoke", "drink", "background_father", "background_mother", "age", "pesticide"),
    *("gender", "skin_cancer_history", "cancer_history", "has_piped_water", "has_sewage_system", "fitspatrick"),
    *("region", "diameter_1", "diameter_2", "diagnostic", "itch", "grew", "hurt", "changed", "bleed", "elevation"),
    *("img_id", "biopsed"),
)
DIAGNOSES = ("ACK", "BCC", "MEL", "NEV", "SCC", "SEK")


def load_shapes() -> ModuleType:
    """``benchmarks/bench_models/shapes.py``: the published shapes, and checkpoints of them."""
    folder = str(REPOSITORY / "benchmarks")
    if folder not in sys.path:
        sys.path.append(folder)
    return importlib.import_module("bench_models.shapes")


def load_gpu_smoke() -> ModuleType:
    """``benchmarks/gpu_smoke.py`` as a module."""
    name = "benchmarks_gpu_smoke"
    if name not in sys.modules:
        load_shapes()  # it imports them
        spec = importlib.util.spec_from_file_location(name, REPOSITORY / "benchmarks" / "gpu_smoke.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # its dataclasses look themselves up there
        spec.loader.exec_module(module)
    return sys.modules[name]


def published_shape(model: str) -> Any:
    """The shape of a published model, by its name on the hub."""
    shapes = load_shapes()
    published = {
        "Qwen/Qwen2.5-VL-3B-Instruct": shapes.QWEN2_5_VL_3B,
        "Qwen/Qwen2.5-VL-7B-Instruct": shapes.QWEN2_5_VL_7B,
    }
    return published[model]


def write_shrunk_model(folder: Path, model: str) -> Path:
    """A random checkpoint of the architecture of ``model`` (its name on the hub), of a few megabytes."""
    shapes, question = load_shapes(), load_gpu_smoke().question()
    path: Path = shapes.write_checkpoint(folder, shapes.shrink(published_shape(model)), texts=[question] * 4)
    return path


def write_pad_ufes_20(folder: Path, patients_per_class: int = 7) -> Path:
    """A folder in the form of PAD-UFES-20: ``metadata.csv`` and ``images/``, one lesion a patient."""
    (folder / "images").mkdir(parents=True)
    with (folder / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, COLUMNS, restval="")
        table.writeheader()
        for number in range(patients_per_class * len(DIAGNOSES)):
            name = f"PAT_{number}_{number}_{number}.png"
            random_image(number).save(folder / "images" / name)
            table.writerow(
                {
                    "patient_id": f"PAT_{number}",
                    "lesion_id": str(number),
                    "age": str(30 + number),
                    "gender": "FEMALE" if number % 2 else "MALE",
                    "fitspatrick": f"{1 + number % 6}.0",
                    "region": "FACE",
                    "diagnostic": DIAGNOSES[number % len(DIAGNOSES)],
                    "img_id": name,
                    "biopsed": "True",
                }
            )
    return folder
