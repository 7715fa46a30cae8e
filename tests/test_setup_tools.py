"""The small programs behind make's targets: measuring, soaking, the type check's layout."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
TOOLS = REPOSITORY / "tools"
sys.path.insert(0, str(TOOLS))

import check_types  # noqa: E402  # scripts, not a package
import soak  # noqa: E402

HOLD = "import sys, time; block = bytearray({} << 20); block[::4096] = b'1' * len(block[::4096]); time.sleep({})"


def measured(*command: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, str(TOOLS / "measure.py"), "--", *command]
    return subprocess.run(program, capture_output=True, text=True, timeout=timeout, check=False)


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="no /proc on this system")
def test_memory_is_summed_over_a_command_and_its_children() -> None:
    child = HOLD.format(150, 6)
    parent = f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {child!r}]); {HOLD.format(100, 4)}"
    done = measured(sys.executable, "-c", f"{parent}; p.wait()")
    found = re.search(r"took 0 min \d+ s, peak memory ([\d.]+) GiB", done.stderr)
    assert found, done.stderr
    assert 0.2 <= float(found.group(1)) <= 0.5  # 250 MiB and two interpreters


def test_the_exit_code_is_the_commands_own() -> None:
    assert measured("sh", "-c", "exit 7").returncode == 7
    assert measured("sh", "-c", "kill -KILL $$").returncode == 128 + 9


def test_a_sigterm_reaches_the_command_so_that_it_can_save(tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    ready = tmp_path / "ready"
    command = f"trap 'touch {saved}; exit 3' TERM; touch {ready}; while :; do sleep 0.1; done"
    with subprocess.Popen([sys.executable, str(TOOLS / "measure.py"), "--", "bash", "-c", command]) as process:
        end = time.monotonic() + 30
        while not ready.exists() and time.monotonic() < end:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 3
    assert saved.exists()


def half(first: int, last: int, early: int, late: int) -> soak.Half:
    return soak.Half(first, last, (0, 0, early, early, late, late, late, late, late, late))


def test_a_soak_finds_growth_lost_steps_and_standstill() -> None:
    gib = 2**30
    assert soak.faults(half(1, 50, gib, gib), half(51, 90, gib, gib)) == []
    (growth,) = soak.faults(half(1, 50, gib, 2 * gib), half(51, 90, gib, gib))
    assert growth == "memory grew in the first half: 1.00 to 2.00 GiB"
    (lost,) = soak.faults(half(1, 50, gib, gib), half(41, 90, gib, gib))
    assert lost == "the first half ended at step 50, the second began at step 41"
    assert "the second half made no step" in soak.faults(half(1, 50, gib, gib), half(0, 0, gib, gib))


def test_a_soak_tells_growth_by_the_step() -> None:
    gib = 2**30
    assert half(1, 500, gib, gib).growth == 0
    # 30 MiB between the middle of the second fifth and that of the last: 300 steps of 500
    assert half(1, 500, gib, gib + 30 * 2**20).growth == pytest.approx(10)


def test_the_type_check_sees_the_packages_where_a_wheel_has_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check_types, "LAYOUT", tmp_path / "types")
    folders = {"skinrl": "skinrl", "skinrl.rewards": "rewards", "skinrl.taxonomy": "taxonomy"}
    check_types.lay_out(["skinrl", "skinrl.data", "skinrl.rewards"], folders)
    for linked, source in (("skinrl/errors.py", "skinrl"), ("skinrl/rewards/__init__.py", "rewards")):
        file = tmp_path / "types" / linked
        assert os.path.realpath(file) == str(REPOSITORY / source / file.name)
    assert (tmp_path / "types" / "skinrl" / "data" / "record.py").exists()
    assert not (tmp_path / "types" / "skinrl" / "taxonomy").exists()


def test_make_help_lists_every_target_that_says_what_it_does() -> None:
    done = subprocess.run(
        ["make", "-C", str(REPOSITORY), "help"], capture_output=True, text=True, timeout=60, check=True
    )
    listed = set(re.findall(r"^  make ([a-z-]+) ", done.stdout, re.MULTILINE))
    wanted = {"demo", "test", "sft", "grpo", "eval", "bench", "soak", "gpu-smoke", "lint", "types", "system-packages"}
    assert wanted | {"clean", "help"} <= listed


def test_an_unknown_launch_says_which_there_are() -> None:
    command = ["make", "-C", str(REPOSITORY), "launch", "LAUNCH=77"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "LAUNCH=77: no launch/zero3_77gpu.yaml; there are: 1" in done.stderr


def test_the_tools_are_scripts_that_show_help() -> None:
    assert importlib.util.find_spec("skinrl.tools") is None
    for name in ("soak", "setup_env", "lock_requirements"):
        done = subprocess.run(
            [sys.executable, str(TOOLS / f"{name}.py"), "--help"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "usage:" in done.stdout
