"""Controls of a reward: does it pay for looking at the image, or for reciting what the diagnosis tells?"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from skinrl.rewards.base import Reward


@dataclass(frozen=True)
class GroundingControl:
    """Mean scores of the same completions, with the concepts of three images.

    Args:
        own: of the image that the completion was written for.
        same_diagnosis: of another image with the same gold: what remains is chance.
        another_diagnosis: of an image with another gold.
        rows: rows with their own concepts and a partner of both kinds; only these count.
    """

    own: float
    same_diagnosis: float
    another_diagnosis: float
    rows: int


def grounding_control(reward: Reward, rows: Sequence[Mapping[str, Any]], seed: int = 0) -> GroundingControl:
    """Score completions with the concepts of their own image, and with those of other images.

    A reward that pays for what was seen falls with the swap; one that pays for what the diagnosis tells stays where it
    is while the diagnosis is kept.

    Args:
        reward: a callable with TRL's signature that takes ``concepts``.
        rows: each with ``completion`` and the dataset's columns, ``gold_nodes`` and ``concepts`` among them.
        seed: of the choice of partners.

    Raises:
        ValueError: no row has concepts and both partners.
    """
    rng = random.Random(seed)
    recorded = [row for row in rows if row.get("concepts") and row.get("gold_nodes")]
    own, same, another = [], [], []
    for row in recorded:
        alike = [one for one in recorded if one is not row and list(one["gold_nodes"]) == list(row["gold_nodes"])]
        unlike = [one for one in recorded if list(one["gold_nodes"]) != list(row["gold_nodes"])]
        if alike and unlike:
            own.append(row)
            same.append({**row, "concepts": rng.choice(alike)["concepts"]})
            another.append({**row, "concepts": rng.choice(unlike)["concepts"]})
    if not own:
        raise ValueError("no row has concepts, another row with the same gold and one with another gold")
    return GroundingControl(_mean(reward, own), _mean(reward, same), _mean(reward, another), len(own))


def _mean(reward: Reward, rows: Sequence[Mapping[str, Any]]) -> float:
    """Mean score; a row that cannot be scored has nothing to pay and counts as 0."""
    keys = sorted({key for row in rows for key in row} - {"completion", "prompt"})
    columns = {key: [row.get(key) for row in rows] for key in keys}
    scores = reward(completions=[row["completion"] for row in rows], **columns)
    return math.fsum(score or 0.0 for score in scores) / len(rows)
