"""A small hierarchy and one table of completions that the tests of all rewards share."""

from __future__ import annotations

from typing import Any

from skinrl.taxonomy import Node, Taxonomy

TREE = Taxonomy(
    "tree",
    [
        Node("skin_disease", "skin disease"),
        Node("melanocytic", "melanocytic tumour", ("skin_disease",)),
        Node("melanoma", "melanoma", ("melanocytic",)),
        Node("nodular_melanoma", "nodular melanoma", ("melanoma",), behaviour="malignant"),
        Node("superficial_melanoma", "superficial spreading melanoma", ("melanoma",), behaviour="malignant"),
        Node("in_situ", "melanoma in situ", ("melanoma",), behaviour="precancerous or in situ"),
        Node("nevus", "melanocytic nevus", ("melanocytic",), ("mole",)),
        Node("blue_nevus", "blue nevus", ("nevus",), behaviour="benign"),
        Node("common_nevus", "common nevus", ("nevus",), behaviour="benign"),
        Node("spitz", "atypical spitz tumour", ("melanocytic",), behaviour="uncertain"),
        Node("inflammatory", "inflammatory disease", ("skin_disease",)),
        Node("psoriasis", "psoriasis", ("inflammatory",), behaviour="non-neoplastic"),
        Node("lichen_planus", "lichen planus", ("inflammatory",), behaviour="non-neoplastic"),
    ],
)
OPTIONS = ["common nevus", "nodular melanoma", "psoriasis", "superficial spreading melanoma"]
OPTION_NODES = ["common_nevus", "nodular_melanoma", "psoriasis", "superficial_melanoma"]


def said(diagnosis: str, malignancy: str = "malignant", think: str = "Findings: a dark nodule") -> str:
    return f"<think>\n{think}\n</think>\n<answer>\nDiagnosis: {diagnosis}\nMalignancy: {malignancy}\n</answer>"


# name -> completion; the gold is nodular melanoma, the question open
OPEN_CASES: dict[str, str] = {
    "gold": said("nodular melanoma"),
    "sibling": said("superficial spreading melanoma"),
    "in situ sibling": said("melanoma in situ", "precancerous or in situ"),
    "parent": said("melanoma"),
    "grandparent": said("melanocytic tumour", "undetermined"),
    "melanoma called a naevus": said("common nevus", "benign"),
    "uncertain relative": said("atypical spitz tumour", "uncertain"),
    "wrong": said("psoriasis", "non-neoplastic"),
    "wrong, but malignant": said("psoriasis", "malignant"),
    "undetermined": said("undetermined", "undetermined"),
    "unknown disease": said("eruptive zoster", "malignant"),
    "negated": said("not nodular melanoma"),
    "two answers in a line": said("nodular melanoma or psoriasis"),
    "two lines": said("nodular melanoma\nDiagnosis: psoriasis"),
    "many lines": said("nodular melanoma\nbecause of the colour"),
    "two reports": said("nodular melanoma") * 2,
    "text after the answer": said("nodular melanoma") + "\nThat is all.",
    "no tags": "Diagnosis: nodular melanoma\nMalignancy: malignant",
    "only in the reasoning": said("psoriasis", "non-neoplastic", "Diagnosis: nodular melanoma\nMalignancy: malignant"),
    "empty": "",
    "cut": said("nodular melanoma")[:60],
    "very long": said("nodular melanoma", think="very " * 50_000),
    "very long name": said("nodular melanoma " * 5_000),
}
# the same gold, with the four options above
OPTION_CASES: dict[str, str] = {
    "letter": said("B"),
    "letter and name": said("B. nodular melanoma"),
    "name": said("nodular melanoma"),
    "sibling": said("D"),
    "opposite": said("A", "benign"),
    "wrong": said("C", "non-neoplastic"),
    "letter and name disagree": said("B. psoriasis"),
    "not offered": said("melanoma"),
    "letter not offered": said("E"),
    "two letters": said("B or D"),
    "negated": said("not B"),
}


def batch(cases: dict[str, str], gold: str | None = "nodular_melanoma", **columns: Any) -> dict[str, Any]:
    """The keyword arguments with which TRL would call a reward on these completions."""
    count = len(cases)
    return {
        "prompts": [[{"role": "user", "content": "Which disease?"}]] * count,
        "completions": [[{"role": "assistant", "content": text}] for text in cases.values()],
        "completion_ids": [[1, 2]] * count,
        "gold_nodes": [[gold] if gold else []] * count,
        "gold_weights": [[1.0] if gold else []] * count,
        "options": [[]] * count,
        "option_nodes": [[]] * count,
        "prefilled": [""] * count,
        "trainer_state": None,
        "log_extra": None,
        "log_metric": None,
        **{name: [value] * count for name, value in columns.items()},
    }


def open_batch(gold: str | None = "nodular_melanoma") -> dict[str, Any]:
    return batch(OPEN_CASES, gold)


def option_batch(gold: str | None = "nodular_melanoma") -> dict[str, Any]:
    return batch(OPTION_CASES, gold, options=OPTIONS, option_nodes=OPTION_NODES)
