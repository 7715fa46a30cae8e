"""The end of a process: SIGKILL while it writes, SIGTERM while it trains."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_model import build_tiny_vlm
from tiny_trainers import assert_same_weights, sft_trainer, weights

from skinrl.checkpoint import last_complete_checkpoint
from skinrl.manifest import checkpoints

pytestmark = pytest.mark.slow
SCRIPT = Path(__file__).parent / "sft_crash.py"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_vlm(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def uninterrupted(model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict:
    trainer = sft_trainer(model, tmp_path_factory.mktemp("whole"), max_steps=4)
    trainer.train()
    return weights(trainer.model)


def start(model: Path, out: Path, how: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), str(model), str(out), how],
        env=os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )


def go_on(model: Path, out: Path) -> dict:
    trainer = sft_trainer(model, out, max_steps=4)
    trainer.train(resume_from_checkpoint=True)
    return weights(trainer.model)


def test_kill_while_saving_leaves_the_checkpoint_before_the_newest(
    model: Path, uninterrupted: dict, tmp_path: Path
) -> None:
    with start(model, tmp_path, "kill") as run:
        run.communicate(timeout=100)
    assert run.returncode == -signal.SIGKILL
    half = tmp_path / "tmp-checkpoint-3" / "checkpoint-3"
    assert (half / "model.safetensors").is_file()
    assert checkpoints(tmp_path) == [tmp_path / "checkpoint-2", tmp_path / "checkpoint-1"]
    assert last_complete_checkpoint(tmp_path) == tmp_path / "checkpoint-2"
    assert_same_weights(go_on(model, tmp_path), uninterrupted)
    assert not list(tmp_path.glob("tmp-*"))


def test_sigterm_saves_at_the_end_of_the_step_and_the_same_command_goes_on(
    model: Path, uninterrupted: dict, tmp_path: Path
) -> None:
    with start(model, tmp_path, "term") as run:
        assert run.stdout is not None
        while "in step 2" not in run.stdout.readline():
            assert run.poll() is None
        run.send_signal(signal.SIGTERM)
        run.send_signal(signal.SIGUSR2)  # only now may step 2 be done
        said, _ = run.communicate(timeout=100)
    assert run.returncode == 1
    assert f"stopped by SIGTERM after step 2; saved in {tmp_path / 'checkpoint-2'}; the same command goes on" in said
    assert last_complete_checkpoint(tmp_path) == tmp_path / "checkpoint-2"
    assert_same_weights(go_on(model, tmp_path), uninterrupted)
