"""Several models on one set: their metrics, and paired differences."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

from skinrl import files
from skinrl.errors import DataError
from skinrl.evaluation.bootstrap import RESAMPLES, SEED, paired
from skinrl.evaluation.chart import comparison_svg
from skinrl.evaluation.evaluate import Evaluation

ORDER = ("base", "sft", "sft_continued", "grpo")  # others come after, in the order given


def compare(
    models: Mapping[str, Evaluation],
    *,
    baselines: Mapping[str, Evaluation] | None = None,
    seconds: Mapping[str, float] | None = None,
    resamples: int = RESAMPLES,
    seed: int = SEED,
    prevalence: float | None = None,
) -> dict[str, Any]:
    """What `comparison.json` holds.

    Args:
        models: evaluations on the very same cases, by name: `base`, `sft`, `sft_continued`, `grpo` and others.
        baselines: what the last model stands beside, such as `probe_policy`, on the same cases.
        seconds: per stage.
        prevalence: see `Evaluation.metrics`.

    Returns:
        `models`: metrics by model, as in `metrics.json`; `difference`: by pair (`grpo-sft` is grpo minus sft)
        and metric; `controls`: those of the last model, named in `controls_of`; `baselines`: metrics by baseline, and
        under `difference` that model minus each; `seconds`.

    Raises:
        DataError: no model, or models that answered other cases.
    """
    if not models:
        raise DataError("nothing to compare; expected at least one evaluated model")
    names = in_order(models)
    beside = dict(baselines or {})
    _check_same_cases({**models, **beside}, [*names, *beside])
    settings: dict[str, Any] = {"resamples": resamples, "seed": seed, "prevalence": prevalence}
    metrics = {name: models[name].metrics(**settings) for name in names}
    last = names[-1] if "grpo" not in models else "grpo"
    difference = {}
    for first, second in [*combinations(names, 2), *((name, last) for name in beside)]:
        one, two = ({**models, **beside}[name].analysis(**settings) for name in (first, second))
        found = paired(one.whole, two.whole, one.codes)
        difference[f"{second}-{first}"] = {name: interval.as_dict() for name, interval in found.items()}
    return {
        "models": metrics,
        "difference": difference,
        "controls": metrics[last]["controls"],
        "controls_of": last,
        "baselines": {name: one.metrics(**settings) for name, one in beside.items()},
        "seconds": dict(seconds or {}),
    }


def in_order(names: Iterable[str]) -> list[str]:
    """Names as the method goes: base, SFT, SFT continued, GRPO, then any others as given."""
    given = list(names)
    return [name for name in ORDER if name in given] + [name for name in given if name not in ORDER]


def _check_same_cases(models: Mapping[str, Evaluation], names: list[str]) -> None:
    reference = models[names[0]].cases
    for name in names[1:]:
        cases = models[name].cases
        if cases == reference:
            continue
        where = next((i for i, (a, b) in enumerate(zip(reference, cases, strict=False)) if a != b), None)
        detail = f"the first that differs: {reference[where].id}" if where is not None else "one set is longer"
        raise DataError(
            f"{names[0]} was evaluated on {len(reference)} cases and {name} on {len(cases)}, not the same ones "
            f"({detail}); evaluate both with the same recipe and seed"
        )


def write_comparison(folder: Path | str, comparison: Mapping[str, Any]) -> None:
    """Write `comparison.json` and `comparison.svg` into the folder of a run."""
    files.write_json(Path(folder) / "comparison.json", comparison)
    files.write_text(Path(folder) / "comparison.svg", comparison_svg(comparison))
