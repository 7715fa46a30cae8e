"""Several runs of one recipe, with other seeds: each metric's mean over runs, and an interval over runs and patients.

One run says nothing about how much the next would differ. Two sources of chance meet in the mean over runs: which
patients were asked, V_p (variance over resamples of patients of the mean over runs), and which seeds were drawn,
V_s = s² / S (s² the variance of the S runs' values on the same patients). The interval is mean ± t √(V_p + V_s),
with Satterthwaite's degrees of freedom (1946), (V_p + V_s)² / (V_p² / (G - 1) + V_s² / (S - 1)), G the patients. So
two runs that differ much give a wide interval, as they should. Where the runs were asked about other cases (a split
that is dealt by the seed), s² holds the patients' chance too: the interval is mean ± t √V_s with S - 1 degrees.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from skinrl import files
from skinrl.errors import DataError
from skinrl.evaluation.bootstrap import RESAMPLES, SEED
from skinrl.evaluation.bounds import CONFIDENCE, Floats, wilson
from skinrl.evaluation.compare import in_order
from skinrl.evaluation.evaluate import Evaluation, read_evaluation
from skinrl.taxonomy.graph import Taxonomy
from skinrl.yamlfile import read_yaml

Runs = Mapping[str, Mapping[str, Evaluation]]


def seeds_table(
    runs: Runs, *, resamples: int = RESAMPLES, seed: int = SEED, prevalence: float | None = None
) -> dict[str, Any]:
    """What `seeds.json` holds.

    Args:
        runs: run -> model -> evaluation, two or more runs. A model counts in the runs that have it; models that
            fewer than two runs have are left out.

    Returns:
        `runs`; `same_cases`; `models`: model -> metric -> `value` (mean over runs), `low`, `high`, `n` (cases of a
        run, the fewest), `runs` (value of each), `sd`; `difference`: pair -> metric likewise, each run's second model
        minus its own first one.

    Raises:
        DataError: fewer than two runs, or no model that two of them have.
    """
    if len(runs) < 2:
        raise DataError(f"a table of seeds needs two or more runs, found {len(runs)}: {', '.join(runs) or 'none'}")
    same = _same_cases(runs)
    names = in_order(dict.fromkeys(name for models in runs.values() for name in models))
    settings: dict[str, Any] = {"resamples": resamples, "seed": seed, "prevalence": prevalence}
    measured = {
        name: {run: _Run.of(models[name], settings) for run, models in runs.items() if name in models}
        for name in names
    }
    measured = {name: found for name, found in measured.items() if len(found) > 1}
    if not measured:
        raise DataError(
            f"no model was evaluated in two of the runs {', '.join(runs)}; evaluate the same model in each"
        )
    difference = {}
    for first, second in combinations(measured, 2):
        shared = [run for run in measured[first] if run in measured[second]]
        if len(shared) > 1:
            pairs = [measured[second][run].minus(measured[first][run]) for run in shared]
            difference[f"{second}-{first}"] = _table(pairs, same, signed=True)
    return {
        "runs": list(runs),
        "same_cases": same,
        "models": {name: _table(list(found.values()), same, signed=False) for name, found in measured.items()},
        "difference": difference,
    }


class _Run:
    """One model of one run. By metric: value, resamples, cases, the patients behind it, whether it is a share."""

    def __init__(self, rows: Mapping[str, tuple[float, Floats, int, int, bool]]) -> None:
        self.rows = rows

    @classmethod
    def of(cls, evaluation: Evaluation, settings: Mapping[str, Any]) -> _Run:
        whole = evaluation.analysis(**settings).whole
        parts = zip(whole.measures, whole.values, whole.replicates, whole.cases, whole.units, strict=True)
        return cls({m.name: (float(v), row, int(n), int(units), m.bounded) for m, v, row, n, units in parts})

    def minus(self, other: _Run) -> _Run:
        return _Run(
            {
                name: (
                    value - other.rows[name][0],
                    row - other.rows[name][1],
                    min(n, other.rows[name][2]),
                    units,
                    share,
                )
                for name, (value, row, n, units, share) in self.rows.items()
                if name in other.rows
            }
        )


def _table(found: Sequence[_Run], same: bool, *, signed: bool) -> dict[str, Any]:
    """Metrics that every run has."""
    names = [name for name in found[0].rows if all(name in one.rows for one in found)]
    return {name: over_runs([one.rows[name] for one in found], same, signed) for name in names}


def over_runs(rows: Sequence[tuple[float, Floats, int, int, bool]], same: bool, signed: bool) -> dict[str, Any]:
    """One metric over runs.

    Args:
        rows: of each run its value, its value in every resample of patients (resamples,), the cases and patients
            behind it, and whether it is a share.
        same: whether all runs asked about the same cases, and their resamples are the same patients.
        signed: whether it is a difference.
    """
    values = [value for value, *_ in rows]
    n, units, share = min(row[2] for row in rows), min(row[3] for row in rows), rows[0][4]
    shown = [value if math.isfinite(value) else None for value in values]
    if None in shown:
        return {"value": None, "low": None, "high": None, "n": n, "runs": shown, "sd": None}
    mean, sd = float(np.mean(values)), float(np.std(values, ddof=1))
    low, high = _bounds(mean, sd, rows, units, same=same)
    if low == high and share and not signed and units:  # all runs at 0 or at 100 %: patients alone speak
        low, high = wilson(mean, units)
    if share and low is not None and high is not None:
        low, high = max(-1.0 if signed else 0.0, low), min(1.0, high)
    return {"value": mean, "low": low, "high": high, "n": n, "runs": shown, "sd": sd}


def _bounds(
    mean: float, sd: float, rows: Sequence[tuple[float, Floats, int, int, bool]], units: int, *, same: bool
) -> tuple[float | None, float | None]:
    from scipy.special import stdtrit  # imported here: scipy takes a third of a second

    of_seeds, freedom = sd**2 / len(rows), float(len(rows) - 1)
    spread = of_seeds
    if same:
        if units < 2:
            return None, None
        of_patients = float(np.nanvar(np.mean([row for _, row, *_ in rows], axis=0))) * units / (units - 1)
        spread += of_patients
        if spread > 0:
            freedom = spread**2 / (of_patients**2 / (units - 1) + of_seeds**2 / (len(rows) - 1))
    half = float(stdtrit(freedom, 0.5 + CONFIDENCE / 2)) * math.sqrt(spread)
    return mean - half, mean + half


def _same_cases(runs: Runs) -> bool:
    """Whether all runs asked about the same cases of the same patients; how a question is put may differ."""
    asked = {
        tuple((case.source, case.id, case.gold, case.group) for case in evaluation.cases)
        for models in runs.values()
        for evaluation in models.values()
    }
    return len(asked) == 1


def read_runs(
    folder: Path | str, taxonomy: Taxonomy, runs: Sequence[str] | None = None
) -> dict[str, dict[str, Evaluation]]:
    """The evaluated models of the runs of a recipe, run -> model -> evaluation, for `seeds_table`.

    Args:
        folder: `runs/<recipe>`.
        runs: names of runs; by default all that have an evaluated model.

    Raises:
        DataError: a run that is not there or has no evaluated model; runs whose recipes differ in more than the
            seed, or that were evaluated with another taxonomy.
    """
    folder = Path(folder)
    listed = list(runs) if runs is not None else sorted(path.name for path in folder.iterdir() if path.is_dir())
    found: dict[str, dict[str, Evaluation]] = {}
    recipes: dict[str, Any] = {}
    for run in listed:
        stages = sorted((folder / run).glob("eval_*/final/metrics.json"))
        if not stages:
            if runs is not None:
                raise DataError(f"{folder / run}: has no evaluated model; expected eval_<model>/final/metrics.json")
            continue
        for stage in stages:
            _refuse_other_taxonomy(stage.parent.parent, taxonomy)
        found[run] = {
            stage.parent.parent.name.removeprefix("eval_"): read_evaluation(stage.parent, taxonomy) for stage in stages
        }
        recipes[run] = _recipes(folder / run)
    first, *others = recipes or [""]
    for run in others:
        differing = sorted(
            f"{stage} ({', '.join(keys)})"
            for stage in recipes[first].keys() & recipes[run].keys()
            if (keys := _differing(recipes[first][stage], recipes[run][stage]))
        )
        if differing:
            raise DataError(
                f"{folder}: runs {first} and {run} are no runs of one recipe, they differ in {', '.join(differing)}; "
                "a table of seeds takes runs that differ in the seed alone"
            )
    return found


def sister_runs(folder: Path | str, run: str, taxonomy: Taxonomy) -> list[str]:
    """`run` and the evaluated runs beside it whose recipes differ from its own in the seed alone.

    Of several runs with one seed the first by name counts: the same seed twice is the same run twice.

    Args:
        folder: `runs/<recipe>`.

    Raises:
        DataError: a file of a run that cannot be read.
    """
    folder = Path(folder)
    own = _recipes(folder / run)
    found = {_seeds(own): run}
    for path in sorted(folder.iterdir()):
        recipes = _recipes(path)
        same = own.keys() & recipes.keys()
        if not same or any(_differing(own[stage], recipes[stage]) for stage in same):
            continue
        stages = [stage.parent.parent for stage in path.glob("eval_*/final/metrics.json")]
        if stages and all(_taxonomy_of(stage) in (None, taxonomy.checksum) for stage in stages):
            found.setdefault(_seeds(recipes), path.name)
    return list(found.values())


def _seeds(recipes: Mapping[str, Any]) -> tuple[Any, ...]:
    """The seeds of the trainings; of the evaluations where nothing was trained."""
    trained = [stage for stage in sorted(recipes) if not stage.startswith("eval_")]
    return tuple(recipes[stage].get("seed") for stage in trained or sorted(recipes))


def _differing(one: Mapping[str, Any], two: Mapping[str, Any]) -> list[str]:
    return sorted(key for key in {*one, *two} if key not in ("seed", "name") and one.get(key) != two.get(key))


def _recipes(run: Path) -> dict[str, Any]:
    """The settings of each stage of a run."""
    written = sorted(run.glob("*/recipe.resolved.yaml"))
    return {path.parent.name: read_yaml(path, error=DataError)[0] for path in written}


def _taxonomy_of(stage: Path) -> str | None:
    """The checksum of the taxonomy with which a stage was evaluated, where it says so."""
    environment = stage / "environment.json"
    known = files.read_json(environment, error=DataError)["checksums"]["taxonomy"] if environment.is_file() else None
    return str(known) if known is not None else None


def _refuse_other_taxonomy(stage: Path, taxonomy: Taxonomy) -> None:
    known = _taxonomy_of(stage)
    if known not in (None, taxonomy.checksum):
        raise DataError(
            f"{stage}: was evaluated with a taxonomy of checksum {known}, found {taxonomy.checksum}; evaluate "
            "again, as levels and hierarchical metrics move with the taxonomy"
        )


def write_seeds(folder: Path | str, table: Mapping[str, Any]) -> Path:
    """Write `seeds.json` into the folder of a recipe's runs; its path."""
    path = Path(folder) / "seeds.json"
    files.write_json(path, table)
    return path
