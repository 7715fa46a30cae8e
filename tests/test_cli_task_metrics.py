"""Task metrics in a recipe: what is refused before a model loads, what is measured, what a stage hands on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from sklearn.metrics import accuracy_score
from tiny_model import build_tiny_vlm

from skinrl import files
from skinrl.cli import stages
from skinrl.cli.build import resolved, run_directory, stage_data
from skinrl.cli.common import Experiment, open_experiment
from skinrl.cli.evaluation_guards import refuse_seen
from skinrl.cli.task_metrics import numbers, watch_of
from skinrl.errors import DataError, RecipeError
from skinrl.evaluation import Reply, evaluate
from skinrl.report import DiagnosticReport

RECIPE = """\
name: watched
model: {path: ./model, dtype: float32}
data:
  - source: folder
    path: ./photographs
    kwargs: {table: cases.csv, columns: {image: photo, patient: who, split: part}}
questions: {kind: open, wording: short}
rewards:
  - {factory: "skinrl.rewards:get_hierarchy_reward"}
sft:
  max_steps: 3
  per_device_train_batch_size: 2
  learning_rate: 1.0e-3
  logging_steps: 1
  save_strategy: "no"
  gradient_checkpointing: false
  report_to: []
  task_metrics: {every: 1, cases: 3}
evaluation: {max_completion_length: 4}
"""
CASES = [
    ("melanoma", "p1", "train"),
    ("melanocytic nevus", "p2", "train"),
    ("psoriasis", "p3", "train"),
    ("melanoma", "p4", "validation"),
    ("psoriasis", "p5", "validation"),
    ("melanocytic nevus", "p6", "validation"),
    ("atopic dermatitis", "p7", "validation"),
    ("melanoma", "p8", "test"),
]


@pytest.fixture
def opened(tmp_path: Path, draw: Callable[..., str]) -> Callable[..., Experiment]:
    """Opens the experiment with other settings."""
    rows = ["photo,label,who,part"]
    for number, (label, patient, split) in enumerate(CASES):
        draw(tmp_path / "photographs" / f"{number}.png", number, (56, 56))
        rows.append(f"{number}.png,{label},{patient},{split}")
    (tmp_path / "photographs" / "cases.csv").write_text("\n".join(rows))

    def open_it(*overrides: str, recipe: str = RECIPE) -> Experiment:
        (tmp_path / "watched.yaml").write_text(recipe)
        return open_experiment(tmp_path / "watched.yaml", list(overrides), runs=tmp_path / "runs")

    return open_it


def watch(experiment: Experiment, stage: Any = "sft") -> Any:
    return watch_of(experiment, stage, stage_data(experiment, stage))


def test_nothing_is_measured_unless_a_stage_asks_for_it(opened: Callable[..., Experiment]) -> None:
    assert watch(opened(), "grpo") is None
    assert watch(opened("sft.task_metrics=null")) is None


def test_the_cases_are_a_fixed_draw_of_the_validation_split(opened: Callable[..., Experiment]) -> None:
    every = watch(opened("sft.task_metrics.cases=64"))
    assert sorted(case.id for case in every.cases) == ["3", "4", "5", "6"]
    drawn = watch(opened())
    assert len(drawn.cases) == 3
    assert [case.id for case in watch(opened()).cases] == [case.id for case in drawn.cases]
    assert list(drawn.rows["id"]) == [case.id for case in drawn.cases]
    assert drawn.checksum != every.checksum


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("sft.task_metrics.evry=3", r"unknown key 'sft.task_metrics.evry'; did you mean 'every'"),
        ("sft.task_metrics.every=0", r"watched.yaml:18: sft.task_metrics.every: found 0"),
        ("sft.task_metrics.best=last", "sft.task_metrics.best: found 'last'"),
        ("grpo.task_metrics={cases: 3}", "key 'grpo.task_metrics.every' is missing"),
    ],
)
def test_settings_that_do_not_exist_are_refused_with_their_place(
    override: str, said: str, opened: Callable[..., Experiment]
) -> None:
    with pytest.raises(RecipeError, match=said):
        opened(override)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("sft.task_metrics.metric=acuracy", "no metric 'acuracy' of greedy answers; did you mean 'accuracy'"),
        ("sft.task_metrics.metrics=[accuracy_sampled]", "no metric 'accuracy_sampled' of greedy answers"),
    ],
)
def test_a_metric_that_is_not_measured_is_refused(override: str, said: str, opened: Callable[..., Experiment]) -> None:
    with pytest.raises(RecipeError, match=said):
        watch(opened(override))


def test_a_metric_that_no_case_counts_for_chooses_nothing(opened: Callable[..., Experiment], tmp_path: Path) -> None:
    table = tmp_path / "photographs" / "cases.csv"
    experiment = opened("sft.task_metrics={every: 1, metric: malignancy_sensitivity}")
    assert watch(experiment) is not None
    table.write_text(table.read_text().replace("melanoma,p4", "psoriasis,p4"))
    with pytest.raises(RecipeError, match="none of the 4 validation cases counts for malignancy_sensitivity"):
        watch(experiment)


def test_two_owners_of_the_model_that_is_handed_on_are_refused(opened: Callable[..., Experiment]) -> None:
    with pytest.raises(RecipeError, match="both settle which model is handed on"):
        watch(opened("sft.task_metrics.best=hand_on", "sft.load_best_model_at_end=true"))


# Data of their own


def with_entry(more: str) -> str:
    entry = RECIPE[RECIPE.index("  - source") : RECIPE.index("questions")]
    other = entry.replace(
        "kwargs: {table: cases", f"use: validation\n    {more}\n    kwargs: {{name: other, table: other"
    )
    return RECIPE.replace(entry, entry + other)


@pytest.mark.parametrize(
    ("table", "more", "said"),
    [
        ("3.png,melanoma,q1,validation\n7.png,psoriasis,q2,test", "weight: 1", None),
        ("3.png,melanoma,q1,validation\n7.png,psoriasis,q2,test", "split: test", "validation split alone"),
        ("3.png,melanoma,q1,test", "weight: 1", "needs labelled cases of the validation split"),
    ],
)
def test_an_entry_for_validation_gives_the_cases_and_never_from_its_test_split(
    table: str, more: str, said: str | None, opened: Callable[..., Experiment], tmp_path: Path
) -> None:
    (tmp_path / "photographs" / "other.csv").write_text(f"photo,label,who,part\n{table}\n")
    experiment = opened(recipe=with_entry(more))
    if said is not None:
        with pytest.raises((DataError, RecipeError), match=said):
            watch(experiment)
        return
    found = watch(experiment)
    assert [(case.id, case.source) for case in found.cases] == [("3", "other")]
    assert [len(resolved(experiment, *sections)["data"]) for sections in (("sft",), ("sft", "validation"))] == [1, 2]


def test_a_validation_patient_who_is_trained_on_is_refused(opened: Callable[..., Experiment], tmp_path: Path) -> None:
    (tmp_path / "photographs" / "other.csv").write_text("photo,label,who,part\n7.png,melanoma,p1,validation\n")
    recipe = with_entry("weight: 1").replace("name: other", "name: photographs")
    with pytest.raises(DataError, match="patients or lesions stand in two splits: patient p1"):
        watch(opened(recipe=recipe))


def test_a_test_case_that_models_are_chosen_on_is_refused_by_the_evaluation(
    opened: Callable[..., Experiment], tmp_path: Path
) -> None:
    table = tmp_path / "photographs" / "other.csv"
    table.write_text("photo,label,who,part\n7.png,melanoma,p8,validation\n")
    experiment = opened(recipe=with_entry("weight: 1").replace("name: other", "name: photographs"))
    data = stage_data(experiment, "evaluation")
    with pytest.raises(DataError, match="1 test cases are validation cases of task_metrics: 7"):
        refuse_seen(experiment, data)
    table.write_text("photo,label,who,part\n3.png,melanoma,p4,validation\n")
    refuse_seen(experiment, data)


# Numbers


def test_the_numbers_are_those_of_an_evaluation(opened: Callable[..., Experiment]) -> None:
    found = watch(opened("sft.task_metrics.cases=4"))
    said = {"melanoma": "nodular melanoma", "psoriasis": "melanoma"}
    golds = [case.gold[0][0] for case in found.cases]
    replies = [Reply(DiagnosticReport(said.get(gold, "eczema"), "malignant").render()) for gold in golds]
    replies[golds.index("melanocytic_nevus")] = Reply("no report")
    names = ["accuracy", "hierarchical_f1", "invalid_share", "malignancy_sensitivity", "malignancy_specificity"]
    got = numbers(found.cases, replies, found.taxonomy, names)
    whole = evaluate(found.cases, found.taxonomy, greedy=replies).metrics(resamples=100)
    for name in names:
        assert got[name] == pytest.approx(whole[name]["value"])
        assert got[f"{name}_n"] == whole[name]["n"]
    right = [gold == "melanoma" for gold in golds]
    assert got["accuracy"] == accuracy_score([True] * 4, right) == 0.25
    assert (got["invalid_share"], got["malignancy_sensitivity_n"]) == (0.25, 1)


@pytest.mark.parametrize(
    ("metric", "mode", "larger"),
    [
        ("accuracy", "null", True),
        ("invalid_share", "null", False),
        ("mistake_severity", "null", False),
        ("accuracy", "min", False),
        ("unresolved_share", "max", True),
    ],
)
def test_which_way_is_better_follows_from_the_metric_or_is_said(
    metric: str, mode: str, larger: bool, opened: Callable[..., Experiment]
) -> None:
    found = watch(opened(f"sft.task_metrics={{every: 1, metric: {metric}, mode: {mode}}}"))
    assert found.larger_is_better is larger


# A whole stage


def test_a_stage_hands_on_its_best_model_and_says_so(
    opened: Callable[..., Experiment], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_tiny_vlm(tmp_path / "model")
    scripted = iter([0.0, 0.5, 0.9, 0.2])  # at steps 0 to 3
    real = numbers

    def measured(*arguments: Any) -> dict[str, float | None]:
        found = real(*arguments)
        assert found["accuracy_n"] == 3
        return {**found, "accuracy": next(scripted)}

    monkeypatch.setattr("skinrl.cli.task_metrics.numbers", measured)
    experiment = opened("sft.task_metrics.best=hand_on", "sft.task_metrics.metrics=[hierarchical_f1, truncated_share]")
    run = stages.run_sft(experiment)
    rows = [row for row in run.metrics() if "task/accuracy" in row]
    assert [(row["step"], row["task/accuracy"]) for row in rows] == [(0, 0.0), (1, 0.5), (2, 0.9), (3, 0.2)]
    assert {"task/hierarchical_f1", "task/truncated_share_n", "task/seconds"} <= rows[0].keys()
    assert rows[0]["task/truncated_share"] == 1.0  # four tokens are no report
    facts = files.read_json(run.path / "complete.json")
    assert (facts["steps"], facts["handed_on"]) == (3, {"step": 2, "metric": "accuracy", "value": 0.9})
    handed, kept = (load_file(folder / "model.safetensors") for folder in (run.final, run.path / "best-2"))
    assert all(torch.equal(handed[name], kept[name]) for name in kept)
    before = load_file(tmp_path / "model" / "model.safetensors")
    assert any(not torch.equal(handed[name], before[name]) for name in handed)
    environment = files.read_json(run.environment_file)
    assert set(environment["checksums"]["data"]) == {"records", "task_metrics"}
    assert run_directory(experiment, "sft").is_complete
