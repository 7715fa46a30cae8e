"""The hook that lets torchvision load beside a CPU build of torch, with stand-ins for both and with the real ones."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from skinrl import cpu_install

# A torch that writes down what is done to it, and a torchvision that needs its operators to be declared.
TORCH = """
import types
events = []
class Library:
    def __init__(self, name, kind):
        events.append(f"library {name} {kind}")
    def define(self, schema):
        events.append(f"define {schema.split('(')[0]}")
        setattr(ops.torchvision, schema.split("(")[0], schema)
def load_library(path):
    events.append("load")
    if not LOADS:
        raise OSError("libcudart.so: cannot open shared object file")
version = types.SimpleNamespace(cuda=CUDA, hip=None)
library = types.SimpleNamespace(Library=Library)
ops = types.SimpleNamespace(torchvision=types.SimpleNamespace(), load_library=load_library)
"""
TORCHVISION = "import torch\ntorch.events.append('torchvision imported')\n"


def world(folder: Path, *, cuda: str | None, loads: bool) -> Path:
    """A folder of modules with the hook installed in it, as site-packages has it."""
    for name, text in (("torch", f"CUDA, LOADS = {cuda!r}, {loads}\n{TORCH}"), ("torchvision", TORCHVISION)):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(text)
    (folder / "torchvision" / "_C.so").touch()
    cpu_install.install_hook(folder)
    return folder


def events(
    folder: Path, program: str = "import torchvision, torchvision, json, torch; print(json.dumps(torch.events))"
) -> list[str]:
    """Run a program in a bare interpreter that reads the folder's .pth files."""
    start = f"import site; site.addsitedir({str(folder)!r}); import sys; sys.path.insert(0, {str(folder)!r}); "
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", start + program], capture_output=True, text=True, timeout=60, check=True
    )
    found: list[str] = json.loads(done.stdout)
    return found


def test_beside_a_cpu_torch_the_two_operators_are_declared_once_before_the_import(tmp_path: Path) -> None:
    assert events(world(tmp_path, cuda=None, loads=False)) == [
        "load",
        "library torchvision FRAGMENT",
        "define nms",
        "define qnms",
        "torchvision imported",
    ]


def test_where_torchvisions_own_library_loads_nothing_is_declared(tmp_path: Path) -> None:
    assert events(world(tmp_path, cuda=None, loads=True)) == ["load", "torchvision imported"]


def test_a_gpu_build_of_torch_is_left_alone(tmp_path: Path) -> None:
    assert events(world(tmp_path, cuda="13.0", loads=False)) == ["torchvision imported"]


def test_start_up_imports_neither_torch_nor_torchvision(tmp_path: Path) -> None:
    program = "import json; print(json.dumps(sorted({'torch', 'torchvision'} & set(sys.modules))))"
    assert events(world(tmp_path, cuda=None, loads=False), program) == []


def test_installing_twice_writes_once_and_an_old_hook_is_renewed(tmp_path: Path) -> None:
    assert cpu_install.install_hook(tmp_path)
    assert cpu_install.hook_installed(tmp_path)
    assert not cpu_install.install_hook(tmp_path)
    (tmp_path / f"{cpu_install.MODULE}.py").write_text("# of an older release\n")
    assert not cpu_install.hook_installed(tmp_path)
    assert cpu_install.install_hook(tmp_path)
    assert cpu_install.remove_hook(tmp_path)
    assert not cpu_install.remove_hook(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_in_this_environment_torchvisions_transforms_work_in_a_fresh_interpreter(tmp_path: Path) -> None:
    program = (
        "import torch; from torchvision.transforms.v2 import functional as f; "
        "print(list(f.resize(torch.zeros(3, 8, 8), [4, 2]).shape))"
    )
    quiet = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=quiet,
        timeout=240,
        check=False,
    )
    assert done.stdout.strip() == "[3, 4, 2]", done.stderr


def test_nothing_is_installed_that_breaks_vllm_beside_a_cpu_torch() -> None:
    if importlib.metadata.version("torch").endswith("+cpu"):
        there = {name.metadata["Name"] for name in importlib.metadata.distributions()}
        assert not there & set(cpu_install.SUPERFLUOUS)
