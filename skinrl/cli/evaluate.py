"""``skinrl eval``: every model of a run on the same held-out cases, side by side."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from skinrl import files
from skinrl.cli.common import (
    DataOption,
    Experiment,
    JsonOption,
    Overrides,
    RecipeArgument,
    RunOption,
    RunsOption,
    console,
    is_main_process,
    print_json,
)
from skinrl.cli.evaluation_models import MODELS

if TYPE_CHECKING:
    from skinrl.cli.evaluation_models import Engine, Model
    from skinrl.data.loading import LoadedData
    from skinrl.evaluation.contamination import Contamination
    from skinrl.evaluation.evaluate import Evaluation
    from skinrl.evaluation.suites import Questions
    from skinrl.runs import RunDirectory

MAIN = ""  # the recipe's own questions, among the suites
_EXTRAS = ("formats", "judge", "contamination")  # of metrics.json: added here, not computed from predictions alone
_OF_COMPLETIONS = ("samples", "max_completion_length", "backend", "batch_size", "limit", "max_model_length")


def evaluate(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    run: RunOption = "default",
    data: DataOption = None,
    runs: RunsOption = Path("runs"),
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            help=f"Models to evaluate, of {', '.join(MODELS)}, or any other as name=PATH_OR_HUB_ID[@revision]; "
            "default: all that the run has.",
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Compare base, SFT, SFT + GRPO and other models on held-out cases, with suites, controls and intervals.

    Examples: skinrl eval recipes/phantom.yaml --run try1 --model sft --model grpo

    skinrl eval recipes/mine.yaml --model medgemma=google/medgemma-4b-it
    """
    from skinrl.cli.common import open_experiment

    experiment = open_experiment(recipe, overrides, run=run, runs=runs, data=data)
    comparison = run_evaluation(experiment, model)
    if comparison is None:
        return  # this process only generates
    if json:
        print_json(comparison)
        return
    from skinrl.evaluation.suite_tables import print_suites
    from skinrl.evaluation.tables import print_comparison

    print_comparison(comparison)
    print_suites(comparison)


def run_evaluation(experiment: Experiment, wanted: list[str] | None = None) -> dict[str, Any] | None:
    """Evaluate the models, write their files, ``comparison.json`` and the page.

    Returns:
        What ``comparison.json`` holds; None in all processes of a launch but the main one, which generate alone.
    """
    from skinrl.cli.build import stage_data
    from skinrl.cli.evaluation_data import main_questions, suite_sets
    from skinrl.cli.evaluation_guards import earlier_evaluations, refuse_seen
    from skinrl.cli.evaluation_models import Engine, find_models

    _one_gpu_each()
    models = find_models(experiment, wanted)
    judge = _open_judge(experiment)
    data = stage_data(experiment, "evaluation")
    learnt = refuse_seen(experiment, data)
    questions, _ = main_questions(experiment, data)
    sets = [(questions, experiment.recipe.evaluation.samples), *suite_sets(experiment, data, learnt)]
    earlier = earlier_evaluations(experiment, [one.name for one in models], questions) if is_main_process() else {}
    overlap = _overlap(experiment, data)
    engine = Engine(experiment)
    evaluations: dict[str, dict[str, Evaluation]] = {}
    extras: dict[str, dict[str, dict[str, Any]]] = {}
    try:
        for model in models:
            made = _evaluate_model(experiment, data, model, sets, engine, overlap, judge)
            if made is not None:
                evaluations[model.name], extras[model.name] = made
    finally:
        engine.close()
    if not is_main_process():
        return None
    for name, folder in earlier.items():
        evaluations[name], extras[name] = _read_earlier(experiment, folder, sets)
    comparison = _compare(experiment, data, models, sets, evaluations, extras)
    _write_comparison(experiment, comparison, overlap)
    return comparison


def _one_gpu_each() -> None:
    """Let a process of a launch see the GPU of its own place alone: engines take the first that they see."""
    place, launched = os.environ.get("LOCAL_RANK"), int(os.environ.get("WORLD_SIZE", "1")) > 1
    if place is None or not launched:
        return
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    listed = visible.split(",") if visible else [str(number) for number in range(int(place) + 1)]
    if int(place) < len(listed):
        os.environ["CUDA_VISIBLE_DEVICES"] = listed[int(place)]


def _open_judge(experiment: Experiment) -> Any:
    """The judge, or None; a key that is not set is known before anything is generated."""
    settings = experiment.recipe.evaluation.judge
    if settings is None or not is_main_process():
        return None
    from skinrl.engine.remote import RemoteModel

    return RemoteModel(settings.url, settings.model, settings.key_variable, settings.seconds).open()


def _overlap(experiment: Experiment, data: LoadedData) -> Contamination | None:
    if not experiment.recipe.evaluation.contamination or not is_main_process():
        return None
    from skinrl.cli.overlap import eval_overlap

    return eval_overlap(experiment, data)


# --- one model -------------------------------------------------------------------------------------------------------


def _evaluate_model(
    experiment: Experiment,
    data: LoadedData,
    model: Model,
    sets: list[tuple[Questions, int]],
    engine: Engine,
    overlap: Contamination | None,
    judge: Any,
) -> tuple[dict[str, Evaluation], dict[str, dict[str, Any]]] | None:
    """Generate what is missing; in the main process, evaluate it too: by suite, the evaluation and its extras."""
    from skinrl.cli.generation import Asker, what_to_ask

    directory = _begin(experiment, data, model)
    with directory.session():
        askers = []
        for questions, samples in sets:
            folder = directory.path / "suites" / questions.suite if questions.suite else directory.path
            asker = Asker(experiment, model, what_to_ask(experiment, model, questions, samples), engine, folder)
            asker.generate()
            askers.append(asker)
        if not is_main_process():
            return None
        evaluations, extras = {}, {}
        for asker in askers:
            suite = asker.asked.questions.suite
            evaluations[suite], extras[suite] = _evaluate_set(asker, directory, overlap, judge)
    directory.mark_complete(checkpoint=model.checkpoint, stamp=model.stamp)
    return evaluations, extras


def _begin(experiment: Experiment, data: LoadedData, model: Model) -> RunDirectory:
    """The folder of this evaluation, settled: the same recipe, data and weights as the completions that it holds."""
    from skinrl.cli.build import records_checksum, resolved, run_directory
    from skinrl.cli.evaluation_guards import settle_weights

    directory = run_directory(experiment, f"eval_{model.name}")
    settings = resolved(experiment, "evaluation")
    settings["evaluation"] = {key: settings["evaluation"][key] for key in _OF_COMPLETIONS}
    checksum = {"records": records_checksum(data.split("test"), data.pixels)}
    main = is_main_process()
    if main:
        directory.prepare(settings)
        directory.write_environment(taxonomy=experiment.taxonomy.checksum, data=checksum)
    else:
        directory.refuse_other(settings)
        directory.refuse_changed(taxonomy=experiment.taxonomy.checksum, data=checksum)
    settle_weights(directory.path, model.checkpoint, main=main)
    return directory


def _evaluate_set(
    asker: Any, directory: RunDirectory, overlap: Contamination | None, judge: Any
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
        extras["contamination"] = contamination_block(overlap, evaluation, resamples=settings.bootstrap)
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


# --- all models ------------------------------------------------------------------------------------------------------


def _read_earlier(
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


def _compare(
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


def _write_comparison(experiment: Experiment, comparison: dict[str, Any], overlap: Contamination | None) -> None:
    from skinrl.cli.page import write_page
    from skinrl.evaluation.compare import write_comparison
    from skinrl.evaluation.contamination import write_contamination

    write_comparison(experiment.folder, comparison)
    console().print(f"eval: -> {experiment.folder / 'comparison.json'}")
    if overlap is not None:
        write_contamination(experiment.folder, overlap)
    page = write_page(experiment.folder, images=experiment.recipe.evaluation.page_images)
    console().print(f"eval: -> {page}")
