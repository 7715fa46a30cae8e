"""Check the types of every folder of ours: skinrl, rewards and taxonomy as installed, tests, tools, benchmarks.

    python tools/check_types.py

`rewards/` and `taxonomy/` are installed as `skinrl.rewards` and `skinrl.taxonomy`, which no type checker sees in an
editable install. So a folder of links is laid out as the wheel would be (build/types/skinrl/...), and mypy reads
that. A package that the wheel would leave out is therefore missing here as well, and the imports of it fail.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LAYOUT = ROOT / "build" / "types"
BESIDE = ("tools", "benchmarks")  # not installed; they import what is

# In a test, a None where a value should be is found by running it; what stays checked is how our functions are called.
FORGIVEN_IN_TESTS = (
    "attr-defined", "dict-item", "index", "list-item", "misc", "operator", "truthy-function", "type-var", "union-attr",
    "unused-ignore", "var-annotated",
)  # fmt: skip


def lay_out(packages: list[str], folders: dict[str, str]) -> None:
    """Link every Python file of every package to the place that it has in a wheel."""
    shutil.rmtree(LAYOUT, ignore_errors=True)
    for package in packages:
        mapped = max((name for name in folders if package == name or package.startswith(f"{name}.")), key=len)
        source = ROOT / folders[mapped] / Path(*package.removeprefix(mapped).strip(".").split("."))
        target = LAYOUT.joinpath(*package.split("."))
        target.mkdir(parents=True, exist_ok=True)
        for file in [*sorted(source.glob("*.py")), *sorted(source.glob("py.typed"))]:
            (target / file.name).symlink_to(file)


def check(files: list[Path], cache: str, *options: str) -> int:
    """Run mypy on the files, which find each other and the packages; return its exit code."""
    search = ":".join(str(folder) for folder in (LAYOUT, ROOT / "tests", ROOT / "tools", ROOT / "benchmarks"))
    command = [sys.executable, "-m", "mypy", "--config-file", "pyproject.toml", "--cache-dir", f".mypy_cache/{cache}"]
    environment = {**os.environ, "MYPYPATH": search}
    return subprocess.run([*command, *options, *map(str, files)], env=environment, cwd=ROOT, check=False).returncode


def main() -> int:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    lay_out(settings["packages"], settings["package-dir"])
    beside = [file for name in BESIDE for file in sorted((ROOT / name).glob("*.py"))]
    ours = check([LAYOUT / "skinrl", *beside], "ours", "--no-implicit-reexport")
    forgiven = [f"--disable-error-code={code}" for code in FORGIVEN_IN_TESTS]
    tests = check(sorted((ROOT / "tests").glob("*.py")), "tests", *forgiven)
    return max(ours, tests)


if __name__ == "__main__":
    sys.exit(main())
