"""What rewards share: one reading of a batch for all of them, rows, logs."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from reward_setup import TREE, batch, said

from skinrl.rewards import (
    AnswerReward,
    Row,
    builtin_rewards,
    get_hierarchy_reward,
    get_malignancy_reward,
    report_format_reward,
)
from skinrl.rewards import base as base_module
from skinrl.rewards.base import read_answers, read_batch
from skinrl.taxonomy import Node, Taxonomy

TEXTS = [said("nodular melanoma"), said("common nevus", "benign"), ""]


def messages(texts: list[str]) -> list[list[dict[str, str]]]:
    return [[{"role": "assistant", "content": text}] for text in texts]


def test_the_rewards_of_a_step_read_its_batch_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def counted(name: str) -> Any:
        original = getattr(base_module, name)

        def counting(*args: Any, **kwargs: Any) -> Any:
            calls.append(name)
            return original(*args, **kwargs)

        return counting

    for name in ("parse_report", "answer_of"):
        monkeypatch.setattr(base_module, name, counted(name))
    texts = [f"{text} " for text in TEXTS]  # texts that no other test reads
    columns = batch({str(i): text for i, text in enumerate([*texts, texts[0]])})
    report_format_reward(**columns)
    for reward in (get_hierarchy_reward(TREE), get_malignancy_reward(TREE), get_hierarchy_reward(TREE, "wu_palmer")):
        reward(**columns)
    assert calls.count("parse_report") == len(TEXTS)  # and equal completions once
    assert calls.count("answer_of") == len(TEXTS) + 1


def test_a_reading_is_never_taken_for_that_of_another_batch() -> None:
    completions = messages(TEXTS)
    first = read_answers(TREE, completions)
    assert [answer.node for answer in first] == ["nodular_melanoma", "common_nevus", None]
    completions[0][0]["content"] = TEXTS[1]  # the same lists, another text in them
    assert [answer.node for answer in read_answers(TREE, completions)] == ["common_nevus", "common_nevus", None]
    options = [["nodular melanoma"], ["nodular melanoma"], []]
    nodes: list[list[str | None]] = [["in_situ"], ["in_situ"], []]
    offered = read_answers(TREE, messages(TEXTS), options, nodes)
    assert [answer.outcome for answer in offered] == ["ok", "invalid", "invalid"]
    assert offered[0].node == "in_situ"
    nodes[0][0] = "spitz"
    assert read_answers(TREE, messages(TEXTS), options, nodes)[0].node == "spitz"
    finished = read_answers(TREE, messages(TEXTS), finished=[False, True, True])
    assert [answer.outcome for answer in finished] == ["truncated", "ok", "invalid"]
    assert {answer.outcome for answer in read_answers(TREE, messages(TEXTS), style="skin_r1")} == {"invalid"}
    other = Taxonomy("other", [Node("root", "root"), Node("x", "nodular melanoma", ("root",), behaviour="malignant")])
    assert read_answers(other, messages(TEXTS))[0].node == "x"


def test_equal_batches_share_one_reading() -> None:
    assert read_batch(TREE, messages(TEXTS)) is read_batch(TREE, list(TEXTS))


class Listens(AnswerReward):
    """1 where the row's own column says so."""

    __name__ = "listens_reward"
    columns = ("loud",)

    def score(self, row: Row) -> float | None:
        return None if row.extra[0] is None else float(row.extra[0] and row.readable)

    def why(self, row: Row, score: float | None) -> dict[str, Any]:
        return {"findings": row.report().findings if row.readable else ""}


def test_a_reward_of_ones_own_gets_rows_columns_and_logs() -> None:
    columns = {str(i): text for i, text in enumerate(TEXTS)}
    reward = pickle.loads(pickle.dumps(Listens(TREE)))
    assert reward(**batch(columns, loud=True)) == [1.0, 1.0, 0.0]
    assert reward(**batch(columns, loud=False)) == [0.0, 0.0, 0.0]
    assert reward(**batch(columns)) == [None, None, None]  # the dataset has no such column
    extra: dict[str, list[Any]] = {}
    metrics: dict[str, float] = {}
    reward(**batch(columns, loud=True) | {"log_extra": extra.__setitem__, "log_metric": metrics.__setitem__})
    assert extra["listens_reward/findings"] == ["a dark nodule", "a dark nodule", ""]
    assert extra["listens_reward/node"] == ["nodular_melanoma", "common_nevus", "[invalid]"]
    assert metrics["answer/ok"] == pytest.approx(2 / 3)
    assert reward(completions=[], log_extra=extra.__setitem__, log_metric=metrics.__setitem__) == []
    with pytest.raises(ValueError, match="column 'loud' has 1 values for 3 completions"):
        reward(TEXTS, loud=[True])


def test_the_report_of_an_unreadable_row_is_no_report() -> None:
    (answer,) = read_answers(TREE, [""])
    with pytest.raises(ValueError, match="no report can be read: answer missing"):
        Row(answer, (), (), (), "", "", ()).report()


def test_every_built_in_reward_has_one_line() -> None:
    assert all(line.startswith(("fn: ", "factory: ")) for line in builtin_rewards().values())
