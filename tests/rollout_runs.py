"""A small GRPO run as TRL and the trainer leave it on the disk, for the tests of `skinrl view`."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas

from skinrl import files
from skinrl.cli.rollout_log import RolloutLog, write_image_paths
from skinrl.cli.rollout_server import RolloutServer

WEIGHTS = {"hierarchy_reward": 1.0, "format_reward": 0.25}
Made = tuple[str, Sequence[float | None]]  # text, one score per reward


def write_step(
    stage: Path, step: int, groups: Sequence[tuple[str, Sequence[Made]]], *, names: Sequence[str] = tuple(WEIGHTS)
) -> None:
    """The Parquet file of a step, in the columns and the order in which TRL's ``log`` writes them.

    Args:
        groups: (id of the record, completions).
    """
    rows: list[dict[str, Any]] = []
    for id, made in groups:
        totals = [sum(WEIGHTS.get(n, 1.0) * (v or 0.0) for n, v in zip(names, s, strict=True)) for _, s in made]
        mean = sum(totals) / len(totals)
        for (text, scores), total in zip(made, totals, strict=True):
            image, words = {"type": "image", "text": None}, {"type": "text", "text": "What is the diagnosis?"}
            row = {"id": id, "gold_nodes": ["melanoma"], "gold_weights": [1.0], "options": [], "finished": True}
            rows.append(
                {
                    "step": step,
                    "prompt": [{"role": "user", "content": [image, words]}],
                    "completion": [{"role": "assistant", "content": text}],
                    **{name: float("nan") if s is None else s for name, s in zip(names, scores, strict=True)},
                    "hierarchy_reward/node": text.split()[-1] if text else "[invalid]",
                    "hierarchy_reward/relation": "exact" if scores[0] == 1 else "",
                    "id": id,
                    "row": json.dumps(row),
                    "advantage": total - mean,
                }
            )
    folder = stage / "completions"
    folder.mkdir(parents=True, exist_ok=True)
    pandas.DataFrame(rows).to_parquet(folder / f"completions_{step:05d}.parquet")
    first = {f"rewards/{name}/mean": 0.5 for name in names}
    files.append_jsonl(stage / "metrics.jsonl", {"step": step, "reward": 1.0 + step / 100, "reward_std": 0.2, **first})


def write_recipe(stage: Path, size: int = 4) -> None:
    """The resolved recipe of a stage: the weights of the rewards, and how many completions a group has."""
    rewards = [{"factory": name, "weight": weight} for name, weight in WEIGHTS.items()]
    files.write_yaml(stage / "recipe.resolved.yaml", {"rewards": rewards, "grpo": {"num_generations": size}})


def small_run(folder: Path, draw: Callable[..., str], steps: int = 3, groups: int = 3) -> Path:
    """``runs/clinic/default`` under ``folder``: groups of four completions, a photograph for each record.

    In every group two completions are right, one is wrong and one has no form; the markup in it must stay text.
    """
    stage = folder / "runs" / "clinic" / "default" / "grpo"
    paths = {f"case-{number}": [draw(folder / "photos" / f"{number}.png", number)] for number in range(groups)}
    for step in range(1, steps + 1):
        made = [
            (
                id,
                [
                    (f"<think>\nseen in {id} at step {step}\n</think>\nDiagnosis: melanoma", (1.0, 1.0)),
                    (f"<think>\nseen in {id} at step {step}\n</think>\nDiagnosis: melanoma", (1.0, 1.0)),
                    (f"Diagnosis of {id}: nevus", (0.0, 1.0)),
                    (f"<script>alert('{id}')</script> & melanoma", (1.0, 0.0)),
                ],
            )
            for id in paths
        ]
        write_step(stage, step, made)
    write_recipe(stage)
    write_image_paths(stage, paths)
    return stage.parent


@contextmanager
def serving(run: Path) -> Iterator[RolloutServer]:
    """The server of that run at work, its search done."""
    server = RolloutServer(RolloutLog(run / "grpo"))
    server.search.scan()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.close()
