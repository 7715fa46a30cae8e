"""Rows and completions on which the contract test tries a reward, and a call as the trainer makes it."""

from __future__ import annotations

import asyncio
import inspect
import random
from collections.abc import Mapping, Sequence
from typing import Any

from skinrl.report import DiagnosticReport, DifferentialItem, option_letter, prefill
from skinrl.rewards.base import Reward
from skinrl.rewards.facts import is_reviewed
from skinrl.taxonomy.graph import Taxonomy

# What is recorded for the image of every third row, and the findings that say just that.
CONCEPTS: Sequence[Mapping[str, Any]] = (
    {"kind": "color", "word": "blue", "share": 0.25},
    {"kind": "border", "word": "irregular", "share": 0.5},
    {"kind": "scale", "word": "absent", "share": 0.0},
)
_FINDINGS = "a blue lesion with an irregular border, no scale"
_ALTERNATIVES = 3  # neighbours in the differential of a sample completion

Probe = tuple[Mapping[str, Any], str]  # a row of the GRPO dataset, and a completion of its prompt

GARBAGE = (
    "",
    " \n\t",
    "melanoma",
    "<think>",
    "<answer></answer>",
    "</answer><answer></think><think>",
    "<think>\n</think>\n<answer>\nDiagnosis: \nMalignancy: \n</answer>",
    "<think>\n</think>\n<answer>\nDiagnosis: melanoma\nDiagnosis: wart\nMalignancy: malignant\n</answer>",
    "<think>\n</think>\n<answer>\nDiagnosis: no such disease\nMalignancy: evil\nConfidence: 900\n</answer>",
    "\x00\ud800 \u2028 ﷽ 🦠" * 50,
    "<think>" * 2000,
    "word " * 20000,
)


def sample_rows(taxonomy: Taxonomy, count: int = 12, seed: int = 0, style: str = "report") -> list[dict[str, Any]]:
    """Rows as the GRPO dataset holds them.

    Open questions and options, leaf and inner golds, images with recorded concepts and without, a weighted gold, a row
    without a node.
    """
    rng = random.Random(seed)
    inner = [node for node in taxonomy.ids if taxonomy.children(node) and node != taxonomy.root]
    rows = []
    for index in range(count):
        gold = rng.choice(inner if inner and index % 4 == 3 else taxonomy.leaves)
        others = [node for node in taxonomy.ids if node not in (gold, taxonomy.root)]
        offered = [gold, *rng.sample(others, min(3, len(others)))] if index % 2 else []
        rng.shuffle(offered)
        rows.append(
            {
                "prompt": [{"role": "user", "content": "Which disease does the picture show?"}],
                "images": [],
                "id": f"sample-{index}",
                "gold_nodes": [gold],
                "gold_weights": [1.0],
                "options": [taxonomy.node(node).name for node in offered],
                "option_nodes": offered,
                "prefilled": prefill(style) if index % 3 == 2 else "",
                "concepts": [dict(one) for one in CONCEPTS] if index % 3 == 0 else [],
            }
        )
    if len(taxonomy.leaves) > 1:
        pair = list(taxonomy.leaves[:2])
        rows.append(rows[0] | {"id": "sample-weighted", "gold_nodes": pair, "gold_weights": [0.6, 0.4]})
    rows.append(rows[0] | {"id": "sample-without-node", "gold_nodes": [], "gold_weights": []})
    return rows


def gold_completion(taxonomy: Taxonomy, row: Mapping[str, Any], style: str = "report") -> str:
    """The completion that a perfect model would write for a row with one certain gold."""
    return _completion(taxonomy, row, row["gold_nodes"][0], style)


def answers_to(taxonomy: Taxonomy, row: Mapping[str, Any], style: str) -> list[str]:
    """The gold first, then answers near and far, each from a model that believes in it, then nothing."""
    golds = list(row.get("gold_nodes") or ())
    near: list[str] = []
    if golds:
        parents = taxonomy.parents(golds[0])
        near = [*parents, *(child for parent in parents for child in taxonomy.children(parent))][:6]
    nodes = list(dict.fromkeys([*golds[:1], *near, *taxonomy.leaves[:3], *taxonomy.leaves[-3:]]))
    offered = list(row.get("option_nodes") or ())
    if offered:
        nodes = list(dict.fromkeys([*(node for node in golds[:1] if node in offered), *offered]))
    return [*(_completion(taxonomy, row, node, style) for node in nodes if node != taxonomy.root), ""]


def _completion(taxonomy: Taxonomy, row: Mapping[str, Any], node: str, style: str) -> str:
    name, option = taxonomy.node(node).name, ""
    if node in (row.get("option_nodes") or ()):
        index = list(row["option_nodes"]).index(node)
        name, option = row["options"][index], option_letter(index)
    edges = (edge.node for edge in taxonomy.node(node).differential)
    near = [id for id in edges if is_reviewed(taxonomy, node, f"differential.{id}")][:_ALTERNATIVES]
    report = DiagnosticReport(
        name,
        taxonomy.behaviour(node),
        findings=_FINDINGS if row.get("concepts") else "",
        differential=tuple(DifferentialItem(taxonomy.node(id).name) for id in (node, *near)),
    )
    text = report.render(style, option=option)
    return text.removeprefix(row.get("prefilled") or "")


def call(reward: Reward, probes: Sequence[Probe], **extra: Any) -> Any:
    """As TRL 1.16 calls it: everything by keyword, columns as lists, conversational completions."""
    keys = {key for row, _ in probes for key in row} - {"prompt", "completion", "completion_ids"}
    columns = {key: [row.get(key) for row, _ in probes] for key in sorted(keys)}
    if extra:
        extra = {key: [value] * len(probes) for key, value in extra.items()}
    result = reward(
        prompts=[row.get("prompt") for row, _ in probes],
        completions=[[{"role": "assistant", "content": text}] for _, text in probes],
        completion_ids=[[0] for _ in probes],
        trainer_state=None,
        log_extra=lambda column, values: None,
        log_metric=lambda name, value: None,
        **columns,
        **extra,
    )
    return asyncio.run(_wait(result)) if inspect.isawaitable(result) else result


async def _wait(result: Any) -> Any:
    return await result
