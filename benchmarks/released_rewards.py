"""What the released rewards of Skin-R1 and Med-R1 pay for the adversarial corpus: the table of docs/cheating.md.

    python benchmarks/released_rewards.py                # print the table
    python benchmarks/released_rewards.py --write        # put it into docs/cheating.md
    python benchmarks/released_rewards.py --json FILE

The two are small re-implementations of what their code does, written from a description of it; nothing of this is a
reward of skinrl. Each gets the completions in the form that it asks for, and the four options of the scene.

Skin-R1 (github.com/l593191569/Skin-R1 at 6ea8b447, ``train_rl_grpo.py``): the first letter A to Z between the tags, in
any word, chooses the option, which earns its score (0.75 for the gold of this scene); 0.25 more if the first of
benign, precancerous and malignant between the tags is the gold's.

Med-R1 (``grpo_cls.py``): for each gold label that the answer contains as a substring 1, and nothing if it contains
another label of the data set too; the answer is what stands between the tags on one line, else the whole completion.

Both add 1 for a thinking and an answer block. It is left out here: what is compared is what they pay for the answer.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from skinrl.rewards.adversarial import Case, Rendering, Scene, load_cases, make_scene
from skinrl.taxonomy import Node, Taxonomy

PAGE = Path(__file__).resolve().parents[1] / "docs" / "cheating.md"
BEGIN, END = "<!-- table of released rewards: begin -->", "<!-- table of released rewards: end -->"
# A hierarchy of its own, so that the table does not change whenever the taxonomy that ships grows.
HIERARCHY = Taxonomy(
    "five diseases",
    [
        Node("skin_disease", "skin disease"),
        Node("melanoma", "melanoma", ("skin_disease",)),
        Node("nodular_melanoma", "nodular melanoma", ("melanoma",), behaviour="malignant"),
        Node("superficial_melanoma", "superficial spreading melanoma", ("melanoma",), behaviour="malignant"),
        Node("inflammation", "inflammatory skin disease", ("skin_disease",)),
        Node("lichen_planus", "lichen planus", ("inflammation",), behaviour="non-neoplastic"),
        Node("psoriasis", "psoriasis", ("inflammation",), behaviour="non-neoplastic"),
        Node("wart", "wart", ("skin_disease",), behaviour="benign"),
    ],
)


@dataclass(frozen=True)
class Released:
    """A released reward.

    Args:
        form: how it wants its answers.
        pays: completion, scene -> what it pays.
        parts: what it pays for, part -> the most of it, in the words of the corpus.
    """

    name: str
    form: Rendering
    pays: Callable[[str, Scene], float]
    parts: dict[str, float]


def skin_r1(text: str, scene: Scene) -> float:
    """Option + behaviour, 0 to 1."""
    paid = 0.0
    block = re.search(r"<final diagnosis>(.*?)</final diagnosis>", text, re.IGNORECASE | re.DOTALL)
    if block is None:
        return paid
    letter = re.search(r"[A-Z]", block[1], re.IGNORECASE)
    if letter and letter[0].upper() == "B":  # the gold is option B, the deepest of its path that is offered
        paid += 0.75
    bucket = re.search(r"\b(benign|precancerous|malignant)\b", block[1], re.IGNORECASE)
    if bucket and bucket[0].lower() == scene.words["behaviour"]:
        paid += 0.25
    return paid


def med_r1(text: str, scene: Scene) -> float:
    """Accuracy, 0 or 1 where there is one gold."""
    block = re.search(r"<answer>(.*?)</answer>", text)  # no DOTALL: an answer on several lines is not found
    answer = (block[1] if block else text).strip()
    others = (scene.taxonomy.node(node).name for node in scene.offered if node != scene.gold)
    named = scene.words["gold"] in answer and not any(other in answer for other in others)
    return float(named)


SKIN_R1 = Released(
    "Skin-R1",
    Rendering(("<thinking>", "</thinking>", "<final diagnosis>", "</final diagnosis>"), "{}, {}"),
    skin_r1,
    {"diagnosis": 0.75, "malignancy": 0.25},
)
MED_R1 = Released(
    "Med-R1",
    Rendering(("<think>", "</think>", "<answer>", "</answer>"), "{}"),
    med_r1,
    {"diagnosis": 1.0},
)


@dataclass(frozen=True)
class Outcome:
    """What a released reward paid for a case; `paid` is `None` where its form cannot say what the case says."""

    paid: float | None
    most: float

    @property
    def over(self) -> bool:
        return self.paid is not None and self.paid > self.most + 1e-9


def outcome(released: Released, case: Case, scene: Scene) -> Outcome:
    # Only what stands between the tags differs from system to system: neither has lines of its own for the behaviour.
    most = case.bound(released.parts)
    if not released.form.says(case):
        return Outcome(None, most)
    return Outcome(released.pays(scene.completion(case, released.form), scene), most)


def measure() -> list[tuple[Case, Outcome, Outcome]]:
    scene = make_scene(HIERARCHY)
    assert scene is not None
    return [(case, outcome(SKIN_R1, case, scene), outcome(MED_R1, case, scene)) for case in load_cases()]


def cell(one: Outcome) -> str:
    if one.paid is None:
        return "cannot be said"
    return f"**{one.paid:g}** (at most {one.most:g})" if one.over else "holds"


def table(rows: Sequence[tuple[Case, Outcome, Outcome]]) -> str:
    lines = ["| kind | completion | Skin-R1 | Med-R1 | why it should not earn that |", "|---|---|---|---|---|"]
    for case, first, second in rows:
        if first.over or second.over:
            lines.append(f"| {case.kind} | {case.name} | {cell(first)} | {cell(second)} | {case.reason} |")
    counts = []
    for released, outcomes in ((SKIN_R1, [row[1] for row in rows]), (MED_R1, [row[2] for row in rows])):
        said = [one for one in outcomes if one.paid is not None]
        counts.append(f"{released.name} pays too much for {sum(one.over for one in said)} of {len(said)}")
    return f"{'; '.join(counts)}.\n\n" + "\n".join(lines)


def page_with(text: str, made: str) -> str:
    """The page with the table between its two marks."""
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n\n{made}\n\n{END}{rest.split(END)[1]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put the table into docs/cheating.md")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every case there")
    arguments = parser.parse_args()
    rows = measure()
    made = table(rows)
    print(made)
    if arguments.write:
        PAGE.write_text(page_with(PAGE.read_text(encoding="utf-8"), made), encoding="utf-8")
    if arguments.json:
        every = [
            {"case": case.name, "kind": case.kind, "skin_r1": vars(first), "med_r1": vars(second)}
            for case, first, second in rows
        ]
        arguments.json.write_text(json.dumps(every, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
