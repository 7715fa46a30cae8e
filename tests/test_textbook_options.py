"""Trajectories for questions with options: the answer is the most specific option that is right."""

from __future__ import annotations

import pytest

from skinrl.data.questions import Question
from skinrl.data.record import Record
from skinrl.taxonomy import Taxonomy
from skinrl.textbook.templates import make_trajectory


@pytest.mark.parametrize(
    ("offered", "answer"),
    [
        (("melanocytic_neoplasm", "psoriasis", "malignant_melanocytic"), "malignant melanocytic neoplasm"),
        (("psoriasis", "melanoma", "melanocytic_neoplasm"), "melanoma"),
        (("psoriasis", "melanocytic_neoplasm", "eczema"), "melanocytic neoplasm"),
        ((), "melanoma"),
    ],
)
def test_the_answer_is_the_deepest_offered_node_of_the_gold_path(
    taxonomy: Taxonomy, offered: tuple[str, ...], answer: str
) -> None:
    record = Record("one", ("a.png",), "clinical", "toy", (("melanoma", 1.0),))
    names = tuple(taxonomy.node(node).name for node in offered)
    question = Question("options" if offered else "open", "?", names, offered)
    trajectory = make_trajectory(record, question, taxonomy)
    assert trajectory is not None
    assert trajectory.report.diagnosis == taxonomy.node(taxonomy.resolve(answer).node).name  # type: ignore[union-attr]
    assert trajectory.report.malignancy == "malignant"
