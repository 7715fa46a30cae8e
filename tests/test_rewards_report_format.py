"""The format reward, case by case."""

from __future__ import annotations

import pickle

import pytest
from reward_setup import OPEN_CASES, OPTION_CASES, batch, open_batch, option_batch, said

from skinrl.errors import DataError
from skinrl.report import DiagnosticReport, prefill
from skinrl.rewards import get_report_format_reward, report_format_reward

INVALID = {"two lines", "many lines", "two reports", "text after the answer", "no tags", "empty", "cut"}


def test_the_table_of_open_answers() -> None:
    # Whether an answer is right, resolved or single is for the rewards on the taxonomy to say.
    scores = report_format_reward(**open_batch())
    assert dict(zip(OPEN_CASES, scores, strict=True)) == {case: float(case not in INVALID) for case in OPEN_CASES}


def test_the_table_of_options() -> None:
    scores = report_format_reward(**option_batch())
    valid = {"letter", "letter and name", "name", "sibling", "opposite", "wrong"}
    assert dict(zip(OPTION_CASES, scores, strict=True)) == {case: float(case in valid) for case in OPTION_CASES}


def test_it_needs_no_gold_and_never_says_none() -> None:
    assert report_format_reward(**open_batch(None)) == report_format_reward(**open_batch())
    assert report_format_reward([said("wart"), "wart"]) == [1.0, 0.0]


def test_a_completion_that_the_limit_cut_is_no_report() -> None:
    assert report_format_reward(**batch({"a": said("wart"), "b": said("wart")}), finished=[True, False]) == [1.0, 0.0]


def test_prefilled_tags_and_other_styles() -> None:
    rest = said("wart").removeprefix(prefill())
    assert report_format_reward(**batch({"a": rest}, prefilled=prefill())) == [1.0]
    reward = get_report_format_reward("skin_r1")
    theirs = DiagnosticReport("wart").render("skin_r1")
    assert reward(**batch({"a": theirs, "b": said("wart")})) == [1.0, 0.0]
    assert reward.__name__ == "skin_r1_format_reward"
    assert get_report_format_reward().__name__ == report_format_reward.__name__ == "report_format_reward"
    assert pickle.loads(pickle.dumps(reward))(**batch({"a": theirs})) == [1.0]
    with pytest.raises(DataError, match="unknown report style 'free'"):
        get_report_format_reward("free")


def test_the_log_gives_the_fault() -> None:
    extra: dict[str, list] = {}
    metrics: dict[str, float] = {}
    columns = open_batch() | {"log_extra": extra.__setitem__, "log_metric": metrics.__setitem__}
    report_format_reward(**columns)
    faults = dict(zip(OPEN_CASES, extra["report_format_reward/fault"], strict=True))
    assert faults["gold"] == ""
    assert faults["two lines"] == "two Diagnosis lines"
    assert metrics["report_format_reward/valid"] == pytest.approx(1 - len(INVALID) / len(OPEN_CASES))
