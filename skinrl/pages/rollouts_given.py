"""What the pages of rollouts are given: plain values, nothing that opens a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Rollout:
    """One completion.

    Args:
        row: its place in the step's table, from 0.
        rewards: name -> score; None where the reward could not score the prompt.
        total: weighted sum of the scores that there are; None where there are none.
        why: reward -> what it logged about this completion, by column; "" holds columns that belong to no reward.
        finished: False where the length limit cut it; None where that was not logged.
    """

    row: int
    text: str
    rewards: Mapping[str, float | None]
    total: float | None
    advantage: float
    why: Mapping[str, Mapping[str, str]]
    finished: bool | None = None


@dataclass(frozen=True)
class Group:
    """The completions of one prompt at one step.

    Args:
        number: its place in the step, from 0.
        prompt: role and text of each message.
        facts: the plain columns of the dataset row: gold, options and the like.
        images: one address per image, for an ``img`` element; "" for a file that cannot be shown.
        reason: why there are no images, or not all; "" where there is nothing to say.
    """

    number: int
    id: str
    prompt: Sequence[tuple[str, str]]
    facts: Mapping[str, Any]
    rollouts: Sequence[Rollout]
    images: Sequence[str] = ()
    reason: str = ""

    @property
    def totals(self) -> list[float]:
        """Weighted sums of the completions that could be scored."""
        return [one.total for one in self.rollouts if one.total is not None]

    @property
    def mean(self) -> float | None:
        """Mean of the totals."""
        return sum(self.totals) / len(self.totals) if self.totals else None

    @property
    def spread(self) -> float:
        """Highest less lowest total; 0 where GRPO learns nothing from the group."""
        return max(self.totals) - min(self.totals) if self.totals else 0.0


@dataclass(frozen=True)
class Curve:
    """A number of the run by step.

    Args:
        points: (step, value), steps rising.
        form: ``number`` or ``share``.
    """

    name: str
    what: str
    points: Sequence[tuple[int, float]]
    form: str = "number"


@dataclass(frozen=True)
class Suspect:
    """A rollout that the search puts forward.

    Args:
        score: 0 to 1, as docs/view.md defines it.
        signs: sign -> its part, 0 to 1.
        because: what was found, a sentence each.
        alike: rollouts with this very text in the block of steps.
        image: address of the record's first image; "" where there is none to show.
    """

    step: int
    group: int
    row: int
    id: str
    score: float
    signs: Mapping[str, float]
    because: Sequence[str]
    alike: int
    total: float | None
    text: str
    image: str = ""


@dataclass(frozen=True)
class Found:
    """What the search says of the run so far.

    Args:
        suspects: highest first.
        partings: sentences on rewards that rose while another fell.
        rollouts: searched so far; steps: so far, of ``all_steps``.
        counts: order of the search -> rollouts with at least 0.5 there.
    """

    suspects: Sequence[Suspect]
    partings: Sequence[str]
    rollouts: int
    steps: int
    all_steps: int
    counts: Mapping[str, int]


@dataclass(frozen=True)
class Run:
    """The run as a whole.

    Args:
        weights: reward -> weight, in the order of the recipe.
        weights_known: False where no recipe lies beside the completions; every weight is then 1.
        steps: the steps that have completions.
        state: a word or two: "in progress", "complete", "stopped".
    """

    name: str
    weights: Mapping[str, float]
    weights_known: bool
    steps: Sequence[int]
    state: str
    curves: Sequence[Curve] = ()
