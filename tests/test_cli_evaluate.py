"""``skinrl eval``: suites, formats and judge beside the main number; several processes, models and splits."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_model import build_tiny_vlm

from skinrl import files
from skinrl.cli import evaluation_models
from skinrl.cli.common import Experiment, open_experiment
from skinrl.cli.completions import Share, saved_rows, wait_for_rows, write_completions
from skinrl.cli.evaluate import _one_gpu_each, run_evaluation
from skinrl.cli.evaluation_data import limited
from skinrl.engine.base import Completion, Request, Sampling
from skinrl.errors import DataError, InputError, RecipeError, RunError
from skinrl.evaluation.suites import SUITES

RECIPE = """\
name: clinic
model: {path: ./model, dtype: float32}
data:
  - source: folder
    path: ./photographs
    use: evaluation
    kwargs: {name: clinic, columns: {image: photo, patient: who, split: part}, slices: [sex]}
questions: {kind: open, wording: full}
evaluation:
  {samples: 2, bootstrap: 100, baselines: [], backend: transformers, max_completion_length: 16, batch_size: 8}
"""
LABELS = (
    "melanoma",
    "melanocytic nevus",
    "psoriasis",
    "basal cell carcinoma",
    "bowen disease",
    "seborrheic keratosis",
)


class Scripted:
    """An engine that answers melanoma to everything, in the form where one is asked for."""

    calls = 0

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion]]:
        type(self).calls += len(requests)
        return [[Completion(self.text(request), (1,), None, True)] * sampling.n for request in requests]

    def text(self, request: Request) -> str:
        if request.choices:
            named = [choice for choice in request.choices if "melanoma" in choice] or list(request.choices)
            return named[0] + request.ending
        if "<answer>" not in request.messages[0]["content"]:
            return "It is dark.\n\nDiagnosis: **melanoma**"
        return "It is dark.\nDiagnosis: melanoma"  # no report: invalid

    def score(self, requests: Sequence[Request]) -> list[list[float]]:
        type(self).calls += len(requests)
        return [[-1.0 - number for number, _ in enumerate(request.choices)] for request in requests]

    def load(self, *arguments: Any, **more: Any) -> None: ...

    def close(self) -> None: ...


@pytest.fixture
def opened(tmp_path: Path, draw: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Experiment]:
    """Opens the experiment with other settings; the engine is scripted."""
    monkeypatch.setattr(evaluation_models.Engine, "on", lambda self, model: Scripted())
    monkeypatch.setattr(Scripted, "calls", 0)
    rows = ["photo,label,who,part,sex"]
    for number in range(24):
        draw(tmp_path / "photographs" / f"{number}.png", number)
        part = "train" if number < 6 else "validation" if number < 12 else "test"
        rows.append(f"{number}.png,{LABELS[number % 6]},p{number},{part},{'female' if number % 2 else 'male'}")
    (tmp_path / "photographs" / "cases.csv").write_text("\n".join(rows))
    for name in ("model", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
        (tmp_path / name / "model.safetensors").write_text(name)

    def open_it(*overrides: str, recipe: str = RECIPE) -> Experiment:
        (tmp_path / "clinic.yaml").write_text(recipe)
        return open_experiment(tmp_path / "clinic.yaml", list(overrides), runs=tmp_path / "runs")

    return open_it


ALL_SUITES = "evaluation.suites=[{name: in_domain, sources: clinic}, malignancy, hierarchical, differential, " + (
    "{name: out_of_distribution, sources: [clinic], samples: 2}, closed_list, {name: open_ended, limit: 5}]"
)


def run(experiment: Experiment, *models: str) -> dict[str, Any]:
    comparison = run_evaluation(experiment, list(models) or ["base"])
    assert comparison is not None
    return comparison


def test_every_suite_is_asked_and_written_beside_the_main_questions(opened: Callable[..., Experiment]) -> None:
    experiment = opened(ALL_SUITES)
    comparison = run(experiment)
    final = experiment.folder / "eval_base" / "final"
    assert set(comparison["suites"]) == set(SUITES)
    for name, suite in comparison["suites"].items():
        folder = final / "suites" / name
        for file in ("cases.jsonl", "predictions.jsonl", "metrics.json", "images.json", "suite.json"):
            assert (folder / file).is_file(), (name, file)
        metrics = files.read_json(folder / "metrics.json")
        assert suite["headline"] == list(SUITES[name].headline)
        assert all(metrics[metric]["n"] for metric in suite["headline"])
        assert {"no_image", "wrong_image", "label_prior"} <= set(metrics["controls"])
    assert comparison["suites"]["open_ended"]["models"]["base"]["cases"] == 5
    assert "accuracy_sampled" in comparison["suites"]["out_of_distribution"]["models"]["base"]
    assert "accuracy_sampled" not in comparison["suites"]["hierarchical"]["models"]["base"]
    assert files.read_json(final / "suites" / "malignancy" / "suite.json")["taxonomy"] == "behaviours"
    assert len(files.read_json(final / "images.json")) == 12
    assert (experiment.folder / "report.html").is_file()


def test_a_model_without_the_form_is_wrong_in_the_main_number_and_right_beside_it(
    opened: Callable[..., Experiment],
) -> None:
    comparison = run(opened("evaluation.suites=[hierarchical]"))
    metrics = comparison["models"]["base"]
    assert (metrics["accuracy"]["value"], metrics["invalid_share"]["value"]) == (0.0, 1.0)
    formats = metrics["formats"]
    assert set(formats) == {"own_format", "constrained"}
    for block in formats.values():
        assert block["strict"]["value"] == 0.0
        assert block["accuracy"]["value"] == pytest.approx(2 / 12)  # two of twelve are melanoma
        assert block["invalid_share"]["value"] == 0.0
    likely = comparison["suites"]["hierarchical"]["models"]["base"]["formats"]["option_likelihood"]
    assert likely["cases"] == 12
    predictions = files.read_jsonl(
        Path(opened().folder) / "eval_base" / "final" / "suites" / "hierarchical" / "predictions.jsonl"
    )
    assert all(len(row["option_logps"]) >= 2 for row in predictions)


def test_an_evaluation_of_an_earlier_version_goes_on(opened: Callable[..., Experiment]) -> None:
    """It wrote every setting of the section down, those too that change no completion."""
    experiment = opened()
    run(experiment)
    first = Scripted.calls
    written = experiment.folder / "eval_base" / "recipe.resolved.yaml"
    before = yaml.safe_load(written.read_text())
    before["evaluation"] |= {"controls": ["no_image"], "bootstrap": 2000, "continued_sft": False}
    written.write_text(yaml.safe_dump(before))
    run(opened())
    assert Scripted.calls == first


def test_the_printed_tables_show_suites_controls_formats_and_what_is_missing(
    opened: Callable[..., Experiment],
) -> None:
    from rich.console import Console

    from skinrl.evaluation.suite_tables import print_suites

    judge = "evaluation.judge={url: 'http://127.0.0.1:9/v1', model: m, seconds: 1}"
    comparison = run(opened("evaluation.suites=[hierarchical, {name: open_ended, limit: 6}]", judge))
    console = Console(width=80, record=True, file=io.StringIO())
    print_suites(comparison, console)
    suites, formats = console.export_text().split("Accuracy without the burden")
    for words in ("Hierarchical 12 cases", "Open-ended 6 cases", "best guess 100", "shuffled 0.0", "invalid 100"):
        assert words in " ".join(suites.split()), words
    assert "judge incomplete: m at http://127.0.0.1:9/v1" in suites
    assert "Main questions strict 0.0 0.0…24.2 own words 16.7" in " ".join(formats.split())
    assert max(map(len, (suites + formats).splitlines())) <= 80


def test_nothing_is_generated_twice_and_a_further_suite_costs_itself_alone(opened: Callable[..., Experiment]) -> None:
    run(opened())
    first = Scripted.calls
    run(opened())
    assert Scripted.calls == first
    run(opened("evaluation.suites=[closed_list]", "evaluation.bootstrap=200"))
    # greedy, four controls, own words, and a forced answer in two steps
    assert Scripted.calls - first == 12 * (1 + 4 + 1 + 2) + 12  # six options: their likelihood too
    with pytest.raises(RecipeError, match="begun with another recipe"):
        run(opened("evaluation.max_completion_length=17"))


def test_thinking_that_leaves_no_room_for_a_forced_answer_gives_way(
    opened: Callable[..., Experiment], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Scripted.generate

    def short(self: Scripted, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion]]:
        if any(len(request.prefix) > 40 for request in requests):
            raise InputError("a prompt is too long")
        return plain(self, requests, sampling)

    monkeypatch.setattr(Scripted, "generate", short)
    comparison = run(opened())
    assert comparison["models"]["base"]["formats"]["constrained"]["accuracy"]["value"] == pytest.approx(2 / 12)


def test_formats_and_controls_follow_the_recipe(opened: Callable[..., Experiment]) -> None:
    comparison = run(opened("evaluation.formats=none", "evaluation.controls=[metadata_only]"))
    assert comparison["models"]["base"]["formats"] == {}
    assert set(comparison["models"]["base"]["controls"]) == {"label_prior", "metadata_only"}
    assert Scripted.calls == 12 * 3  # greedy, sampled, metadata only


def test_a_suite_that_is_unknown_or_without_cases_is_refused_before_anything_is_asked(
    opened: Callable[..., Experiment],
) -> None:
    with pytest.raises(InputError, match="there is no suite 'hierarchic'"):
        run(opened("evaluation.suites=[hierarchic]", "data.0.path=not/there"))  # before the data is looked for
    with pytest.raises(InputError, match="names a suite twice"):
        run(opened("evaluation.suites=[hierarchical, hierarchical]"))
    with pytest.raises(DataError, match="of a source that a stage was trained on"):
        run(opened("evaluation.suites=[in_domain]"))
    assert Scripted.calls == 0


def test_a_judge_that_is_down_leaves_the_other_metrics(opened: Callable[..., Experiment]) -> None:
    judge = "evaluation.judge={url: 'http://127.0.0.1:9/v1', model: m, seconds: 1}"
    comparison = run(opened("evaluation.suites=[open_ended]", judge))
    metrics = comparison["suites"]["open_ended"]["models"]["base"]
    assert "m at http://127.0.0.1:9/v1" in metrics["judge"]["missing"]
    assert metrics["judge"]["accuracy"] is None
    assert metrics["accuracy"]["value"] == 0.0
    assert metrics["formats"]["own_format"]["accuracy"]["value"] == pytest.approx(2 / 12)


# --- several models --------------------------------------------------------------------------------------------------


def test_a_foreign_model_stands_beside_the_others_and_one_models_run_keeps_them(
    opened: Callable[..., Experiment], tmp_path: Path
) -> None:
    comparison = run(opened(), f"other={tmp_path / 'other'}")
    assert list(comparison["models"]) == ["other"]
    comparison = run(opened(), "base")
    assert list(comparison["models"]) == ["base", "other"]
    assert set(comparison["difference"]) == {"other-base"}
    assert comparison["models"]["other"]["formats"], "what stood beside the numbers is kept too"
    on_disk = json.loads((opened().folder / "comparison.json").read_text())
    assert set(on_disk["models"]) == {"base", "other"}


def test_models_of_other_cases_are_not_compared(opened: Callable[..., Experiment], tmp_path: Path) -> None:
    run(opened(), f"other={tmp_path / 'other'}")
    before = Scripted.calls
    with pytest.raises(DataError, match=r"eval_other: holds an evaluation of other cases than these 6"):
        run(opened("evaluation.limit=6"), "base")
    assert Scripted.calls == before


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("best", "expected one of base, sft, sft_continued, grpo, or name=PATH_OR_HUB_ID"),
        ("grpo", "stage grpo of run 'default' is not complete"),
        ("base=./other", "with a name other than base"),
        ("mine=./nowhere", "no such folder"),
        ("mine=", "expected name=PATH_OR_HUB_ID"),
    ],
)
def test_a_model_that_is_not_there_is_named(opened: Callable[..., Experiment], model: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        run(opened(), model)


def test_a_folder_that_is_no_checkpoint_is_no_model(opened: Callable[..., Experiment], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no config\.json"):
        run(opened(), f"mine={tmp_path / 'photographs'}")


def test_completions_of_other_weights_are_made_anew_in_suites_too(
    opened: Callable[..., Experiment], tmp_path: Path
) -> None:
    run(opened("evaluation.suites=[hierarchical]"))
    first = Scripted.calls
    (tmp_path / "model" / "model.safetensors").write_text("trained further")
    run(opened("evaluation.suites=[hierarchical]"))
    assert Scripted.calls == 2 * first


def test_results_of_other_weights_or_of_conditions_that_were_given_up_do_not_stay(
    opened: Callable[..., Experiment], tmp_path: Path
) -> None:
    final = opened().folder / "eval_base" / "final"
    run(opened("evaluation.suites=[hierarchical]", "evaluation.controls=full"))
    assert (final / "predictions_metadata_only.jsonl").is_file()
    run(opened("evaluation.controls=[no_image]"))
    left = {file.name for file in final.glob("*_*.jsonl")}
    assert {"predictions_no_image.jsonl", "cases_no_image.jsonl", "predictions_sampled.jsonl"} <= left
    assert not any("metadata_only" in name or "wrong_image" in name for name in left)
    assert (final / "suites" / "hierarchical").is_dir(), "the same weights gave these answers"
    (tmp_path / "model" / "model.safetensors").write_text("trained further")
    run(opened())
    assert not (final / "suites").exists()


def test_a_limit_of_no_cases_is_no_division() -> None:
    assert limited([], 5, seed=0) == []


def test_every_model_is_settled_before_the_first_is_asked(opened: Callable[..., Experiment], tmp_path: Path) -> None:
    other = f"other={tmp_path / 'other'}"
    run(opened(), other)
    before = Scripted.calls
    with pytest.raises(RecipeError, match="eval_other was begun with another recipe"):
        run(opened("evaluation.max_completion_length=17"), "base", other)
    assert Scripted.calls == before


def test_a_wrong_image_of_another_case_is_another_question(
    opened: Callable[..., Experiment], tmp_path: Path, draw: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All files have one name, as where every patient has a folder: the exchanged case tells the images apart."""
    from skinrl.evaluation import control_questions

    rows = ["photo,label,who,part,sex"]
    for number in range(6):
        draw(tmp_path / "photographs" / str(number) / "photo.png", number)
        rows.append(f"{number}/photo.png,{LABELS[number % 6]},p{number},test,")
    (tmp_path / "photographs" / "cases.csv").write_text("\n".join(rows))
    settings = ("evaluation.controls=[wrong_image]", "evaluation.formats=none", "evaluation.samples=0")
    run(opened(*settings))
    before, dealt = Scripted.calls, control_questions.other_images
    run(opened(*settings))
    assert Scripted.calls == before

    def dealt_anew(*arguments: Any, **more: Any) -> dict[int, int]:
        first, *others = (found := dealt(*arguments, **more)).values()
        return dict(zip(found, [*others, first], strict=True))

    monkeypatch.setattr(control_questions, "other_images", dealt_anew)
    run(opened(*settings))
    assert Scripted.calls == before + 6


# --- other splits than the test split --------------------------------------------------------------------------------


@pytest.mark.parametrize(("split", "cases"), [("test", 12), ("validation", 6), ("all", 24)])
def test_an_entry_may_name_another_split_and_that_is_said_aloud(
    opened: Callable[..., Experiment], capsys: pytest.CaptureFixture[str], split: str, cases: int
) -> None:
    comparison = run(opened(f"data.0.split={split}"))
    assert comparison["models"]["base"]["cases"] == cases
    said = " ".join(capsys.readouterr().err.split())
    assert ("is evaluated, not its test split" in said) == (split != "test")


def test_training_cases_are_refused_whatever_split_the_evaluation_names(opened: Callable[..., Experiment]) -> None:
    entry = RECIPE[RECIPE.index("  - source") : RECIPE.index("questions")]
    both = entry.replace("use: evaluation", "use: grpo") + entry.replace(
        "use: evaluation", "use: evaluation\n    split: SPLIT"
    )
    for split, refused in (("train", True), ("all", True), ("validation", False)):
        experiment = opened(f"name=own_{split}", recipe=RECIPE.replace(entry, both.replace("SPLIT", split)))
        if refused:
            with pytest.raises(DataError, match="6 test cases are training cases of grpo"):
                run(experiment)
        else:
            assert run(experiment)["models"]["base"]["cases"] == 6


# --- several GPUs, several processes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "seen"),
    [
        ({"LOCAL_RANK": "2", "WORLD_SIZE": "4"}, "2"),
        ({"LOCAL_RANK": "1", "WORLD_SIZE": "2", "CUDA_VISIBLE_DEVICES": "5,7"}, "7"),
        ({"LOCAL_RANK": "0", "WORLD_SIZE": "1", "CUDA_VISIBLE_DEVICES": "5,7"}, "5,7"),
        ({"CUDA_VISIBLE_DEVICES": "5"}, "5"),
    ],
)
def test_a_process_of_a_launch_sees_the_gpu_of_its_place_alone(
    environment: dict[str, str], seen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LOCAL_RANK", "WORLD_SIZE", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.setenv(name, "")  # so that what the function sets is undone
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    _one_gpu_each()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == seen


def test_an_engine_makes_its_group_of_one_within_a_launch(monkeypatch: pytest.MonkeyPatch) -> None:
    """As vLLM does, by address: under torchrun's variables torch would wait for a server that nobody starts."""
    import socket
    from datetime import timedelta

    from torch.distributed import rendezvous

    for name, value in {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0"}.items():
        monkeypatch.setenv(name, value)
    _one_gpu_each()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    store, rank, world = next(rendezvous(f"tcp://127.0.0.1:{port}", 0, 1, timeout=timedelta(seconds=2)))
    store.set("here", "yes")
    assert (store.get("here"), rank, world) == (b"yes", 0, 1)


def test_a_second_process_waits_for_the_first_ones_settings_alone_and_evaluates_nothing(
    opened: Callable[..., Experiment], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = ["base", f"other={tmp_path / 'other'}"]
    run(opened(), *models)
    before, written = Scripted.calls, (opened().folder / "comparison.json").stat().st_mtime_ns
    for name, value in {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "CUDA_VISIBLE_DEVICES": ""}.items():
        monkeypatch.setenv(name, value)
    assert run_evaluation(opened(), models) is None
    assert Scripted.calls == before, "what one process had answered is not asked again by two"
    assert (opened().folder / "comparison.json").stat().st_mtime_ns == written
    with pytest.raises(RecipeError, match="begun with another recipe"):
        run_evaluation(opened("evaluation.samples=3"), models)


def generate(file: Path, ids: list[str], share: Share) -> list[Any]:
    request: Any = lambda number: Request([{"role": "user", "content": ids[number]}])  # noqa: E731
    engine: Any = Scripted
    return write_completions(file, "", ids, request, engine, Sampling(4, 0.0), chunk=3, share=share)


def test_processes_share_the_cases_and_another_number_of_them_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Scripted, "calls", 0)
    file, ids = tmp_path / "completions_greedy.jsonl", [str(number) for number in range(11)]
    made = generate(file, ids, Share(1, 3))
    assert [bool(one) for one in made] == [number % 3 == 1 for number in range(11)]
    with pytest.raises(RunError, match="4 of 11 cases are answered and no more came"):
        wait_for_rows(file, ids, patience=0.1)
    generate(file, ids, Share(0, 2))
    generate(file, ids, Share(1, 2))
    assert Scripted.calls == 11, "what the first launch had done was not done again"
    assert set(wait_for_rows(file, ids)) == set(ids)
    assert all(generate(file, ids, Share()))
    assert Scripted.calls == 11


def test_a_row_that_answers_another_question_is_not_taken(tmp_path: Path) -> None:
    file = tmp_path / "completions_greedy.jsonl"
    files.append_jsonl(file, {"id": "1", "completions": [], "asked": "old"})
    files.append_jsonl(file, {"id": "2", "completions": []})
    assert set(saved_rows(file, {"1": "new", "2": "new"})) == {"2"}
    assert set(saved_rows(file)) == {"1", "2"}


@pytest.mark.slow
def test_two_processes_give_what_one_gives(
    tmp_path: Path, draw: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a real model: suites, controls, forced answers and likelihoods, on two CPU processes and on one."""
    build_tiny_vlm(tmp_path / "model")
    rows = ["photo,label,who,part,sex"]
    for number in range(7):
        draw(tmp_path / "photographs" / f"{number}.png", number, (56, 56))
        rows.append(f"{number}.png,{LABELS[number % 6]},p{number},test,")
    (tmp_path / "photographs" / "cases.csv").write_text("\n".join(rows))
    (tmp_path / "clinic.yaml").write_text(RECIPE)

    def start(runs: str, **environment: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "skinrl.cli", "eval", str(tmp_path / "clinic.yaml"), "--model", "base"]
        command += ["evaluation.suites=[hierarchical, closed_list]", "--runs", str(tmp_path / runs), "--json"]
        variables = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
        return subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    launched = [start("two", RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2") for rank in (0, 1)]
    outputs = [process.communicate(timeout=280) for process in launched]
    assert [process.returncode for process in launched] == [0, 0], outputs
    assert outputs[1][0] == "", "the second process only generates"
    two = json.loads(outputs[0][0])
    folder = tmp_path / "two" / "clinic" / "default" / "eval_base"
    assert (folder / "completions_greedy.1-of-2.jsonl").is_file()
    alone = start("one")
    output, errors = alone.communicate(timeout=280)
    assert alone.returncode == 0, errors
    one = json.loads(output)

    def numbers(comparison: dict[str, Any]) -> Any:
        parts = [comparison, *comparison["suites"].values()]
        keys = ("accuracy", "controls", "formats", "invalid_share", "hierarchical_f1")
        return [{key: part["models"]["base"][key] for key in keys} for part in parts]

    assert numbers(two) == numbers(one)
