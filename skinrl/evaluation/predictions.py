"""Predictions: one completion, read once, by the same function that the rewards use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from skinrl.errors import DataError
from skinrl.evaluation.cases import Case
from skinrl.taxonomy.answer import read_answer
from skinrl.taxonomy.graph import Taxonomy
from skinrl.taxonomy.similarity import expected_credit

OUTCOMES = ("ok", "invalid", "truncated", "unresolved")


class Written(Protocol):
    """What a model wrote: any object with these two, the engine's completions among them."""

    @property
    def text(self) -> str: ...

    @property
    def finished(self) -> bool: ...


@dataclass(frozen=True)
class Reply:
    """The plainest `Written`."""

    text: str
    finished: bool = True


@dataclass(frozen=True)
class Prediction:
    """One row of `predictions.jsonl`.

    Args:
        id: of the case.
        gold: as in the case.
        raw: the diagnosis as the model wrote it; empty where none could be read.
        outcome: `ok`, `invalid`, `truncated` or `unresolved` (well formed, but it names no node).
        answer_node: the node; None unless `ok`, and for `undetermined`.
        credit: on the hierarchy; None where the gold has no node.
        completion: all that was written.
        malignancy: the behaviour that the report states, or None.
        reason: why the outcome is not `ok`.
        sample: number of the sample, from 0.
    """

    id: str
    gold: tuple[tuple[str, float], ...]
    raw: str
    outcome: str
    answer_node: str | None
    credit: float | None
    completion: str
    malignancy: str | None = None
    reason: str = ""
    sample: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The row. `gold` is a node id where one diagnosis is certain, else weights by node id."""
        single = len(self.gold) == 1
        return {
            "id": self.id,
            "gold": self.gold[0][0] if single else dict(self.gold),
            "raw": self.raw,
            "outcome": self.outcome,
            "answer_node": self.answer_node,
            "credit": self.credit,
            "completion": self.completion,
            "malignancy": self.malignancy,
            "reason": self.reason,
            "sample": self.sample,
        }

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Prediction:
        """The prediction that `to_dict` wrote.

        Raises:
            DataError: a row of another kind.
        """
        parts = dict(row)
        try:
            gold = parts.pop("gold")
            golds = ((gold, 1.0),) if isinstance(gold, str) else tuple((node, float(w)) for node, w in gold.items())
            made = cls(gold=golds, **parts)
        except (KeyError, AttributeError, TypeError, ValueError) as problem:
            raise DataError(f"prediction {row.get('id', '?')}: is not a row of predictions ({problem})") from problem
        if made.outcome not in OUTCOMES:
            raise DataError(f"prediction {made.id}: outcome {made.outcome!r} is not one of {', '.join(OUTCOMES)}")
        return made


def predict(case: Case, written: Written, taxonomy: Taxonomy, *, sample: int = 0, style: str = "report") -> Prediction:
    """Read what was written for a case, with its credit; `style` is the report's wording that was asked for."""
    answer = read_answer(
        written.text,
        taxonomy,
        options=case.options,
        option_nodes=case.option_nodes,
        finished=written.finished,
        prefilled=case.prefilled,
        style=style,
    )
    node = answer.node if answer.outcome == "ok" else None
    return Prediction(
        id=case.id,
        gold=case.gold,
        raw=answer.text,
        outcome=answer.outcome,
        answer_node=node,
        credit=expected_credit(taxonomy, node, case.gold, option_nodes=case.option_nodes or None),
        completion=written.text,
        malignancy=answer.malignancy,
        reason=answer.reason,
        sample=sample,
    )


def predict_all(
    cases: Sequence[Case], written: Sequence[Written], taxonomy: Taxonomy, *, style: str = "report"
) -> tuple[Prediction, ...]:
    """One prediction per case.

    Raises:
        DataError: numbers that differ.
    """
    if len(cases) != len(written):
        raise DataError(f"{len(written)} completions for {len(cases)} cases; expected one per case")
    return tuple(predict(case, one, taxonomy, style=style) for case, one in zip(cases, written, strict=True))


def predict_samples(
    cases: Sequence[Case], written: Sequence[Sequence[Written]], taxonomy: Taxonomy, *, style: str = "report"
) -> tuple[tuple[Prediction, ...], ...]:
    """The samples of each case, (cases, samples); every case has the same number of them.

    Raises:
        DataError: numbers that differ.
    """
    if len(cases) != len(written):
        raise DataError(f"samples for {len(written)} of {len(cases)} cases; expected samples for every case")
    counts = {len(samples) for samples in written}
    if len(counts) > 1 or 0 in counts:
        raise DataError(f"cases have {sorted(counts)} samples; expected the same number, at least 1, for all")
    return tuple(
        tuple(predict(case, one, taxonomy, sample=number, style=style) for number, one in enumerate(samples))
        for case, samples in zip(cases, written, strict=True)
    )
