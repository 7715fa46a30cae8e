"""What is asked of a record: openly, from the closed list of its dataset, or with a few options.

The options follow Skin-R1: some nodes of the gold path at several depths, the rest from other paths of the same
dataset, shuffled; if several fit, the most specific is asked for. Same record, same seed, same question.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from skinrl.data.prompts import question_text
from skinrl.data.record import Record
from skinrl.errors import DataError
from skinrl.taxonomy import Taxonomy

KINDS = ("open", "closed", "options")
_MOST_RIGHT = 3  # nodes of the gold path among the options (Skin-R1)


@dataclass(frozen=True, slots=True)
class Question:
    """A question as it is put to a model.

    Args:
        kind: `"open"`, `"closed"` or `"options"`.
        text: the whole user message but the images.
        options: names offered, in order; empty when open.
        option_nodes: their nodes, in the same order.
        prefilled: what the chat template has already written for the model.
    """

    kind: str
    text: str
    options: tuple[str, ...] = ()
    option_nodes: tuple[str, ...] = ()
    prefilled: str = ""


class QuestionSettings(Protocol):
    """What a recipe's `questions` section and `QuestionSpec` have in common."""

    @property
    def kind(self) -> str: ...
    @property
    def wording(self) -> str: ...
    @property
    def choices(self) -> int: ...
    @property
    def prefill_think(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class QuestionSpec:
    """Which questions to ask.

    Args:
        kind: one of `KINDS`.
        wording: `"full"` or `"short"` (`skinrl.data.prompts`).
        choices: options offered where `kind` is `"options"`.
        prefill_think: the chat template of the model writes `<think>` itself.
        answer_with: `"letter"` (A to Z, then AA, AB, ...) or `"name"`.
        style: form of the answer, one of `skinrl.report.STYLES`.
    """

    kind: str = "open"
    wording: str = "full"
    choices: int = 4
    prefill_think: bool = False
    answer_with: str = "letter"
    style: str = "report"


@dataclass(frozen=True, slots=True)
class Pool:
    """What one dataset has to offer as options: its gold nodes, and all nodes on the paths to them; both sorted."""

    labels: tuple[str, ...]
    nodes: tuple[str, ...]


def pools_of(records: Iterable[Record], taxonomy: Taxonomy) -> dict[str, Pool]:
    """The pool of every source, from all its records whatever their split."""
    labels: dict[str, set[str]] = defaultdict(set)
    for record in records:
        labels[record.source].update(record.nodes)
    return {
        source: Pool(tuple(sorted(found)), tuple(sorted(set().union(*(taxonomy.path(node) for node in found)))))
        for source, found in sorted(labels.items())
    }


def random_for(record: Record, seed: int) -> random.Random:
    """Random numbers that depend on the seed and on which record it is, not on its place in a list."""
    return random.Random(f"{seed}/{record.source}/{record.id}")  # Python hashes text with SHA-512: stable


def ask(record: Record, taxonomy: Taxonomy, spec: QuestionSettings, rng: random.Random, pool: Pool) -> Question:
    """The question for one record.

    Only the labels of the record are looked at, and only to choose the options: nothing of the patient, of the
    site or of the dataset can reach the text, but the options that the dataset itself offers (OmniMedVQA), which
    then stand in the place of chosen ones.

    Args:
        record: a case; needs a label unless the question is open.
        taxonomy: names the options.
        spec: a `QuestionSpec` or a recipe's section.
        rng: `random_for(record, seed)`.
        pool: of the record's source (`pools_of`).

    Raises:
        DataError: an unknown kind; a record without a label where options are to be offered; a dataset that has
            nothing else to offer than the path to the gold label.
    """
    if spec.kind not in KINDS:
        raise DataError(f"unknown kind of question {spec.kind!r}; expected one of {', '.join(KINDS)}")
    nodes: tuple[str, ...] = ()
    if spec.kind == "closed":
        nodes = tuple(sorted(pool.labels, key=lambda node: taxonomy.node(node).name))
    elif spec.kind == "options" and not record.options:
        nodes = _options(record, taxonomy, spec.choices, rng, pool)
    names = tuple(taxonomy.node(node).name for node in nodes)
    if spec.kind == "options" and record.options:  # the dataset's own question: its options in its order
        names, nodes = record.options, record.option_nodes
    text = question_text(
        spec.kind,
        names,
        wording=spec.wording,
        style=getattr(spec, "style", "report"),  # a recipe's section leaves these two at their defaults
        answer_with=getattr(spec, "answer_with", "letter"),
    )
    return Question(spec.kind, text, names, nodes, "<think>\n" if spec.prefill_think else "")


def user_messages(question: Question) -> list[dict[str, str]]:
    """The prompt as messages; TRL puts the image placeholders in front of the text."""
    return [{"role": "user", "content": question.text}]


def _options(record: Record, taxonomy: Taxonomy, choices: int, rng: random.Random, pool: Pool) -> tuple[str, ...]:
    gold = record.top_node
    if gold is None:
        raise DataError(f"{record.source}: record {record.id} has no label, so no options can be offered for it")
    # Neither above nor below any gold node: of those, none can be called wrong.
    fits = set(record.nodes).union(*(taxonomy.ancestors(n) | taxonomy.descendants(n) for n in record.nodes))
    wrong = [node for node in pool.nodes if node not in fits]
    if not wrong:
        raise DataError(
            f"{record.source}: record {record.id} is {gold}, and the dataset has no node outside its path to offer "
            "beside it; ask open questions, or add data of other classes"
        )
    path = taxonomy.path(gold)
    right_count = rng.randint(1, min(_MOST_RIGHT, len(path), choices - 1))
    chosen = rng.sample(path, right_count)
    # A dataset of few classes gives fewer options: made-up ones would be known as never right.
    chosen += rng.sample(wrong, min(choices - right_count, len(wrong)))
    rng.shuffle(chosen)
    return tuple(chosen)
