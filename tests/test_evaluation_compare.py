"""An evaluation on disk, and several models side by side."""

from __future__ import annotations

import io
import json
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from evaluation_toys import case, toy_taxonomy, written
from rich.console import Console

from skinrl.errors import DataError
from skinrl.evaluation import (
    Reply,
    case_of,
    compare,
    comparison_svg,
    evaluate,
    print_comparison,
    read_evaluation,
    write_comparison,
)
from skinrl.evaluation.controls import label_prior
from skinrl.evaluation.scoring import target_of

TOY = toy_taxonomy()
LEAVES = TOY.leaves
METRIC = {"value", "low", "high", "n"}
NAMES = {
    "accuracy", "accuracy_sampled", "accuracy_level_1", "accuracy_level_2", "accuracy_level_3", "balanced_accuracy",
    "macro_f1", "hierarchical_precision", "hierarchical_recall", "hierarchical_f1", "mistake_severity",
    "malignancy_sensitivity", "malignancy_specificity", "invalid_share", "truncated_share",
}  # fmt: skip


def cases(count: int = 60):
    return [
        case(str(i), LEAVES[i % len(LEAVES)], group=f"patient {i // 2}", skin_tone=("fitzpatrick", str(i % 6 + 1)))
        for i in range(count)
    ]


def replies(asked, rate: float, seed: int) -> list[Reply]:
    rng = np.random.default_rng(seed)
    nodes = [
        one.gold[0][0] if one.gold and rng.random() < rate else LEAVES[rng.integers(len(LEAVES))] for one in asked
    ]
    return [Reply(written(TOY, node)) for node in nodes]


def model(asked, rate: float, seed: int, **more):
    samples = list(zip(*(replies(asked, rate, 10 * seed + k) for k in range(4)), strict=True))
    blind = replies(asked, 0.0, seed + 100)
    return evaluate(
        asked, TOY, greedy=replies(asked, rate, seed), sampled=samples, controls={"no_image": blind}, **more
    )


def is_metric(value) -> bool:
    return set(value) == METRIC and (value["value"] is None or value["low"] is None or value["low"] <= value["high"])


def test_metrics_json_has_the_promised_names_and_shapes(tmp_path):
    model(cases(), 0.6, 1).write(tmp_path, resamples=100)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert set(metrics) >= NAMES | {"by_skin_tone", "by_modality", "by_source", "by_slice", "controls"}
    assert all(is_metric(metrics[name]) for name in NAMES)
    assert set(metrics["controls"]) == {"no_image", "label_prior"}
    assert all(map(is_metric, metrics["controls"].values()))
    assert set(metrics["by_skin_tone"]["fitzpatrick"]) == set("123456")
    for block in (*metrics["by_skin_tone"]["fitzpatrick"].values(), *metrics["by_modality"].values()):
        assert set(block) >= NAMES - {"accuracy_level_3"}
        assert all(map(is_metric, block.values()))
    assert metrics["accuracy"]["n"] == metrics["cases"] == 60
    assert metrics["groups"] == 30
    assert metrics["samples_per_case"] == 4


def test_accuracy_recounts_from_predictions_jsonl(tmp_path):
    metrics = model(cases(), 0.6, 1).write(tmp_path, resamples=50)
    rows = [json.loads(line) for line in (tmp_path / "predictions.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == [str(i) for i in range(60)]
    assert metrics["accuracy"]["value"] == pytest.approx(np.mean([row["gold"] == row["answer_node"] for row in rows]))
    sampled = [json.loads(line) for line in (tmp_path / "predictions_sampled.jsonl").read_text().splitlines()]
    assert len(sampled) == 240
    right = np.mean([row["gold"] == row["answer_node"] for row in sampled])
    assert metrics["accuracy_sampled"] == metrics["accuracy_sampled"] | {"value": pytest.approx(right), "n": 60}


def test_an_evaluation_reads_back_with_the_same_numbers(tmp_path):
    asked = [*cases(40), case("odd"), case("two", ("naevus", 0.5), ("eczema", 0.5), slices={"sex": "f"})]
    first = model(asked, 0.6, 1)
    metrics = first.write(tmp_path, resamples=50)
    again = read_evaluation(tmp_path, TOY)
    assert again.cases == first.cases
    assert again.samples == first.samples
    assert again.metrics(resamples=50) == metrics
    assert metrics["cases_without_gold"] == 1
    with pytest.raises(DataError, match="cannot be read"):
        read_evaluation(tmp_path / "absent", TOY)
    rows = (tmp_path / "predictions.jsonl").read_text().splitlines()
    (tmp_path / "predictions.jsonl").write_text("\n".join(rows[1:]))
    with pytest.raises(DataError, match="the first without one: 0"):
        read_evaluation(tmp_path, TOY)


def test_answers_to_another_version_of_the_cases_are_refused(tmp_path):
    asked = cases(20)
    model(asked, 0.6, 1).write(tmp_path, resamples=20)
    rows = [json.loads(line) for line in (tmp_path / "cases.jsonl").read_text().splitlines()]

    def put(change):
        lines = [json.dumps(row | (change if row["id"] == "3" else {})) for row in rows]
        (tmp_path / "cases.jsonl").write_text("\n".join(lines))

    put({"skin_tone": ["fitzpatrick", "6"]})
    with pytest.raises(DataError, match=r"another version of the dataset or of other questions: evaluate again"):
        read_evaluation(tmp_path, TOY)
    (tmp_path / "metrics.json").unlink()  # predictions alone, copied beside new cases
    put({"gold": [["eczema", 1.0]]})
    with pytest.raises(DataError, match=r"1 of 20 predictions .* another gold, the first: 3 \(.*, now eczema\)"):
        read_evaluation(tmp_path, TOY)
    put({})
    assert read_evaluation(tmp_path, TOY).cases == tuple(asked)


def test_predictions_of_an_earlier_format_are_read(tmp_path):
    first = model(cases(12), 0.6, 1)
    first.write(tmp_path, resamples=20)
    rows = [json.loads(line) for line in (tmp_path / "predictions.jsonl").read_text().splitlines()]
    new = {"differential", "confidence", "option_logps"}
    old = [json.dumps({key: value for key, value in row.items() if key not in new}) for row in rows]
    (tmp_path / "predictions.jsonl").write_text("\n".join(old))
    assert read_evaluation(tmp_path, TOY).greedy == first.greedy


def test_the_best_blind_guess_of_open_questions_is_the_majority_class():
    asked = [case(str(i), "naevus" if i < 7 else "melanoma" if i < 9 else "nodular_melanoma") for i in range(12)]
    # naevus is right in 7 of 12; nodular melanoma, being a melanoma too, in 5
    metrics = evaluate(asked, TOY, greedy=[Reply("")] * 12).metrics(resamples=20)
    assert metrics["controls"]["label_prior"]["value"] == pytest.approx(7 / 12)
    swapped = [case(str(i), "naevus" if i < 5 else "melanoma" if i < 9 else "nodular_melanoma") for i in range(12)]
    metrics = evaluate(swapped, TOY, greedy=[Reply("")] * 12).metrics(resamples=20)
    assert metrics["controls"]["label_prior"]["value"] == pytest.approx(7 / 12)


def test_no_constant_answer_beats_the_best_blind_guess():
    asked = cases(30) + [case(f"x{i}", "melanoma") for i in range(9)]
    prior = evaluate(asked, TOY, greedy=[Reply("")] * 39).metrics(resamples=20)["controls"]["label_prior"]["value"]
    constant = [
        evaluate(asked, TOY, greedy=[Reply(written(TOY, node))] * 39).metrics(resamples=20)["accuracy"]["value"]
        for node in TOY.ids
        if node != TOY.root
    ]
    assert prior == pytest.approx(max(constant))


def test_the_best_blind_guess_among_options_is_the_most_specific_one():
    nodes = [
        ("melanocytic", "nodular_melanoma", "psoriasis", "eczema"),
        ("melanocytic", "naevus", "eczema", "psoriasis"),
    ]
    asked = [
        case(name, gold, kind="options", options=offered, option_nodes=offered)
        for name, gold, offered in (("a", "nodular_melanoma", nodes[0]), ("b", "naevus", nodes[1]))
    ]
    prior = label_prior(asked, [target_of(one, TOY) for one in asked], TOY)
    # of the second question three options are equally deep, and one of them is right
    assert prior.columns[:, 0] == pytest.approx([1.0, 1 / 3])


def test_the_best_blind_guess_among_equally_deep_options_is_the_commonest_diagnosis_of_other_patients():
    """Four flat options, as collections of questions have them: who always says "naevus" is right in seven of ten."""
    offered = ("naevus", "psoriasis", "eczema", "seborrheic_keratosis")
    facts = {"kind": "options", "options": offered, "option_nodes": offered}
    asked = [case(str(n), "naevus" if n < 7 else offered[n - 6], **facts) for n in range(10)]
    prior = label_prior(asked, [target_of(one, TOY) for one in asked], TOY)
    assert prior.columns[:, 0] == pytest.approx([1.0] * 7 + [0.0] * 3)


def test_a_diagnosis_that_one_patient_has_does_not_name_itself():
    nodes = ("naevus", "psoriasis", "eczema", "seborrheic_keratosis")
    asked = [
        case(f"{n}{k}", nodes[n], group=f"p{n}", kind="options", options=nodes, option_nodes=nodes)
        for n in range(4)
        for k in range(3)
    ]
    prior = label_prior(asked, [target_of(one, TOY) for one in asked], TOY)
    # the other three patients have the other three diagnoses; the most specific rule is right in one of four
    assert prior.columns[:, 0] == pytest.approx([0.25] * 12)


def test_differences_are_paired_and_named_second_minus_first():
    asked = cases(200)
    models = {"grpo": model(asked, 0.8, 3), "base": model(asked, 0.0, 1), "sft": model(asked, 0.4, 2)}
    models["sft_continued"] = model(asked, 0.5, 4)
    found = compare(models, seconds={"sft": 12.5, "grpo": 30.0}, resamples=300)
    assert list(found["models"]) == ["base", "sft", "sft_continued", "grpo"]
    assert {"sft-base", "grpo-sft", "grpo-sft_continued"} <= set(found["difference"])
    gain = found["difference"]["grpo-sft"]["accuracy_sampled"]
    one, two = (found["models"][name]["accuracy_sampled"] for name in ("sft", "grpo"))
    assert gain["value"] == pytest.approx(two["value"] - one["value"])
    assert gain["low"] > 0.2
    assert gain["n"] == 200
    assert found["controls"] == found["models"]["grpo"]["controls"]
    assert found["controls_of"] == "grpo"
    assert found["seconds"] == {"sft": 12.5, "grpo": 30.0}
    assert all(is_metric(value) for pair in found["difference"].values() for value in pair.values())


def test_a_model_that_was_not_sampled_is_compared_on_the_rest():
    asked = cases(20)
    bare = evaluate(asked, TOY, greedy=replies(asked, 0.5, 1))
    found = compare({"sft": bare, "grpo": model(asked, 0.5, 2)}, resamples=50)
    assert "accuracy" in found["difference"]["grpo-sft"]
    assert "accuracy_sampled" not in found["difference"]["grpo-sft"]


def test_models_of_other_cases_are_not_compared():
    asked = cases(20)
    other = [*asked[:5], case("5", "eczema"), *asked[6:]]
    with pytest.raises(DataError, match="the first that differs: 5"):
        compare({"sft": model(asked, 0.5, 1), "grpo": model(other, 0.5, 1)}, resamples=20)
    with pytest.raises(DataError, match="20 cases and grpo on 18"):
        compare({"sft": model(asked, 0.5, 1), "grpo": model(asked[:18], 0.5, 1)}, resamples=20)
    with pytest.raises(DataError, match="nothing to compare"):
        compare({})


def test_the_table_fits_eighty_columns_and_shows_the_control_beside_the_models():
    asked = cases(120)
    rates = {"base": 0.0, "sft": 0.5, "sft_continued": 0.5, "grpo": 1.0}
    found = compare({name: model(asked, rate, 1) for name, rate in rates.items()}, seconds={"sft": 1}, resamples=50)
    console = Console(width=80, file=io.StringIO(), color_system=None)
    print_comparison(found, console)
    text = console.file.getvalue()
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    assert "SFT + GRPO" in text
    assert not any(line.rstrip().endswith("…") or "… " in line for line in lines), "no cell is cut off"
    sampled = next(line for line in lines if line.strip().startswith("sampled"))
    value = found["models"]["sft"]["accuracy_sampled"]
    assert f"{value['value'] * 100:.1f} {value['low'] * 100:.1f}…{value['high'] * 100:.1f}" in sampled
    assert sum(line.strip().startswith("no image") for line in lines) == 1
    assert f"Best guess without an image or a model: {found['controls']['label_prior']['value'] * 100:.1f}" in text
    assert "grpo − sft " in text
    fair = found["models"]["sft"]["fairness"]["skin_tone/fitzpatrick_bands"]["metrics"]["accuracy"]
    row = next(line for line in lines if line.strip().startswith("SFT ") and "bands" in line)
    assert f"{fair['worst']['group']}: {fair['worst']['value'] * 100:.1f}" in row
    assert f"{fair['null']['p']:.3f}" in row


def test_the_picture_is_one_well_formed_file_with_a_bar_per_number(tmp_path):
    asked = cases(60)
    found = compare({name: model(asked, rate, 1) for name, rate in (("sft", 0.5), ("a<b", 0.8))}, resamples=50)
    root = ElementTree.fromstring(comparison_svg(found))
    space = "{http://www.w3.org/2000/svg}"
    texts = [element.text for element in root.iter(f"{space}text")]
    assert {"SFT", "a<b"} <= set(texts)
    for metrics in found["models"].values():
        for metric in (metrics["accuracy_sampled"], metrics["accuracy"], metrics["controls"]["no_image"]):
            assert f"{metric['value'] * 100:.1f}" in texts
    assert len(list(root.iter(f"{space}path"))) == 6, "an interval on every bar"
    assert "href" not in comparison_svg(found)
    write_comparison(tmp_path, found)
    assert json.loads((tmp_path / "comparison.json").read_text()) == found
    assert (tmp_path / "comparison.svg").read_text() == comparison_svg(found)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"controls": {"blindfold": [Reply("")] * 3}}, "blindfold"),
        ({"controls": {"no_image": [Reply("")]}}, "1 completions for 3 cases"),
        ({"greedy": [Reply("")] * 2}, "2 completions for 3 cases"),
        ({"control_cases": {"shuffled_options": cases(3)[::-1]}}, "not those of the evaluation"),
    ],
)
def test_parts_that_do_not_fit_are_refused(change, words):
    with pytest.raises(DataError, match=words):
        evaluate(cases(3), TOY, **({"greedy": [Reply("")] * 3} | change))


def test_doubled_unknown_and_unscorable_cases_are_refused():
    with pytest.raises(DataError, match="stand twice"):
        evaluate([case("a", "naevus")] * 2, TOY, greedy=[Reply("")] * 2)
    with pytest.raises(DataError, match="without cases"):
        evaluate([], TOY, greedy=[])
    with pytest.raises(DataError, match="nothing can be scored"):
        evaluate([case("a")], TOY, greedy=[Reply("")]).metrics()


def test_a_control_with_questions_of_its_own_is_scored_by_them():
    nodes = ("naevus", "psoriasis", "eczema", "melanoma")
    asked = [case(str(i), "naevus", kind="options", options=nodes, option_nodes=nodes) for i in range(6)]
    turned = [case(str(i), "naevus", kind="options", options=nodes[::-1], option_nodes=nodes[::-1]) for i in range(6)]
    always_a = [Reply("<think>\n</think>\n<answer>\nDiagnosis: A\nMalignancy: benign\n</answer>")] * 6
    found = evaluate(
        asked,
        TOY,
        greedy=always_a,
        controls={"shuffled_options": always_a},
        control_cases={"shuffled_options": turned},
    ).metrics(resamples=20)
    assert found["accuracy"]["value"] == 1.0
    assert found["controls"]["shuffled_options"]["value"] == 0.0


def test_a_case_is_made_from_a_record_and_its_question():
    from skinrl.data.questions import Question
    from skinrl.data.record import Record, SkinTone

    record = Record(
        id="r1", images=("a.png",), modality="dermoscopy", source="pad", labels=(("naevus", 1.0),),
        skin_tone=SkinTone("fitzpatrick", "4"), slices={"sex": "f"}, group="7", group_kind="patient",
    )  # fmt: skip
    one = case_of(record, Question(kind="open", text="What is it?"))
    assert (one.id, one.gold, one.skin_tone) == ("r1", (("naevus", 1.0),), ("fitzpatrick", "4"))
    assert (one.group, one.modality, one.slices) == ("pad/7", "dermoscopy", {"sex": "f"})


def test_a_baseline_stands_beside_the_models_without_being_one():
    asked = cases()
    weak, strong = (evaluate(asked, TOY, greedy=replies(asked, rate, 1)) for rate in (0.3, 0.9))
    found = compare({"base": weak, "sft": strong}, baselines={"probe_policy": weak}, resamples=100)
    assert set(found["models"]) == {"base", "sft"}
    assert found["controls_of"] == "sft"
    assert found["baselines"]["probe_policy"] == found["models"]["base"]
    assert set(found["difference"]) == {"sft-base", "sft-probe_policy"}
    assert found["difference"]["sft-probe_policy"] == found["difference"]["sft-base"]
    console = Console(width=120, file=io.StringIO())
    print_comparison(found, console)
    assert "probe policy, a linear classifier: " in console.file.getvalue()
    with pytest.raises(DataError, match="not the same ones"):
        compare({"sft": strong}, baselines={"probe_policy": evaluate(asked[:9], TOY, greedy=replies(asked[:9], 1, 1))})
