"""The table of several seeds, where a recipe has more than one evaluated run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from skinrl.cli.common import console

if TYPE_CHECKING:
    from skinrl.cli.common import Experiment


def seeds_beside(experiment: Experiment) -> dict[str, Any] | None:
    """Write ``seeds.json`` beside the runs of a recipe; what it holds, or None where no run has another seed."""
    from skinrl.errors import DataError
    from skinrl.evaluation.seeds import read_runs, seeds_table, sister_runs, write_seeds

    folder, settings = experiment.folder.parent, experiment.recipe.evaluation
    runs = sister_runs(folder, experiment.run, experiment.taxonomy)
    if len(runs) < 2:
        return None
    try:
        found = read_runs(folder, experiment.taxonomy, runs)
        table = seeds_table(found, resamples=settings.bootstrap, prevalence=settings.prevalence)
    except DataError as problem:  # another run's files; this run's own results stand
        console().print(f"eval: no table over the seeds of {', '.join(runs)}: {problem}")
        return None
    console().print(f"eval: -> {write_seeds(folder, table)}")
    return table
