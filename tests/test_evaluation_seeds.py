"""Several runs of one recipe: the mean over runs, with an interval that knows of patients and of seeds."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
import scipy.stats
from evaluation_toys import case, toy_taxonomy, written
from rich.console import Console

from skinrl import files
from skinrl.errors import DataError
from skinrl.evaluation import Reply, evaluate, print_seeds, read_runs, seeds_table, write_seeds
from skinrl.evaluation.bootstrap import Resampler, mean_measure
from skinrl.evaluation.seeds import over_runs, sister_runs

TOY = toy_taxonomy()


def asked(count: int = 40, prefix: str = ""):
    return [case(f"{prefix}{i}", "naevus", group=f"patient {prefix}{i}") for i in range(count)]


def model(right, prefix: str = ""):
    cases = asked(len(right), prefix)
    return evaluate(cases, TOY, greedy=[Reply(written(TOY, "naevus" if hit else "eczema")) for hit in right])


def test_mean_and_spread_over_runs_worked_by_hand():
    """Four runs, each right where the one before it was and on a few more: both parts count, no bound is cut off."""
    counts = (16, 18, 22, 24)
    runs = {name: {"sft": model([1] * count + [0] * (40 - count))} for name, count in zip("abcd", counts, strict=True)}
    found = seeds_table(runs, resamples=4000)
    accuracy = found["models"]["sft"]["accuracy"]
    assert accuracy["value"] == pytest.approx(0.5)
    assert accuracy["runs"] == [pytest.approx(count / 40) for count in counts]
    assert accuracy["sd"] == pytest.approx(np.std([0.4, 0.45, 0.55, 0.6], ddof=1))
    assert accuracy["n"] == 40
    assert found["same_cases"]
    # patients by the share of runs that are right about them
    of_patients = np.var([1.0] * 16 + [0.75] * 2 + [0.5] * 4 + [0.25] * 2 + [0.0] * 16, ddof=1) / 40
    of_seeds = accuracy["sd"] ** 2 / 4
    assert 0.1 < of_seeds / of_patients < 1, "neither part may be left out unseen"
    total = of_patients + of_seeds
    freedom = total**2 / (of_patients**2 / 39 + of_seeds**2 / 3)
    half = scipy.stats.t.ppf(0.975, freedom) * np.sqrt(total)
    assert 0 < 0.5 - half < 0.5 + half < 1
    assert accuracy["high"] == pytest.approx(0.5 + half, abs=0.006)
    assert accuracy["low"] == pytest.approx(0.5 - half, abs=0.006)


def test_runs_that_agree_leave_the_chance_of_patients_alone():
    right = np.random.default_rng(1).random(60) < 0.6
    one = model(right)
    found = seeds_table({"a": {"sft": one}, "b": {"sft": model(right)}}, resamples=2000)["models"]["sft"]["accuracy"]
    alone = one.metrics(resamples=2000)["accuracy"]
    assert (found["low"], found["high"]) == pytest.approx((alone["low"], alone["high"]), abs=0.02)


def test_ninety_five_percent_of_intervals_hold_the_truth():
    """Runs whose ability differs by seed, on patients some of whom are harder: both must be allowed for."""
    rng, covered, by_patients, trials = np.random.default_rng(3), 0, 0, 400
    resampler = Resampler([f"{n:02d}" for n in range(50)], resamples=200)
    truth = scipy.stats.norm.cdf(0.5 / np.sqrt(2.25))
    for _ in range(trials):
        ease = rng.normal(size=50)
        abilities = rng.normal(0.5, 0.5, size=4)
        hits = [(ease + ability + rng.normal(size=50) > 0).astype(float) for ability in abilities]
        measured = [resampler.measure([mean_measure("accuracy", one)])[0] for one in hits]
        rows = [(float(one.values[0]), one.replicates[0], 50, 50, True) for one in measured]
        found = over_runs(rows, True, False)
        covered += found["low"] <= truth <= found["high"]
        first = measured[0].intervals()["accuracy"]
        by_patients += first.low <= truth <= first.high
    assert 0.92 <= covered / trials <= 0.98, covered / trials
    assert by_patients / trials < 0.85, "one run claims too much"


def test_differences_are_taken_within_each_run():
    sft = [[1] * 20 + [0] * 20, [1] * 10 + [0] * 30]
    grpo = [[1] * 25 + [0] * 15, [1] * 17 + [0] * 23]
    runs = {str(k): {"grpo": model(grpo[k]), "sft": model(sft[k])} for k in range(2)}
    found = seeds_table(runs, resamples=300)
    gain = found["difference"]["grpo-sft"]["accuracy"]
    assert list(found["models"]) == ["sft", "grpo"]
    assert gain["runs"] == [pytest.approx(5 / 40), pytest.approx(7 / 40)]
    assert gain["value"] == pytest.approx(6 / 40)
    of_sft = found["models"]["sft"]["accuracy"]
    assert gain["high"] - gain["low"] < of_sft["high"] - of_sft["low"]


def test_runs_that_asked_other_cases_speak_by_their_spread_alone():
    runs = {name: {"sft": model([1] * count + [0] * (40 - count), name)} for name, count in (("a", 20), ("b", 24))}
    found = seeds_table(runs, resamples=100)
    assert not found["same_cases"]
    accuracy = found["models"]["sft"]["accuracy"]
    half = scipy.stats.t.ppf(0.975, 1) * np.std([0.5, 0.6], ddof=1) / np.sqrt(2)
    assert (accuracy["low"], accuracy["high"]) == pytest.approx((max(0, 0.55 - half), min(1, 0.55 + half)))


def test_a_model_of_one_run_has_no_row_and_one_run_no_table():
    one, two = model([1] * 10), model([0] * 10)
    found = seeds_table({"a": {"base": one, "sft": one}, "b": {"sft": two}}, resamples=20)
    assert list(found["models"]) == ["sft"]
    with pytest.raises(DataError, match="two or more runs, found 1: a"):
        seeds_table({"a": {"sft": one}})
    with pytest.raises(DataError, match="no model was evaluated in two"):
        seeds_table({"a": {"base": one}, "b": {"sft": two}})


def test_all_runs_at_a_hundred_percent_keep_the_doubt_about_patients():
    found = seeds_table({name: {"sft": model([1] * 20)} for name in "ab"}, resamples=50)["models"]["sft"]["accuracy"]
    assert found["high"] == pytest.approx(1.0)
    assert found["low"] < 0.85


def run_folder(folder, name, right, *, recipe, taxonomy=TOY):
    stage = folder / name / "eval_sft"
    model(right).write(stage / "final", resamples=20)
    files.write_yaml(stage / "recipe.resolved.yaml", recipe)
    files.write_json(stage / "environment.json", {"checksums": {"taxonomy": taxonomy.checksum, "data": {}}})


def test_runs_are_read_from_their_folders_and_the_table_is_written_and_printed(tmp_path):
    for seed, name in enumerate(("one", "two")):
        run_folder(tmp_path, name, [1] * (20 + seed) + [0] * 10, recipe={"seed": seed, "model": "tiny"})
    (tmp_path / "three" / "sft").mkdir(parents=True)  # a run that was not evaluated
    runs = read_runs(tmp_path, TOY)
    assert {run: list(models) for run, models in runs.items()} == {"one": ["sft"], "two": ["sft"]}
    same = read_runs(tmp_path, TOY, ["one"])
    assert same["one"]["sft"].cases == runs["one"]["sft"].cases
    with pytest.raises(DataError, match="three: has no evaluated model"):
        read_runs(tmp_path, TOY, ["one", "three"])
    table = seeds_table(runs, resamples=50)
    assert json.loads(write_seeds(tmp_path, table).read_text()) == json.loads(json.dumps(table))
    console = Console(width=80, file=io.StringIO(), color_system=None)
    print_seeds(table, console)
    assert "Mean of 2 runs" in console.file.getvalue()
    assert "66.7" in console.file.getvalue()


def test_runs_of_other_recipes_or_another_taxonomy_are_refused(tmp_path):
    run_folder(tmp_path, "one", [1] * 10, recipe={"seed": 0, "model": "tiny"})
    run_folder(tmp_path, "two", [1] * 10, recipe={"seed": 1, "model": "large"})
    with pytest.raises(DataError, match=r"differ in eval_sft \(model\)"):
        read_runs(tmp_path, TOY)
    environment = tmp_path / "two" / "eval_sft" / "environment.json"
    files.write_json(environment, {"checksums": {"taxonomy": "sha256:other", "data": {}}})
    with pytest.raises(DataError, match="taxonomy of checksum sha256:other"):
        read_runs(tmp_path, TOY)


def test_sisters_are_the_runs_of_the_same_recipe_with_other_seeds(tmp_path):
    for name, recipe in {
        "first": {"seed": 0, "model": "tiny"},
        "again": {"seed": 0, "model": "tiny"},
        "other_seed": {"seed": 1, "model": "tiny"},
        "other_model": {"seed": 2, "model": "large"},
    }.items():
        run_folder(tmp_path, name, [1] * 10, recipe=recipe)
    (tmp_path / "seeds.json").write_text("{}")
    (tmp_path / "empty").mkdir()
    assert sister_runs(tmp_path, "first", TOY) == ["first", "other_seed"]
    assert sister_runs(tmp_path, "other_model", TOY) == ["other_model"]
    environment = tmp_path / "other_seed" / "eval_sft" / "environment.json"
    files.write_json(environment, {"checksums": {"taxonomy": "sha256:other", "data": {}}})
    assert sister_runs(tmp_path, "first", TOY) == ["first"]
