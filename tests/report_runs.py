"""A small evaluated run in files, as `skinrl eval` leaves it, for the tests of the page."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from skinrl import files
from skinrl.evaluation import Case, Evaluation, Reply, compare, evaluate, write_comparison
from skinrl.report import DiagnosticReport
from skinrl.taxonomy import Taxonomy, load_taxonomy

NODES = (
    "melanoma", "melanocytic_nevus", "basal_cell_carcinoma", "squamous_cell_carcinoma", "seborrheic_keratosis",
    "psoriasis", "atopic_dermatitis", "acne_vulgaris", "tinea_corporis", "vitiligo",
)  # fmt: skip
SIDES = ("benign", "malignant")
HOSTILE = '<img src=x onerror="document.title=1"></script><script>document.title=2</script>'
REWARDS = [
    {"factory": "skinrl.rewards:get_hierarchy_reward", "fn": None, "weight": 1.0, "kwargs": {}},
    {"fn": "skinrl.rewards:report_format_reward", "factory": None, "weight": 0.3, "kwargs": {}},
    {"fn": "./my_rewards.py:mine", "factory": None, "weight": 0.3, "kwargs": {}},
]


def make_cases(count: int, *, known_patients: bool = True) -> list[Case]:
    """Two cases a patient, of ten diagnoses and all Fitzpatrick types."""
    return [
        Case(
            id=f"case-{number:05d}",
            gold=((NODES[number // 2 % len(NODES)], 1.0),),
            group=f"clinic/{number // 2}" if known_patients else f"clinic/{number}",
            group_kind="patient" if known_patients else "image",
            source="clinic" if number % 3 else "textbook",
            skin_tone=("fitzpatrick", str(1 + number // 2 % 6)),
            slices={"sex": ("female", "male")[number // 2 % 2]},
        )
        for number in range(count)
    ]


def by_side(case: Case, taxonomy: Taxonomy) -> Case:
    """The same case with its behaviour for a diagnosis, as a suite with a taxonomy of its own asks."""
    side = "malignant" if taxonomy.behaviour(case.gold[0][0]) == "malignant" else "benign"
    return replace(case, gold=((side, 1.0),))


def answers(
    cases: Sequence[Case], taxonomy: Taxonomy, skill: float, seed: int, nodes: Sequence[str] = NODES
) -> list[Reply]:
    """Reports of which about `skill` are right, and one in thirty can not be read."""
    chance = random.Random(seed)
    replies = []
    for case in cases:
        right = chance.random() < skill
        node = case.gold[0][0] if right else chance.choice(nodes)
        if chance.random() < 1 / 30:
            replies.append(Reply("a rash of some kind"))
            continue
        report = DiagnosticReport(
            taxonomy.node(node).name,
            taxonomy.behaviour(node),
            confidence=round(100 * min(0.99, max(0.05, chance.gauss(0.8 if right else 0.5, 0.15)))),
            findings="a plaque",
        )
        replies.append(Reply(report.render()))
    return replies


def make_run(
    run: Path,
    taxonomy: Taxonomy,
    draw: Callable[..., str] | None,
    cases: Sequence[Case],
    skills: dict[str, float],
    *,
    suites: Sequence[str] = (),
) -> dict[str, Evaluation]:
    """Write a run with a model for each skill; returns what was evaluated on the recipe's own questions."""
    models = {}
    paths = {case.id: [draw(run / "photographs" / f"{i}.png", i)] for i, case in enumerate(cases)} if draw else {}
    sides = load_taxonomy("behaviours")
    for number, (name, skill) in enumerate(skills.items()):
        final = run / f"eval_{name}" / "final"
        replies = answers(cases, taxonomy, skill, number)
        if name == "grpo":
            replies[0] = Reply(HOSTILE)
        blind = answers(cases, taxonomy, 0.0, 100 + number)
        models[name] = evaluate(cases, taxonomy, greedy=replies, controls={"no_image": blind})
        models[name].write(final, resamples=50)
        if paths:
            files.write_json(final / "images.json", paths)
        files.write_yaml(final.parent / "recipe.resolved.yaml", {"taxonomy": "dermatology"})
        for suite in suites:
            tree = sides if suite == "malignancy" else taxonomy
            asked = [by_side(case, taxonomy) for case in cases[:40]] if tree is sides else cases[:40]
            nodes = SIDES if tree is sides else NODES
            part = evaluate(asked, tree, greedy=answers(asked, tree, skill, 50 + number, nodes))
            part.write(final / "suites" / suite, resamples=50)
            facts = {"name": suite, "title": f"Suite {suite}", "taxonomy": tree.name, "left_out": {"too small": 3}}
            files.write_json(final / "suites" / suite / "suite.json", facts)
    write_comparison(run, compare(models, resamples=50))
    files.write_yaml(run / "grpo" / "recipe.resolved.yaml", {"rewards": REWARDS})
    return models
