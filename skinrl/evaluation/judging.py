"""A language model as judge of open answers, beside the taxonomy: strict, blind to the image, and never alone.

SkinGPT-R1's way with DDI (the judge sees the reference diagnosis and the end of the completion; synonyms and
abbreviations count, a parent disease where a subtype is asked does not, nor another subtype, nor several answers).
The wording is our own. Pure: whoever has a judge gives `judge_all` a function from messages to text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from skinrl.errors import RunError
from skinrl.evaluation.bootstrap import RESAMPLES, SEED, intervals, mean_measure
from skinrl.evaluation.evaluate import Evaluation
from skinrl.taxonomy import Taxonomy

LONGEST = 20_000  # characters of a completion that the judge sees: the last ones
_GIVE_UP = 5  # failures in a row after which the judge counts as down

Messages = list[dict[str, str]]

_RULES = """\
You grade answers to a dermatology question: which disease does the image show? You are given the reference diagnosis
and an answer. You do not see the image. Decide whether the final diagnosis of the answer is the reference diagnosis.

Correct: the same disease under another name, a synonym, an abbreviation, another spelling; a more precise form of the
reference that is the same disease.
Not correct: a broader class where the reference is a specific disease; another subtype; a related or similar disease;
a list of possible diseases without one final choice; no diagnosis. Reasoning does not count, only the final choice.

Answer with one JSON object and nothing else:
{"predicted_diagnosis": "<final diagnosis of the answer, or empty>", "correct": true or false, "reason": "<short>"}"""


@dataclass(frozen=True)
class Judgement:
    """What the judge said of one answer.

    Args:
        correct: None where the judge failed or said nothing that can be read.
        named: the diagnosis that the judge read out of the answer.
        reason: the judge's, or why there is no judgement.
    """

    id: str
    correct: bool | None
    named: str = ""
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        return {"id": self.id, "correct": self.correct, "named": self.named, "reason": self.reason}

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Judgement:
        return cls(str(row["id"]), row["correct"], str(row.get("named", "")), str(row.get("reason", "")))


def judge_messages(reference: Sequence[str], completion: str) -> Messages:
    """What the judge is asked: any of ``reference`` counts (a weighted differential may have equal tops)."""
    wanted = " or ".join(reference)
    said = f"Reference diagnosis: {wanted}\n\nAnswer:\n<<<\n{completion[-LONGEST:]}\n>>>"
    return [{"role": "system", "content": _RULES}, {"role": "user", "content": said}]


def read_judgement(id: str, text: str) -> Judgement:
    """The judgement in a reply; `correct` is None where it holds no JSON object with a truth value. Never raises."""
    for match in reversed(list(re.finditer(r"\{[^{}]*\}", text, re.DOTALL))):
        try:
            found = json.loads(match[0])
        except json.JSONDecodeError:
            continue
        if isinstance(found.get("correct"), bool):
            return Judgement(
                id, found["correct"], str(found.get("predicted_diagnosis") or ""), str(found.get("reason") or "")
            )
    return Judgement(id, None, "", "the judge's reply holds no verdict")


def references(evaluation: Evaluation, taxonomy: Taxonomy) -> list[tuple[str, ...]]:
    """Names of the right diagnoses of each case: gold of the largest weight, all of them at a tie."""
    found = []
    for case in evaluation.cases:
        top = max((weight for _, weight in case.gold), default=0.0)
        found.append(tuple(sorted(taxonomy.node(node).name for node, weight in case.gold if weight >= top - 1e-9)))
    return found


def judge_all(
    evaluation: Evaluation,
    ask: Callable[[Messages], str],
    *,
    done: Mapping[str, Judgement],
    keep: Callable[[Judgement], None],
    workers: int = 1,
) -> tuple[dict[str, Judgement], str]:
    """Have every case with a gold judged.

    Args:
        ask: sends messages to the judge; raises `RunError` where it does not answer.
        done: judgements of an earlier start; what they could not say is asked again.
        keep: called with each new judgement, so that a crash loses none.
        workers: requests at once; ``ask`` is then called from several threads.

    Returns:
        Judgements by case, and why some are missing (empty: none is). A judge that fails several times in a row
        is not asked further.
    """
    found = {id: one for id, one in done.items() if one.correct is not None}
    names = references(evaluation, evaluation.taxonomy)
    todo = [
        (case.id, judge_messages(reference, prediction.completion))
        for case, prediction, reference in zip(evaluation.cases, evaluation.greedy, names, strict=True)
        if case.id not in found and reference
    ]
    missing, failures = "", 0
    with ThreadPoolExecutor(max_workers=workers) as pool:
        for start in range(0, len(todo), workers):
            some = todo[start : start + workers]
            for (id, _), reply in zip(some, pool.map(lambda one: _reply(ask, one[1]), some), strict=True):
                if isinstance(reply, RunError):
                    missing, failures = str(reply), failures + 1
                else:
                    failures = 0
                    found[id] = read_judgement(id, reply)
                    keep(found[id])
            if failures >= _GIVE_UP:
                break
    return found, missing


def _reply(ask: Callable[[Messages], str], messages: Messages) -> str | RunError:
    try:
        return ask(messages)
    except RunError as problem:
        return problem


def judge_metrics(
    evaluation: Evaluation,
    judgements: Mapping[str, Judgement],
    *,
    model: str,
    missing: str = "",
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> dict[str, Any]:
    """The block `judge` of `metrics.json`: accuracy over all cases (unjudged ones wrong) and over judged ones."""
    scored = evaluation.scored()
    groups = [one.case.group for one in scored]
    verdicts = [judgements.get(one.case.id) for one in scored]
    known = np.array([verdict is not None and verdict.correct is not None for verdict in verdicts])
    right = np.array([bool(verdict and verdict.correct) for verdict in verdicts])
    taxonomy_right = np.array([one.greedy.hit for one in scored])
    told = missing
    if not told and not known.all():
        told = f"{int((~known).sum())} replies held no verdict"
    block: dict[str, Any] = {
        "model": model,
        "accuracy": None,
        "accuracy_judged": None,
        "agreement": None,
        "judged": int(known.sum()),
        "failed": int((~known).sum()),
        "missing": told,
    }
    if not known.any():
        return block
    judged_groups = [group for group, one in zip(groups, known, strict=True) if one]

    def metric(values: Any, of: list[str]) -> dict[str, Any]:
        measure = mean_measure("accuracy", values.astype(float))
        return intervals([measure], of, resamples=resamples, seed=seed)["accuracy"].as_dict()

    block["accuracy_judged"] = metric(right[known], judged_groups)
    block["agreement"] = metric((right == taxonomy_right)[known], judged_groups)
    if known.all() or not missing:  # a judge that went down halfway says nothing of the whole set
        block["accuracy"] = metric(right, groups)
    return block
