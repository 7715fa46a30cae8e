"""All numbers of one model on one set, from one draw of resamples: metrics, parts, calibration and fairness."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from skinrl.errors import DataError
from skinrl.evaluation.bootstrap import Columns, Indices, Measured, Resampler
from skinrl.evaluation.calibration import Confident, blocks_of, confident, detail_measures
from skinrl.evaluation.fairness import fairness_of
from skinrl.evaluation.groups import Split, small_parts, splits_of
from skinrl.evaluation.metrics import Scored, measures_of, stated_prevalence
from skinrl.taxonomy.graph import Taxonomy


@dataclass(frozen=True, eq=False)
class Analysis:
    """What was measured.

    Args:
        whole: all metrics of the whole set with their resamples.
        codes: number of the group of each scored case.
        cases: scored cases.
        metrics: the metrics by name.
        blocks: parts, calibration, fairness and counts, as in `metrics.json`.
    """

    whole: Measured
    codes: Indices
    cases: int
    metrics: dict[str, Any]
    blocks: dict[str, Any]


def analyse(
    scored: Sequence[Scored], taxonomy: Taxonomy, *, resamples: int, seed: int, prevalence: float | None = None
) -> Analysis:
    """Measure a set, at least one case.

    Raises:
        DataError: a prevalence outside 0 to 1.
    """
    if prevalence is not None and not 0 <= prevalence <= 1:
        raise DataError(f"the prevalence of malignancy is {prevalence!r}; expected a share from 0 to 1")
    cases = [one.case for one in scored]
    measures = measures_of(scored, taxonomy, prevalence=prevalence)
    hits = measures[0].columns[:, 0]  # type: ignore[index]
    sources = confident([one.confidence for one in scored], hits)
    resampler = Resampler([case.group for case in cases], resamples=resamples, seed=seed)
    details = [measure for one in sources for measure in detail_measures(one)]
    whole, *_ = resampler.measure([*measures, *details])
    splits, left_out = splits_of(cases)
    parts, fairness = _parts(splits, Columns(measures, len(scored)), resampler)
    found = {name: interval.as_dict() for name, interval in whole.intervals().items()}
    at = stated_prevalence(scored, prevalence)
    return Analysis(
        whole=whole.first(len(measures)),
        codes=resampler.codes,
        cases=len(scored),
        metrics={measure.name: found[measure.name] for measure in measures},
        blocks={
            "prevalence": {
                "value": at if at == at else None,
                "source": "set" if prevalence is None else "recipe",
            },
            **_calibration(sources, whole),
            **parts,
            "fairness": fairness,
            "groups": resampler.groups,
            "group_kinds": dict(sorted(Counter(case.group_kind for case in cases).items())),
            "small_groups": small_parts(splits, cases),
            "slices_left_out": left_out,
        },
    )


def _calibration(sources: Sequence[Confident], whole: Measured) -> dict[str, Any]:
    found = whole.intervals()
    blocks = {one.source: blocks_of(one, found) for one in sources}
    return {
        "calibration": {source: calibration for source, (calibration, _) in blocks.items()},
        "risk_coverage": {source: risk for source, (_, risk) in blocks.items()},
    }


def _parts(splits: Sequence[Split], columns: Columns, resampler: Resampler) -> tuple[dict[str, Any], dict[str, Any]]:
    """`by_skin_tone`, `by_modality`, `by_source` and `by_slice`; and `fairness`."""
    blocks: dict[str, Any] = {"by_skin_tone": {}, "by_modality": {}, "by_source": {}, "by_slice": {}}
    fairness: dict[str, Any] = {}
    for split in splits:
        measured = resampler.measure(columns, list(split.parts.values()))
        shown = {
            value: {name: interval.as_dict() for name, interval in one.intervals().items()}
            for value, one in zip(split.parts, measured, strict=True)
        }
        top, *rest = split.where
        if rest:
            blocks[top][rest[0]] = shown
        else:
            blocks[top] = shown
        compared = fairness_of(split, measured, columns, resampler) if split.compared else None
        if compared is not None:
            fairness[split.axis] = compared
    return blocks, fairness
