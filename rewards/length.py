"""Two rewards against padding: how long a completion is, and how much of it was said before."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from skinrl.errors import PluginError
from skinrl.rewards.base import AnswerReward, Row
from skinrl.taxonomy.graph import Taxonomy

_WORD = re.compile(r"\w{1,20}")  # a run of letters without end is cut, so that it repeats itself


def score_length(characters: int, most: int, least: int = 0) -> float:
    """1 from ``least`` to ``most`` characters; below, ``characters / least``; above, falling to 0 at ``2 * most``."""
    if characters < least:
        return characters / least
    return max(0.0, min(1.0, 2.0 - characters / most))


def score_repetition(text: str, size: int = 4, free: int = 3) -> float:
    """1 less the share of sequences of ``size`` words that were said ``free`` times before; case and signs aside.

    A report rightly says the name of its diagnosis three times: in the differential, the reasoning and the answer.
    """
    words = _WORD.findall(text.casefold())
    counts = Counter(zip(*(words[start:] for start in range(size)), strict=False))
    total = counts.total()
    return 1.0 - sum(max(0, count - free) for count in counts.values()) / total if total else 1.0


def get_length_reward(taxonomy: Taxonomy, most: int = 2000, least: int = 0, style: str = "report") -> LengthReward:
    """Reward for a completion of a readable length; see `score_length`. Never `None`.

    Counted in characters of the completion, tags included: they are the same offline and for every tokenizer, and a
    text without spaces is not short. 0 for an invalid, truncated or unresolved answer. TRL's own limit cuts and this
    one bends: set ``most`` well below it.

    Args:
        taxonomy: injected by the command line.
        most, least: characters.
        style: one of `skinrl.report.STYLES`.

    Raises:
        PluginError: not ``0 <= least <= most``, or ``most`` is 0.
    """
    return LengthReward(taxonomy, most, least, style)


class LengthReward(AnswerReward):
    """Made by `get_length_reward`."""

    __name__ = "length_reward"

    def __init__(self, taxonomy: Taxonomy, most: int, least: int, style: str) -> None:
        if not 0 <= least <= most or not most:
            raise PluginError(f"the length reward has least {least!r} and most {most!r}; expected 0 <= least <= most")
        super().__init__(taxonomy, style)
        self.most, self.least = most, least

    def score(self, row: Row) -> float | None:
        return score_length(len(row.text), self.most, self.least) if row.readable else 0.0

    def why(self, row: Row, score: float | None) -> Mapping[str, Any]:
        return {"characters": len(row.text)}


def get_repetition_reward(taxonomy: Taxonomy, size: int = 4, free: int = 3, style: str = "report") -> RepetitionReward:
    """Reward for a completion that does not repeat itself; see `score_repetition`. Never `None`.

    0 for an invalid, truncated or unresolved answer.

    Args:
        taxonomy: injected by the command line.
        size: words in a sequence.
        free: how often a sequence may stand in a report.
        style: one of `skinrl.report.STYLES`.

    Raises:
        PluginError: ``size`` or ``free`` below 1.
    """
    return RepetitionReward(taxonomy, size, free, style)


class RepetitionReward(AnswerReward):
    """Made by `get_repetition_reward`."""

    __name__ = "repetition_reward"

    def __init__(self, taxonomy: Taxonomy, size: int, free: int, style: str) -> None:
        if size < 1 or free < 1:
            raise PluginError(f"the repetition reward has size {size!r} and free {free!r}; expected 1 or more of each")
        super().__init__(taxonomy, style)
        self.size, self.free = size, free

    def score(self, row: Row) -> float | None:
        return score_repetition(row.text, self.size, self.free) if row.readable else 0.0
