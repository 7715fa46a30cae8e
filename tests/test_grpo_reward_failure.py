"""A reward that raises stops the run and names the completion, the reward and the saved file with the batch."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tiny_model import build_tiny_text, text_rows

from skinrl.errors import RunError
from skinrl.grpo.reward_failure import RewardError, failures_named, row_as_json

COMPLETIONS = [[{"role": "assistant", "content": text}] for text in ("fine", "fine too", "bad", "fine again")]
ROWS = [{"id": f"case {index}", "gold_nodes": ["nevus"]} for index in range(4)]


def fussy(completions: Any, **kwargs: Any) -> list[float]:
    """Raises on some texts, as a reward does that splits without looking."""
    kwargs["log_extra"]("seen", [one[0]["content"] for one in completions])
    return [float({"fine": 1, "fine too": 1, "fine again": 0}[one[0]["content"]]) for one in completions]


def trainer(folder: Path, *functions: Any, keep: bool = True) -> Any:
    return SimpleNamespace(
        reward_funcs=list(functions),
        reward_func_names=[function.__name__ for function in functions],
        args=SimpleNamespace(output_dir=str(folder), keep_failed_batch=keep),
        state=SimpleNamespace(global_step=4),
        accelerator=SimpleNamespace(process_index=0),
    )


def run(one: Any) -> None:
    logged: list[Any] = []
    with failures_named(one, ROWS, COMPLETIONS):
        for function in one.reward_funcs:
            function(
                prompts=[None] * 4,
                completions=COMPLETIONS,
                gold_nodes=[["nevus"]] * 4,
                log_extra=lambda name, values: logged.append(values),
            )
    assert all(len(values) == 4 for values in logged)  # the search for the culprit logs nothing


def test_the_message_names_reward_completion_and_file_and_the_file_holds_the_batch(tmp_path: Path) -> None:
    one = trainer(tmp_path, fussy)
    with pytest.raises(RewardError) as stopped:
        run(one)
    said = str(stopped.value)
    folder = tmp_path / "failed_batches" / "step-000005-rank-0"
    for part in ("'fussy'", "KeyError: 'bad'", "completion 3 of 4", "'case 2'", "'bad'", str(folder)):
        assert part in said
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    assert [row["completion"] for row in rows] == ["fine", "fine too", "bad", "fine again"]
    assert rows[2]["gold_nodes"] == ["nevus"]
    assert "in fussy" in (folder / "error.txt").read_text()
    assert isinstance(stopped.value.__cause__, KeyError)
    assert isinstance(stopped.value, RunError)  # exit code 1: the work failed
    assert one.reward_funcs == [fussy]


def test_nothing_is_kept_where_that_is_switched_off(tmp_path: Path) -> None:
    with pytest.raises(RewardError, match="the batch was not kept"):
        run(trainer(tmp_path, fussy, keep=False))
    assert list(tmp_path.iterdir()) == []


def minds_company(completions: Any, **kwargs: Any) -> list[float]:
    if len(completions) > 1:
        raise ValueError("too many")
    return [0.0]


def test_a_reward_that_only_fails_on_the_whole_batch_is_said_to(tmp_path: Path) -> None:
    with pytest.raises(RewardError, match="on none of them alone"):
        run(trainer(tmp_path, minds_company))


def test_a_row_is_logged_without_prompt_and_images() -> None:
    row = {
        "prompt": [{"role": "user", "content": "?"}],
        "images": [object()],
        "id": "a",
        "gold_weights": [0.5, 0.5],
        "concepts": [{"kind": "color", "share": 0.5}],
        "finished": True,
    }
    assert json.loads(row_as_json(row)) == {
        "id": "a",
        "gold_weights": [0.5, 0.5],
        "concepts": [{"kind": "color", "share": 0.5}],
        "finished": True,
    }


class Grumbles:
    """Scores until the second step, then raises on every completion that ends with a letter."""

    __name__ = "grumbles"

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, completions: Any, **kwargs: Any) -> list[float]:
        self.calls += 1
        if self.calls > 1:
            raise IndexError("list index out of range")
        return [float(index % 2) for index in range(len(completions))]


async def slow_grumbles(completions: Any, **kwargs: Any) -> list[float]:
    raise IndexError("list index out of range")


@pytest.mark.slow
@pytest.mark.parametrize(("reward", "step"), [(Grumbles(), 2), (slow_grumbles, 1)], ids=["function", "asynchronous"])
def test_a_run_stops_with_it_and_its_log_holds_the_rows(tmp_path: Path, reward: Any, step: int) -> None:
    import pyarrow.parquet as parquet
    from datasets import Dataset

    from skinrl.grpo.config import SkinGRPOConfig
    from skinrl.grpo.trainer import SkinGRPOTrainer

    rows = [{**row, "id": f"case {index}", "gold_nodes": ["nevus"]} for index, row in enumerate(text_rows(4))]
    args = SkinGRPOConfig(
        output_dir=str(tmp_path / "out"),
        per_device_train_batch_size=4,
        num_generations=4,
        max_completion_length=8,
        max_steps=3,
        logging_steps=1,
        log_completions=True,
        num_completions_to_print=0,
        report_to=[],
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        save_strategy="no",
        disable_tqdm=True,
    )
    run = SkinGRPOTrainer(
        str(build_tiny_text(tmp_path / "model")), reward, args, train_dataset=Dataset.from_list(rows)
    )
    with pytest.raises(RewardError) as stopped:
        run.train()
    folder = tmp_path / "out" / "failed_batches" / f"step-{step:06d}-rank-0"
    assert str(folder) in str(stopped.value)
    kept = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    assert len(kept) == 4
    assert all(row["id"].startswith("case ") and isinstance(row["completion"], str) for row in kept)
    if step == 2:
        log = parquet.read_table(tmp_path / "out" / "completions" / "completions_00001.parquet").to_pylist()
        logged = [json.loads(one["row"]) for one in log]
        assert [one["id"] for one in log] == [one["id"] for one in logged]
        assert all(one["gold_nodes"] == ["nevus"] and isinstance(one["finished"], bool) for one in logged)
