"""Parts of the rollout pages: text stays text, numbers are said shortly, curves are drawn to scale."""

from __future__ import annotations

import json
import re

import pytest

from skinrl.pages.rollouts_charts import MOST_POINTS, chart
from skinrl.pages.rollouts_given import Curve, Group, Rollout
from skinrl.pages.rollouts_group import fact_lines, group_card
from skinrl.pages.rollouts_html import el, number


def rollout(row, text="a", total=1.0, **other):
    settings = {"rewards": {"r": total}, "advantage": 0.0, "why": {}, **other}
    return Rollout(row=row, text=text, total=total, **settings)


def card(*rollouts, weights=None):
    return group_card(1, Group(0, "case", [("user", "What?")], {}, rollouts), weights or {"r": 1.0})


def test_text_and_attributes_are_escaped_and_elements_are_not_twice():
    inner = el("b", {"title": 'a "quote" <'}, "<script>&")
    assert inner == '<b title="a &quot;quote&quot; &lt;">&lt;script&gt;&amp;</b>'
    assert el("p", {"hidden": True, "id": None}, [inner, None, 3]) == f"<p hidden>{inner}3</p>"


def test_numbers_have_three_digits_and_a_true_minus():
    assert [number(value) for value in (None, 0.12345, -2.0, -0.0, 1234567.0)] == ["–", "0.123", "−2", "0", "1.23e+06"]


def test_equal_completions_stand_together_unless_their_scores_differ():
    text = card(rollout(0, "x"), rollout(1, "y"), rollout(2, "x"), rollout(3, "x", 0.5))
    assert re.findall(r'aria-label="Completion ([^"]+)"', text) == [
        "#0, #2",
        "#1",
        "#3",
    ]  # best first, then most common
    assert "4 completions, 3 different" in text


def test_what_two_rewards_say_alike_stands_once():
    why = {"r": {"answer": "melanoma", "gold": "x"}, "s": {"answer": "melanoma", "gold": "y"}}
    text = card(rollout(0, rewards={"r": 1.0, "s": None}, why=why), weights={"r": 1.0, "s": 0.5})
    assert text.count("<dt>answer</dt>") == 1
    assert text.count("<dt>gold</dt>") == 2
    assert '<span class="value">None</span>' in text


def test_a_completion_that_was_cut_says_so():
    assert "cut at the length limit" in card(rollout(0, finished=False))
    assert "cut at the length limit" not in card(rollout(0, finished=None))


def test_facts_come_with_their_weights_and_without_what_says_nothing():
    facts = {
        "id": "case", "gold_nodes": ["melanoma", "nevus"], "gold_weights": [0.75, 0.25], "options": [],
        "prefilled": "", "concepts": [{"kind": "colour", "word": "blue"}], "skin_tone": "5", "finished": True,
    }  # fmt: skip
    assert fact_lines(facts) == [
        ("gold", "melanoma 0.75, nevus 0.25"),
        ("concepts", "colour blue"),
        ("skin tone", "5"),
    ]
    assert fact_lines({"gold_nodes": ["melanoma"], "gold_weights": [1.0]}) == [("gold", "melanoma")]


def test_a_long_curve_is_drawn_by_the_means_of_stretches():
    curve = Curve("reward", "reward", [(step, float(step % 2)) for step in range(1, 1001)])
    drawn = chart(curve, (1, 1000))
    points = json.loads(re.search(r'data-points="([^"]+)"', drawn)[1])
    assert len(points) == 250
    assert len(points) <= MOST_POINTS
    assert {value for _, value in points} == {0.5}  # four steps each, half of them 1


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ((0.0, 1.0), ["0", "0.2", "0.4", "0.6", "0.8", "1"]),
        ((5.0, 5.0), ["4.6", "4.8", "5", "5.2", "5.4"]),
        ((0.0, 0.0), ["−1", "−0.5", "0", "0.5", "1"]),
        ((-3e-6, 4e-6), ["−2e−06", "0", "2e−06", "4e−06"]),
    ],
)
def test_the_axis_has_round_numbers(values, ticks):
    drawn = chart(Curve("n", "n", list(enumerate(values, 1))), (1, 2))
    assert re.findall(r'class="y">([^<]+)<', drawn) == ticks


def test_a_curve_of_one_step_can_be_drawn():
    assert "0.5 at step 7" in chart(Curve("n", "n", [(7, 0.5)]), (7, 7))
