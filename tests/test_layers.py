"""Who may import whom: the trainer knows no medicine, medicine knows no trainer."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
FOLDERS = {"skinrl": "skinrl", "rewards": "skinrl.rewards", "taxonomy": "skinrl.taxonomy"}

TOOLS = {"errors", "files", "yamlfile", "plugins", "manifest"}  # they know neither medicine nor training
MEDICINE = {"taxonomy", "rewards", "data", "textbook", "phantom", "evaluation", "report"}
TRAINING = {"engine", "sft", "grpo", "adapters", "checkpoint", "model", "stopping", "task_metrics", "text_only"}

# unit (a file or folder of skinrl) -> the units that it may import
MAY_IMPORT = {
    **dict.fromkeys(TOOLS, TOOLS),
    "report": {"errors"},
    "taxonomy": TOOLS | {"report"},
    "rewards": TOOLS | {"report", "taxonomy"},
    "data": TOOLS | {"report", "taxonomy"},
    "textbook": TOOLS | {"report", "taxonomy", "data"},
    "phantom": TOOLS | {"report", "taxonomy", "data", "textbook"},
    "evaluation": TOOLS | {"report", "taxonomy", "data"},
    "judge": TOOLS | {"report", "taxonomy", "data"},
    **dict.fromkeys(TRAINING, TOOLS | TRAINING),
    "recipe": TOOLS | {"recipe_reading"},
    "recipe_reading": TOOLS,
    "runs": TOOLS,
    "cpu_install": set(),
    "pages": TOOLS | {"taxonomy"},  # what it is given; it computes nothing
}
EVERYTHING = {"cli", "doctor", "__init__", "__main__"}

HEAVY = {"torch", "transformers", "trl", "vllm", "deepspeed", "accelerate", "peft", "datasets", "sklearn", "scipy"}
HEAVY |= {"matplotlib", "plotly"}
NEVER_HEAVY = {"errors", "files", "yamlfile", "report", "taxonomy", "rewards", "recipe", "recipe_reading", "runs"}
NOT_AT_IMPORT = {"data", "textbook", "evaluation", "plugins", "manifest", "__init__"}
WHOLLY_LAZY = {"skinrl/data/features.py"}  # extends a class of `datasets`, and is itself imported inside functions
ONLY_STANDARD_LIBRARY = {"errors", "report"}


class Import(NamedTuple):
    file: Path
    line: int
    unit: str  # the part of skinrl that the file belongs to
    target: str  # "skinrl.<unit>" or the top name of another package
    eager: bool  # runs when the file is imported


def imports(root: Path) -> Iterator[Import]:
    for folder, package in FOLDERS.items():
        for file in sorted((root / folder).rglob("*.py")):
            unit = (package.split(".") + list(file.relative_to(root / folder).with_suffix("").parts))[1]
            tree = ast.parse(file.read_text(encoding="utf-8"))
            lazy = {id(inner) for outer in ast.walk(tree) if is_lazy(outer) for inner in ast.walk(outer)}
            for node in ast.walk(tree):
                for target in targets(node, package, file):
                    if target != f"skinrl.{unit}":
                        yield Import(file, node.lineno, unit, target, id(node) not in lazy)


def is_lazy(node: ast.AST) -> bool:
    """Functions, and what only a type checker reads."""
    if isinstance(node, ast.If):
        return isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    return isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))


def targets(node: ast.AST, package: str, file: Path) -> list[str]:
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, f"{file}:{node.lineno}: relative import; write skinrl... in full"
        own = node.module == "skinrl"
        names = [f"skinrl.{alias.name}" for alias in node.names] if own else [node.module or ""]
    else:
        return []
    return [".".join(name.split(".")[:2]) if name.startswith("skinrl.") else name.split(".")[0] for name in names]


def faults(root: Path) -> list[str]:
    found = []
    for one in imports(root):
        file, unit, target = one.file.relative_to(root).as_posix(), one.unit, one.target
        place = f"{file}:{one.line}"
        if unit not in MAY_IMPORT and unit not in EVERYTHING:
            found.append(f"{place}: {unit} has no place in the layers; give it one in tests/test_layers.py")
        elif target.startswith("skinrl."):
            if unit not in EVERYTHING and target.removeprefix("skinrl.") not in MAY_IMPORT[unit]:
                found.append(f"{place}: {unit} may not import {target}")
        elif target in HEAVY and unit in NEVER_HEAVY:
            found.append(f"{place}: {unit} may not import {target}")
        elif target in HEAVY and unit in NOT_AT_IMPORT and one.eager and file not in WHOLLY_LAZY:
            found.append(f"{place}: {unit} may import {target} inside a function only")
        elif unit in ONLY_STANDARD_LIBRARY and target not in sys.stdlib_module_names:
            found.append(f"{place}: {unit} is standard library only, and imports {target}")
    return found


def test_no_file_imports_against_the_layers():
    assert not faults(REPOSITORY), "\n".join(faults(REPOSITORY))


def test_medicine_and_training_meet_in_the_command_line_alone():
    for unit, allowed in MAY_IMPORT.items():
        assert not (unit in MEDICINE and allowed & TRAINING), unit
        assert not (unit in TRAINING and allowed & MEDICINE), unit


def test_the_layers_have_no_circle():
    """Every group is below the next: tools, report, taxonomy, then rewards and data, then what stands on data."""
    order = ["report", "taxonomy", "data", "textbook", "phantom"]
    for place, unit in enumerate(order):
        assert not MAY_IMPORT[unit] & set(order[place + 1 :]), unit


@pytest.mark.parametrize(
    ("file", "code", "words"),
    [
        ("taxonomy/graph.py", "import torch", "taxonomy may not import torch"),
        ("rewards/hierarchy.py", "from skinrl.data.record import Record", "rewards may not import skinrl.data"),
        ("rewards/hierarchy.py", "def f():\n    import transformers", "rewards may not import transformers"),
        ("skinrl/grpo/trainer.py", "from skinrl.taxonomy import load_taxonomy", "grpo may not import skinrl.taxonomy"),
        ("skinrl/engine/base.py", "from skinrl import rewards", "engine may not import skinrl.rewards"),
        ("skinrl/evaluation/x.py", "import scipy.stats", "evaluation may import scipy inside a function only"),
        ("skinrl/evaluation/x.py", "import skinrl.engine.base", "evaluation may not import skinrl.engine"),
        ("skinrl/report/parse.py", "import numpy", "report is standard library only"),
        ("skinrl/novelty.py", "import json", "novelty has no place in the layers"),
    ],
)
def test_a_breach_is_found_and_named(tmp_path, file, code, words):
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(code)
    found = faults(tmp_path)
    assert len(found) == 1
    assert words in found[0]
    assert found[0].startswith(f"{file}:{code[: code.index('import')].count(chr(10)) + 1}: ")


def test_what_the_layers_allow_is_not_called_a_fault(tmp_path):
    for file, code in {
        "skinrl/evaluation/x.py": "from skinrl.taxonomy import Taxonomy\ndef f():\n    import scipy",
        "skinrl/grpo/trainer.py": "import torch\nfrom skinrl.engine.base import Generator",
        "skinrl/cli/main.py": "from skinrl.taxonomy import Taxonomy\nfrom skinrl.grpo import trainer\nimport torch",
    }.items():
        path = tmp_path / file
        path.parent.mkdir(parents=True)
        path.write_text(code)
    assert faults(tmp_path) == []
