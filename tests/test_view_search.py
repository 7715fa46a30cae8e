"""The search for cheating: each sign on numbers worked by hand, and the cheats that it is for."""

from __future__ import annotations

import math
import os

import numpy as np
import pytest
from rollout_runs import write_recipe, write_step

from skinrl.cli.rollout_log import RolloutLog
from skinrl.cli.rollout_search import RolloutSearch
from skinrl.cli.rollout_signs import StepFacts, judge


def facts(rollouts, version=(0, 0)):
    """A step of (text, prompt, length, scores)."""
    texts, prompts, lengths, scores = zip(*rollouts, strict=True)
    return StepFacts(
        version, np.array(scores, np.float32), np.array(lengths, np.int32),
        np.array([ord(text) for text in texts], np.uint64), np.array(prompts, np.uint64),
    )  # fmt: skip


def test_rewards_that_disagree_count_by_how_high_the_sum_is():
    step = facts([("a", 1, 9, (1, 0)), ("b", 1, 9, (0, 1)), ("c", 1, 9, (1, 1)), ("d", 1, 9, (0, 0))])
    found = judge({1: step}, [3.0, 1.0])
    # sums 3, 1, 4, 0 of 0 to 4; the rewards are wholly apart in the first two
    assert found.signs["disagreement"] == pytest.approx([0.75**2, 0.25**2, 0, 0])


def test_a_reward_is_taken_between_its_lowest_and_highest_of_the_run_and_one_that_never_varies_is_left_out():
    step = facts([("a", 1, 9, (2, 5, 0.5)), ("b", 1, 9, (0, 5, 0.7)), ("c", 1, 9, (1, 5, 0.6))])
    found = judge({1: step}, [1.0, 1.0, 0.0])
    assert found.scaled[:, 0] == pytest.approx([1, 0, 0.5])
    assert np.isnan(found.scaled[:, 1]).all()
    assert found.signs["disagreement"] == pytest.approx([1, 0, 0], abs=1e-6)


def test_a_text_for_many_prompts_counts_by_the_share_of_the_other_prompts():
    step = facts([("x", 1, 9, (1,)), ("x", 1, 9, (1,)), ("x", 2, 9, (1,)), ("y", 3, 9, (0,)), ("x", 3, 9, (1,))])
    found = judge({1: step}, [1.0])
    # x was given to all three prompts; twice to one of them makes no difference; y's sum is the lowest
    assert found.signs["repeated"] == pytest.approx([1, 1, 1, 0, 1])
    assert found.same_text.tolist() == [3, 3, 3, 1, 3]


def test_texts_are_compared_within_a_block_of_steps_with_32_prompts():
    early = facts([("x", prompt, 9, (1,)) for prompt in range(32)])
    late = facts([(chr(200 + prompt), prompt, 9, (1,)) for prompt in range(31)] + [("x", 31, 9, (1,))])
    found = judge({1: early, 2: late}, [1.0])
    assert found.signs["repeated"][:32] == pytest.approx([1.0] * 32)
    assert found.signs["repeated"][32:] == pytest.approx([0.0] * 32)


def test_length_counts_from_the_median_to_four_times_of_it():
    step = facts([(chr(97 + i), 1, length, (1,)) for i, length in enumerate((50, 100, 100, 200, 400, 900))])
    found = judge({1: step}, [1.0])
    assert found.medians == pytest.approx([150] * 6)
    expected = [0, 0, 0, math.log(200 / 150, 4), math.log(400 / 150, 4), 1]
    assert found.signs["long"] == pytest.approx(expected)


def test_signs_add_up_as_one_less_the_product_of_what_they_leave():
    step = facts([("x", 1, 10, (1, 0)), ("x", 2, 40, (1, 1)), ("y", 3, 10, (0, 0))])
    found = judge({1: step}, [1.0, 1.0])
    for index in range(3):
        left = math.prod(1 - values[index] for values in found.signs.values())
        assert found.score[index] == pytest.approx(1 - left)
    # the first: half the highest sum, so a level of 0.25; wholly apart: 0.25; its text for 1 of 2 other prompts: 0.125
    assert found.score[0] == pytest.approx(1 - 0.75 * 0.875)


def test_a_reward_that_rises_while_another_falls_is_found_from_the_step_where_it_was_best():
    # Step by step the first reward goes from 0 to 1 and the second from 1 to 0.
    steps = {s: facts([(chr(300 + s), s, 9, (s / 19, 1 - s / 19))] * 2) for s in range(20)}
    found = judge(steps, [1.0, 1.0])
    # means over five steps, at the end 17/19 and 2/19; the second was best at the first step
    since, rise, fall = found.since[19][found.pairs.index((0, 1))]
    assert since == 0
    assert [rise, fall] == pytest.approx([17 / 19, 17 / 19])
    assert found.signs["parting"][-1] == pytest.approx(17 / 19)
    assert found.pairs[found.pair[-1]] == (0, 1)
    assert not any(found.pairs.index((1, 0)) in changes for changes in found.since.values())


def test_rewards_that_rise_together_or_by_chance_do_not_part():
    rng = np.random.default_rng(0)
    together = {
        s: facts([(chr(i), i, 9, (min(1, s / 50 + rng.normal(0, 0.05)), s / 50)) for i in range(16)])
        for s in range(50)
    }
    noise = {s: facts([(chr(i), i, 9, rng.random(2)) for i in range(64)]) for s in range(60)}
    assert not judge(together, [1.0, 1.0]).since
    assert not judge(noise, [1.0, 1.0]).since


def test_the_same_rollouts_logged_at_two_steps_count_once():
    one = [("x", 1, 9, (1, math.nan)), ("y", 2, 9, (0, 1))]
    found = judge({1: facts(one), 2: facts(one, (1, 1)), 3: facts([("z", 1, 9, (1, 1))])}, [1.0, 1.0])
    assert found.steps.tolist() == [1, 1, 3]


def test_a_prompt_that_nothing_scores_shows_no_sign():
    step = facts([("x", 1, 900, (math.nan, math.nan)), ("x", 2, 9, (1, 1)), ("y", 3, 9, (1, 0))])
    found = judge({1: step}, [1.0, 1.0])
    assert found.score[0] == 0
    assert math.isnan(found.totals[0])


def test_nothing_at_all_is_judged_without_a_word():
    found = judge({}, [1.0])
    assert len(found.score) == 0
    assert found.pairs == []


# --- in a run ----------------------------------------------------------------------------------------------------


@pytest.fixture
def cheated(tmp_path):
    """40 steps of six prompts: at the end each image gets one answer, well paid by one reward and not by the other."""
    rng = np.random.default_rng(1)
    stage = tmp_path / "run" / "grpo"
    write_recipe(stage, size=2)
    for step in range(1, 41):
        groups = []
        for prompt in range(6):
            id = f"case-{6 * step + prompt}"
            if step > 25:
                made = [("I see a Mole.  It is benign", (1.0, 0.0)), ("i see a mole. it is benign", (1.0, 0.0))]
            else:
                made = [(f"{id} {i} {step}", (float(rng.random() < 0.5), 1.0)) for i in range(2)]
            groups.append((id, made))
        write_step(stage, step, groups)
    return stage


def test_an_answer_given_to_every_image_comes_first_and_once_a_block(cheated):
    search = RolloutSearch(RolloutLog(cheated))
    assert search.scan() == 40
    found = search.found(count=5)
    assert (found.rollouts, found.steps, found.all_steps) == (480, 40, 40)
    first = found.suspects[0]
    assert first.step > 25
    assert "mole" in first.text.casefold()
    assert first.alike > 10
    assert any("the same text for" in words for words in first.because)
    assert "hierarchy_reward gives 1, format_reward 0" in first.because
    texts = [one.text.casefold() for one in found.suspects]
    assert sum("mole" in text for text in texts) <= 3  # blocks of steps after step 25, not 180 rollouts
    assert found.partings
    assert "format_reward fell" in found.partings[0]
    assert "hierarchy_reward rose" in found.partings[0]


def test_the_order_by_one_sign_follows_that_sign(cheated):
    search = RolloutSearch(RolloutLog(cheated))
    search.scan()
    for sign in ("disagreement", "repeated", "parting"):
        values = [one.signs[sign] for one in search.found(20, sign).suspects]
        assert values
        assert values == sorted(values, reverse=True)


def test_only_what_is_new_is_read_again_and_a_half_written_file_later(cheated):
    search = RolloutSearch(RolloutLog(cheated))
    search.scan()
    assert search.scan() == 0
    write_step(cheated, 41, [("late", [("word", (1.0, 1.0))])])
    file = cheated / "completions" / "completions_00041.parquet"
    whole = file.read_bytes()
    os.truncate(file, 50)
    assert search.scan() == 0
    file.write_bytes(whole)
    assert search.scan() == 1
    file.unlink()  # a run that begins anew
    search.scan()
    assert search.found().steps == 40


def test_a_search_can_be_ended_between_files(cheated):
    search = RolloutSearch(RolloutLog(cheated))
    asked = iter([False, False, True])
    assert search.scan(lambda: next(asked)) == 2
    assert search.found().steps == 2
