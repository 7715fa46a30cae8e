"""Suites: what is asked of which cases, and which numbers count. A suite is a name, a function and a few words.

The five of Skin-R1 (in_domain, malignancy, hierarchical, differential, out_of_distribution), SkinGPT-R1's closed list
and open question. Each works on any dataset whose labels have nodes. docs/suites.md describes them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from skinrl.data.prompts import question_text
from skinrl.data.questions import Pool, Question, QuestionSettings, QuestionSpec, ask, random_for
from skinrl.data.record import Record
from skinrl.errors import DataError, InputError
from skinrl.taxonomy import Taxonomy

MOST_OPTIONS = 26  # A to Z
BEHAVIOURS = "behaviours"  # the taxonomy of the malignancy suite
_CLASSES = ("benign", "precancerous or in situ", "malignant")

Gold = tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Asking:
    """What a suite may look at when it asks about a record.

    Args:
        taxonomy: of the recipe.
        questions: the recipe's: wording, and whether the chat template opens the thinking block.
        seed: of the experiment.
        pools: options by source.
        neighbours: node -> the diseases that it is mistaken for, in both directions.
    """

    taxonomy: Taxonomy
    questions: QuestionSettings
    seed: int
    pools: Mapping[str, Pool]
    neighbours: Mapping[str, tuple[str, ...]]

    def pool(self, record: Record) -> Pool:
        return self.pools.get(record.source, Pool((), ()))

    def spec(self, kind: str, answer_with: str = "letter") -> QuestionSpec:
        """A question in the recipe's wording."""
        own = self.questions
        return QuestionSpec(kind, own.wording, own.choices, own.prefill_think, answer_with)

    def options(self, nodes: Sequence[str], names: Sequence[str], *, kind: str = "options") -> Question:
        """A question with these lettered options; of kind `closed` where they are the same for every case."""
        text = question_text("options", names, wording=self.questions.wording)
        prefilled = "<think>\n" if self.questions.prefill_think else ""
        return Question(kind, text, tuple(names), tuple(nodes), prefilled)


@dataclass(frozen=True)
class Asked:
    """A question about a record, and what is right.

    Args:
        gold: where it is not the record's own label.
    """

    question: Question
    gold: Gold | None = None


Ask = Callable[[Record, Asking], Asked | str]


@dataclass(frozen=True)
class Suite:
    """A kind of question, put to some of the evaluation's cases.

    Args:
        name: plain letters; names the folder.
        title: for people.
        ask: the question about a record, or in a few words why there is none (such cases are counted).
        headline: metrics that count, of `metrics.json`.
        sources: `all`; `trained`: cases of sources that a stage learnt from; `untrained`: the others.
        taxonomy: name of a taxonomy of its own; empty: the recipe's.
        judged: free answers may also go to a language model (`evaluation.judge`).
    """

    name: str
    title: str
    ask: Ask
    headline: tuple[str, ...] = ("accuracy",)
    sources: str = "all"
    taxonomy: str = ""
    judged: bool = False


# --- the questions ---------------------------------------------------------------------------------------------------


def ask_options(record: Record, asking: Asking) -> Asked | str:
    """Four options: nodes of the gold path at several depths, the rest from elsewhere in the dataset (Skin-R1 2.5).

    A dataset that brings options of its own (OmniMedVQA) is asked with those.
    """
    if not record.labels:
        return "no label with a node"
    try:
        return Asked(
            ask(record, asking.taxonomy, asking.spec("options"), random_for(record, asking.seed), asking.pool(record))
        )
    except DataError:
        return "the dataset has nothing else to offer than the path to the label"


def ask_malignancy(record: Record, asking: Asking) -> Asked | str:
    """Benign, precancerous or in situ, or malignant (Skin-R1's in-domain b-or-m suite)."""
    behaviours = {asking.taxonomy.behaviour(node) for node in record.nodes}
    if len(behaviours) != 1:
        return "no label, or labels of mixed behaviour"
    (behaviour,) = behaviours
    if behaviour not in _CLASSES:
        return f"behaviour {behaviour or 'mixed'}"
    nodes = [name.replace(" ", "_") for name in _CLASSES]
    return Asked(asking.options(nodes, _CLASSES, kind="closed"), ((behaviour.replace(" ", "_"), 1.0),))


def ask_hierarchical(record: Record, asking: Asking) -> Asked | str:
    """All nodes of the gold path, the deepest is right (Skin-R1).

    Whoever picks the most specific name is right without looking: the control `label_prior` says so.
    """
    if record.top_node is None:
        return "no label with a node"
    path = list(asking.taxonomy.path(record.top_node))
    if len(path) < 2:
        return "a path of one node"
    return Asked(_shuffled(path, record, asking, "hierarchical"), ((record.top_node, 1.0),))


def ask_differential(record: Record, asking: Asking) -> Asked | str:
    """The gold and all diseases that it is mistaken for, at most 26 (Skin-R1's DDx suite)."""
    gold, taxonomy = record.top_node, asking.taxonomy
    if gold is None:
        return "no label with a node"
    fits = {gold}.union(
        *(taxonomy.ancestors(node) | taxonomy.descendants(node) for node in record.nodes), record.nodes
    )
    others = [node for node in asking.neighbours.get(gold, ()) if node not in fits]
    if not others:
        return "no differential neighbours in the taxonomy"
    offered = [gold, *_random(record, asking, "neighbours").sample(others, min(len(others), MOST_OPTIONS - 1))]
    return Asked(_shuffled(offered, record, asking, "differential"), ((gold, 1.0),))


def ask_closed_list(record: Record, asking: Asking) -> Asked | str:
    """One name of the dataset's whole list, spelt as it stands there (SkinGPT-R1 4.5)."""
    if not record.labels:
        return "no label with a node"
    spec = asking.spec("closed", "name")
    return Asked(ask(record, asking.taxonomy, spec, random_for(record, asking.seed), asking.pool(record)))


def ask_open(record: Record, asking: Asking) -> Asked | str:
    """Any disease, in the model's own words (SkinGPT-R1's way with DDI)."""
    if not record.labels:
        return "no label with a node"
    return Asked(
        ask(record, asking.taxonomy, asking.spec("open"), random_for(record, asking.seed), asking.pool(record))
    )


SUITES: Mapping[str, Suite] = {
    suite.name: suite
    for suite in (
        Suite("in_domain", "In-domain options", ask_options, sources="trained"),
        Suite("malignancy", "Malignancy", ask_malignancy, ("accuracy", "macro_f1"), taxonomy=BEHAVIOURS),
        Suite("hierarchical", "Hierarchical", ask_hierarchical),
        Suite("differential", "Differential diagnosis", ask_differential),
        Suite("out_of_distribution", "Out of distribution", ask_options, sources="untrained"),
        Suite("closed_list", "Closed list", ask_closed_list, ("accuracy", "balanced_accuracy", "macro_f1")),
        Suite("open_ended", "Open-ended", ask_open, ("accuracy", "hierarchical_f1"), judged=True),
    )
}


def _shuffled(nodes: Sequence[str], record: Record, asking: Asking, purpose: str) -> Question:
    order = list(nodes)
    _random(record, asking, purpose).shuffle(order)
    return asking.options(order, [asking.taxonomy.node(node).name for node in order])


def _random(record: Record, asking: Asking, purpose: str) -> random.Random:
    return random.Random(f"{asking.seed}/{purpose}/{record.source}/{record.id}")


def neighbours_of(taxonomy: Taxonomy) -> dict[str, tuple[str, ...]]:
    """Node -> the diseases that either of the two is said to be mistaken for; sorted."""
    found: dict[str, set[str]] = {}
    for node in taxonomy.ids:
        for other in taxonomy.node(node).differential:
            found.setdefault(node, set()).add(other.node)
            found.setdefault(other.node, set()).add(node)
    return {node: tuple(sorted(others)) for node, others in found.items()}


# --- which suites, of which cases ------------------------------------------------------------------------------------


def find_suite(name: str, base: Path | None = None) -> Suite:
    """A suite by its name, or a `Suite` or function of the user's own by import path.

    Raises:
        InputError: no such suite, or something that is none.
        PluginError: an import path that leads nowhere.
    """
    if name in SUITES:
        return SUITES[name]
    if ":" not in name:
        raise InputError(
            f"evaluation.suites: there is no suite {name!r}; expected one of {', '.join(SUITES)}, or "
            "package.module:name or ./file.py:name of a skinrl.evaluation.suites.Suite or of its function"
        )
    from skinrl.plugins import resolve

    found = resolve(name, base)
    if isinstance(found, Suite):
        return found
    if not callable(found):
        raise InputError(f"evaluation.suites: {name} is {type(found).__name__}; expected a Suite or a function")
    own = name.rpartition(":")[2]
    return Suite(own, own.replace("_", " "), found)


def cases_for(
    suite: Suite, records: Sequence[Record], *, trained: frozenset[str], sources: Sequence[str] = ()
) -> list[Record]:
    """The records that a suite asks about.

    Args:
        trained: sources that a training stage learnt from.
        sources: those that the recipe names for this suite, instead of the suite's own rule.

    Raises:
        DataError: there are none.
    """
    have = sorted({record.source for record in records})
    if sources:
        missing = [name for name in sources if name not in have]
        if missing:
            raise DataError(
                f"suite {suite.name}: no evaluation data of {', '.join(missing)}; there is {', '.join(have)}"
            )
        wanted = set(sources)
    else:
        rule = {"all": set(have), "trained": set(trained & set(have)), "untrained": set(have) - trained}
        wanted = rule[suite.sources]
    chosen = [record for record in records if record.source in wanted]
    if not chosen:
        which = "that a stage was trained on" if suite.sources == "trained" else "that no stage was trained on"
        raise DataError(
            f"suite {suite.name}: there is no evaluation data of a source {which}; the evaluation has "
            f"{', '.join(have)}. Add such data, or name sources: {{name: {suite.name}, sources: [...]}}"
        )
    return chosen
