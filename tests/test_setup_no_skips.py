"""The plugin that refuses skips, tried on a small test file of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]

SUITE = """
import pytest

def test_runs():
    assert True

def test_skips():
    pytest.skip("no reason that counts")

@pytest.mark.gpu
def test_wants_a_gpu():
    pytest.skip("no GPU here")

@pytest.mark.xfail(reason="known")
def test_fails_as_expected():
    assert False
"""


def run(folder: Path, refuse: bool, path: str | None = None) -> tuple[int, str]:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "SKINRL_NO_SKIP": "1" if refuse else "0"}
    if path is not None:
        environment["PATH"] = path
    command = [sys.executable, "-m", "pytest", "-p", "tests.no_skips", "-p", "no:cacheprovider", "-ra", str(folder)]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=folder, env=environment, timeout=120, check=False
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    (tmp_path / "test_small.py").write_text(SUITE)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = gpu: needs a GPU\n")
    return tmp_path


def test_a_skip_without_a_reason_that_counts_fails_and_keeps_its_reason(suite: Path) -> None:
    code, output = run(suite, refuse=True, path="/nonexistent")  # no nvidia-smi on this path
    assert code == 1
    assert "refused to skip (SKINRL_NO_SKIP=1): Skipped: no reason that counts" in output
    assert output.strip().splitlines()[-1].strip("= ").startswith("1 failed, 1 passed, 1 skipped, 1 xfailed")


def test_a_gpu_test_must_not_skip_where_a_gpu_driver_is_installed(suite: Path) -> None:
    tool = suite / "bin" / "nvidia-smi"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    code, output = run(suite, refuse=True, path=str(tool.parent))
    assert code == 1
    assert "2 failed, 1 passed, 1 xfailed" in output


def test_without_the_switch_skips_are_skips(suite: Path) -> None:
    code, output = run(suite, refuse=False)
    assert code == 0
    assert "1 passed, 2 skipped, 1 xfailed" in output


def test_a_whole_file_that_skips_is_refused_too(tmp_path: Path) -> None:
    (tmp_path / "test_absent.py").write_text("import pytest\npytest.importorskip('a_library_nobody_has')\n")
    code, output = run(tmp_path, refuse=True)
    assert code != 0
    assert "refused to skip" in output


BROWSER = "import pytest\n\n@pytest.mark.browser\ndef test_looks():\n    pytest.skip('no Chromium')\n"


@pytest.mark.parametrize(
    ("told", "code"),
    [({}, 1), ({"SKINRL_NO_CHROMIUM": "apt-get could not install one"}, 0)],
    ids=["nobody tried to install one", "none could be installed"],
)
def test_a_browser_test_may_skip_only_where_none_is_there_and_none_could_be_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: dict[str, str], code: int
) -> None:
    (tmp_path / "test_page.py").write_text(BROWSER)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = browser: needs a Chromium\n")
    for name in ("SKINRL_CHROMIUM", "SKINRL_NO_CHROMIUM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    assert run(tmp_path, refuse=True, path="/nonexistent")[0] == code


def test_a_browser_test_must_not_skip_where_there_is_a_browser(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "test_page.py").write_text(BROWSER)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = browser: needs a Chromium\n")
    program = tmp_path / "bin" / "chromium"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("SKINRL_NO_CHROMIUM", "apt-get could not install one")
    assert run(tmp_path, refuse=True, path=str(program.parent))[0] == 1
