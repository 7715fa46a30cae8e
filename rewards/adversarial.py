"""The adversarial corpus: completions that try to earn without the right answer, and the most that each may earn.

The cases stand in ``adversarial.yaml``, which explains its own words. They are written for no disease in particular: a
`Scene` takes a gold and its neighbours from any taxonomy.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from skinrl.errors import DataError
from skinrl.report import UNDETERMINED, option_letter
from skinrl.report.render import TAGS
from skinrl.rewards.samples import CONCEPTS
from skinrl.taxonomy.graph import Taxonomy
from skinrl.yamlfile import read_yaml

FILE = Path(__file__).with_name("adversarial.yaml")
FORM_PARTS = ("form", "length", "repetition", "consistency")  # what may be earned without knowing the gold
GOLD_PARTS = ("diagnosis", "malignancy", "differential", "findings", "behaviour_line", "undetermined")
_FIELDS = ("text", "diagnosis", "malignancy", "think", "before", "after")
_QUESTION = "Which disease does the picture show?"
_WORD = re.compile(r"\{([a-z_]+)\}")
_LATIN_AND_CYRILLIC = str.maketrans("aceopxy", "асеорху")
# What the answer block of each style holds; the report's own form is that of `skinrl.report`.
BODIES = {
    "report": "Diagnosis: {}\nMalignancy: {}",
    "skin_r1": "{}, {}",
    "skin_r1_sft": "{}. Generally classified as {}.",
    "skingpt_r1": "Final Answer: {}",
}


@dataclass(frozen=True)
class Case:
    """One completion of the corpus.

    Args:
        name, kind: for tables and messages.
        options: whether the question offers options.
        fields: ``text``, or the parts of a report, with words in braces.
        most: part -> share of what a reward pays for that part that this completion may earn.
        reason: why not more.
    """

    name: str
    kind: str
    options: bool
    fields: Mapping[str, str]
    most: Mapping[str, float]
    reason: str

    def bound(self, parts: Mapping[str, float]) -> float:
        """The most that a reward may pay that pays ``parts`` at most (part -> number)."""
        return sum(paid * self.most.get(part, self._fallback(part)) for part, paid in parts.items())

    def _fallback(self, part: str) -> float:
        return self.most.get("form", 0.0) if part in FORM_PARTS else 0.0


@dataclass(frozen=True)
class Rendering:
    """How a system wants its answers: tags of thinking and answer, and what stands between the tags of the answer."""

    tags: tuple[str, str, str, str]
    body: str

    @classmethod
    def of(cls, style: str) -> Rendering:
        """That of one of `skinrl.report.STYLES`."""
        return cls(TAGS[style], BODIES[style])

    def says(self, case: Case) -> bool:
        """Whether this form can say what the case says: only a Malignancy line of its own can hold two behaviours."""
        stated = case.fields.get("malignancy", UNDETERMINED)
        single = ("uncertain", "{behaviour}", "{opposite}") if self.body.count("{}") > 1 else ()
        return "Malignancy:" in self.body or stated in (UNDETERMINED, *single)

    def answer(self, diagnosis: str, malignancy: str) -> str:
        """What stands between the tags of the answer."""
        return self.body.format(diagnosis, malignancy)


@dataclass(frozen=True)
class Scene:
    """A gold and its neighbours in one taxonomy.

    Args:
        gold: node id of a leaf, malignant where the taxonomy has one.
        wrong, second: leaves that share nothing with it, of the opposite behaviour where there are such.
        sibling: a leaf below the gold's parent.
    """

    taxonomy: Taxonomy
    gold: str
    wrong: str
    second: str
    sibling: str
    words: Mapping[str, str] = field(default_factory=dict, repr=False)

    def row(self, options: bool) -> dict[str, Any]:
        """A row of the GRPO dataset whose gold is certain; the gold is option B."""
        offered = self.offered if options else ()
        return {
            "prompt": [{"role": "user", "content": _QUESTION}],
            "images": [],
            "id": "adversarial-options" if options else "adversarial-open",
            "gold_nodes": [self.gold],
            "gold_weights": [1.0],
            "options": [self.taxonomy.node(node).name for node in offered],
            "option_nodes": list(offered),
            "prefilled": "",
            "concepts": [dict(one) for one in CONCEPTS],
        }

    @property
    def offered(self) -> tuple[str, ...]:
        """Nodes of the four options."""
        return (self.wrong, self.gold, self.second, self.sibling)

    def completion(self, case: Case, rendering: Rendering | None = None) -> str:
        """The text of a case for this gold."""
        rendering = rendering or Rendering.of("report")
        tags = dict(zip(("think", "think_end", "answer", "answer_end"), rendering.tags, strict=True))
        right, false = (
            rendering.answer(self.words[name], self.words[behaviour])
            for name, behaviour in (("gold", "behaviour"), ("wrong", "opposite"))
        )
        known = {**self.words, **tags, "right": right, "false": false, "tags": tags["think"] * 1000}
        if "text" in case.fields:
            return _fill(case.fields["text"], known)
        given = {name: _fill(text, known) for name, text in case.fields.items()}
        open_think, close_think, open_answer, close_answer = rendering.tags
        body = rendering.answer(given["diagnosis"], given.get("malignancy", self.words["behaviour"]))
        report = f"{open_think}\n{given.get('think', '')}\n{close_think}\n{open_answer}\n{body}\n{close_answer}"
        return given.get("before", "") + report + given.get("after", "")


def make_scene(taxonomy: Taxonomy) -> Scene | None:
    """The scene of a taxonomy, the same each time; `None` where it has fewer than four leaves."""
    leaves = taxonomy.leaves
    if len(leaves) < 4:
        return None
    malignant = [leaf for leaf in leaves if taxonomy.behaviour(leaf) == "malignant"]
    favourite = [leaf for leaf in ("nodular_melanoma",) if leaf in leaves]
    gold = next((leaf for leaf in [*favourite, *malignant] if _siblings(taxonomy, leaf)), (malignant or leaves)[0])
    opposite = ("benign", "non-neoplastic") if taxonomy.behaviour(gold) == "malignant" else ("malignant",)

    def foreign(leaf: str) -> bool:
        return not taxonomy.ancestors(leaf) & taxonomy.ancestors(gold)

    sibling = next(iter(_siblings(taxonomy, gold)), "")
    others = [leaf for leaf in leaves if leaf not in (gold, sibling)]
    others.sort(key=lambda leaf: (not foreign(leaf), taxonomy.behaviour(leaf) not in opposite, leaf))
    wrong, second = others[:2]
    sibling = sibling or others[2]
    scene = Scene(taxonomy, gold, wrong, second, sibling)
    return Scene(taxonomy, gold, wrong, second, sibling, _words(scene))


def _siblings(taxonomy: Taxonomy, leaf: str) -> list[str]:
    """Other leaves below the first parent that have the same behaviour."""
    parent = next((node for node in taxonomy.parents(leaf) if node != taxonomy.root), None)
    if parent is None:
        return []
    near = [node for node in taxonomy.children(parent) if node != leaf and node in taxonomy.leaves]
    return [node for node in near if taxonomy.behaviour(node) == taxonomy.behaviour(leaf)]


def _words(scene: Scene) -> dict[str, str]:
    taxonomy = scene.taxonomy
    gold = taxonomy.node(scene.gold).name
    behaviour = taxonomy.behaviour(scene.gold) or UNDETERMINED
    names = [taxonomy.node(leaf).name for leaf in taxonomy.leaves]
    offered = [taxonomy.node(node).name for node in scene.offered]
    parents = [node for node in taxonomy.parents(scene.gold) if node != taxonomy.root]
    return {
        "gold": gold,
        "wrong": taxonomy.node(scene.wrong).name,
        "second": taxonomy.node(scene.second).name,
        "sibling": taxonomy.node(scene.sibling).name,
        "parent": taxonomy.node(parents[0] if parents else taxonomy.root).name,
        "behaviour": behaviour,
        "opposite": "benign" if behaviour == "malignant" else "malignant",
        "letter": "B",
        "other_letter": "A",
        "few": ", ".join(offered),
        "options": "\n".join(f"{option_letter(index)}. {name}" for index, name in enumerate(offered)),
        "all": ", ".join(names),
        "numbered": " ".join(f"{number}. {name}" for number, name in enumerate(names, start=1)),
        "findings": ", ".join(_every_finding(taxonomy)),
        "question": _QUESTION,
        "spaced": " ".join(gold),
        "cyrillic": gold.translate(_LATIN_AND_CYRILLIC),
        "reversed": gold[::-1],
        "initials": "".join(word[0].upper() for word in gold.split()),
        "repeated": " ".join([gold] * 50),
        "long": "the border is irregular " * 500,
        "longer": "dark plaque " * 25_000,
        "blank": "\n \t\n" * 5_000,
    }


def _every_finding(taxonomy: Taxonomy) -> list[str]:
    """What is recorded for the scene's image, and whatever else the taxonomy knows to be seen."""
    known = {word for id in taxonomy.ids for words in taxonomy.node(id).morphology.values() for word in words}
    return sorted(known | {one["word"] for one in CONCEPTS if one["word"] != "absent"})


def _fill(text: str, words: Mapping[str, str]) -> str:
    return _WORD.sub(lambda match: words[match[1]], text)


# --- reading the file ----------------------------------------------------------------------------------------------

_KNOWN_WORDS = """
gold wrong second sibling parent behaviour opposite letter other_letter few options all numbered findings question
spaced cyrillic reversed initials repeated long longer blank tags think think_end answer answer_end right false
"""
_KNOWN = frozenset(_KNOWN_WORDS.split())


@lru_cache(maxsize=8)
def load_cases(file: Path = FILE) -> tuple[Case, ...]:
    """The cases of a corpus, in the order of the file.

    Raises:
        DataError: a case without name, text, bound or reason; an unknown word, part or field; a name given twice.
    """
    data, lines = read_yaml(file, error=DataError)
    cases: list[Case] = []
    for number, group in enumerate(data):
        for index, entry in enumerate(group["cases"]):
            place = f"{file}:{lines.get((number, 'cases', index), 0)}"
            options = entry.get("question", group.get("question", "open")) == "options"
            cases.append(_case(entry, group["kind"], options, place))
    names = [case.name for case in cases]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise DataError(f"{file}: these names are given twice: {', '.join(doubled)}; give each case its own")
    return tuple(cases)


def _case(entry: Mapping[str, Any], kind: str, options: bool, place: str) -> Case:
    fields = {name: entry[name] for name in _FIELDS if name in entry}
    unknown = sorted(set(entry) - {*_FIELDS, "name", "most", "reason", "question"})
    if unknown:
        raise DataError(f"{place}: unknown key {unknown[0]!r}; expected {', '.join(_FIELDS)}, name, most, reason")
    if not {"name", "most", "reason"} <= set(entry) or ("text" in fields) == ("diagnosis" in fields):
        raise DataError(f"{place}: a case needs name, most, reason, and one of text and diagnosis")
    words = sorted({word for text in fields.values() for word in _WORD.findall(text)} - _KNOWN)
    if words:
        raise DataError(f"{place}: unknown word {{{words[0]}}}; expected one of: {', '.join(sorted(_KNOWN))}")
    most = entry["most"]
    parts = dict.fromkeys((*FORM_PARTS, *GOLD_PARTS), float(most)) if isinstance(most, int | float) else dict(most)
    strange = sorted(set(parts) - {*FORM_PARTS, *GOLD_PARTS})
    if strange:
        known = ", ".join((*FORM_PARTS, *GOLD_PARTS))
        raise DataError(f"{place}: unknown part {strange[0]!r} under most; expected one of: {known}")
    return Case(entry["name"], kind, options, fields, parts, entry["reason"])
