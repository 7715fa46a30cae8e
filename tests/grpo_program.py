"""GRPO runs that need an engine, a server or several processes: ``python grpo_program.py SCENARIO FOLDER``.

``test_grpo_engines.py`` starts it and judges the numbers that it writes to ``FOLDER/SCENARIO.json``.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

BANNED_TEXTS = ("<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>")
# language model, vision tower and merger, by the names that the three families give them
LORA_TARGETS = r".*(q_proj|v_proj|up_proj|qkv|attn\.proj|mlp\.0|fc1|linear_fc1)$"


class SampledTokens:
    """A reward that also remembers the token ids it is shown."""

    __name__ = "sampled_tokens"

    def __init__(self) -> None:
        self.seen: list[int] = []

    def __call__(self, completions: list[Any], completion_ids: list[list[int]], **kwargs: Any) -> list[float]:
        from tiny_model import distinct_tokens_reward

        self.seen += [token for ids in completion_ids for token in ids]
        return distinct_tokens_reward(completions)


def settings(folder: Path, **changes: Any) -> Any:
    from skinrl.grpo.config import SkinGRPOConfig

    defaults: dict[str, Any] = {
        "output_dir": str(folder / "out"),
        "per_device_train_batch_size": 8,
        "num_generations": 4,
        "max_completion_length": 20,
        "max_steps": 4,
        "logging_steps": 1,
        "report_to": [],
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "learning_rate": 1e-3,
        "lr_scheduler_type": "constant",
        "save_strategy": "no",
        "disable_tqdm": True,
        "use_vllm": True,
        "vllm_max_model_length": 256,
    }
    return SkinGRPOConfig(**{**defaults, **changes})


def build(folder: Path, rows: Sequence[dict[str, Any]], *, lora: bool = False, **changes: Any) -> Any:
    from datasets import Dataset

    from skinrl.grpo.trainer import SkinGRPOTrainer

    peft_config = None
    if lora:
        from peft import LoraConfig

        peft_config = LoraConfig(r=4, lora_dropout=0.1, target_modules=LORA_TARGETS, task_type="CAUSAL_LM")
    return SkinGRPOTrainer(
        model=str(folder / "model"),
        reward_funcs=SampledTokens(),
        args=settings(folder, **changes),
        train_dataset=Dataset.from_list(list(rows)),
        peft_config=peft_config,
    )


def summary(trainer: Any) -> dict[str, Any]:
    """What the tests judge: the gap of every step, the tokens sampled, which parts moved."""
    steps = [entry for entry in trainer.state.log_history if "rollout/logp_gap_mean" in entry]
    names = ("rollout/logp_gap_mean", "rollout/logp_gap_p99", "rollout/logp_gap_max", "loss", "grad_norm")
    banned = set(trainer._tokenizer.convert_tokens_to_ids(list(BANNED_TEXTS)))
    seen = trainer.reward_funcs[0].seen
    return {
        "steps": [{name: entry[name] for name in names} for entry in steps],
        "tokens": len(seen),
        "banned_tokens": sum(token in banned for token in seen),
    }


def one_engine() -> tuple[list[Any], list[list[int]]]:
    """Have all trainers of this process share one vLLM engine, and those whose adapters are served another.

    Sound because a trainer pushes every weight before its first rollout.

    Returns:
        a list that will hold the engines, and one that will hold, for each of their calls, the completions asked for
        by each prompt.
    """
    from trl.generation import vllm_generation as trl_vllm

    real: Callable[..., Any] = trl_vllm.LLM
    made: list[Any] = []
    kinds: list[bool] = []
    calls: list[list[int]] = []

    def shared(**arguments: Any) -> Any:
        kind = "enable_lora" in arguments
        if kind not in kinds:
            llm = real(**arguments)
            kinds.append(kind)
            made.append(llm)
            generate = llm.generate

            def counted(prompts: Any, sampling_params: Any, **kwargs: Any) -> Any:
                several = sampling_params if isinstance(sampling_params, list) else [sampling_params] * len(prompts)
                calls.append([own.n for own in several])
                return generate(prompts, sampling_params=sampling_params, **kwargs)

            llm.generate = counted
        return made[kinds.index(kind)]

    trl_vllm.LLM = shared
    return made, calls


def resident() -> float:
    """Memory of this process in MiB, after what is free has been given back."""
    import ctypes
    import gc

    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def resident_after_each_step(trainer: Any) -> list[float]:
    """Train; memory in MiB after every step."""
    from transformers import TrainerCallback

    found: list[float] = []

    class Watch(TrainerCallback):
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            found.append(resident())

    trainer.add_callback(Watch())
    trainer.train()
    return found


def gap_of_rollout(trainer: Any, rows: list[dict[str, Any]]) -> float:
    """Mean log-prob gap of one rollout, scored but not trained on."""
    from skinrl.grpo.gap import summarise, token_gaps

    trainer.args.skip_old_logps = False  # the loss is not computed here
    output = trainer._generate_and_score_completions(rows)
    gaps = token_gaps(output["old_per_token_logps"], output["sampling_per_token_logps"], output["completion_mask"])
    return summarise(gaps).mean


def colocate(folder: Path) -> dict[str, Any]:
    import types

    import torch
    from tiny_model import build_tiny_vlm, image_rows
    from trl.generation.vllm_generation import VLLMGeneration

    from skinrl.grpo.gap import RolloutGapError

    build_tiny_vlm(folder / "model")
    made, calls = one_engine()
    result: dict[str, Any] = {}

    # everything trains, one row without an image
    engine: dict[str, Any] = {
        "vllm_max_num_batched_tokens": 1024,
        "vllm_images_per_prompt": 2,
        "vllm_mm_processor_cache_gb": 0.5,
    }
    trainer = build(folder, image_rows(4, text_only=frozenset({1})), **engine)
    vision = {n: p.detach().clone() for n, p in trainer.model.named_parameters() if "visual" in n}
    trainer.train()
    moved = [(p - vision[n]).abs().max().item() for n, p in trainer.model.named_parameters() if n in vision]
    result["full"] = {**summary(trainer), "vision_moved": max(moved)}
    result["calls"] = list(calls)
    config = made[0].llm_engine.vllm_config
    images = config.model_config.multimodal_config
    result["engine"] = {
        "dtype": str(config.model_config.dtype),
        "mm_processor_kwargs": images.mm_processor_kwargs,
        "tokens": config.scheduler_config.max_num_batched_tokens,
        "images": images.get_limit_per_prompt("image"),
        "cache": images.mm_processor_cache_gb,
    }

    # the same rows through TRL's own generate: the prompt as stock TRL sends it
    rows = [row for row in image_rows(2) for _ in range(4)]
    trainer.model.train()
    ours = gap_of_rollout(trainer, rows)
    trainer.vllm_generation.generate = types.MethodType(VLLMGeneration.generate, trainer.vllm_generation)
    result["stock_prompt"] = {"stock": gap_of_rollout(trainer, rows), "ours": ours}

    # adapters on language model, tower and merger, pushed in both ways; the frozen base must not wear
    for name, way in (("lora", "merge"), ("adapter", "auto")):
        trainer = build(folder, image_rows(4), lora=True, max_steps=3, vllm_lora=way)
        base = {n: p.detach().clone() for n, p in trainer.model.named_parameters() if not p.requires_grad}
        trainer.train()
        kept = all(torch.equal(p, base[n]) for n, p in trainer.model.named_parameters() if n in base)
        result[name] = {**summary(trainer), "base_unchanged": kept, "frozen": len(base)}
    result["adapters"] = sorted(made[1].llm_engine.list_loras())
    result["adapters_on_disk"] = len(list(Path("/dev/shm").glob("skinrl-adapter-*")))

    # many steps, new images in each
    trainer = build(folder, image_rows(60), max_steps=30, max_completion_length=8)
    result["resident"] = resident_after_each_step(trainer)

    # a push that stops after the first: the guard has to notice the stale weights
    trainer = build(folder, image_rows(4), max_steps=20, rollout_gap_patience=2)
    push = trainer.vllm_generation.sync_weights
    trainer.vllm_generation.sync_weights = lambda: push() if trainer.state.global_step == 0 else None
    try:
        trainer.train()
        result["stale"] = {"stopped": False}
    except RolloutGapError as error:
        result["stale"] = {"stopped": True, "step": trainer.state.global_step, "message": str(error)}
    result["stale"]["kept"] = sorted(path.name for path in (folder / "out" / "failed_batches").iterdir())
    return result


def relatives(folder: Path) -> dict[str, Any]:
    """The other families of image models, their adapters served beside the base."""
    from tiny_model import build_tiny_relative, image_rows

    result: dict[str, Any] = {}
    for family in ("qwen2_vl", "qwen3_vl"):
        build_tiny_relative(folder / family / "model", family)
        trainer = build(folder / family, image_rows(4), lora=True, max_steps=2, vllm_lora="adapter")
        trainer.train()
        result[family] = summary(trainer)
    return result


def server(folder: Path) -> dict[str, Any]:
    from tiny_model import build_tiny_vlm, image_rows

    from skinrl.engine.server import VLLMServer, free_port, server_command, server_environment

    model = str(build_tiny_vlm(folder / "model"))
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = server_command(
        model, port=port, dtype="float32", max_model_len=256, min_pixels=56 * 56, max_pixels=112 * 112
    )
    with VLLMServer(command, server_environment(model), url, folder / "server.txt", start_timeout=200) as running:
        # the trainer's imports take as long as the server's start
        import skinrl.grpo.trainer  # noqa: F401

        running.wait()
        trainer = build(
            folder,
            image_rows(4, text_only=frozenset({1})),
            vllm_mode="server",
            vllm_server_base_url=url,
            vllm_server_timeout=30,
        )
        trainer.train()
        result: dict[str, Any] = {
            "full": summary(trainer),
            "left": sorted(p.name for p in Path("/dev/shm").glob("skinrl-weights-*")),
        }
    result["alive"] = running.is_alive()
    result["healthy_after_stop"] = running.is_healthy()
    return result


def zero3(folder: Path) -> dict[str, Any]:
    """Two processes, every parameter partitioned; some processes' batches without images."""
    from accelerate import PartialState
    from tiny_model import build_tiny_vlm, image_rows

    state = PartialState(cpu=True)
    with state.main_process_first():
        if state.is_main_process:
            build_tiny_vlm(folder / "model")
    one_engine()
    zero = {
        "stage": 3,
        "overlap_comm": False,
        # at its default every tensor of a tiny model stays whole
        "stage3_param_persistence_threshold": 0,
        "stage3_gather_16bit_weights_on_model_save": True,
    }
    deepspeed = {
        "bf16": {"enabled": False},
        "zero_optimization": zero,
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
    }
    common = {"deepspeed": deepspeed, "optim": "adamw_torch", "per_device_train_batch_size": 4, "max_steps": 3}
    rows = image_rows(12, text_only=frozenset(range(1, 12, 3)))
    result: dict[str, Any] = {}
    for name, lora, changes in (
        ("vllm", False, {}),
        ("vllm_lora", True, {"vllm_lora": "merge"}),
        ("vllm_adapter", True, {}),
        ("generate", False, {"use_vllm": False}),
    ):
        trainer = build(folder, rows, lora=lora, **common, **changes)
        trainer.train()
        whole = [parameter for parameter in trainer.model.parameters() if parameter.numel() > 0]
        result[name] = {**summary(trainer), "whole_parameters": len(whole)}
    return result if state.is_main_process else {}


SCENARIOS = {"colocate": colocate, "relatives": relatives, "server": server, "zero3": zero3}


def main() -> None:
    import torch

    torch.set_num_threads(1)
    scenario, folder = sys.argv[1], Path(sys.argv[2])
    begun = time.monotonic()
    result = SCENARIOS[scenario](folder)
    if result:
        result["seconds"] = time.monotonic() - begun
        (folder / f"{scenario}.json").write_text(json.dumps(result), encoding="utf-8")
    if scenario == "zero3":  # as skinrl.cli.main does with several processes
        sys.stdout.flush()
        os._exit(0)


if __name__ == "__main__":
    main()
