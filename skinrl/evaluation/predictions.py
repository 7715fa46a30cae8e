"""Predictions: one completion, read once, by the same function that the rewards use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from skinrl.errors import DataError
from skinrl.evaluation.cases import Case
from skinrl.report import parse_report
from skinrl.taxonomy.answer import read_answer
from skinrl.taxonomy.graph import Taxonomy
from skinrl.taxonomy.similarity import expected_credit

OUTCOMES = ("ok", "invalid", "truncated", "unresolved")
LONGEST_DIFFERENTIAL = 5  # items that are read; a longer list is a bet on everything
_LONGEST_NAME = 200  # characters; a longer item is prose


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
        differential: nodes of the report's differential in its order, the first `LONGEST_DIFFERENTIAL`; empty text
            for a name that is no node, so that the ranks of the others stay what they were.
        confidence: as the report states it, 0 to 1, or None.
        option_logps: natural log-likelihood of each option offered, where it was measured.
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
    differential: tuple[str, ...] = ()
    confidence: float | None = None
    option_logps: tuple[float, ...] = ()

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
            "differential": list(self.differential),
            "confidence": self.confidence,
            "option_logps": list(self.option_logps),
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
            for name in ("differential", "option_logps"):
                parts[name] = tuple(parts.get(name, ()))
            made = cls(gold=golds, **parts)
        except (KeyError, AttributeError, TypeError, ValueError) as problem:
            raise DataError(f"prediction {row.get('id', '?')}: is not a row of predictions ({problem})") from problem
        if made.outcome not in OUTCOMES:
            raise DataError(f"prediction {made.id}: outcome {made.outcome!r} is not one of {', '.join(OUTCOMES)}")
        return made


def predict(
    case: Case,
    written: Written,
    taxonomy: Taxonomy,
    *,
    sample: int = 0,
    style: str = "report",
    option_logps: Sequence[float] = (),
) -> Prediction:
    """Read what was written for a case, with its credit; `style` is the report's wording that was asked for.

    Raises:
        DataError: log-likelihoods for another number of options than were offered.
    """
    if option_logps and len(option_logps) != len(case.options):
        raise DataError(f"case {case.id}: {len(option_logps)} log-likelihoods for {len(case.options)} options")
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
    readable = answer.outcome in ("ok", "unresolved")
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
        differential=_differential(case, written, taxonomy, style) if readable else (),
        confidence=None if answer.confidence is None else answer.confidence / 100,
        option_logps=tuple(map(float, option_logps)),
    )


def _differential(case: Case, written: Written, taxonomy: Taxonomy, style: str) -> tuple[str, ...]:
    """Nodes of the differential of a readable report, as the reward for it reads them."""
    report = parse_report(written.text, options=case.options, prefilled=case.prefilled, style=style).report
    if report is None:
        return ()
    offered = {_plain(name): node for name, node in zip(case.options, case.option_nodes, strict=True)}
    nodes = []
    for item in report.differential[:LONGEST_DIFFERENTIAL]:
        match = taxonomy.resolve(item.name) if len(item.name) <= _LONGEST_NAME else None
        nodes.append(offered.get(_plain(item.name)) or (match.node if match is not None else ""))
    return tuple(nodes)


def _plain(name: str) -> str:
    return " ".join(name.split()).casefold()


def predict_all(
    cases: Sequence[Case],
    written: Sequence[Written],
    taxonomy: Taxonomy,
    *,
    style: str = "report",
    option_logps: Sequence[Sequence[float]] = (),
) -> tuple[Prediction, ...]:
    """One prediction per case.

    Raises:
        DataError: numbers that differ.
    """
    if len(cases) != len(written):
        raise DataError(f"{len(written)} completions for {len(cases)} cases; expected one per case")
    if option_logps and len(option_logps) != len(cases):
        raise DataError(f"log-likelihoods of options for {len(option_logps)} of {len(cases)} cases; expected all")
    rows = zip(cases, written, option_logps or [()] * len(cases), strict=True)
    return tuple(predict(case, one, taxonomy, style=style, option_logps=logps) for case, one, logps in rows)


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
