"""From the answers of all models to files: metrics with what stands beside them, the comparison, the page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from skinrl import files
from skinrl.cli.common import Experiment, console

if TYPE_CHECKING:
    from skinrl.cli.evaluation_models import Model
    from skinrl.cli.generation import Asker
    from skinrl.data.loading import LoadedData
    from skinrl.evaluation.contamination import Contamination
    from skinrl.evaluation.evaluate import Evaluation
    from skinrl.evaluation.question_sets import Questions
    from skinrl.runs import RunDirectory

MAIN = ""  # the recipe's own questions, among the suites
_EXTRAS = ("formats", "judge", "contamination")  # of metrics.json: added here, not computed from predictions alone


def evaluate_set(
    asker: Asker, directory: RunDirectory, overlap: Contamination | None, judge: Any
) -> tuple[Evaluation, dict[str, Any]]:
    """Read the answers to one set of questions and write its files."""
    from skinrl.cli.evaluation_extras import format_blocks, judge_block
    from skinrl.evaluation.contamination import contamination_block
    from skinrl.evaluation.evaluate import evaluate as evaluate_completions

    questions, answers = asker.asked.questions, asker.answers()
    settings = asker.experiment.recipe.evaluation
    evaluation = evaluate_completions(
        questions.cases,
        questions.taxonomy,
        greedy=answers.greedy,
        sampled=answers.sampled,
        controls=answers.controls,
        control_cases={name: [one.case for one in of] for name, of in asker.asked.controls.items()},
        option_logps=answers.option_logps if asker.asked.scored else (),
    )
    folder = directory.final / "suites" / questions.suite if questions.suite else directory.final
    extras = {"formats": format_blocks(asker, answers, evaluation, folder)}
    if overlap is not None:
        extras["contamination"] = contamination_block(
            overlap, evaluation, resamples=settings.bootstrap, prevalence=settings.prevalence
        )
    if questions.judged and settings.judge is not None:
        extras["judge"] = judge_block(evaluation, judge, settings, asker.folder, folder)
    metrics = evaluation.write(folder, resamples=settings.bootstrap, prevalence=settings.prevalence)
    files.write_json(folder / "metrics.json", {**metrics, **extras})
    images = {case.id: list(paths) for case, paths in zip(questions.cases, questions.images, strict=True)}
    files.write_json(folder / "images.json", images)
    if questions.suite:
        own = questions.taxonomy.checksum != asker.experiment.taxonomy.checksum
        told = {
            "name": questions.suite,
            "title": questions.title,
            "taxonomy": questions.taxonomy.name if own else asker.experiment.recipe.taxonomy,
            "headline": list(questions.headline),
            "left_out": dict(questions.left_out or {}),
        }
        files.write_json(folder / "suite.json", told)
    return evaluation, extras


def read_earlier(
    experiment: Experiment, folder: Path, sets: list[tuple[Questions, int]]
) -> tuple[dict[str, Evaluation], dict[str, dict[str, Any]]]:
    """A model evaluated by an earlier command: by suite, what it answered to the same cases, and its extras."""
    from skinrl.evaluation.cases import cases_checksum
    from skinrl.evaluation.evaluate import read_evaluation

    evaluations, extras = {}, {}
    for questions, _ in sets:
        place = folder / "suites" / questions.suite if questions.suite else folder
        if not (place / "metrics.json").is_file():
            continue
        metrics = files.read_json(place / "metrics.json")
        if metrics.get("cases_checksum") not in (None, cases_checksum(questions.cases)):
            console().print(f"eval: {place} is of other cases than now, and is left out of the comparison")
            continue
        evaluations[questions.suite] = read_evaluation(place, questions.taxonomy)
        extras[questions.suite] = {key: metrics[key] for key in _EXTRAS if key in metrics}
    return evaluations, extras


def compare_all(
    experiment: Experiment,
    data: LoadedData,
    models: list[Model],
    sets: list[tuple[Questions, int]],
    evaluations: dict[str, dict[str, Evaluation]],
    extras: dict[str, dict[str, dict[str, Any]]],
) -> dict[str, Any]:
    """What ``comparison.json`` holds."""
    from skinrl.cli.baselines import run_baselines
    from skinrl.cli.build import run_directory
    from skinrl.evaluation.compare import compare, in_order

    settings = experiment.recipe.evaluation
    ordered = in_order(evaluations)
    probed = "grpo" if "grpo" in ordered else models[-1].name
    checkpoint = next((one.checkpoint for one in models if one.name == probed), None)
    if checkpoint is None:  # evaluated earlier
        checkpoint = str(run_directory(experiment, probed).final)
    baselines = run_baselines(experiment, data, list(sets[0][0].cases), checkpoint)
    seconds = {}
    for stage in [*(f"eval_{name}" for name in ordered), "sft", "grpo", "sft_continued"]:
        directory = run_directory(experiment, stage)
        if directory.is_complete:
            seconds[stage] = directory.seconds

    def compared(suite: str, **more: Any) -> dict[str, Any]:
        given = {name: evaluations[name][suite] for name in ordered if suite in evaluations[name]}
        made = compare(given, resamples=settings.bootstrap, prevalence=settings.prevalence, **more)
        for name, metrics in made["models"].items():
            metrics.update(extras[name].get(suite, {}))
        return made

    more = {"baselines": baselines} if baselines else {}
    comparison = compared(MAIN, seconds=seconds, **more)
    comparison["settings"] = settings.model_dump(mode="json")
    comparison["contamination"] = {
        name: metrics["contamination"] for name, metrics in comparison["models"].items() if "contamination" in metrics
    }
    suites = {}
    for questions, _ in sets[1:]:
        made = {**compared(questions.suite), "headline": list(questions.headline), "title": questions.title}
        made.pop("seconds")
        suites[questions.suite] = made
    if suites:
        comparison["suites"] = suites
    return comparison


def write_results(experiment: Experiment, comparison: dict[str, Any], overlap: Contamination | None) -> None:
    """Write the comparison, the pairs behind the contamination, the table of seeds, and the page."""
    from skinrl.cli.page import write_page
    from skinrl.evaluation.compare import write_comparison
    from skinrl.evaluation.contamination import write_contamination

    write_comparison(experiment.folder, comparison)
    console().print(f"eval: -> {experiment.folder / 'comparison.json'}")
    if overlap is not None:
        write_contamination(experiment.folder, overlap)
    _write_seeds(experiment)
    page = write_page(experiment.folder, images=experiment.recipe.evaluation.page_images)
    console().print(f"eval: -> {page}")


def _write_seeds(experiment: Experiment) -> None:
    """Where other runs of this recipe differ in the seed alone: ``seeds.json`` over all of them, printed too."""
    from skinrl.errors import DataError
    from skinrl.evaluation.seeds import read_runs, seeds_table, sister_runs, write_seeds
    from skinrl.evaluation.tables import print_seeds

    settings, parent = experiment.recipe.evaluation, experiment.folder.parent
    runs = sister_runs(parent, experiment.run, experiment.taxonomy)
    if len(runs) < 2:
        return
    try:
        found = read_runs(parent, experiment.taxonomy, runs)
        table = seeds_table(found, resamples=settings.bootstrap, prevalence=settings.prevalence)
    except DataError as problem:  # another run's files; the results of this one stand
        console().print(f"eval: no table over the seeds of {', '.join(runs)}: {problem}")
        return
    console().print(f"eval: -> {write_seeds(parent, table)} ({', '.join(runs)})")
    print_seeds(table, console())
