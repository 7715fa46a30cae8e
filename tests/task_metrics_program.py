"""Task metrics under ZeRO-3 on two processes, or with rollouts from vLLM: ``task_metrics_program.py SCENARIO FOLDER``

``test_task_metrics_programs.py`` starts it and judges the numbers that it writes to ``FOLDER/SCENARIO.json``.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

COUNT = 5  # requests: no multiple of two processes
TOKENS = 8


def requests() -> list[Any]:
    """With one image, with two, with none; prompts of several lengths."""
    from tiny_model import random_image

    from skinrl.engine import Request

    shown = [(random_image(i, 56, 56),) for i in range(3)] + [(random_image(7, 56, 56), random_image(8, 84, 56)), ()]
    return [
        Request([{"role": "user", "content": f"Diagnose {i}{' please' * i}."}], images)
        for i, images in enumerate(shown)
    ]


def follow(trainer: Any, rank: int = 0, **plan: Any) -> list[list[list[int]]]:
    """Adds the callback. Returns a list that will hold the token ids of the answers of each measurement."""
    from skinrl.engine.trainer_engine import TrainerEngine
    from skinrl.task_metrics import Plan, TaskMetrics

    engine, asked, seen = TrainerEngine(trainer), requests(), []

    def measure(step: int) -> dict[str, float | None]:
        answers = engine.greedy(COUNT, asked.__getitem__, TOKENS)
        seen.append([list(one.token_ids) for one in answers])
        return {"score": 100.0 * rank + min(step, 2)}  # the main process's, and flat from step 2 on

    trainer.add_callback(TaskMetrics(trainer, measure, Plan(every=1, metric="score", **plan)))
    return seen


def logs(trainer: Any, name: str) -> list[float]:
    return [entry[name] for entry in trainer.state.log_history if name in entry]


def zero3(folder: Path) -> dict[str, Any]:
    """SFT with adapters and dropout, plain and watched, on two processes."""
    import torch
    from accelerate import PartialState
    from accelerate.utils import gather_object
    from tiny_model import build_tiny_vlm
    from tiny_trainers import sft_rows, sft_trainer
    from zero3 import ZERO3

    state = PartialState(cpu=True)
    with state.main_process_first():
        if state.is_main_process:
            build_tiny_vlm(folder / "model")
    rank = state.process_index

    def build(name: str) -> Any:
        torch.manual_seed(0)
        lora = {"r": 4, "alpha": 8, "dropout": 0.2, "target_modules": "all-linear"}
        rows = sft_rows(16, text_only=frozenset({2, 3, 6, 7}))
        settings = {"deepspeed": ZERO3, "ddp_backend": "gloo", "max_steps": 6, "gradient_checkpointing": True}
        return sft_trainer(folder / "model", folder / name, rows=rows, load={"lora": lora}, **settings)

    plain = build("plain")
    plain.train()
    watched = build("watched")
    seen = follow(watched, rank, patience=2, keep_best=True)
    watched.train()
    whole = [name for name, value in watched.model.named_parameters() if "lora_" not in name and value.numel() > 0]
    own = {
        "losses": logs(watched, "loss"),
        "plain": logs(plain, "loss"),
        "score": logs(watched, "task/score"),
        "steps": watched.state.global_step,
        "seen": seen,
        "whole": len(whole),
        "kept": sorted(path.name for path in (folder / "watched").glob("*best-*")),
    }
    gathered = gather_object([own])
    watched.save_model(str(folder / "saved"))
    return {"processes": gathered} if state.is_main_process else {}


def vllm(folder: Path) -> dict[str, Any]:
    """GRPO with a colocated engine: all weights, and adapters that stay beside the base."""
    import torch
    from grpo_program import build, one_engine
    from tiny_model import build_tiny_vlm, image_rows

    build_tiny_vlm(folder / "model")
    one_engine()
    result: dict[str, Any] = {}
    for name, lora in (("full", False), ("lora", True)):
        changes: dict[str, Any] = {
            "lora": lora,
            "max_steps": 2,
            "vllm_images_per_prompt": 2,
            "max_completion_length": 8,
        }
        torch.manual_seed(0)
        plain = build(folder, image_rows(4), **changes)
        plain.train()
        torch.manual_seed(0)
        watched = build(folder, image_rows(4), **changes)
        seen = follow(watched)
        watched.train()
        watched.save_model(str(folder / name))
        generation = watched.vllm_generation
        result[name] = {
            "losses": logs(watched, "loss"),
            "plain": logs(plain, "loss"),
            "sampled": [watched.reward_funcs[0].seen, plain.reward_funcs[0].seen],
            "gap": max(logs(watched, "rollout/logp_gap_max")),
            "seen": seen,
            "settings": [generation.temperature, generation.max_completion_length],
        }
    return result


def main() -> None:
    import torch

    torch.set_num_threads(1)
    scenario, folder = sys.argv[1], Path(sys.argv[2])
    result = {"zero3": zero3, "vllm": vllm}[scenario](folder)
    if result:
        (folder / f"{scenario}.json").write_text(json.dumps(result), encoding="utf-8")
    if scenario == "zero3":  # as skinrl.cli.main does with several processes
        sys.stdout.flush()
        os._exit(0)


if __name__ == "__main__":
    main()
