"""One evaluation: a model's answers to a set of cases, its metrics, and the files that hold both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from skinrl import files
from skinrl.errors import DataError
from skinrl.evaluation.bootstrap import RESAMPLES, SEED, Measure
from skinrl.evaluation.cases import Case
from skinrl.evaluation.controls import ANSWERED_CONTROLS, control_metrics, refuse_other_cases
from skinrl.evaluation.metrics import Scored, grouped_metrics, measures_of, metrics_of
from skinrl.evaluation.predictions import Prediction, Written, predict_all, predict_samples
from skinrl.evaluation.scoring import Target, judge, target_of
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

    def __post_init__(self) -> None:
        if not self.cases:
            raise DataError("an evaluation without cases; expected at least one record in the split")
        doubled = [key for key, count in Counter((case.source, case.id) for case in self.cases).items() if count > 1]
        if doubled:
            raise DataError(f"{len(doubled)} cases stand twice in the evaluation, the first: {doubled[0]}")
        unknown = sorted(set(self.controls) - set(ANSWERED_CONTROLS))
        if unknown:
            raise DataError(f"unknown controls {unknown}; expected some of {', '.join(ANSWERED_CONTROLS)}")
        _check_ids(self.cases, self.greedy, "greedy")
        for number in range(len(self.samples[0]) if self.samples else 0):
            _check_ids(self.cases, [samples[number] for samples in self.samples], f"sample {number}")
        for name, predictions in self.controls.items():
            _check_ids(self.control_cases.get(name, self.cases), predictions, name)

    def scored(self) -> list[Scored]:
        """Cases whose gold has a node, with their judged answers."""
        rows = []
        for index, (case, target) in enumerate(self._targets()):
            if target is not None:
                samples = self.samples[index] if self.samples else ()
                judged = tuple(judge(target, one, self.taxonomy) for one in samples)
                rows.append(Scored(case, target, judge(target, self.greedy[index], self.taxonomy), judged))
        return rows

    def measures(self) -> tuple[list[Measure], list[str]]:
        """All metrics as measures, and the group of each scored case: what a comparison pairs."""
        scored = self.scored()
        return measures_of(scored, self.taxonomy), [one.case.group for one in scored]

    def metrics(self, *, resamples: int = RESAMPLES, seed: int = SEED) -> dict[str, Any]:
        """What `metrics.json` holds.

        Raises:
            DataError: no case has a gold with a node.
        """
        scored = self.scored()
        if not scored:
            raise DataError(f"none of {len(self.cases)} cases has a gold diagnosis with a node; nothing can be scored")
        blocks, small, left_out = grouped_metrics(scored, self.taxonomy, resamples=resamples, seed=seed)
        kinds = Counter(one.case.group_kind for one in scored)
        asked = self.cases, self.greedy, self.controls, self.control_cases
        controls, paired = control_metrics(*asked, self.taxonomy, resamples=resamples, seed=seed)
        return {
            **metrics_of(scored, self.taxonomy, resamples=resamples, seed=seed),
            "controls": controls,
            "controls_paired": paired,
            **blocks,
            "cases": len(scored),
            "cases_without_gold": len(self.cases) - len(scored),
            "groups": len({one.case.group for one in scored}),
            "group_kinds": dict(sorted(kinds.items())),
            "samples_per_case": len(self.samples[0]) if self.samples else 0,
            "small_groups": small,
            "slices_left_out": left_out,
            "resamples": resamples,
            "seed": seed,
        }

    def _targets(self) -> list[tuple[Case, Target | None]]:
        return [(case, target_of(case, self.taxonomy)) for case in self.cases]

    def write(self, folder: Path | str, *, resamples: int = RESAMPLES, seed: int = SEED) -> dict[str, Any]:
        """Write `metrics.json`, `predictions.jsonl` (greedy), `predictions_<condition>.jsonl` and `cases.jsonl`.

        Returns:
            What `metrics.json` holds.
        """
        folder = Path(folder)
        files.write_jsonl(folder / "cases.jsonl", (case.to_dict() for case in self.cases))
        files.write_jsonl(folder / "predictions.jsonl", (one.to_dict() for one in self.greedy))
        if self.samples:
            rows = (one.to_dict() for samples in self.samples for one in samples)
            files.write_jsonl(folder / "predictions_sampled.jsonl", rows)
        for name, predictions in self.controls.items():
            files.write_jsonl(folder / f"predictions_{name}.jsonl", (one.to_dict() for one in predictions))
            if name in self.control_cases:
                files.write_jsonl(folder / f"cases_{name}.jsonl", (c.to_dict() for c in self.control_cases[name]))
        metrics = self.metrics(resamples=resamples, seed=seed)
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
) -> Evaluation:
    """Read every completion once.

    Args:
        greedy: one completion per case, at temperature 0.
        sampled: the same number of completions for every case, at temperature 1; may be left out.
        controls: greedy completions by control, such as `{"no_image": [...]}`.
        control_cases: cases of the controls that ask about a part of the cases or offer other options, in the order
            of `cases`.
        style: the rendering of the report that was asked for (`skinrl.report`).

    Raises:
        DataError: numbers that do not fit, a case twice, an unknown control, a node the taxonomy lacks.
    """
    own = {name: tuple(listed) for name, listed in (control_cases or {}).items()}
    for name, listed in own.items():
        refuse_other_cases(cases, listed, name)
    return Evaluation(
        taxonomy=taxonomy,
        cases=tuple(cases),
        greedy=predict_all(cases, greedy, taxonomy, style=style),
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
        DataError: missing or broken files, rows that do not belong together.
    """
    folder = Path(folder)

    def rows(name: str) -> list[Any]:
        return files.read_jsonl(folder / name, error=DataError)

    def predictions(name: str) -> tuple[Prediction, ...]:
        return tuple(Prediction.from_dict(row) for row in rows(name))

    def cases(name: str) -> tuple[Case, ...]:
        return tuple(Case.from_dict(row) for row in rows(name))

    listed = cases("cases.jsonl")
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


def _check_ids(cases: Sequence[Case], predictions: Sequence[Prediction], what: str) -> None:
    ids, found = [case.id for case in cases], [prediction.id for prediction in predictions]
    if ids != found:
        missing = next((id for id in ids if id not in set(found)), None)
        detail = f"the first without one: {missing}" if missing is not None else "they are in another order"
        raise DataError(f"{what}: {len(found)} predictions for {len(ids)} cases; {detail}")


def _by_case(predictions: Sequence[Prediction], cases: int) -> Samples:
    """Rows of `predictions_sampled.jsonl`, which holds all samples of a case before those of the next."""
    each, rest = divmod(len(predictions), cases) if cases else (0, len(predictions))
    if rest or [one.sample for one in predictions] != list(range(each)) * cases:
        raise DataError(f"predictions_sampled.jsonl: {len(predictions)} rows do not give {cases} cases equally many")
    return tuple(tuple(predictions[start : start + each]) for start in range(0, len(predictions), each))
