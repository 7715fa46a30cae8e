"""The adversarial corpus: no reward pays a completion more than it may, and the table of released rewards is true."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from reward_setup import TREE

from skinrl.errors import DataError
from skinrl.plugins import call_factory, resolve
from skinrl.report import parse_report
from skinrl.rewards import builtin_rewards, get_hierarchy_reward, get_skin_r1_reward
from skinrl.rewards.adversarial import Case, Rendering, load_cases, make_scene
from skinrl.rewards.cheating import check_adversarial, pay_for_cases, readings_of
from skinrl.rewards.finding import Finding
from skinrl.rewards.samples import call, gold_completion
from skinrl.taxonomy import Node, Taxonomy

REPOSITORY = Path(__file__).parents[1]
# Parts of the rewards that ship, in the words of the corpus; what a reward says itself in `parts` comes first.
PARTS = {
    "report_format_reward": {"form": 1.0},
    "hierarchy_reward": {"diagnosis": 1.0},
    "malignancy_reward": {"malignancy": 1.0},
    "differential_reward": {"differential": 1.0},
    "grounding_reward": {"findings": 1.0},
    "consistency_reward": {"consistency": 1.0},
    "length_reward": {"length": 1.0},
    "repetition_reward": {"repetition": 1.0},
}


def shipped(path: str, taxonomy: Taxonomy) -> Any:
    reward = resolve(path)
    if builtin_rewards()[path].startswith("factory:"):
        return call_factory(reward, path, {}, {"taxonomy": taxonomy})
    return reward


@pytest.mark.parametrize("path", builtin_rewards())
def test_no_shipped_reward_pays_a_completion_more_than_it_may(path: str, taxonomy: Taxonomy) -> None:
    for graph in (TREE, taxonomy):
        reward, scene = shipped(path, graph), make_scene(graph)
        assert scene is not None
        stated = getattr(reward, "parts", None) or PARTS.get(reward.__name__)
        readings = [stated] if stated else readings_of(reward, reads_gold=True)
        paid = pay_for_cases(reward, scene, readings, load_cases(), Rendering.of("report"))
        over = {one.case.name: (one.score, one.most) for one in paid if one.over}
        assert over == {}
        honest = call(reward, [(scene.row(False), gold_completion(graph, scene.row(False)))])
        assert honest[0] > 0.0  # the same question is not simply worth nothing


@pytest.mark.parametrize(
    "reward",
    [
        get_hierarchy_reward(TREE, undetermined=0.2),
        get_hierarchy_reward(TREE, style="skin_r1"),
        get_hierarchy_reward(TREE, style="skingpt_r1"),
        get_hierarchy_reward(TREE, style="skin_r1_sft"),
        get_skin_r1_reward(TREE, style="skin_r1"),
    ],
    ids=lambda reward: f"{reward.__name__}-{reward.style}",
)
def test_no_setting_and_no_style_opens_a_hole(reward: Any) -> None:
    finding = check_adversarial(reward, TREE, reward.style)
    assert finding.status == "ok", finding


def test_the_corpus_is_large_and_holds_every_kind_of_cheating() -> None:
    cases = load_cases()
    assert len(cases) >= 60
    kinds = {case.kind for case in cases}
    assert kinds >= {"lists", "option letters", "negation and doubt", "several answers", "prompt", "hidden text"}
    assert kinds >= {"other alphabets", "long and repeated", "hedging", "answer in the reasoning alone", "findings"}
    assert all(case.reason for case in cases)
    assert all(0.0 <= share <= 1.0 for case in cases for share in case.most.values())
    assert sum(case.options for case in cases) >= 10


def test_what_a_completion_may_earn_is_the_sum_of_its_parts() -> None:
    case = Case("c", "k", False, {"text": "x"}, {"form": 1.0, "diagnosis": 0.5}, "r")
    assert case.bound({"form": 1.0, "diagnosis": 0.75, "behaviour_line": 0.25}) == 1.375
    assert case.bound({"length": 2.0}) == 2.0  # as the form
    assert case.bound({"malignancy": 1.0}) == 0.0


def test_the_scene_is_a_malignant_gold_and_strangers() -> None:
    scene = make_scene(TREE)
    assert scene is not None
    assert (scene.gold, scene.sibling) == ("nodular_melanoma", "superficial_melanoma")
    assert {scene.wrong, scene.second} == {"lichen_planus", "psoriasis"}
    row = scene.row(options=True)
    assert row["option_nodes"][1] == row["gold_nodes"][0] == "nodular_melanoma"
    small = Taxonomy("small", [Node("r", "root"), Node("a", "alpha", ("r",)), Node("b", "beta", ("r",))])
    assert make_scene(small) is None
    assert check_adversarial(get_hierarchy_reward(small), small, "report").status == "skipped"


def test_a_taxonomy_without_behaviours_has_a_scene_too() -> None:
    nodes = [Node("r", "root"), *(Node(f"n{i}", f"disease {chr(97 + i) * 4}", ("r",)) for i in range(5))]
    flat = Taxonomy("flat", nodes)
    assert check_adversarial(get_hierarchy_reward(flat), flat, "report") == Finding(
        "adversarial corpus", "ok", f"{len(load_cases())} completions earn no more than they may"
    )


def test_cases_are_what_they_say_they_are() -> None:
    scene = make_scene(TREE)
    assert scene is not None
    texts = {case.name: scene.completion(case) for case in load_cases()}
    assert texts["not"] == (
        "<think>\n\n</think>\n<answer>\nDiagnosis: not nodular melanoma\nMalignancy: malignant\n</answer>"
    )
    assert texts["two answer blocks"].count("<answer>") == 2
    assert texts["Cyrillic letters"] != texts["Cyrillic letters"].encode("ascii", "ignore").decode()
    assert len(texts["fifty thousand words"]) > 250_000
    assert parse_report(texts["undetermined"]).outcome == "ok"
    assert not any("{" in text.replace('{"', "") for text in texts.values())  # every word was filled in


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ('{name: a, text: "{golf}", most: 0, reason: r}', "unknown word {golf}"),
        ("{name: a, text: x, most: {format: 1}, reason: r}", "unknown part 'format'"),
        ("{name: a, txt: x, most: 0, reason: r}", "unknown key 'txt'"),
        ("{name: a, text: x, most: 0}", "needs name, most, reason"),
        ("{name: a, text: x, diagnosis: y, most: 0, reason: r}", "one of text and diagnosis"),
        ("{name: a, text: x, most: 0, reason: r}\n    - {name: a, text: y, most: 0, reason: r}", "given twice: a"),
    ],
)
def test_a_fault_in_a_corpus_is_named_with_its_line(tmp_path: Path, entry: str, said: str) -> None:
    file = tmp_path / "corpus.yaml"
    file.write_text(f"- kind: k\n  cases:\n    - {entry}\n", encoding="utf-8")
    with pytest.raises(DataError) as error:
        load_cases(file)
    assert said in str(error.value)
    assert "given twice" in said or f"{file}:3" in str(error.value)


# --- the released rewards ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def released() -> ModuleType:
    path = REPOSITORY / "benchmarks" / "released_rewards.py"
    spec = importlib.util.spec_from_file_location("released_rewards", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["released_rewards"] = module
    spec.loader.exec_module(module)
    return module


def test_the_table_of_the_released_rewards_is_what_the_corpus_says_today(released: ModuleType) -> None:
    page = released.PAGE.read_text(encoding="utf-8")
    made = released.page_with(page, released.table(released.measure()))
    assert made == page, "run: python benchmarks/released_rewards.py --write"


def test_the_released_rewards_do_what_is_said_of_them(released: ModuleType) -> None:
    scene = make_scene(TREE)
    skin, med = released.skin_r1, released.med_r1

    def block(answer: str) -> str:
        return f"<thinking>dark</thinking><final diagnosis>{answer}</final diagnosis>"

    assert skin(block("B, malignant"), scene) == 1.0
    assert skin(block("basal cell carcinoma"), scene) == 0.75  # the first letter is B
    assert skin(block("A, malignant or benign"), scene) == 0.25  # the first class that is named
    assert skin(block("C"), scene) == 0.0
    assert skin("B", scene) == 0.0
    assert med("<think>dark</think><answer>nodular melanoma</answer>", scene) == 1.0
    assert med("<think>dark</think><answer>there is no nodular melanoma</answer>", scene) == 1.0
    assert med("nodular melanoma", scene) == 1.0
    assert med("<think>nodular melanoma?</think><answer>\nunsure\n</answer>", scene) == 1.0
    assert med("<think>dark</think><answer>nodular melanoma, psoriasis</answer>", scene) == 0.0
