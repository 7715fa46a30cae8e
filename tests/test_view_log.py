"""The completions log of a run, read a step at a time."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from rollout_runs import small_run, write_step

from skinrl import files
from skinrl.cli.rollout_log import RolloutLog, UnreadableStepError, find_stage
from skinrl.cli.rollout_search import RolloutSearch
from skinrl.errors import InputError


@pytest.fixture
def run(tmp_path, draw):
    return small_run(tmp_path, draw)


def test_a_run_its_stage_and_its_completions_lead_to_the_same_place(run, monkeypatch):
    stage = run / "grpo"
    assert [find_stage(place) for place in (run, stage, stage / "completions")] == [stage] * 3
    monkeypatch.chdir(run.parents[2])
    assert find_stage(Path("clinic/default")).resolve() == stage


def test_a_folder_without_completions_is_refused_with_the_setting_that_makes_them(tmp_path):
    with pytest.raises(InputError, match="no such folder; expected a run such as runs/phantom/default"):
        find_stage(tmp_path / "nowhere")
    with pytest.raises(InputError, match="log_completions: true"):
        find_stage(tmp_path)


def test_a_step_gives_its_groups_with_scores_reasons_and_advantages(run):
    groups = RolloutLog(run / "grpo").groups(2)
    assert [(group.number, group.id, len(group.rollouts)) for group in groups] == [
        (0, "case-0", 4), (1, "case-1", 4), (2, "case-2", 4),
    ]  # fmt: skip
    first = groups[1]
    assert first.prompt == [("user", "What is the diagnosis?")]
    assert first.facts["gold_nodes"] == ["melanoma"]
    wrong = first.rollouts[2]
    assert (wrong.row, wrong.text, wrong.total) == (6, "Diagnosis of case-1: nevus", 0.25)
    assert wrong.rewards == {"hierarchy_reward": 0.0, "format_reward": 1.0}
    assert wrong.why == {"hierarchy_reward": {"node": "nevus"}}
    assert wrong.finished is True
    # totals 1.25, 1.25, 0.25, 1.0: mean 0.9375
    assert wrong.advantage == pytest.approx(0.25 - 0.9375)
    assert (first.mean, first.spread) == (0.9375, 1.0)


def test_two_groups_of_one_record_side_by_side_are_told_apart_by_the_size_of_a_group(run):
    made = [("same", (1.0, 1.0))] * 8
    write_step(run / "grpo", 9, [("case-0", made)])
    assert [len(group.rollouts) for group in RolloutLog(run / "grpo").groups(9)] == [4, 4]


def test_weights_come_from_the_recipe_and_are_1_without_one(run):
    log = RolloutLog(run / "grpo")
    assert log.weights() == {"hierarchy_reward": 1.0, "format_reward": 0.25}
    assert log.weights_known
    (run / "grpo" / "recipe.resolved.yaml").unlink()
    bare = RolloutLog(run / "grpo")
    assert bare.weights() == {"hierarchy_reward": 1.0, "format_reward": 1.0}
    assert not bare.weights_known


def test_a_score_of_none_is_none_and_not_part_of_the_sum(run):
    write_step(run / "grpo", 7, [("case-0", [("a", (None, 1.0)), ("b", (None, None))])])
    one, other = RolloutLog(run / "grpo").groups(7)[0].rollouts
    assert (one.rewards["hierarchy_reward"], one.total) == (None, 0.25)
    assert other.total is None


def test_steps_that_come_while_the_log_is_open_are_seen(run):
    log = RolloutLog(run / "grpo")
    assert list(log.files()) == [1, 2, 3]
    assert log.curves()[0].points == [(1, 1.01), (2, 1.02), (3, 1.03)]
    write_step(run / "grpo", 4, [("case-0", [("new", (1.0, 1.0))])])
    assert list(log.files()) == [1, 2, 3, 4]
    assert log.curves()[0].points[-1] == (4, 1.04)
    write_step(run / "grpo", 2, [("case-2", [("again", (1.0, 1.0))])])  # a run that was interrupted works a step anew
    assert log.groups(2)[0].rollouts[0].text == "again"


def test_task_metrics_have_curves_over_the_steps_that_measured_them(run):
    files.append_jsonl(run / "grpo" / "metrics.jsonl", {"step": 2, "task/accuracy": 0.5, "task/accuracy_n": 64})
    curves = {curve.name: curve for curve in RolloutLog(run / "grpo").curves()}
    assert curves["task/accuracy"].points == [(2, 0.5)]
    assert curves["task/accuracy"].form == "share"
    assert "task/accuracy_n" not in curves


def test_a_line_that_is_still_being_written_is_read_when_it_is_whole(run):
    log, file = RolloutLog(run / "grpo"), run / "grpo" / "metrics.jsonl"
    log.curves()
    line = json.dumps({"step": 5, "reward": 0.25})
    with file.open("a") as stream:
        stream.write(line[:10])
        stream.flush()
        assert log.curves()[0].points[-1][0] == 3
        stream.write(line[10:] + "\n")
    assert log.curves()[0].points[-1] == (5, 0.25)


def test_a_file_that_is_half_written_is_told_from_a_step_that_is_not_there(run):
    log = RolloutLog(run / "grpo")
    file = run / "grpo" / "completions" / "completions_00003.parquet"
    os.truncate(file, 100)
    with pytest.raises(UnreadableStepError, match=r"completions_00003\.parquet: cannot be read .* half written"):
        log.groups(3)
    with pytest.raises(InputError, match="step 77 has no completions; steps 1 to 3 are logged"):
        log.groups(77)


def test_a_file_of_other_columns_is_refused_and_searched_by_nobody(run):
    write_step(run / "grpo", 4, [("case-0", [("word", (1.0,))])], names=("another_reward",))
    log = RolloutLog(run / "grpo")
    with pytest.raises(UnreadableStepError, match="has no column format_reward, hierarchy_reward"):
        log.groups(4)
    search = RolloutSearch(log)
    assert search.scan() == 3
    assert search.found().steps == 3


def test_images_are_those_that_the_run_wrote_down_for_a_record(run, tmp_path):
    log = RolloutLog(run / "grpo")
    assert log.image_paths("case-1") == [tmp_path / "photos" / "1.png"]
    assert log.image_paths("unknown") == []
    (run / "grpo" / "images.json").unlink()
    assert (log.has_images, log.image_paths("case-1")) == (False, [])
