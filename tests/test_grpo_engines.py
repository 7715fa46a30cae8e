"""GRPO with vLLM in this process, with a vLLM server, and under ZeRO-3: one policy on both sides.

Each scenario of ``grpo_program.py`` runs once, in a process of its own, and several tests read it.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
from programs import run_program

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed on this platform"),
]

GAP = 1e-5  # nats per token, float32


@pytest.fixture(scope="module")
def colocate(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return run_program("grpo_program.py", "colocate", tmp_path_factory.mktemp("colocate"), timeout=240)


@pytest.fixture(scope="module")
def relatives(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return run_program("grpo_program.py", "relatives", tmp_path_factory.mktemp("relatives"), timeout=240)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return run_program("grpo_program.py", "server", tmp_path_factory.mktemp("server"), timeout=300)


@pytest.fixture(scope="module")
def zero3(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return run_program("grpo_program.py", "zero3", tmp_path_factory.mktemp("zero3"), processes=2, timeout=300)


def assert_one_policy(run: dict[str, Any], steps: int) -> None:
    assert len(run["steps"]) == steps
    for step in run["steps"]:
        assert 0 < step["rollout/logp_gap_mean"] <= GAP
        assert step["rollout/logp_gap_mean"] <= step["rollout/logp_gap_p99"] <= step["rollout/logp_gap_max"]
        assert step["grad_norm"] > 0


def test_colocated_rollouts_are_the_trained_policy_at_every_step_while_everything_trains(colocate: Any) -> None:
    assert_one_policy(colocate["full"], steps=4)
    assert colocate["full"]["vision_moved"] > 1e-3


def test_the_engine_takes_the_trainers_dtype_and_image_size_and_the_recipes_settings(colocate: Any) -> None:
    assert colocate["engine"] == {
        "dtype": "torch.float32",
        "mm_processor_kwargs": {"min_pixels": 3136, "max_pixels": 12544},
        "tokens": 1024,
        "images": 2,
        "cache": 0.5,
    }


def test_each_group_goes_to_the_engine_as_one_prompt(colocate: Any) -> None:
    assert colocate["calls"] == [[4, 4]] * 4  # two groups of four in each of four rollouts


def test_memory_is_flat_from_step_to_step_though_every_image_is_new(colocate: Any) -> None:
    # The two images of a step take 0.6 MiB preprocessed and 2.3 as rows of the batch: kept, 11 MiB or more in 20 steps
    settled, last = colocate["resident"][9], colocate["resident"][-1]
    assert len(colocate["resident"]) == 30
    assert last - settled < 8


def test_the_prompt_that_stock_trl_sends_makes_another_policy(colocate: Any) -> None:
    assert colocate["stock_prompt"]["stock"] > 1e-2
    assert colocate["stock_prompt"]["ours"] <= GAP


def test_vision_tokens_are_never_sampled(colocate: Any, server: Any, zero3: Any) -> None:
    # 5 of about 400 tokens of a random policy: some 10 would be expected in each run
    for run in (
        colocate["full"],
        colocate["lora"],
        colocate["adapter"],
        server["full"],
        zero3["vllm"],
        zero3["generate"],
    ):
        assert run["tokens"] > 200
        assert run["banned_tokens"] == 0


def test_lora_is_pushed_merged_and_leaves_the_frozen_base_as_it_was(colocate: Any) -> None:
    assert_one_policy(colocate["lora"], steps=3)
    assert colocate["lora"]["frozen"] > 40
    assert colocate["lora"]["base_unchanged"]


def test_an_adapter_is_served_beside_the_base_and_the_newest_push_alone_is_kept(colocate: Any) -> None:
    assert_one_policy(colocate["adapter"], steps=3)
    assert colocate["adapter"]["base_unchanged"]
    assert colocate["adapters"] == [3]
    assert colocate["adapters_on_disk"] == 0


def test_the_other_families_roll_out_their_policy_with_their_adapters_beside_the_base(relatives: Any) -> None:
    assert_one_policy(relatives["qwen2_vl"], steps=2)
    assert_one_policy(relatives["qwen3_vl"], steps=2)


def test_stale_weights_stop_the_run_and_leave_the_batch_on_disk(colocate: Any) -> None:
    assert colocate["stale"]["stopped"]
    assert 2 <= colocate["stale"]["step"] < 20
    assert "a push is incomplete" in colocate["stale"]["message"]
    assert colocate["stale"]["kept"] == [f"step-{colocate['stale']['step'] + 1:06d}-rank-0"]


def test_server_rollouts_with_the_push_by_file_are_the_trained_policy(server: Any) -> None:
    assert_one_policy(server["full"], steps=4)
    assert server["left"] == []


def test_a_stopped_server_leaves_no_process_behind(server: Any) -> None:
    assert not server["alive"]
    assert not server["healthy_after_stop"]


@pytest.mark.parametrize("way", ["vllm", "vllm_lora", "vllm_adapter", "generate"])
def test_zero3_on_two_processes_rolls_out_the_trained_policy(zero3: Any, way: str) -> None:
    assert zero3[way]["whole_parameters"] == 0
    assert_one_policy(zero3[way], steps=3)
