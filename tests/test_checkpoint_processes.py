"""Two processes, over gloo: rows with and without images, gradients, saving, resuming, signals."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_model import build_tiny_vlm
from tiny_trainers import GRADIENT_CASES, InOrder, assert_same_weights, sft_trainer

from skinrl.checkpoint import verify_checkpoint

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_vlm(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module", params=["zero3", "ddp"])
def two_processes(request: pytest.FixtureRequest, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp(request.param)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    if request.param == "zero3":  # the configuration that ships with the project
        starter = ["accelerate.commands.launch", "--config_file=launch/zero3_2cpu.yaml", f"--main_process_port={port}"]
    else:
        starter = ["torch.distributed.run", "--nproc_per_node=2", f"--master_port={port}"]
    script = [str(HERE / "two_processes.py"), str(model), str(out), request.param]
    command = [sys.executable, "-m", *starter, *script]
    environment = os.environ | {"DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    with (out / "log").open("w") as log:
        job = subprocess.Popen(
            command, cwd=HERE.parent, env=environment, stdout=log, stderr=log, start_new_session=True
        )
        try:
            code = job.wait(timeout=300)
        finally:
            if job.poll() is None:
                os.killpg(job.pid, signal.SIGKILL)
    assert code == 0, (out / "log").read_text()[-5000:]
    return out


@pytest.mark.parametrize("case", GRADIENT_CASES)
def test_gradient_on_two_processes_equals_that_on_one(
    case: str, two_processes: Path, model: Path, tmp_path: Path
) -> None:
    settings = {**InOrder.settings, "per_device_train_batch_size": 4}
    trainer = sft_trainer(model, tmp_path, rows=GRADIENT_CASES[case], trainer_class=InOrder, **settings)
    trainer.train()
    trainer.save_model(str(tmp_path))
    before = load_file(model / "model.safetensors")
    one = load_file(tmp_path / "model.safetensors")
    two = load_file(two_processes / case / "model.safetensors")
    assert one.keys() == two.keys() == before.keys()
    for name in before:
        gradient, other = one[name] - before[name], two[name] - before[name]
        if case == "none_at_all" and name.startswith("visual."):
            assert not gradient.any()
            assert not other.any()
        else:
            assert gradient.any(), name
            assert torch.linalg.norm(gradient - other) <= 2e-5 * torch.linalg.norm(gradient), name


def test_only_a_process_without_images_runs_the_zero_image(two_processes: Path) -> None:
    log = (two_processes / "log").read_text()
    assert "rank 0 second_process_without: 0 zero images" in log
    assert "rank 1 second_process_without: 1 zero images" in log
    assert "rank 0 none_at_all: 1 zero images" in log
    assert "rank 1 mixed_on_both: 0 zero images" in log


@pytest.mark.parametrize("kind", ["sft", "lora", "grpo"])
def test_resumed_run_equals_the_whole_one(kind: str, two_processes: Path) -> None:
    file = "adapter_model.safetensors" if kind == "lora" else "model.safetensors"
    whole = load_file(two_processes / f"{kind}-whole" / file)
    assert_same_weights(whole, load_file(two_processes / f"{kind}-resumed" / file))


def test_saved_model_is_one_safetensors_file_that_loads_strictly(two_processes: Path) -> None:
    from skinrl.model import load_policy

    assert [path.name for path in (two_processes / "sft-whole").glob("*.safetensors")] == ["model.safetensors"]
    assert not list((two_processes / "sft-whole").glob("*.bin"))
    load_policy(two_processes / "sft-whole", dtype="float32")


def test_signal_to_one_process_stops_both_with_a_complete_checkpoint(two_processes: Path) -> None:
    log = (two_processes / "log").read_text()
    assert "rank 1: stopped by SIGTERM after step 2" in log
    assert "rank 0: stopped by a signal to another process after step 2" in log
    verify_checkpoint(two_processes / "stopped" / "checkpoint-2")


@pytest.mark.parametrize(
    ("name", "processes", "machines"),
    [("1gpu", 1, 1), ("2gpu", 2, 1), ("4gpu", 4, 1), ("8gpu", 8, 1), ("nodes", 16, 2), ("2cpu", 2, 1)],
)
def test_every_launch_configuration_is_zero3_as_its_name_says(name: str, processes: int, machines: int) -> None:
    from accelerate.commands.config import load_config_from_file

    config = load_config_from_file(str(HERE.parent / "launch" / f"zero3_{name}.yaml"))
    assert config.distributed_type == "DEEPSPEED"
    assert (config.num_processes, config.num_machines) == (processes, machines)
    engine = config.deepspeed_config
    assert engine["zero3_init_flag"] is True
    if name == "2cpu":
        engine = json.loads((HERE.parent / engine["deepspeed_config_file"]).read_text())["zero_optimization"]
        assert (engine["stage"], engine["stage3_param_persistence_threshold"]) == (3, 0)
    else:
        assert (engine["zero_stage"], engine["zero3_save_16bit_model"]) == (3, True)
