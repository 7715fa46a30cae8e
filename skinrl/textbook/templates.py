"""Trajectories by template: what is recorded for an image, set against what textbooks call typical.

Two kinds of statement, never mixed. A *finding* is said of the image, and only where it is recorded for this very
image. *Typical* morphology is textbook knowledge of a disease and carries that word wherever it appears. A record
without concepts therefore states no finding at all ("none recorded") and compares typical morphology alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from skinrl.data.questions import Question
from skinrl.data.record import Record
from skinrl.report import DiagnosticReport, DifferentialItem
from skinrl.taxonomy import Taxonomy
from skinrl.textbook.trajectory import Trajectory

NONE_RECORDED = "none recorded"
#: Kinds whose values are adjectives, and what they are said of; values of other kinds stand alone.
_NOUNS = {"colour": "colour", "border": "border", "shape": "shape", "number": "number", "arrangement": "arrangement"}
#: Kinds in the order in which they are weighed; any other kind follows, by name.
_ORDER = ("primary_lesion", "shape", "scale", "border", "colour", "number", "arrangement")


def make_trajectory(record: Record, question: Question, taxonomy: Taxonomy) -> Trajectory | None:
    """The worked case of one record and one question, or `None` where the record has no label with a node.

    The differential names the diagnosis and the neighbour that the recorded findings (else the typical morphology)
    resemble most. Deterministic.
    """
    node = record.top_node
    if node is None:
        return None
    typical = _typical(taxonomy, node)
    neighbour = closest_neighbour(taxonomy, node, record.concepts or typical)
    other = _typical(taxonomy, neighbour) if neighbour else {}
    items = [DifferentialItem(taxonomy.node(node).name, evidence_for=_support(record.concepts, typical))]
    if neighbour is not None:
        against = _contrast(record.concepts or typical, other)
        items.append(DifferentialItem(taxonomy.node(neighbour).name, evidence_against=against))
    report = DiagnosticReport(
        diagnosis=taxonomy.node(_answer(node, question, taxonomy)).name,
        malignancy=taxonomy.behaviour(node),
        findings=_findings(record.concepts),
        differential=tuple(items),
        reasoning=_reasoning(typical, other),
    )
    return Trajectory(
        images=record.images,
        question=question,
        report=report,
        record_id=record.id,
        origin={
            "made_by": "template",
            "rule": "recorded_concepts" if record.concepts else "typical_morphology",
            "neighbour": neighbour or "",
            "answer": "shown",
        },
        checks=("findings_recorded",),
    )


def _answer(node: str, question: Question, taxonomy: Taxonomy) -> str:
    """The gold itself; where options are offered, the most specific of them that is right."""
    right = [offered for offered in question.option_nodes if offered == node or taxonomy.is_ancestor(offered, node)]
    return max(right, key=taxonomy.level, default=node)


def closest_neighbour(taxonomy: Taxonomy, node: str, words: Mapping[str, Sequence[str]]) -> str | None:
    """The differential neighbour whose typical morphology shares most words with `words`; else the closest sibling.

    Only neighbours with words that tell them apart are taken: of others it is known that the two are confused, not by
    what one knows them. Ties go to the order of the taxonomy file. `None` where there is neither neighbour nor sibling
    with a morphology.
    """
    candidates = [edge.node for edge in taxonomy.node(node).differential if edge.why and edge.node in taxonomy]
    if not candidates:
        siblings = {child for parent in taxonomy.parents(node) for child in taxonomy.children(parent)} - {node}
        candidates = sorted(child for child in siblings if taxonomy.node(child).morphology)
    if not candidates:
        return None

    def likeness(candidate: str) -> int:
        return sum(_agrees(words.get(kind, ()), values) for kind, values in _typical(taxonomy, candidate).items())

    return max(candidates, key=likeness)


def _typical(taxonomy: Taxonomy, node: str) -> Mapping[str, tuple[str, ...]]:
    return taxonomy.node(node).morphology


def _kinds(words: Iterable[str]) -> list[str]:
    known = [kind for kind in _ORDER if kind in words]
    return known + sorted(set(words) - set(known))


def _agrees(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether two lists of phrases have a word in common."""
    return not set(" ".join(one).lower().split()).isdisjoint(" ".join(other).lower().split())


def _findings(concepts: Mapping[str, Sequence[str]]) -> str:
    return ", ".join(word for words in concepts.values() for word in words) or NONE_RECORDED


def _support(concepts: Mapping[str, Sequence[str]], typical: Mapping[str, Sequence[str]]) -> str:
    """The first recorded finding that is typical of the disease; empty where none is."""
    for kind in _kinds(concepts):
        for word in concepts[kind]:
            if _agrees([word], typical.get(kind, ())):
                return word
    return ""


def _phrase(kind: str, value: str) -> str:
    """Textbook knowledge in words: ``typical plaque``, ``typical irregular border``."""
    noun = "" if kind not in _NOUNS or value.endswith(_NOUNS[kind]) else f" {_NOUNS[kind]}"
    return f"typical {value}{noun}"


def _contrast(words: Mapping[str, Sequence[str]], other: Mapping[str, Sequence[str]]) -> str:
    """What is typical of the other disease and does not appear among `words`; empty where nothing differs."""
    for kind in _kinds(other):
        if words.get(kind) and not _agrees(words[kind], other[kind]):
            return _phrase(kind, other[kind][0])
    return ""


def _reasoning(typical: Mapping[str, Sequence[str]], other: Mapping[str, Sequence[str]]) -> str:
    """What is typical of the diagnosis and not of its neighbour; empty where no morphology is known."""
    telling = [kind for kind in _kinds(typical) if not _agrees(typical[kind], other.get(kind, ()))]
    for kind in telling or _kinds(typical):
        return _phrase(kind, typical[kind][0])
    return ""
