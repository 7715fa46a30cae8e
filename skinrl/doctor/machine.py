"""What the checks need to know about the installation and the machine, looked up once."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Machine:
    """An installation on a machine.

    Args:
        installed: Canonical distribution name to version.
        gpus: Names of the GPUs that the driver sees.
        gpu_bytes: Memory of the smallest of them; 0 without a GPU.
        torch_version: None where torch is not installed.
        torch_gpu_runtime: The CUDA or ROCm version of the torch build; None for a CPU build.
        torchvision_error: What importing torchvision raised; None if it loads.
        compiler: Path of the C++ compiler.
        memory_available, shared_memory: Bytes; None where the system does not tell.
    """

    installed: dict[str, str]
    gpus: tuple[str, ...]
    gpu_bytes: int
    torch_version: str | None
    torch_gpu_runtime: str | None
    torchvision_error: str | None
    compiler: str | None
    memory_available: int | None
    shared_memory: int | None

    @property
    def cpu_build(self) -> bool:
        """Whether torch is a CPU build."""
        return self.torch_gpu_runtime is None


def look_at_machine() -> Machine:
    """Look everything up; imports torch and torchvision."""
    torch_version, runtime, error = _torch()
    gpus, gpu_bytes = _gpus()
    return Machine(
        installed=installed_packages(),
        gpus=gpus,
        gpu_bytes=gpu_bytes,
        torch_version=torch_version,
        torch_gpu_runtime=runtime,
        torchvision_error=error,
        compiler=os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++"),
        memory_available=_memory_available(),
        shared_memory=_shared_memory(),
    )


def installed_packages() -> dict[str, str]:
    """Canonical distribution name to version, of the running interpreter."""
    found = {}
    for distribution in importlib.metadata.distributions():
        name = distribution.metadata["Name"]
        if name:
            found[re.sub(r"[-_.]+", "-", name).lower()] = distribution.version
    return found


def exact_set(device: str, root: Path | None = None) -> dict[str, str]:
    """The exact set of requirements/<device>.txt; empty where skinrl runs from a wheel, without that file."""
    folder = root or Path(__file__).resolve().parents[2]
    file = folder / "requirements" / f"{device}.txt"
    if not file.is_file():
        return {}
    lines = (line for line in file.read_text().splitlines() if line and not line.startswith("#"))
    return dict(line.split("==") for line in lines)


def _torch() -> tuple[str | None, str | None, str | None]:
    try:
        import torch
    except ImportError as problem:
        return None, None, f"torch: {problem}"
    try:
        import torchvision  # noqa: F401  # whether it loads is the question
    except (ImportError, OSError, RuntimeError) as problem:
        return torch.__version__, torch.version.cuda or torch.version.hip, f"{type(problem).__name__}: {problem}"
    return torch.__version__, torch.version.cuda or torch.version.hip, None


def _gpus() -> tuple[tuple[str, ...], int]:
    """Names, and bytes of the smallest; by the driver's own tool, which a CPU build of torch does not need."""
    if shutil.which("nvidia-smi") is None:
        return (), 0
    command = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    rows = [line.rsplit(",", 1) for line in done.stdout.splitlines() if "," in line] if done.returncode == 0 else []
    sizes = [int(size) * 2**20 for _, size in rows if size.strip().isdigit()]
    return tuple(name.strip() for name, _ in rows), min(sizes, default=0)


def _memory_available() -> int | None:
    """Bytes that can be had now: of the machine, or of the container where that is less."""
    file = Path("/proc/meminfo")
    if not file.is_file():
        return None
    found = re.search(r"^MemAvailable:\s+(\d+) kB", file.read_text(), re.MULTILINE)
    machine = int(found.group(1)) * 1024 if found else None
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if limit.is_file() and used.is_file() and limit.read_text().strip().isdigit():
        left = int(limit.read_text()) - int(used.read_text())
        return left if machine is None else min(machine, left)
    return machine


def _shared_memory() -> int | None:
    folder = Path("/dev/shm")
    return shutil.disk_usage(folder).total if folder.is_dir() else None
