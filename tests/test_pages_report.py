"""What goes onto the page of an evaluation, without a browser: numbers, examples, privacy, old files, bad input."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from evaluation_toys import case, toy_taxonomy, written
from PIL import Image
from report_runs import HOSTILE, make_cases, make_run
from sklearn.metrics import accuracy_score
from typer.testing import CliRunner

from skinrl import files
from skinrl.cli.app import app
from skinrl.cli.page import write_page
from skinrl.errors import DataError, InputError
from skinrl.evaluation import Reply, evaluate
from skinrl.evaluation.overview import (
    VERDICTS,
    read_answers,
    read_cases,
    right_sample,
    tree_accuracy,
    tree_sizes,
    worst_mistakes,
)
from skinrl.pages.base import document, script_json


def data_of(page: Path) -> dict[str, Any]:
    """The JSON that the page's scripts read."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text(encoding="utf-8"))
    assert found is not None
    return json.loads(found.group(1))


@pytest.fixture(scope="module")
def run(tmp_path_factory, taxonomy, draw):
    folder = tmp_path_factory.mktemp("runs") / "clinic" / "default"
    cases = make_cases(120)
    models = make_run(folder, taxonomy, draw, cases, {"sft": 0.4, "grpo": 0.7}, suites=["open_ended"])
    return folder, cases, models


@pytest.fixture(scope="module")
def page(run):
    return write_page(run[0])


# --- what is counted ------------------------------------------------------------------------------------------------


@pytest.fixture
def toy(tmp_path):
    """Seven cases whose numbers are worked out on paper; patient 1 has three images."""
    tree = toy_taxonomy()
    golds = ["melanoma", "melanoma", "melanoma", "naevus", "psoriasis", "psoriasis", "eczema"]
    said = ["nodular_melanoma", "naevus", "psoriasis", "naevus", "eczema", "psoriasis", None]
    groups = ["1", "1", "1", "2", "3", "4", "5"]
    cases = [
        case(str(number), gold, group=group) for number, (gold, group) in enumerate(zip(golds, groups, strict=True))
    ]
    cases.append(case("7", group="6"))  # its label has no node
    replies = [Reply(written(tree, node) if node else "no idea") for node in [*said, "naevus"]]
    evaluate(cases, tree, greedy=replies).write(tmp_path, resamples=20)
    columns = read_cases(tmp_path, tree)
    return tree, columns, read_answers(tmp_path, columns, tree)


def test_every_answer_has_its_verdict_and_its_distance(toy):
    _, _, answers = toy
    assert [VERDICTS[verdict] for verdict in answers.verdicts] == [
        "right", "wrong", "wrong", "right", "wrong", "right", "invalid", "not scored",
    ]  # fmt: skip
    assert answers.severities == [0, 1, 2, 0, 1, 0, 2, 0]
    assert answers.missed == [False, True, True, False, False, False, False, False]


def test_a_case_counts_at_its_diagnosis_and_at_every_class_above(toy):
    tree, cases, answers = toy
    sizes = tree_sizes(cases, tree)
    assert sizes == {
        "skin": (7, 5), "melanocytic": (4, 2), "melanoma": (3, 1), "naevus": (1, 1), "inflammatory": (3, 3),
        "psoriasis": (2, 2), "eczema": (1, 1),
    }  # fmt: skip
    found = tree_accuracy(cases, answers, sizes, tree)
    right = {node: round(part["accuracy"]["value"] * sizes[node][0]) for node, part in found.items()}
    inside = {node: round(part["inside"] * sizes[node][0]) for node, part in found.items()}
    assert right == {
        "skin": 3, "melanocytic": 2, "melanoma": 1, "naevus": 1, "inflammatory": 1, "psoriasis": 1, "eczema": 0,
    }  # fmt: skip
    assert inside == {
        "skin": 6, "melanocytic": 3, "melanoma": 1, "naevus": 1, "inflammatory": 2, "psoriasis": 1, "eczema": 0,
    }  # fmt: skip


def test_the_interval_on_the_tree_is_wilsons_with_patients_as_units(toy):
    from scipy.stats import binomtest

    tree, cases, answers = toy
    found = tree_accuracy(cases, answers, tree_sizes(cases, tree), tree)["psoriasis"]["accuracy"]
    theirs = binomtest(1, 2).proportion_ci(method="wilson")
    assert (found["low"], found["high"]) == pytest.approx((theirs.low, theirs.high))


def test_malignant_called_benign_comes_first_then_the_farther_then_the_worse(toy):
    _, cases, answers = toy
    assert worst_mistakes(cases, answers, 10) == [2, 1, 6, 4]
    assert worst_mistakes(cases, answers, 2) == [2, 1]


def test_one_patient_does_not_fill_the_examples_while_there_are_others(toy):
    _, cases, answers = toy
    cases.groups[4] = cases.groups[6] = cases.groups[0]  # all mistakes are of one patient
    assert worst_mistakes(cases, answers, 10) == [2, 1, 6, 4]
    cases.groups[4] = 99
    assert worst_mistakes(cases, answers, 3) == [2, 1, 4]
    assert sorted(right_sample(cases, answers, 10)) == [0, 3, 5]
    assert right_sample(cases, answers, 10) == right_sample(cases, answers, 10)


def test_the_tree_agrees_with_the_metrics(run, page):
    _, cases, models = run
    one = data_of(page)["sets"][0]
    for model in one["models"]:
        golds = [case.gold[0][0] for case in cases]
        said = [prediction.answer_node for prediction in models[model["name"]].greedy]
        share = accuracy_score(golds, [str(node) for node in said])
        assert model["tree"]["0"]["accuracy"]["value"] == pytest.approx(share, abs=1e-5)
        assert model["metrics"]["accuracy"]["value"] == pytest.approx(share, abs=1e-5)


# --- what is on the page --------------------------------------------------------------------------------------------


def test_suites_and_models_stand_in_order_and_the_main_questions_first(page):
    sets = data_of(page)["sets"]
    assert [one["name"] for one in sets] == ["main", "open_ended"]
    assert [model["name"] for model in sets[0]["models"]] == ["sft", "grpo"]
    assert sets[1]["title"] == "Suite open_ended"
    assert sets[1]["notes"] == ["3 cases left out: too small."]
    assert len(sets[1]["ids"]) == 40


def test_rewards_of_the_run_are_those_that_the_functions_give_and_nobodys_own_code_runs(run, page, taxonomy):
    from skinrl.rewards import get_hierarchy_reward

    _, cases, models = run
    grpo = data_of(page)["sets"][0]["models"][1]
    assert set(grpo["rewards"]) == {str(number) for number in {*grpo["worst"], *grpo["right"]}}
    reward = get_hierarchy_reward(taxonomy=taxonomy)
    for number, parts in list(grpo["rewards"].items())[:10]:
        assert set(parts) == {"hierarchy_reward", "report_format_reward"}
        completion = models["grpo"].greedy[int(number)].completion
        gold = cases[int(number)].gold[0][0]
        (value,) = reward(completions=[completion], gold_nodes=[[gold]], gold_weights=[[1.0]], prompts=[None])
        assert parts["hierarchy_reward"] == pytest.approx(value, abs=1e-5)


def test_no_more_thumbnails_than_asked_for_each_small_and_without_metadata(run, tmp_path):
    folder, cases, _ = run
    paths = files.read_json(folder / "eval_sft" / "final" / "images.json")
    exif = Image.Exif()
    exif[0x010E] = "patient 7"
    big = tmp_path / "big.jpg"
    Image.effect_noise((1500, 900), 60).convert("RGB").save(big, exif=exif)
    worst = data_of(write_page(folder, tmp_path / "a.html"))["sets"][0]["models"][0]["worst"][0]
    files.write_json(folder / "eval_sft" / "final" / "images.json", paths | {cases[worst].id: [str(big)]})
    page = write_page(folder, tmp_path / "few.html", images=20)
    files.write_json(folder / "eval_sft" / "final" / "images.json", paths)
    sets = data_of(page)["sets"]
    assert sum(len(one["images"]) for one in sets) == 20
    first = base64.b64decode(sets[0]["images"][str(worst)].partition(",")[2])
    with Image.open(io.BytesIO(first)) as image:
        assert image.size == (192, 115)
        assert not image.getexif()
    assert "photographs" not in page.read_text()
    assert str(tmp_path) not in page.read_text()


def test_without_images_no_photograph_is_on_the_page_and_it_says_so(run, tmp_path):
    page = tmp_path / "private.html"
    done = CliRunner().invoke(app, ["page", str(run[0]), "--out", str(page), "--no-images"])
    assert done.exit_code == 0, done.output
    assert "data:image" not in page.read_text()
    assert data_of(page)["notes"] == ["This page was made without photographs."]


def test_images_that_are_gone_are_counted_and_an_evaluation_that_noted_none_says_so(run, tmp_path, taxonomy, draw):
    cases = make_cases(12)
    make_run(tmp_path / "a" / "b", taxonomy, draw, cases, {"sft": 0.5})
    for file in (tmp_path / "a" / "b" / "photographs").iterdir():
        file.unlink()
    assert data_of(write_page(tmp_path / "a" / "b"))["notes"] == [
        "12 images could not be read again; their cases are shown without."
    ]
    (tmp_path / "a" / "b" / "eval_sft" / "final" / "images.json").unlink()
    (note,) = data_of(write_page(tmp_path / "a" / "b"))["notes"]
    assert note.startswith("Images are not shown where the evaluation did not write down")


def test_nothing_that_a_model_wrote_can_end_the_script_or_reach_the_network(page):
    html = page.read_text(encoding="utf-8")
    assert HOSTILE not in html
    assert html.count("</script>") == 2
    assert HOSTILE in [text for model in data_of(page)["sets"][0]["models"] for text in model["texts"]]
    assert "default-src &#x27;none&#x27;" in html
    assert not re.search(r"<(script|link|img|iframe)[^>]+(src|href)=.(?!data:)", html)
    assert json.loads(script_json({"a": "</script><!--\u2028"})) == {"a": "</script><!--\u2028"}
    assert "connect-src &#x27;self&#x27;" in document("t", "", connect="'self'")
    assert "img-src data: &#x27;self&#x27;" in document("t", "", connect="'self'")


def test_a_page_of_many_cases_keeps_the_reports_of_those_it_shows(run, tmp_path, monkeypatch):
    monkeypatch.setattr("skinrl.cli.page_sets._TEXT_BYTES", 1)
    one = data_of(write_page(run[0], tmp_path / "large.html"))["sets"][0]
    for model in one["models"]:
        assert {int(number) for number in model["text_of"]} == {*model["worst"], *model["right"]}
    assert one["few_texts"] is True


# --- several runs, old files, bad input -----------------------------------------------------------------------------


def test_two_runs_on_the_same_cases_stand_side_by_side_with_their_paired_difference(tmp_path, taxonomy):
    cases = make_cases(60)
    runs = [tmp_path / "clinic" / name for name in ("first", "second")]
    for run, skill in zip(runs, (0.2, 0.9), strict=True):
        make_run(run, taxonomy, None, cases, {"grpo": skill})
    (one,) = data_of(write_page(runs, tmp_path / "both.html"))["sets"]
    first, second = one["models"]
    assert (first["name"], second["name"]) == ("clinic / first: grpo", "clinic / second: grpo")
    (found,) = one["difference"].values()
    gain = second["metrics"]["accuracy"]["value"] - first["metrics"]["accuracy"]["value"]
    assert found["accuracy"]["value"] == pytest.approx(gain, abs=2e-5)
    assert found["accuracy"]["low"] > 0


def test_runs_of_the_same_name_are_told_apart_by_the_folders_above(tmp_path, taxonomy):
    runs = [tmp_path / place / "clinic" / "default" for place in ("here", "there")]
    for run, skill in zip(runs, (0.2, 0.9), strict=True):
        make_run(run, taxonomy, None, make_cases(40), {"sft": 0.1, "grpo": skill})
    page = data_of(write_page([*runs, runs[0]], tmp_path / "both.html"))
    assert page["title"] == "here / clinic / default, there / clinic / default"
    (one,) = page["sets"]
    assert len({model["name"] for model in one["models"]}) == 4
    assert len(one["difference"]) == 4  # within each run, and of each model between them


def test_runs_on_other_cases_are_not_set_side_by_side(tmp_path, taxonomy):
    runs = [tmp_path / "clinic" / name for name in ("first", "second")]
    for run, count in zip(runs, (20, 30), strict=True):
        make_run(run, taxonomy, None, make_cases(count), {"grpo": 0.5})
    sets = data_of(write_page(runs, tmp_path / "both.html"))["sets"]
    assert [len(one["ids"]) for one in sets] == [20, 30]
    assert [one["title"] for one in sets] == [
        "Main questions (clinic / first)", "Main questions (clinic / second)",
    ]  # fmt: skip


def test_a_single_evaluation_of_the_first_format_makes_a_page(run, tmp_path):
    """Only what the first version wrote: no calibration, no fairness, no images, no recipe, no comparison."""
    old = tmp_path / "mine"
    final = run[0] / "eval_sft" / "final"
    metrics = files.read_json(final / "metrics.json")
    kept = {"accuracy", "hierarchical_f1", "controls", "by_skin_tone", "by_modality", "by_source", "by_slice", "cases"}
    files.write_json(old / "metrics.json", {key: value for key, value in metrics.items() if key in kept})
    for name, gone in (("cases", set()), ("predictions", {"differential", "confidence", "option_logps"})):
        rows = files.read_jsonl(final / f"{name}.jsonl")
        files.write_jsonl(old / f"{name}.jsonl", [{k: v for k, v in row.items() if k not in gone} for row in rows])
    (one,) = data_of(write_page(old))["sets"]
    assert [model["name"] for model in one["models"]] == ["mine"]
    assert one["difference"] == {}


def test_a_folder_without_an_evaluation_is_refused_with_what_was_expected(tmp_path):
    with pytest.raises(InputError, match="no finished evaluation is there; expected the folder of a run"):
        write_page(tmp_path)
    done = CliRunner().invoke(app, ["page", str(tmp_path / "nowhere")])
    assert isinstance(done.exception, InputError)
    assert "no such folder; expected runs/<recipe>/<run>" in str(done.exception)


def test_predictions_of_other_cases_and_unknown_nodes_are_refused(run, tmp_path, taxonomy):
    final = run[0] / "eval_sft" / "final"
    for name in ("metrics.json", "cases.jsonl"):
        (tmp_path / name).write_bytes((final / name).read_bytes())
    rows = files.read_jsonl(final / "predictions.jsonl")
    files.write_jsonl(tmp_path / "predictions.jsonl", rows[1:])
    with pytest.raises(DataError, match=r"prediction 1 is of case 'case-00001', expected 'case-00000'"):
        write_page(tmp_path)
    files.write_jsonl(tmp_path / "predictions.jsonl", [{**rows[0], "answer_node": "moonpox"}, *rows[1:]])
    with pytest.raises(DataError, match="the taxonomy has no node moonpox"):
        write_page(tmp_path)
    files.write_jsonl(tmp_path / "predictions.jsonl", rows[:-1])
    with pytest.raises(DataError, match="119 predictions for 120 cases"):
        write_page(tmp_path)
