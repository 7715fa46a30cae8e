"""One evaluation: a model's answers to a set of cases, its metrics, and the files that hold both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from skinrl import files
from skinrl.errors import DataError
from skinrl.evaluation.analysis import Analysis, analyse
from skinrl.evaluation.bootstrap import RESAMPLES, SEED, Measure
from skinrl.evaluation.calibration import confidences
from skinrl.evaluation.cases import Case, cases_checksum
from skinrl.evaluation.controls import ANSWERED_CONTROLS, control_metrics, refuse_other_cases
from skinrl.evaluation.metrics import Scored, measures_of
from skinrl.evaluation.predictions import Prediction, Written, predict_all, predict_samples
from skinrl.evaluation.scoring import Judge
from skinrl.taxonomy.graph import Taxonomy

Samples = tuple[tuple[Prediction, ...], ...]


@dataclass(frozen=True)
class Evaluation:
    """Cases and what a model answered. All numbers are computed from these, never stored as truth.

    Args:
        cases: the questions.
        greedy: one prediction per case.
        samples: (cases, samples), drawn at temperature 1; empty where none were.
        controls: predictions by name of the control (`no_image`, `shuffled_options`, `wrong_image`,
            `metadata_only`), those that were measured.
        control_cases: the cases of a control that was asked about a part of them, or with other options
            (`shuffled_options`), in the order of `cases`.
    """

    taxonomy: Taxonomy
    cases: tuple[Case, ...]
    greedy: tuple[Prediction, ...]
    samples: Samples = ()
    controls: Mapping[str, tuple[Prediction, ...]] = field(default_factory=dict)
    control_cases: Mapping[str, tuple[Case, ...]] = field(default_factory=dict)
    _analyses: dict[tuple[object, ...], Analysis] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.cases:
            raise DataError("an evaluation without cases; expected at least one record in the split")
        doubled = [key for key, count in Counter((case.source, case.id) for case in self.cases).items() if count > 1]
        if doubled:
            raise DataError(f"{len(doubled)} cases stand twice in the evaluation, the first: {doubled[0]}")
        unknown = sorted(set(self.controls) - set(ANSWERED_CONTROLS))
        if unknown:
            raise DataError(f"unknown controls {unknown}; expected some of {', '.join(ANSWERED_CONTROLS)}")
        _check_answers(self.cases, self.greedy, "greedy")
        for number in range(len(self.samples[0]) if self.samples else 0):
            _check_answers(self.cases, [samples[number] for samples in self.samples], f"sample {number}")
        for name, predictions in self.controls.items():
            _check_answers(self.control_cases.get(name, self.cases), predictions, name)

    def scored(self) -> list[Scored]:
        """Cases whose gold has a node, with their judged answers."""
        rows, judge = [], Judge(self.taxonomy)
        for index, case in enumerate(self.cases):
            target = judge.target(case)
            if target is not None:
                samples = self.samples[index] if self.samples else ()
                answer = self.greedy[index]
                judged = tuple(judge(target, one) for one in samples)
                confidence = confidences(case, answer, samples)
                rank, listed = judge.rank(target, answer), bool(answer.differential)
                rows.append(Scored(case, target, judge(target, answer), judged, confidence, rank, listed))
        return rows

    def measures(self) -> tuple[list[Measure], list[str]]:
        """All metrics as measures, and the group of each scored case."""
        scored = self.scored()
        return measures_of(scored, self.taxonomy), [one.case.group for one in scored]

    def analysis(self, *, resamples: int = RESAMPLES, seed: int = SEED, prevalence: float | None = None) -> Analysis:
        """All metrics with the resamples behind them, which a comparison pairs; worked out once.

        Raises:
            DataError: no case has a gold with a node; a prevalence outside 0 to 1.
        """
        key = (resamples, seed, prevalence)
        if key not in self._analyses:
            scored = self.scored()
            if not scored:
                raise DataError(
                    f"none of {len(self.cases)} cases has a gold diagnosis with a node; nothing can be scored"
                )
            self._analyses[key] = analyse(scored, self.taxonomy, resamples=resamples, seed=seed, prevalence=prevalence)
        return self._analyses[key]

    def metrics(
        self, *, resamples: int = RESAMPLES, seed: int = SEED, prevalence: float | None = None
    ) -> dict[str, Any]:
        """What `metrics.json` holds.

        Args:
            prevalence: share of malignant cases where the model is to be used, from 0 to 1, for
                `malignancy_ppv`; by default that of the set.

        Raises:
            DataError: no case has a gold with a node; a prevalence outside 0 to 1.
        """
        found = self.analysis(resamples=resamples, seed=seed, prevalence=prevalence)
        asked = self.cases, self.greedy, self.controls, self.control_cases
        controls, paired = control_metrics(*asked, self.taxonomy, resamples=resamples, seed=seed)
        return {
            **found.metrics,
            "controls": controls,
            "controls_paired": paired,
            **found.blocks,
            "cases": found.cases,
            "cases_without_gold": len(self.cases) - found.cases,
            "cases_checksum": cases_checksum(self.cases),
            "samples_per_case": len(self.samples[0]) if self.samples else 0,
            "resamples": resamples,
            "seed": seed,
        }

    def write(
        self,
        folder: Path | str,
        *,
        resamples: int = RESAMPLES,
        seed: int = SEED,
        prevalence: float | None = None,
    ) -> dict[str, Any]:
        """Write `metrics.json`, `predictions.jsonl` (greedy), `predictions_<condition>.jsonl` and `cases.jsonl`.

        Files of conditions that an earlier evaluation in this folder had and this one has not are removed.

        Returns:
            What `metrics.json` holds.
        """
        folder = Path(folder)
        files.write_jsonl(folder / "cases.jsonl", (case.to_dict() for case in self.cases))
        files.write_jsonl(folder / "predictions.jsonl", (one.to_dict() for one in self.greedy))
        for name in ("sampled", *ANSWERED_CONTROLS):
            for kind in ("predictions", "cases"):
                (folder / f"{kind}_{name}.jsonl").unlink(missing_ok=True)
        if self.samples:
            rows = (one.to_dict() for samples in self.samples for one in samples)
            files.write_jsonl(folder / "predictions_sampled.jsonl", rows)
        for name, predictions in self.controls.items():
            files.write_jsonl(folder / f"predictions_{name}.jsonl", (one.to_dict() for one in predictions))
            if name in self.control_cases:
                files.write_jsonl(folder / f"cases_{name}.jsonl", (c.to_dict() for c in self.control_cases[name]))
        metrics = self.metrics(resamples=resamples, seed=seed, prevalence=prevalence)
        files.write_json(folder / "metrics.json", metrics)
        return metrics


def evaluate(
    cases: Sequence[Case],
    taxonomy: Taxonomy,
    *,
    greedy: Sequence[Written],
    sampled: Sequence[Sequence[Written]] = (),
    controls: Mapping[str, Sequence[Written]] | None = None,
    control_cases: Mapping[str, Sequence[Case]] | None = None,
    style: str = "report",
    option_logps: Sequence[Sequence[float]] = (),
) -> Evaluation:
    """Read every completion once.

    Args:
        greedy: one completion per case, at temperature 0.
        sampled: the same number of completions for every case, at temperature 1; may be left out.
        controls: greedy completions by control, such as `{"no_image": [...]}`.
        control_cases: cases of the controls that ask about a part of the cases or offer other options, in the order
            of `cases`.
        style: the rendering of the report that was asked for (`skinrl.report`).
        option_logps: per case the natural log-likelihood of each of its options, empty where it has none; may be
            left out.

    Raises:
        DataError: numbers that do not fit, a case twice, an unknown control, a node the taxonomy lacks.
    """
    own = {name: tuple(listed) for name, listed in (control_cases or {}).items()}
    for name, listed in own.items():
        refuse_other_cases(cases, listed, name)
    return Evaluation(
        taxonomy=taxonomy,
        cases=tuple(cases),
        greedy=predict_all(cases, greedy, taxonomy, style=style, option_logps=option_logps),
        samples=predict_samples(cases, sampled, taxonomy, style=style) if sampled else (),
        controls={
            name: predict_all(own.get(name, cases), written, taxonomy, style=style)
            for name, written in (controls or {}).items()
        },
        control_cases=own,
    )


def read_evaluation(folder: Path | str, taxonomy: Taxonomy) -> Evaluation:
    """The evaluation that `Evaluation.write` left in a folder.

    Answers are not read again: what counts as the answer was settled when it was written.

    Raises:
        DataError: missing or broken files, rows that do not belong together, answers to another version of the
            cases.
    """
    folder = Path(folder)

    def rows(name: str) -> list[Any]:
        return files.read_jsonl(folder / name, error=DataError)

    def predictions(name: str) -> tuple[Prediction, ...]:
        return tuple(Prediction.from_dict(row) for row in rows(name))

    def cases(name: str) -> tuple[Case, ...]:
        return tuple(Case.from_dict(row) for row in rows(name))

    listed = cases("cases.jsonl")
    _refuse_other_version(folder, listed)
    measured = [name for name in ANSWERED_CONTROLS if (folder / f"predictions_{name}.jsonl").is_file()]
    return Evaluation(
        taxonomy=taxonomy,
        cases=listed,
        greedy=predictions("predictions.jsonl"),
        samples=_by_case(predictions("predictions_sampled.jsonl"), len(listed))
        if (folder / "predictions_sampled.jsonl").is_file()
        else (),
        controls={name: predictions(f"predictions_{name}.jsonl") for name in measured},
        control_cases={
            name: cases(f"cases_{name}.jsonl") for name in measured if (folder / f"cases_{name}.jsonl").is_file()
        },
    )


def _refuse_other_version(folder: Path, cases: Sequence[Case]) -> None:
    """Refuse cases that are not those of which `metrics.json` beside them keeps the checksum."""
    written = folder / "metrics.json"
    if not written.is_file():
        return
    known = files.read_json(written, error=DataError).get("cases_checksum")
    found = cases_checksum(cases)
    if known is not None and known != found:
        raise DataError(
            f"{folder}: cases.jsonl has the checksum {found}, and the answers beside it were given to cases with "
            f"{known} (metrics.json). They are of another version of the dataset or of other questions: evaluate again"
        )


def _check_answers(cases: Sequence[Case], predictions: Sequence[Prediction], what: str) -> None:
    """Refuse answers to other cases, or to cases that had another gold when they were answered."""
    ids, found = [case.id for case in cases], [prediction.id for prediction in predictions]
    if ids != found:
        missing = next((id for id in ids if id not in set(found)), None)
        detail = f"the first without one: {missing}" if missing is not None else "they are in another order"
        raise DataError(f"{what}: {len(found)} predictions for {len(ids)} cases; {detail}")
    changed = [one for case, one in zip(cases, predictions, strict=True) if not _same_gold(case.gold, one.gold)]
    if changed:
        now = next(case.gold for case in cases if case.id == changed[0].id)
        raise DataError(
            f"{what}: {len(changed)} of {len(ids)} predictions were made when their cases had another gold, the "
            f"first: {changed[0].id} ({_words(changed[0].gold)}, now {_words(now)}). They are of another version of "
            "the dataset or of its label map: evaluate again"
        )


def _same_gold(one: tuple[tuple[str, float], ...], two: tuple[tuple[str, float], ...]) -> bool:
    """Equal but for rounding: a certain gold is written without its weight."""
    return one == two or (
        [node for node, _ in one] == [node for node, _ in two]
        and all(abs(a - b) < 1e-6 for (_, a), (_, b) in zip(one, two, strict=True))
    )


def _words(gold: tuple[tuple[str, float], ...]) -> str:
    return ", ".join(node for node, _ in gold) or "none"


def _by_case(predictions: Sequence[Prediction], cases: int) -> Samples:
    """Rows of `predictions_sampled.jsonl`, which holds all samples of a case before those of the next."""
    each, rest = divmod(len(predictions), cases) if cases else (0, len(predictions))
    if rest or [one.sample for one in predictions] != list(range(each)) * cases:
        raise DataError(f"predictions_sampled.jsonl: {len(predictions)} rows do not give {cases} cases equally many")
    return tuple(tuple(predictions[start : start + each]) for start in range(0, len(predictions), each))
