"""The same command resumes; another recipe in the same place is refused, with the difference shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import skinrl
from skinrl import files, runs
from skinrl.errors import RecipeError
from skinrl.runs import RunDirectory

RECIPE = {"name": "phantom", "seed": 1, "sft": {"learning_rate": 1e-6, "note": "1e-6"}, "data": [{"path": Path("a")}]}


@pytest.fixture
def place(tmp_path) -> RunDirectory:
    return RunDirectory(tmp_path / "runs", "phantom", "default", "sft")


def test_a_stage_is_new_then_resumed_then_complete(place):
    assert place.prepare(RECIPE) == "new"
    assert place.path == place.root / "phantom" / "default" / "sft"
    place.log({"step": 1})
    assert place.prepare(RECIPE) == "resume"
    assert not place.is_complete
    place.mark_complete(steps=12)
    assert place.is_complete
    assert place.prepare(RECIPE) == "complete"
    assert json.loads((place.path / "complete.json").read_text())["steps"] == 12


def test_the_order_of_keys_and_tuples_for_lists_are_no_difference(place):
    place.prepare(RECIPE)
    place.log({"step": 1})
    assert place.prepare(dict(reversed([*RECIPE.items()])) | {"data": ({"path": "a"},)}) == "resume"


def test_another_recipe_is_refused_with_both_values_shown(place):
    place.prepare(RECIPE)
    place.log({"step": 1})
    changed = RECIPE | {"sft": {"learning_rate": 2e-6, "note": "1e-6"}}
    with pytest.raises(RecipeError) as refusal:
        place.prepare(changed)
    lines = str(refusal.value).splitlines()
    assert str(place.path) in lines[0]
    assert "-  learning_rate: 1.0e-06" in lines
    assert "+  learning_rate: 2.0e-06" in lines
    assert not any(line.startswith(("-  note", "+  note")) for line in lines)
    assert "RUN=" in lines[-1]
    assert refusal.value.exit_code == 2
    assert place.prepare(RECIPE) == "resume", "a refusal must leave the run as it was"


def test_a_number_turned_into_text_is_a_difference(place):
    place.prepare(RECIPE)
    place.log({"step": 1})
    with pytest.raises(RecipeError, match="'1'"):
        place.prepare(RECIPE | {"seed": "1"})


def test_a_stage_that_did_no_work_takes_the_mended_recipe(place):
    place.prepare(RECIPE | {"seed": "a typing error"})
    place.write_environment(taxonomy="sha256:1")
    place.settle_inputs({"sft": "monday"})
    assert place.prepare(RECIPE) == "new"
    assert "seed: 1" in place.recipe_file.read_text()
    place.write_environment(taxonomy="sha256:2")  # what was noted for the work that never began binds nobody
    place.settle_inputs({"sft": "tuesday"})


def test_a_stage_refuses_to_go_on_from_an_earlier_stage_made_anew(place):
    grpo = place.stage_of_this_run("grpo")
    place.prepare(RECIPE)
    place.mark_complete()
    first = str(place.stamp)
    grpo.prepare(RECIPE)
    grpo.settle_inputs({"sft": first})
    grpo.settle_inputs({"sft": first})
    grpo.settle_inputs({})  # an earlier stage that was removed to save space is no other one
    files.write_json(place.path / "complete.json", {"finished": "later"})
    later = {"sft": str(place.stamp)}
    with pytest.raises(RecipeError, match=r"earlier sft, made anew since.*RUN=name"):
        grpo.settle_inputs(later)


def test_force_takes_the_new_recipe_and_keeps_the_old_one(place):
    place.prepare(RECIPE)
    place.mark_complete()
    assert place.prepare(RECIPE | {"seed": 2}, force=True) == "resume"
    assert "seed: 2" in place.recipe_file.read_text()
    assert "seed: 1" in (place.path / "recipe.before.yaml").read_text()


def test_a_complete_mark_without_its_result_does_not_count(place):
    place.prepare(RECIPE)
    place.mark_complete()
    place.final.rmdir()
    assert place.prepare(RECIPE) == "resume"


@pytest.mark.parametrize("name", ["", "..", "a/b", "/tmp", ".hidden", "a\nb", "a b"])
def test_a_name_that_leaves_its_folder_is_refused(tmp_path, name):
    with pytest.raises(RecipeError, match="cannot name a folder"):
        RunDirectory(tmp_path, "phantom", name, "sft")
    with pytest.raises(RecipeError, match="cannot name a folder"):
        RunDirectory(tmp_path, name, "default", "sft")


def test_environment_holds_versions_commit_and_checksums(place):
    place.prepare(RECIPE)
    written = place.write_environment(taxonomy="sha256:1", data={"pad": "sha256:2"}, extra={"processes": 2})
    on_disk = files.read_json(place.environment_file)
    assert on_disk == written | {"earlier": []}
    assert on_disk["versions"]["skinrl"] == skinrl.__version__
    assert on_disk["versions"]["numpy"].count(".") >= 1
    assert on_disk["checksums"] == {"taxonomy": "sha256:1", "data": {"pad": "sha256:2"}}
    assert on_disk["processes"] == 2
    if on_disk["commit"] is not None:
        assert len(on_disk["commit"]["id"]) == 40


def test_changed_data_under_the_same_recipe_is_refused(place):
    place.write_environment(taxonomy="sha256:1", data={"pad": "sha256:2"})
    with pytest.raises(RecipeError, match="sha256:3"):
        place.write_environment(taxonomy="sha256:1", data={"pad": "sha256:3"})
    place.write_environment(taxonomy="sha256:1", data={"pad": "sha256:3"}, force=True)
    assert files.read_json(place.environment_file)["earlier"][0]["checksums"]["data"] == {"pad": "sha256:2"}


def test_other_versions_are_noted_once_and_do_not_stop_a_run(place, monkeypatch):
    place.write_environment(taxonomy="sha256:1")
    monkeypatch.setattr(runs, "installed_versions", lambda: {"python": "9.9"})
    place.write_environment(taxonomy="sha256:1")
    place.write_environment(taxonomy="sha256:1")
    on_disk = files.read_json(place.environment_file)
    assert on_disk["versions"] == {"python": "9.9"}
    assert len(on_disk["earlier"]) == 1
    assert "earlier" not in on_disk["earlier"][0]


def test_seconds_of_interrupted_and_resumed_sessions_add_up(place, monkeypatch):
    clock = iter([10.0, 13.5, 100.0, 101.25])
    monkeypatch.setattr(runs.time, "monotonic", lambda: next(clock))
    assert place.seconds == 0.0
    with pytest.raises(KeyboardInterrupt), place.session():
        raise KeyboardInterrupt
    with place.session():
        pass
    assert place.seconds == pytest.approx(3.5 + 1.25)


def test_logged_rows_read_back(place):
    assert place.metrics() == []
    place.log({"step": 1, "loss": 0.5})
    place.log({"step": 2, "loss": float("nan")})
    assert place.metrics() == [{"step": 1, "loss": 0.5}, {"step": 2, "loss": None}]
    assert place.stage_of_this_run("grpo").path == place.run_path / "grpo"
