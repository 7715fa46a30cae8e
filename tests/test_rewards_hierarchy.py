"""The hierarchy reward, case by case."""

from __future__ import annotations

import pickle

import pytest
from reward_setup import OPEN_CASES, OPTION_CASES, TREE, batch, open_batch, option_batch, said

from skinrl.errors import DataError, PluginError, TaxonomyError
from skinrl.report import DiagnosticReport, prefill
from skinrl.rewards import get_hierarchy_reward
from skinrl.taxonomy.measures import MEASURES

OPEN_SCORES = {
    "gold": 1.0,
    "sibling": 4 / 6,
    "in situ sibling": 4 / 6,
    "parent": 4 / 5,
    "grandparent": 2 / 4,
    "uncertain relative": 2 / 5,
    "very long": 1.0,
}  # everything else earns 0
OPTION_SCORES = {"letter": 1.0, "letter and name": 1.0, "name": 1.0, "sibling": 4 / 6}


def test_the_table_of_open_answers() -> None:
    scores = get_hierarchy_reward(TREE)(**open_batch())
    assert dict(zip(OPEN_CASES, scores, strict=True)) == pytest.approx(
        {case: OPEN_SCORES.get(case, 0.0) for case in OPEN_CASES}
    )


def test_the_table_of_options() -> None:
    scores = get_hierarchy_reward(TREE)(**option_batch())
    assert dict(zip(OPTION_CASES, scores, strict=True)) == pytest.approx(
        {case: OPTION_SCORES.get(case, 0.0) for case in OPTION_CASES}
    )


def test_an_answer_below_an_inner_gold_is_right() -> None:
    scores = dict(zip(OPEN_CASES, get_hierarchy_reward(TREE)(**open_batch("melanoma")), strict=True))
    assert scores["gold"] == scores["sibling"] == scores["in situ sibling"] == scores["parent"] == 1.0
    assert scores["grandparent"] == pytest.approx(2 / 3)
    assert scores["melanoma called a naevus"] == 0.0


def test_a_gold_without_a_node_is_none_for_the_whole_prompt() -> None:
    reward = get_hierarchy_reward(TREE)
    assert reward(**open_batch(None)) == [None] * len(OPEN_CASES)
    assert reward(**open_batch("skin_disease")) == [None] * len(OPEN_CASES)
    assert reward(**option_batch("lichen_planus") | {"option_nodes": [["spitz"] * 4] * len(OPTION_CASES)}) == [
        None
    ] * len(OPTION_CASES)


def test_rows_of_one_batch_are_scored_apart() -> None:
    columns = batch({"a": said("psoriasis"), "b": said("psoriasis"), "c": said("C")})
    columns["gold_nodes"] = [["psoriasis"], [], ["lichen_planus", "psoriasis"]]
    columns["gold_weights"] = [[1.0], [], [0.25, 0.75]]
    columns["options"] = [[], [], ["lichen planus", "common nevus", "psoriasis"]]
    columns["option_nodes"] = [[], [], ["lichen_planus", "common_nevus", "psoriasis"]]
    assert get_hierarchy_reward(TREE)(**columns) == [1.0, None, 1.0]


def test_undetermined_earns_what_the_recipe_says() -> None:
    scores = dict(zip(OPEN_CASES, get_hierarchy_reward(TREE, undetermined=0.3)(**open_batch()), strict=True))
    assert scores["undetermined"] == 0.3
    assert scores["unknown disease"] == scores["empty"] == 0.0
    assert get_hierarchy_reward(TREE, undetermined=0.3)(**open_batch(None)) == [None] * len(OPEN_CASES)


def test_what_the_trainer_knows_about_the_end_counts() -> None:
    columns = batch({"done": said("nodular melanoma"), "cut": said("nodular melanoma")})
    assert get_hierarchy_reward(TREE)(**columns, finished=[True, False]) == [1.0, 0.0]


def test_a_prefilled_tag_belongs_to_the_completion() -> None:
    text = said("nodular melanoma").removeprefix(prefill())
    reward = get_hierarchy_reward(TREE)
    assert reward(**batch({"a": text}, prefilled=prefill())) == [1.0]
    assert reward(**batch({"a": text})) == [0.0]


def test_plain_strings_and_missing_columns_are_taken() -> None:
    reward = get_hierarchy_reward(TREE)
    assert reward([said("melanoma"), ""], [["nodular_melanoma"], ["nodular_melanoma"]]) == pytest.approx([0.8, 0.0])
    blocks = [{"role": "assistant", "content": [{"type": "text", "text": said("nodular melanoma")}]}]
    assert reward([blocks], [["nodular_melanoma"]]) == [1.0]
    assert reward([], []) == []


def test_another_style_is_read_where_the_recipe_chooses_it() -> None:
    text = DiagnosticReport("nodular melanoma", "malignant").render("skin_r1")
    assert get_hierarchy_reward(TREE, style="skin_r1")(**batch({"a": text})) == [1.0]
    assert get_hierarchy_reward(TREE)(**batch({"a": text})) == [0.0]


@pytest.mark.parametrize("measure", MEASURES)
def test_every_measure_pays_the_gold_its_maximum_and_garbage_nothing(measure: str) -> None:
    reward = get_hierarchy_reward(TREE, measure)
    scores = dict(zip(OPEN_CASES, reward(**open_batch()), strict=True))
    assert scores["gold"] == reward.maximum == MEASURES[measure].maximum
    assert all(score <= reward.maximum for score in scores.values())
    for case in ("negated", "two answers in a line", "two lines", "no tags", "only in the reasoning", "empty", "cut"):
        assert scores[case] == 0.0, case


def test_names_and_pickles_are_stable() -> None:
    assert get_hierarchy_reward(TREE).__name__ == "hierarchy_reward"
    assert get_hierarchy_reward(TREE, "wu_palmer").__name__ == "hierarchy_wu_palmer_reward"
    again = pickle.loads(pickle.dumps(get_hierarchy_reward(TREE, "wu_palmer", 0.1)))
    assert again.__name__ == "hierarchy_wu_palmer_reward"
    assert again(**open_batch()) == get_hierarchy_reward(TREE, "wu_palmer", 0.1)(**open_batch())


def test_the_logs_say_why() -> None:
    extra: dict[str, list] = {}
    metrics: dict[str, float] = {}
    columns = open_batch() | {"log_extra": extra.__setitem__, "log_metric": metrics.__setitem__}
    get_hierarchy_reward(TREE)(**columns)
    table = {name: dict(zip(OPEN_CASES, values, strict=True)) for name, values in extra.items()}
    assert table["hierarchy_reward/answer"]["sibling"] == "superficial spreading melanoma"
    assert table["hierarchy_reward/answer"]["two lines"] == "[two Diagnosis lines]"
    assert table["hierarchy_reward/node"]["sibling"] == "superficial_melanoma"
    assert table["hierarchy_reward/node"]["unknown disease"] == "[unresolved]"
    assert table["hierarchy_reward/relation"]["parent"] == "ancestor"
    assert table["hierarchy_reward/relation"]["melanoma called a naevus"] == "opposite"
    assert table["hierarchy_reward/relation"]["empty"] == "none"
    assert metrics["answer/truncated"] == pytest.approx(1 / len(OPEN_CASES))
    assert metrics["taxonomy/ancestor"] == pytest.approx(2 / len(OPEN_CASES))
    assert sum(metrics[name] for name in metrics if name.startswith("answer/")) == pytest.approx(1.0)
    assert sum(metrics[name] for name in metrics if name.startswith("taxonomy/")) == pytest.approx(1.0)


def test_wrong_settings_are_refused_before_training() -> None:
    with pytest.raises(PluginError, match="unknown measure 'f1'; expected one of: default"):
        get_hierarchy_reward(TREE, "f1")
    with pytest.raises(PluginError, match="undetermined must lie from 0 to 1, found 2"):
        get_hierarchy_reward(TREE, undetermined=2)
    with pytest.raises(DataError, match="unknown report style"):
        get_hierarchy_reward(TREE, style="free")


def test_broken_columns_are_errors_and_no_scores() -> None:
    reward = get_hierarchy_reward(TREE)
    with pytest.raises(TaxonomyError, match="no node 'melanom'"):
        reward([said("melanoma")], [["melanom"]])
    with pytest.raises(ValueError, match="column 'gold_nodes' has 2 values for 1 completions"):
        reward([said("melanoma")], [["melanoma"], ["melanoma"]])
    with pytest.raises(ValueError, match="differ in length"):
        reward([said("melanoma")], [["melanoma"]], [[0.5, 0.5]])
    with pytest.raises(TypeError, match="a string or a list of messages"):
        reward([7], [["melanoma"]])
