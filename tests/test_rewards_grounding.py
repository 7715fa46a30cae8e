"""The grounding reward, case by case, and its control: findings of another image must not pay."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from reward_setup import batch, said

from skinrl.data.columns import ConceptShares
from skinrl.data.record import Record
from skinrl.phantom.diseases import DISEASES
from skinrl.phantom.vocabulary import VOCABULARY
from skinrl.rewards import (
    get_consistency_reward,
    get_grounding_reward,
    get_hierarchy_reward,
    grounding_control,
    score_rows,
)
from skinrl.rewards.grounding import read_concepts, score_findings, stated
from skinrl.taxonomy import Node, Taxonomy

WORDS = {
    "colour": ("red", "pink", "brown", "black"),
    "scale": ("smooth", "fine scale", "silvery scale", "crust"),
    "primary_lesion": ("plaque", "patch", "papule"),
    "border": ("sharp", "blurred"),
}
TREE = Taxonomy(
    "words",
    [
        Node("root", "root"),
        Node("psoriasis", "psoriasis", ("root",), behaviour="non-neoplastic", morphology=WORDS),
        Node("eczema", "eczema", ("root",), behaviour="non-neoplastic"),
    ],
)


def concept(kind: str, word: str, share: float = 0.0) -> dict[str, Any]:
    return {"kind": kind, "word": word, "share": share}


RECORDED = [concept("colour", "red", 0.5), concept("scale", "fine scale"), concept("primary_lesion", "plaque", 1.0)]


def score(findings: str, concepts: Any = RECORDED, diagnosis: str = "psoriasis") -> float | None:
    text = said(diagnosis, "non-neoplastic", f"Findings: {findings}\nReasoning: red plaque, fine scale")
    (value,) = get_grounding_reward(TREE)(**batch({"a": text}, "psoriasis", concepts=concepts))
    return value


@pytest.mark.parametrize(
    ("findings", "expected"),
    [
        ("a red plaque with fine scale", (0.5 + 1 + 0) / 3),
        ("a red plaque with fine scale on the elbow, sharp", 1.5 / 3),  # site and border are not recorded: unchecked
        ("a red plaque", 0.5 / 3),
        ("a plaque", 0.0),  # every image of the label shows one: nothing to see
        ("a red patch with fine scale", 1.5 / 4),  # "patch" is wrong
        ("Red, fine scale.", 1.5 / 3),
        ("red, no fine scale", 0.5 / 4),  # a recorded finding denied
        ("red without crust and patch, fine scale", 1.5 / 3),  # denied and not recorded: neither paid nor wrong
        ("red; crust absent; fine scale", 1.5 / 3),
        ("fine scale is not seen, red", 0.5 / 4),
        ("no crust but fine scale, red", 1.5 / 3),  # the denial ends at "but"
        ("red, no red, fine scale", 1.0 / 4),  # asserted and denied: a hedge
        ("redness and reddish", 0.0),  # other words
        ("red, pink, brown, black, smooth, fine scale, silvery scale, crust, plaque, patch, papule", 1.5 / 11),
        ("", 0.0),
        ("none recorded", 0.0),
    ],
)
def test_findings_by_hand(findings: str, expected: float) -> None:
    assert score(findings) == pytest.approx(expected)


def test_only_the_findings_are_read() -> None:
    assert score("none recorded") == 0.0  # though the reasoning says everything


def test_recorded_absence_is_found_by_denying_it() -> None:
    concepts = [concept("ulceration", "absent"), concept("pigment_network", "present"), concept("scale", "no crust")]
    assert score("pigment network, no ulceration, without crust", concepts) == 1.0
    assert score("pigment network, ulceration", concepts) == pytest.approx(1 / 4)
    assert score("pigment network", concepts) == pytest.approx(1 / 3)
    assert score("ulceration, no ulceration", concepts) == pytest.approx(1 / 3)
    recorded = read_concepts(concepts)
    assert recorded.absent.keys() == {"ulceration", "crust"}
    assert recorded.present.keys() == {"pigment network"}


def test_denials_hold_for_their_clause() -> None:
    terms = frozenset({"red", "fine scale", "scale", "crust"})
    cases: dict[str, tuple[set[str], set[str]]] = {
        "red with fine scale": ({"red", "fine scale"}, set()),
        "no fine scale or crust; red": ({"red"}, {"fine scale", "crust"}),
        "red, crust not present": ({"red"}, {"crust"}),
        "NO CRUST": (set(), {"crust"}),
        "": (set(), set()),
    }
    for text, expected in cases.items():
        assert tuple(map(set, stated(text, terms))) == expected, text
    assert not any(stated("red", frozenset()))


def test_none_where_nothing_is_recorded_or_the_diagnosis_tells_it_all() -> None:
    for concepts in (None, [], [concept("colour", "red", 1.0)]):
        assert score("red", concepts) is None
        assert score("", concepts) is None
    (value,) = get_grounding_reward(TREE)(**batch({"a": said("psoriasis", "non-neoplastic")}, "psoriasis"))
    assert value is None  # a dataset without the column


def test_an_answer_that_cannot_be_read_earns_nothing() -> None:
    text = said("psoriasis", "non-neoplastic", "Findings: red, fine scale")
    texts = {"good": text, "cut": text[:50], "empty": "", "unknown": text.replace("psoriasis", "strange rash")}
    scores = get_grounding_reward(TREE)(**batch(texts, "psoriasis", concepts=RECORDED))
    assert scores == [pytest.approx(0.5), 0.0, 0.0, 0.0]


def test_the_log_names_what_is_right_and_wrong() -> None:
    extra: dict[str, list] = {}
    text = said("psoriasis", "non-neoplastic", "Findings: red patch, fine scale")
    columns = batch({"a": text, "b": ""}, "psoriasis", concepts=RECORDED) | {"log_extra": extra.__setitem__}
    get_grounding_reward(TREE)(**columns)
    assert extra["grounding_reward/right"] == ["fine scale, red", ""]
    assert extra["grounding_reward/wrong"] == ["patch", ""]
    reward = pickle.loads(pickle.dumps(get_grounding_reward(TREE, {"shape": ["round"]})))
    assert reward.vocabulary["shape"] == ("round",)
    assert reward.vocabulary["colour"] == ("black", "brown", "pink", "red")


# --- the control, on what is recorded for the phantom's images ------------------------------------------------------


def phantom_records(each: int = 12) -> list[Record]:
    """Records as the phantom's textbook domain draws them, without the pictures."""
    rng = np.random.default_rng(0)
    return [
        Record(
            f"{leaf}-{i}", (f"{leaf}-{i}.png",), "clinical", "phantom", ((leaf, 1.0),), morphology.draw(rng).words()
        )
        for leaf, morphology in DISEASES.items()
        for i in range(each)
    ]


def rows_of(records: list[Record], taxonomy: Taxonomy, findings: dict[str, str]) -> list[dict[str, Any]]:
    shares = ConceptShares(records)
    rows = []
    for record in records:
        node = taxonomy.node(record.nodes[0])
        text = said(node.name, taxonomy.behaviour(node.id) or "uncertain", f"Findings: {findings[record.id]}")
        row = {"completion": text, "gold_nodes": [node.id], "gold_weights": [1.0], "concepts": shares.column(record)}
        rows.append(row)
    return rows


def listed(concepts: Any) -> str:
    return ", ".join(word for words in concepts.values() for word in words)


def test_grounding_pays_what_was_seen_and_nothing_for_reciting(taxonomy: Taxonomy) -> None:
    records = phantom_records()
    reward = get_grounding_reward(taxonomy, VOCABULARY)
    seen = {record.id: listed(record.concepts) for record in records}
    # the best that can be said without looking: the commonest word of each attribute of the diagnosis
    known = {
        record.id: listed({kind: words[:1] for kind, words in DISEASES[record.nodes[0]].words().items()})
        for record in records
    }
    looking = grounding_control(reward, rows_of(records, taxonomy, seen))
    reciting = grounding_control(reward, rows_of(records, taxonomy, known))
    assert looking.rows == len(records)
    # chance: reciting pays the same whether the image is the own one or another of the same diagnosis
    chance = reciting.own
    assert reciting.same_diagnosis == pytest.approx(chance, rel=0.15)
    # looking pays, and with the image swapped and the diagnosis kept it falls to chance
    assert looking.own > 1.7 * chance
    assert looking.same_diagnosis == pytest.approx(chance, rel=0.15)
    assert looking.another_diagnosis < looking.own / 2


def test_rewards_that_do_not_look_at_findings_do_not_move_with_the_image(taxonomy: Taxonomy) -> None:
    records = phantom_records(2)
    rows = rows_of(records, taxonomy, {record.id: listed(record.concepts) for record in records})
    for reward in (get_hierarchy_reward(taxonomy), get_consistency_reward(taxonomy)):
        control = grounding_control(reward, rows)
        assert control.own == control.same_diagnosis == control.another_diagnosis


def test_what_every_image_of_a_disease_shows_pays_nothing_however_often_it_is_said(taxonomy: Taxonomy) -> None:
    records = [record for record in phantom_records() if record.nodes == ("vitiligo",)]  # one word to each attribute
    rows = rows_of(records, taxonomy, {record.id: listed(record.concepts) for record in records})
    assert score_rows(rows, [get_grounding_reward(taxonomy)]) == [{"grounding_reward": None}] * len(rows)


def test_a_control_without_partners_is_refused() -> None:
    with pytest.raises(ValueError, match="no row has concepts, another row with the same gold"):
        grounding_control(
            get_grounding_reward(TREE), [{"completion": "", "gold_nodes": ["psoriasis"], "concepts": []}]
        )


def test_shares_outside_the_vocabulary_are_recorded_words_all_the_same() -> None:
    recorded = read_concepts([concept("texture", "velvety")])
    paid, right, wrong = score_findings("velvety", recorded, {})
    assert (paid, set(right), set(wrong)) == (1.0, {"velvety"}, set())
    paid, right, wrong = score_findings("rough", recorded, {"texture": ["Rough"]})
    assert (paid, set(right), set(wrong)) == (0.0, set(), {"rough"})
