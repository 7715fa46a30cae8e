"""What a wheel holds, and what an import costs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
FOLDERS = {"skinrl": "skinrl", "rewards": "skinrl/rewards", "taxonomy": "skinrl/taxonomy"}
HEAVY = ("torch", "transformers", "trl", "vllm", "datasets", "sklearn", "scipy", "deepspeed", "peft")


def python(code: str, *flags: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *flags, "-c", code],
        cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["rewards", "taxonomy"])
def test_the_top_folders_cannot_be_imported_a_second_time_from_the_repository_root(name):
    found = python(f"import {name}", cwd=REPOSITORY)
    assert found.returncode == 1
    assert f"ModuleNotFoundError: import skinrl.{name} instead of {name}" in found.stderr


@pytest.mark.parametrize(
    "module",
    [
        "skinrl",
        "skinrl.rewards",
        "skinrl.taxonomy",
        "skinrl.recipe",
        "skinrl.runs",
        "skinrl.data.record",
        "skinrl.evaluation",
    ],
)
def test_importing_loads_no_heavy_library(module, tmp_path):
    code = f"import sys, {module}; print([n for n in {HEAVY!r} if n in sys.modules])"
    found = python(code, cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    assert found.stdout.strip() == "[]"


def test_public_names_are_real_and_an_unknown_one_is_refused():
    import skinrl

    assert set(skinrl.__all__) == {*skinrl._LAZY, "__version__"}
    assert callable(skinrl.load_taxonomy)
    assert skinrl.DiagnosticReport("melanoma").diagnosis == "melanoma"
    with pytest.raises(AttributeError, match="no attribute 'load_taxnomy'"):
        skinrl.load_taxnomy  # noqa: B018


def files_of_the_tree() -> set[str]:
    """Every file of code, data, style and script that belongs into a wheel, by its path there."""
    found = {"skinrl/py.typed"}
    for folder, inside in FOLDERS.items():
        for path in (REPOSITORY / folder).rglob("*"):
            if path.suffix in (".py", ".yaml", ".css", ".js") and "__pycache__" not in path.parts:
                found.add(f"{inside}/{path.relative_to(REPOSITORY / folder).as_posix()}")
    return found


def test_every_folder_with_files_is_listed_as_a_package():
    """A folder left out of the list is missing from the wheel, and nothing else says so."""
    listed = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    assert set(listed) == {Path(file).parent.as_posix().replace("/", ".") for file in files_of_the_tree()}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """A wheel of the working tree, built from a copy so that no build folder is left behind."""
    place = tmp_path_factory.mktemp("wheel")
    source = place / "source"
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in FOLDERS:
        shutil.copytree(REPOSITORY / name, source / name, ignore=ignore)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source / name)
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index",
         "--wheel-dir", str(place), str(source)],
        check=True, timeout=300,
    )  # fmt: skip
    (built,) = place.glob("skinrl-*.whl")
    return built


def test_the_wheel_holds_every_file_of_ours_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == files_of_the_tree()


def test_rewards_and_taxonomy_work_from_the_installed_wheel_alone(wheel, tmp_path):
    target = tmp_path / "empty"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index",
         "--target", str(target), str(wheel)],
        check=True, timeout=300,
    )  # fmt: skip
    # -S: no .pth files, so that the editable install of this repository cannot lend a missing module
    code = f"""
import json, sys
sys.path[:0] = [{str(target)!r}]
sys.path += [{sysconfig.get_path("purelib")!r}, {sysconfig.get_path("platlib")!r}]
import skinrl, skinrl.rewards, skinrl.taxonomy
taxonomy = skinrl.load_taxonomy()
labels = skinrl.taxonomy.load_label_map("pad_ufes_20", taxonomy)
print(json.dumps({{
    "files": [m.__file__ for m in (skinrl, skinrl.rewards, skinrl.taxonomy)],
    "melanoma": taxonomy.resolve("melanoma").node,
    "mel": labels.map("MEL"),
    "torch": "torch" in sys.modules,
}}))
"""
    found = python(code, "-S", cwd=tmp_path, PYTHONPATH="")
    assert found.returncode == 0, found.stderr
    said = json.loads(found.stdout)
    assert all(Path(file).is_relative_to(target) for file in said["files"])
    assert said["melanoma"] == "melanoma"
    assert said["mel"] == [["melanoma", 1.0]]
    assert said["torch"] is False
