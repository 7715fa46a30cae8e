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
    is_main_process,
    print_json,
)
from skinrl.cli.evaluation_models import MODELS
from skinrl.errors import RecipeError

if TYPE_CHECKING:
    from skinrl.cli.evaluation_models import Engine, Model
    from skinrl.data.loading import LoadedData
    from skinrl.evaluation.contamination import Contamination
    from skinrl.evaluation.evaluate import Evaluation
    from skinrl.evaluation.question_sets import Questions
    from skinrl.runs import RunDirectory

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
    from skinrl.cli.baselines import check_baselines
    from skinrl.cli.build import stage_data
    from skinrl.cli.evaluation_data import chosen_suites, main_questions, suite_sets
    from skinrl.cli.evaluation_guards import earlier_evaluations, refuse_seen, refuse_unscorable
    from skinrl.cli.evaluation_models import Engine, find_models
    from skinrl.cli.evaluation_results import compare_all, read_earlier, write_results

    _one_gpu_each()
    check_baselines(experiment)
    suites = chosen_suites(experiment)
    models = find_models(experiment, wanted)
    judge = _open_judge(experiment)
    data = stage_data(experiment, "evaluation")
    learnt = refuse_seen(experiment, data)
    questions, _ = main_questions(experiment, data)
    sets = [(questions, experiment.recipe.evaluation.samples), *suite_sets(experiment, data, learnt, suites)]
    refuse_unscorable([one for one, _ in sets])
    earlier = earlier_evaluations(experiment, [one.name for one in models], questions) if is_main_process() else {}
    # All before the first is asked: a refusal costs nothing then, and no process waits while the main one evaluates
    begun = [(one, _begin(experiment, data, one)) for one in models]
    overlap = _overlap(experiment, data)
    engine = Engine(experiment)
    evaluations: dict[str, dict[str, Evaluation]] = {}
    extras: dict[str, dict[str, dict[str, Any]]] = {}
    try:
        for model, directory in begun:
            made = _evaluate_model(experiment, directory, model, sets, engine, overlap, judge)
            if made is not None:
                evaluations[model.name], extras[model.name] = made
    finally:
        engine.close()
    if not is_main_process():
        return None
    for name, folder in earlier.items():
        evaluations[name], extras[name] = read_earlier(experiment, folder, sets)
    comparison = compare_all(experiment, data, models, sets, evaluations, extras)
    write_results(experiment, comparison, overlap)
    return comparison


def _one_gpu_each() -> None:
    """Let a process of a launch see the GPU of its own place alone, as the first one: engines take the first.

    Nor shall it look for the store of the launcher (torchrun's) where its engine makes a group of one: it would wait
    for a server that nobody started.
    """
    os.environ.pop("TORCHELASTIC_USE_AGENT_STORE", None)
    place, launched = os.environ.get("LOCAL_RANK"), int(os.environ.get("WORLD_SIZE", "1")) > 1
    if place is None or not launched:
        return
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    listed = visible.split(",") if visible else [str(number) for number in range(int(place) + 1)]
    if int(place) < len(listed):
        os.environ |= {"CUDA_VISIBLE_DEVICES": listed[int(place)], "LOCAL_RANK": "0"}


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
    directory: RunDirectory,
    model: Model,
    sets: list[tuple[Questions, int]],
    engine: Engine,
    overlap: Contamination | None,
    judge: Any,
) -> tuple[dict[str, Evaluation], dict[str, dict[str, Any]]] | None:
    """Generate what is missing; in the main process, evaluate it too: by suite, the evaluation and its extras."""
    from skinrl.cli.conditions import what_to_ask
    from skinrl.cli.evaluation_results import evaluate_set
    from skinrl.cli.generation import Asker

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
            evaluations[suite], extras[suite] = evaluate_set(asker, directory, overlap, judge)
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
    if is_main_process():
        _keep_what_counts(directory)
        directory.prepare(settings)
        directory.write_environment(taxonomy=experiment.taxonomy.checksum, data=checksum)
        settle_weights(directory.path, model.checkpoint, main=True)
    else:
        settle_weights(directory.path, model.checkpoint, main=False)
        directory.refuse_other(settings)
        directory.refuse_changed(taxonomy=experiment.taxonomy.checksum, data=checksum)
    return directory


def _keep_what_counts(directory: RunDirectory) -> None:
    """Take settings that change no completion out of an earlier version's file, which wrote all of them."""
    from skinrl.yamlfile import read_yaml

    if not directory.recipe_file.is_file():
        return
    before = read_yaml(directory.recipe_file, error=RecipeError)[0]
    kept = {key: value for key, value in before.get("evaluation", {}).items() if key in _OF_COMPLETIONS}
    if kept != before.get("evaluation"):
        files.write_yaml(directory.recipe_file, {**before, "evaluation": kept})
