"""`.ci/run`: a browser is installed where one may be, and where it can not be the tests are told so."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
NEEDED = ("bash", "dirname", "timeout", "env", "cat", "chmod")


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A folder of programs, in place of the system's; `make` writes down what it is asked for."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in NEEDED:
        (folder / name).symlink_to(str(shutil.which(name)))
    program(folder, "make", 'echo "make ${*: -1} ${SKINRL_NO_CHROMIUM:-}"')
    return folder


def program(folder: Path, name: str, body: str) -> None:
    file = folder / name
    file.write_text(f"#!{shutil.which('bash')}\n{body}\n")
    file.chmod(0o755)


def run(machine: Path) -> list[str]:
    done = subprocess.run(
        ["bash", str(REPOSITORY / ".ci" / "run")],
        env={"PATH": str(machine)}, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return done.stdout.splitlines()


def test_where_a_chromium_is_there_nothing_is_installed(machine: Path) -> None:
    program(machine, "google-chrome", "")
    assert run(machine) == ["make test "]


def test_root_installs_one_and_the_tests_may_not_skip(machine: Path) -> None:
    program(machine, "id", "echo 0")
    program(machine, "apt-get", "")
    installs = (
        f'if [ "${{*: -1}}" = chromium ]; then cat </dev/null >{machine}/chromium; chmod 755 {machine}/chromium; fi'
    )
    program(machine, "make", f'echo "make ${{*: -1}} ${{SKINRL_NO_CHROMIUM:-}}"\n{installs}')
    assert run(machine) == ["make chromium ", "make test "]


def test_one_that_can_not_be_installed_is_told(machine: Path) -> None:
    program(machine, "id", "echo 0")
    program(machine, "apt-get", "")
    reason = "there is none, and apt-get could not install one"
    assert run(machine) == [
        "make chromium ", f"chromium: {reason}: tests of pages are skipped", f"make test {reason}",
    ]  # fmt: skip


def test_a_user_who_may_not_install_is_told(machine: Path) -> None:
    program(machine, "id", "echo 1000")
    reason = "there is none, and this user may not install one"
    assert run(machine) == [f"chromium: {reason}: tests of pages are skipped", f"make test {reason}"]
