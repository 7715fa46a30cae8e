"""The questions of the controls: what they change, what they leave alone, and what their numbers say."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest
from evaluation_toys import case, toy_taxonomy, written

from skinrl.data.prompts import question_text
from skinrl.errors import DataError, InputError
from skinrl.evaluation import Case, Reply, evaluate, read_evaluation
from skinrl.evaluation.control_questions import control_questions, control_sample, new_order
from skinrl.evaluation.wrong_images import other_images

TOY = toy_taxonomy()
LEAVES = ("naevus", "nodular_melanoma", "basal_cell_carcinoma", "psoriasis")


def many(count: int = 40, leaves: tuple[str, ...] = LEAVES, **facts) -> list[Case]:
    """Two cases of each patient, in turn of each diagnosis."""
    return [
        case(f"c{n:03d}", leaves[n % len(leaves)], group=f"toy/p{n // (2 * len(leaves))}-{n % len(leaves)}", **facts)
        for n in range(count)
    ]


def ask(control: str, cases: list[Case], prompts=None, chosen=None, **more):
    prompts = prompts or [[{"role": "user", "content": f"What is shown? {one.id}"}] for one in cases]
    chosen = range(len(cases)) if chosen is None else chosen
    return control_questions(control, cases, prompts, TOY, chosen=chosen, **{"seed": 3, **more})


# --- which cases ---------------------------------------------------------------------------------------------------


def test_whole_patients_are_drawn_and_the_order_of_the_cases_does_not_matter():
    cases = [case(str(n), "naevus", group=f"p{n // 3}") for n in range(90)]
    chosen = control_sample(cases, limit=20, seed=1)
    assert len(chosen) == 18  # six patients of three images each; a seventh would be too many
    patients = Counter(cases[n].group for n in chosen)
    assert set(patients.values()) == {3}
    turned = cases[::-1]
    assert {turned[n].id for n in control_sample(turned, limit=20, seed=1)} == {cases[n].id for n in chosen}
    assert control_sample(cases, limit=20, seed=2) != chosen


def test_all_cases_with_a_gold_are_chosen_where_there_is_no_limit():
    cases = [*many(8), case("none", group="toy/p9")]
    assert control_sample(cases, limit=None, seed=0) == tuple(range(8))
    assert control_sample(cases, seed=0) == tuple(range(8))  # 500 by default


# --- no image, metadata --------------------------------------------------------------------------------------------


def test_no_image_asks_the_same_question_without_any_place_for_an_image():
    prompt = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]}]
    (question,) = ask("no_image", many(1), [prompt])
    assert question.prompt == [{"role": "user", "content": [{"type": "text", "text": "What is it?"}]}]
    assert question.shows is None
    assert len(prompt[0]["content"]) == 2  # the evaluation's own prompt is as it was


def test_metadata_only_tells_age_sex_site_and_tone_and_says_where_they_are_missing():
    full = case(
        "a", "naevus", slices={"age": "60s", "site": "nose", "biopsied": "true"}, skin_tone=("fitzpatrick", "2")
    )
    bare = case("b", "nodular_melanoma", slices={"sex": "female"})
    asked = ask("metadata_only", [full, bare])
    assert asked[0].prompt[0]["content"].split("\n") == [
        "Patient: age 60s; sex not recorded; site nose; skin tone fitzpatrick 2",
        "What is shown? a",
    ]
    assert (
        asked[1].prompt[0]["content"].startswith("Patient: age not recorded; sex female; site not recorded; skin tone")
    )
    assert all(question.shows is None for question in asked)
    assert ask("metadata_only", [case("c", "naevus", slices={"biopsied": "true"})]) == ()  # nothing is recorded
    assert "true" not in asked[0].prompt[0]["content"]  # whether it was biopsied tells the answer, and is no detail


def test_details_of_patients_go_to_no_other_machine():
    with pytest.raises(InputError, match="metadata_only puts age"):
        ask("metadata_only", many(2), remote=True)
    assert ask("no_image", many(2), remote=True)
    with pytest.raises(InputError, match="unknown control 'blindfold'"):
        ask("blindfold", many(2))


# --- options -------------------------------------------------------------------------------------------------------


def offered(id: str = "a", options=("naevus", "nodular melanoma", "psoriasis", "skin")) -> Case:
    nodes = tuple(name.replace(" ", "_") for name in options)
    return case(id, "nodular_melanoma", kind="options", options=tuple(options), option_nodes=nodes)


@pytest.mark.parametrize("answer_with", ["letter", "name"])
def test_shuffled_options_are_the_same_question_with_every_option_in_another_place(answer_with):
    one = offered()
    text = question_text("options", one.options, wording="full", answer_with=answer_with)
    (question,) = ask("shuffled_options", [one], [[{"role": "user", "content": text}]])
    assert sorted(question.case.options) == sorted(one.options)
    assert all(a != b for a, b in zip(question.case.options, one.options, strict=True))
    assert [node.replace("_", " ") for node in question.case.option_nodes] == list(question.case.options)
    asked = question_text("options", question.case.options, wording="full", answer_with=answer_with)
    assert question.prompt[0]["content"] == asked  # as if the question had been asked so from the start
    assert question.shows == 0
    assert question.case.id == one.id


def test_open_questions_have_nothing_to_shuffle_and_an_unknown_layout_is_refused():
    assert ask("shuffled_options", many(5)) == ()
    with pytest.raises(InputError, match="no lines that end in its options"):
        ask("shuffled_options", [offered()], [[{"role": "user", "content": "naevus or melanoma?"}]])


def test_every_order_without_a_fixed_place_is_drawn_equally_often():
    """Of four things there are nine such orders."""
    rng = random.Random(0)
    drawn = Counter(tuple(new_order(4, rng)) for _ in range(9000))
    assert len(drawn) == 9
    assert all(880 < count < 1120 for count in drawn.values())  # four standard deviations of 30
    assert new_order(2, rng) == [1, 0]


# --- another image -------------------------------------------------------------------------------------------------


def related(a: str, b: str) -> bool:
    return a == b or TOY.is_ancestor(a, b) or TOY.is_ancestor(b, a)


def test_every_image_is_shown_once_to_another_patient_of_another_diagnosis():
    cases = many(40) + many(16, ("naevus", "psoriasis"), source="other") + many(12, modality="dermoscopy")
    cases = [replace(one, id=f"{n}") for n, one in enumerate(cases)]
    shown = other_images(cases, range(len(cases)), TOY, seed=0)
    assert list(shown) == list(range(len(cases)))
    assert sorted(shown.values()) == list(range(len(cases)))
    for number, other in shown.items():
        one, two = cases[number], cases[other]
        assert (one.source, one.modality) == (two.source, two.modality)
        assert one.group != two.group
        assert not related(one.gold[0][0], two.gold[0][0])
    assert shown == other_images(cases, range(len(cases)), TOY, seed=0)
    assert shown != other_images(cases, range(len(cases)), TOY, seed=1)


def test_no_patient_lends_an_image_to_his_own_other_lesion():
    """One patient has half of all lesions, of other diagnoses than the rest and than one another."""
    his = [case(f"h{n}", LEAVES[n % 2], group="him") for n in range(6)]
    others = [case(f"o{n}", LEAVES[2 + n % 2]) for n in range(6)]
    shown = other_images([*his, *others], range(12), TOY, seed=0)
    assert {shown[n] for n in range(6)} == set(range(6, 12))
    assert other_images(his, range(6), TOY, seed=0) == {}


def test_an_image_below_an_inner_gold_is_no_wrong_image_for_it():
    cases = [case("a", "melanocytic"), case("b", "naevus"), case("c", "psoriasis"), case("d", "eczema")]
    shown = other_images(cases, range(4), TOY, seed=0)
    assert {shown[0], shown[1]} == {2, 3}


def test_images_are_shown_twice_only_where_one_diagnosis_has_more_than_half_of_the_cases():
    cases = [case(str(n), "naevus" if n < 7 else "psoriasis") for n in range(10)]
    shown = other_images(cases, range(10), TOY, seed=0)
    assert len(shown) == 10
    assert all(cases[n].gold != cases[other].gold for n, other in shown.items())
    assert {shown[n] for n in range(7)} == {7, 8, 9}


def test_a_case_without_any_other_image_is_left_out():
    alone = case("x", "eczema", source="alone")
    questions = ask("wrong_image", [*many(8), alone])
    assert [question.number for question in questions] == list(range(8))
    assert ask("wrong_image", [alone]) == ()


def test_a_large_set_with_one_large_diagnosis_is_dealt_in_linear_time():
    """Two in three are naevi, as in HAM10000: at most 2,000 partners are tried, not all."""
    cases = [case(str(n), "naevus" if n % 3 else LEAVES[1 + n // 3 % 3]) for n in range(6000)]
    shown = other_images(cases, range(6000), TOY, seed=0)
    assert len(shown) == 6000
    assert all(cases[n].gold != cases[other].gold for n, other in shown.items())


# --- their numbers -------------------------------------------------------------------------------------------------


def test_model_and_control_are_compared_on_the_same_cases(tmp_path):
    """Six cases, four asked without an image: the model is right in 3 of these 4, the blind one in 1, both in 1."""
    cases = [case(str(n), LEAVES[n % 4]) for n in range(6)]
    right = [Reply(written(TOY, one.gold[0][0])) for one in cases]
    eczema = Reply(written(TOY, "eczema"))
    chosen = [1, 2, 3, 5]
    model = [right[0], right[1], right[2], right[3], right[4], eczema]
    blind = [right[1], eczema, eczema, eczema]
    made = evaluate(
        cases, TOY, greedy=model, controls={"no_image": blind}, control_cases={"no_image": [cases[n] for n in chosen]}
    )
    found = made.metrics(resamples=50)
    assert found["accuracy"]["value"] == pytest.approx(5 / 6)
    assert found["controls"]["no_image"] | {"low": 0, "high": 0} == {"value": 0.25, "low": 0, "high": 0, "n": 4}
    beside = found["controls_paired"]["no_image"]
    assert beside["model"]["value"] == pytest.approx(0.75)
    assert beside["difference"]["value"] == pytest.approx(0.5)
    assert beside["same_answer"]["value"] == pytest.approx(0.5)  # the first and the last
    silent = evaluate(cases, TOY, greedy=[Reply("")] * 6, controls={"no_image": [Reply("")] * 6})
    assert silent.metrics(resamples=50)["controls_paired"]["no_image"]["same_answer"]["value"] == 0.0
    made.write(tmp_path, resamples=50)
    assert read_evaluation(tmp_path, TOY).metrics(resamples=50) == found


def test_the_intervals_of_controls_are_over_patients():
    """Five images of each patient are answered alike: counted one by one they would seem to say more."""
    replies = [Reply(written(TOY, "naevus" if n % 2 else "eczema")) for n in range(24) for _ in range(5)]
    blind = [Reply(written(TOY, "eczema" if n % 3 else "naevus")) for n in range(24) for _ in range(5)]
    width = []
    for each in (5, 1):
        cases = [case(str(n), "naevus", group=f"p{n // each}") for n in range(120)]
        found = evaluate(cases, TOY, greedy=replies, controls={"no_image": blind}).metrics(resamples=400)
        beside = found["controls_paired"]["no_image"]
        listed = (found["controls"]["no_image"], beside["model"], beside["difference"], beside["same_answer"])
        width.append([one["high"] - one["low"] for one in listed])
    assert all(by_patient > 1.7 * by_case for by_patient, by_case in zip(*width, strict=True))


def test_cases_of_a_control_that_are_not_those_of_the_evaluation_are_refused():
    cases = many(4)
    for other in ([cases[1], cases[0]], [cases[0], cases[0]], [case("x", "naevus")]):
        with pytest.raises(DataError, match="not those of the evaluation in the same order"):
            evaluate(
                cases, TOY, greedy=[Reply("")] * 4, controls={"no_image": [Reply("")] * len(other)},
                control_cases={"no_image": other},
            )  # fmt: skip
