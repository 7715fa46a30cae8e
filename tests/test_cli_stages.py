"""What the stages of a run may take from one another, and what GRPO's rival learns: without training anything."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from skinrl.cli import evaluate, evaluation_data, evaluation_guards, evaluation_models, generation, rival, stages
from skinrl.cli.build import base_checkpoint, inputs_of, records_checksum, run_directory, stage_data
from skinrl.cli.common import Experiment, open_experiment
from skinrl.cli.completions import write_completions
from skinrl.engine.base import Completion, Sampling
from skinrl.errors import DataError, RecipeError
from skinrl.taxonomy.answer import read_answer

RECIPE = """\
name: clinic
model: {factory: "./factory.py:build", kwargs: {width: 4}, dtype: float32}
data:
  - source: folder
    path: ./photographs
    kwargs: {columns: {image: photo, patient: who, split: part}}
questions: {kind: open, wording: short}
rewards:
  - {factory: "skinrl.rewards:get_hierarchy_reward"}
sft: {eval_strategy: "no"}
grpo: {log_completions: true, logging_steps: 1}
"""
FACTORY = """\
def build(output_dir, extra_texts=(), width=1):
    (output_dir / "texts.txt").write_text(repr(sorted(extra_texts)))
"""
CASES = [
    ("melanoma", "p1", "train"),
    ("melanocytic_nevus", "p2", "train"),
    ("psoriasis", "p3", "train"),
    ("melanocytic_neoplasm", "p4", "train"),
    ("atopic_dermatitis", "p5", "train"),
    ("melanoma", "p6", "test"),
    ("psoriasis", "p7", "test"),
]


@pytest.fixture
def opened(
    tmp_path: Path, draw: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Experiment]]:
    """Opens the experiment with other settings."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    rows = ["photo,label,who,part"]
    for number, (label, patient, split) in enumerate(CASES):
        draw(tmp_path / "photographs" / f"{number}.png", number)
        rows.append(f"{number}.png,{label.replace('_', ' ')},{patient},{split}")
    (tmp_path / "photographs" / "cases.csv").write_text("\n".join(rows))
    (tmp_path / "factory.py").write_text(FACTORY)

    def open_it(*overrides: str, recipe: str = RECIPE) -> Experiment:
        (tmp_path / "clinic.yaml").write_text(recipe)
        return open_experiment(tmp_path / "clinic.yaml", list(overrides), runs=tmp_path / "runs")

    yield open_it
    sys.modules.pop("factory", None)


# The base model


def test_the_base_is_the_same_whichever_stage_builds_it(opened: Callable[..., Experiment]) -> None:
    experiment = opened()
    base = Path(base_checkpoint(experiment))  # as `skinrl eval` does before there is an SFT stage
    assert "Diagnosis: melanoma" in (base / "texts.txt").read_text(), "the reports that SFT learns are known to it"


def test_a_base_of_other_settings_is_refused_and_the_same_one_kept(opened: Callable[..., Experiment]) -> None:
    base = Path(base_checkpoint(opened()))
    (base / "mark").touch()
    assert (Path(base_checkpoint(opened())) / "mark").exists()
    with pytest.raises(RecipeError, match=r"base was built with .*'width': 4.*'width': 5"):
        base_checkpoint(opened("model.kwargs.width=5"))


# A stage made anew


def test_grpo_on_an_earlier_sft_is_neither_complete_nor_evaluated(opened: Callable[..., Experiment]) -> None:
    experiment = opened()
    sft, grpo = run_directory(experiment, "sft"), run_directory(experiment, "grpo")
    sft.mark_complete(steps=3)
    assert not stages._finished(experiment, grpo, "grpo", "rewards")
    grpo.settle_inputs(inputs_of(experiment, "grpo"))
    grpo.mark_complete()
    assert stages._finished(experiment, grpo, "grpo", "rewards")
    (sft.path / "complete.json").write_text('{"finished": "2031-01-01T00:00:00+00:00", "steps": 3}')
    with pytest.raises(RecipeError, match="earlier sft"):
        stages._finished(experiment, grpo, "grpo", "rewards")
    with pytest.raises(RecipeError, match="earlier sft"):
        evaluation_models.find_models(experiment, ["sft", "grpo"])


def test_sft_without_evaluations_needs_no_validation_split(
    opened: Callable[..., Experiment], monkeypatch: pytest.MonkeyPatch
) -> None:
    held_out: list[Any] = []
    monkeypatch.setattr(stages, "_train_sft", lambda *arguments: held_out.append(arguments[5]))
    stages.run_sft(opened())
    assert held_out == [None]
    with pytest.raises(DataError, match="validation split is empty"):
        stages.run_sft(opened("sft.eval_strategy=steps", "name=other"))


# The rival


@pytest.mark.parametrize(
    "settings",
    [
        ["questions.kind=options"],
        ["questions.kind=closed", "questions.wording=full"],
        ["questions.kind=options", "questions.prefill_think=true"],
        ["questions.prefill_think=true"],
        [],
    ],
    ids=" ".join,
)
def test_the_rival_learns_right_answers_to_the_questions_asked(
    opened: Callable[..., Experiment], settings: list[str]
) -> None:
    experiment = opened(*settings)
    taxonomy, data = experiment.taxonomy, stage_data(experiment, "grpo")
    records = list(data.split("train"))
    cases = evaluation_data.questions_about(experiment, data, records).cases
    rows = rival.answer_rows(experiment, data, records)
    assert len(rows) == len(records)
    for record, case, row in zip(records, cases, rows.remove_columns("images"), strict=True):
        text = row["completion"][0]["content"]
        answer = read_answer(
            text, taxonomy, options=case.options, option_nodes=case.option_nodes, prefilled=case.prefilled
        )
        gold = record.top_node
        assert gold is not None
        assert answer.outcome == "ok", text
        assert answer.node == gold or taxonomy.is_ancestor(str(answer.node), gold)
        if gold in case.option_nodes or not case.options:
            assert answer.node == gold


def test_a_warm_up_given_as_a_share_is_one_of_the_steps_that_sft_took() -> None:
    asked = {"warmup_steps": 0.03, "lr_scheduler_kwargs": {"min_lr": 1e-6}, "learning_rate": 1e-3}
    made = rival.rival_arguments(asked, seconds=60.0, sft_steps=400)
    assert (made["warmup_steps"], made["max_seconds"], made["learning_rate"]) == (12, 60.0, 1e-3)
    assert made["lr_scheduler_kwargs"] is None, "they are another schedule's"
    assert rival.rival_arguments({"warmup_steps": 30}, seconds=60.0, sft_steps=400)["warmup_steps"] == 30
    assert rival.rival_arguments({}, seconds=60.0, sft_steps=400)["warmup_steps"] == 0


@pytest.mark.parametrize("setting", ["grpo.log_completions=false", "grpo.logging_steps=5"])
def test_a_log_that_would_hide_images_from_the_rival_is_refused_before_grpo(
    opened: Callable[..., Experiment], setting: str
) -> None:
    with pytest.raises(RecipeError, match=r"grpo\.logging_steps: 1"):
        stages.run_grpo(opened("evaluation.continued_sft=true", setting))


# Evaluation


def test_every_chunk_draws_its_own_random_numbers(tmp_path: Path) -> None:
    seeds: list[int | None] = []

    class Engine:
        def generate(self, requests: list[Any], sampling: Sampling) -> list[list[Completion]]:
            seeds.append(sampling.seed)
            return [[Completion("text", (1,), None, True)] for _ in requests]

    engine: Any = Engine
    request: Any = str
    names = [str(number) for number in range(6)]
    for seed in (0, 1):
        sampling = Sampling(8, temperature=1.0, seed=seed)
        assert len(write_completions(tmp_path / f"{seed}.jsonl", "", names, request, engine, sampling, chunk=2)) == 6
    assert len(set(seeds)) == 6


def test_a_limit_is_drawn_over_all_cases(opened: Callable[..., Experiment]) -> None:
    record = stage_data(opened(), "evaluation").records[0]
    records = [replace(record, id=str(number)) for number in range(100)]
    chosen = evaluation_data.limited(records, 20, 0)
    assert len(chosen) == 20
    assert max(int(one.id) for one in chosen) > 50
    assert chosen == evaluation_data.limited(records, 20, 0) != evaluation_data.limited(records, 20, 1)
    assert evaluation_data.limited(records, None, 0) == evaluation_data.limited(records, 200, 0) == records


@pytest.mark.parametrize(
    ("sft_table", "said"),
    [
        ("0.png,melanoma,p1,train\n5.png,melanoma,p6,train", "1 test cases are training cases of sft: 5"),
        ("0.png,melanoma,p1,train\n2.png,psoriasis,p7,train", "patients or lesions stand in two splits: patient p7"),
        ("0.png,melanoma,p1,train\n5.png,melanoma,p6,test", ""),
    ],
)
def test_a_test_case_that_another_stage_learns_is_refused(
    opened: Callable[..., Experiment], tmp_path: Path, sft_table: str, said: str
) -> None:
    (tmp_path / "photographs" / "sft.csv").write_text(f"photo,label,who,part\n{sft_table}\n")
    entry = RECIPE[RECIPE.index("  - source") : RECIPE.index("questions")]
    both = [
        entry.replace("kwargs: {", f"use: {use}\n    kwargs: {{name: clinic, table: {table}, ")
        for use, table in (("sft", "sft.csv"), ("evaluation", "cases.csv"))
    ]
    experiment = opened(recipe=RECIPE.replace(entry, "".join(both)))
    data = stage_data(experiment, "evaluation")
    with pytest.raises(DataError, match=said) if said else nullcontext():
        evaluation_guards.refuse_seen(experiment, data)


def test_data_that_grew_since_training_is_refused(
    opened: Callable[..., Experiment], draw: Callable[..., str], tmp_path: Path
) -> None:
    """Without a split column the splits are dealt anew, and a case that was trained on may be a test case now."""
    experiment = opened()
    data = stage_data(experiment, "evaluation")
    sft = run_directory(experiment, "sft")
    sft.write_environment(data={"records": records_checksum(data.train, data.pixels)})
    sft.mark_complete()
    evaluation_guards.refuse_seen(experiment, data)
    draw(tmp_path / "photographs" / "7.png", 7)
    with (tmp_path / "photographs" / "cases.csv").open("a") as table:
        table.write("\n7.png,melanoma,p8,train")
    experiment = opened()
    with pytest.raises(DataError, match=r"sft: was trained on other data than is there now"):
        evaluation_guards.refuse_seen(experiment, stage_data(experiment, "evaluation"))


def test_completions_of_other_data_are_refused_before_anything_is_generated(
    opened: Callable[..., Experiment], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class StoppedError(Exception):
        """The engine was asked."""

    def stop(*arguments: Any) -> None:
        raise StoppedError

    monkeypatch.setattr(generation.Asker, "generate", stop)
    experiment = opened()
    with pytest.raises(StoppedError):
        evaluate.run_evaluation(experiment, ["base"])
    (experiment.folder / "eval_base" / "completions_greedy.jsonl").write_text("")
    table = tmp_path / "photographs" / "cases.csv"
    table.write_text(table.read_text().replace("melanoma,p6", "psoriasis,p6"))
    with pytest.raises(RecipeError, match="sha256"):
        evaluate.run_evaluation(experiment, ["base"])


def test_the_checksum_of_the_data_covers_what_the_images_show(
    opened: Callable[..., Experiment], draw: Callable[..., str], tmp_path: Path
) -> None:
    def checksum() -> str:
        data = stage_data(opened(), "evaluation")
        return records_checksum(data.split("test"), data.pixels)

    before = checksum()
    assert checksum() == before
    draw(tmp_path / "photographs" / "5.png", 99)
    assert checksum() != before


def test_runs_of_before_a_record_had_options_keep_their_checksum() -> None:
    """Otherwise an update would refuse to evaluate every model that is there already."""
    import hashlib

    from skinrl.data.record import Record

    record = Record(id="1", images=("a/1.png",), modality="clinical", source="clinic", labels=(("melanoma", 1.0),))
    then = {
        "id": "1", "images": [["1.png", "pixels"]], "modality": "clinical", "source": "clinic",
        "labels": [["melanoma", 1.0]], "concepts": {}, "skin_tone": None, "slices": {}, "group": "1",
        "group_kind": "image", "split": None, "raw_label": "", "text_only": False,
    }  # fmt: skip
    expected = hashlib.sha256(json.dumps(then, sort_keys=True).encode()).hexdigest()
    assert records_checksum([record], {"a/1.png": "pixels"}) == f"sha256:{expected}"
    offering = replace(record, options=("a", "b"), option_nodes=("melanoma", ""))
    assert records_checksum([offering], {"a/1.png": "pixels"}) != f"sha256:{expected}"


# Several processes


def test_every_process_refuses_what_the_main_one_refuses(
    opened: Callable[..., Experiment], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise those of other machines wait for a main process that has gone."""
    experiment = opened()
    sft = run_directory(experiment, "sft")
    assert not stages._finished(experiment, sft, "sft")
    sft.log({"step": 1})
    sft.write_environment(taxonomy="a")
    monkeypatch.setenv("RANK", "1")
    assert not stages._finished(experiment, sft, "sft")
    with pytest.raises(RecipeError, match=r"-seed: 0"):
        stages._finished(opened("seed=3"), sft, "sft")
    with pytest.raises(RecipeError, match="taxonomy: a"):
        stages._train(experiment, sft, lambda common: None, "sha256:1")


def test_processes_of_one_launch_load_data_one_after_another(
    opened: Callable[..., Experiment], tmp_path: Path
) -> None:
    (tmp_path / "slow.py").write_text(
        "import json, time, pathlib\n"
        "from skinrl.data.sources.folder import load as load_folder\n"
        "def load(path, taxonomy, columns):\n"
        "    begun = time.time()\n"
        "    records = load_folder(path, taxonomy, columns=columns)\n"
        "    time.sleep(0.5)\n"
        "    with pathlib.Path(path).with_name('times.jsonl').open('a') as file:\n"
        "        file.write(json.dumps([begun, time.time()]) + '\\n')\n"
        "    return records\n"
    )
    opened(recipe=RECIPE.replace("source: folder", "source: ./slow.py:load"))
    program = (
        "import pathlib\n"
        "from skinrl.cli.common import open_experiment\nfrom skinrl.cli.build import stage_data\n"
        "stage_data(open_experiment(pathlib.Path('clinic.yaml'), []), 'sft')\n"
    )
    started = [subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path) for _ in range(2)]
    assert [process.wait(120) for process in started] == [0, 0]
    first, second = sorted(json.loads(line) for line in (tmp_path / "times.jsonl").read_text().splitlines())
    assert first[1] <= second[0]
