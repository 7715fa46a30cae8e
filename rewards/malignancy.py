"""The malignancy reward: is the Malignancy line right, and does it say what the diagnosis says?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from skinrl.errors import PluginError
from skinrl.rewards.base import AnswerReward, Gold, Row
from skinrl.rewards.facts import is_reviewed
from skinrl.taxonomy.answer import Answer
from skinrl.taxonomy.graph import BEHAVIOURS, Taxonomy
from skinrl.taxonomy.measures import side_of

FALSE_ALARM, SAME_SIDE = 0.2, 0.5
_KEPT = 65_536  # golds whose behaviour is remembered


def gold_behaviour(taxonomy: Taxonomy, gold: Gold, *, reviewed: bool = False) -> str | None:
    """The behaviour that all golds share; `None` where they differ, or one is mixed or uncertain, or there is none.

    Args:
        reviewed: count a behaviour only where a reviewed source states it for every leaf at or below the gold.
    """
    leaves = [leaf for node, weight in gold if weight for leaf in taxonomy.leaves_below(node)]
    found = {taxonomy.node(leaf).behaviour for leaf in leaves}
    behaviour = found.pop() if len(found) == 1 else None
    if reviewed and not all(is_reviewed(taxonomy, leaf, "behaviour") for leaf in leaves):
        return None
    return None if behaviour == "uncertain" else behaviour


def contradicts(taxonomy: Taxonomy, answer: Answer) -> bool:
    """Whether the Malignancy line names a behaviour that no leaf at or below the diagnosis has.

    False where either says nothing: no node, ``undetermined``, a diagnosis of which the taxonomy states no behaviour.
    """
    if answer.node is None or answer.malignancy is None:
        return False
    behaviours = taxonomy.behaviours(answer.node)
    return bool(behaviours) and answer.malignancy not in behaviours


def score_malignancy(
    taxonomy: Taxonomy,
    answer: Answer,
    gold: Gold,
    *,
    false_alarm: float = FALSE_ALARM,
    same_side: float = SAME_SIDE,
    check_diagnosis: bool = True,
    reviewed: bool = False,
) -> float | None:
    """1 if the Malignancy line is the gold's behaviour; of the errors, a missed malignancy costs most.

    - ``same_side``: another class of the gold's side (malignant for in situ, benign for non-neoplastic);
    - ``false_alarm``: the gold is benign or non-neoplastic, the line malignant or in situ;
    - 0: the gold is malignant or in situ, the line is not; ``uncertain`` and ``undetermined``; a line that contradicts
      the diagnosis (`contradicts`); an invalid, truncated or unresolved answer.

    `None` where the gold's behaviour is mixed, uncertain or absent.
    """
    expected = gold_behaviour(taxonomy, gold, reviewed=reviewed)
    return None if expected is None else _score(taxonomy, answer, expected, false_alarm, same_side, check_diagnosis)


def _score(
    taxonomy: Taxonomy, answer: Answer, expected: str, false_alarm: float, same_side: float, check_diagnosis: bool
) -> float:
    if answer.outcome != "ok" or answer.malignancy is None or (check_diagnosis and contradicts(taxonomy, answer)):
        return 0.0
    return _line(answer.malignancy, expected, false_alarm, same_side)


def _line(said: str, expected: str, false_alarm: float, same_side: float) -> float:
    if said == expected:
        return 1.0
    if side_of(said) == side_of(expected):
        return same_side
    return false_alarm if side_of(said) == "malignant" else 0.0


def malignant_weight(prior: Mapping[str, float], false_alarm: float, same_side: float) -> float:
    """What a malignant gold's score is multiplied with, so that crying malignant stays below guessing by prior.

    With w, the answer "malignant" for every case earns ``w·A_m + A_b`` (A_m over malignant golds, A_b over benign
    ones) and guessing by prior ``w·G_m + G_b``; the first is less where ``w < (G_b - A_b) / (A_m - G_m)``. Nine tenths
    of that, at most 1: where malignant cases are the minority, nothing changes.

    Args:
        prior: behaviour to share or count of the golds; uncertain ones are not scored and left out.

    Raises:
        PluginError: no behaviour, a share that is negative, no golds, or ``same_side`` equal to ``false_alarm``.
    """
    if set(prior) - set(BEHAVIOURS) or not all(0 <= share < math.inf for share in prior.values()):
        raise PluginError(f"prior {dict(prior)}: expected a number of 0 or more for each of: {', '.join(BEHAVIOURS)}")
    total = math.fsum(share for kind, share in prior.items() if side_of(kind))
    if not total or same_side <= false_alarm:
        raise PluginError(f"prior {dict(prior)}: expected golds to score, and same_side above false_alarm")
    shares = {kind: share / total for kind, share in prior.items() if side_of(kind)}

    def earned(said: str, side: str) -> float:
        golds = ((gold, share) for gold, share in shares.items() if side_of(gold) == side)
        return math.fsum(share * _line(said, gold, false_alarm, same_side) for gold, share in golds)

    def guessed(side: str) -> float:
        return math.fsum(often * earned(said, side) for said, often in shares.items())

    gain = earned("malignant", "malignant") - guessed("malignant")
    loss = guessed("benign") - earned("malignant", "benign")
    return min(1.0, 0.9 * loss / gain) if gain > 0 else 1.0


def get_malignancy_reward(
    taxonomy: Taxonomy,
    false_alarm: float = FALSE_ALARM,
    same_side: float = SAME_SIDE,
    check_diagnosis: bool = True,
    reviewed: bool = False,
    prior: Mapping[str, float] | None = None,
    style: str = "report",
) -> MalignancyReward:
    """Reward for the Malignancy line; see `score_malignancy`.

    Crying malignant does not pay. A line that is always malignant contradicts every benign diagnosis, and so earns
    less than one that fits, at every share p of malignant cases. One malignant diagnosis *and* line for every case
    earns ``p + (1 - p)·false_alarm`` (two classes), less than guessing by prior only while ``p < (1 - false_alarm) /
    (2 - false_alarm)``, 0.44 by default: where most cases are malignant, give ``prior``.

    Args:
        taxonomy: injected by the command line.
        false_alarm: from 0 to ``same_side``.
        same_side: from ``false_alarm`` to 1.
        check_diagnosis: False pays the line whatever the diagnosis says.
        reviewed: score only golds whose behaviour a reviewed source states. Not the default: the behaviour of leaves
            is, like the tree, the project's own measuring stick, and most prompts would go unscored; docs/rewards.md
            has the counts.
        prior: behaviour to its share (or count) in the training data. Golds of the malignant side then pay
            `malignant_weight`, so that crying malignant is below guessing at every prior. It acts through
            ``scale_rewards: batch`` or ``none``; ``group`` undoes it.
        style: one of `skinrl.report.STYLES`.

    Raises:
        PluginError: not ``0 <= false_alarm <= same_side <= 1``, or a ``prior`` of something else.

    Example: gold melanoma: ``Malignancy: malignant`` earns 1 beside any malignant diagnosis and 0 beside a naevus;
    with the gold "melanocytic neoplasm", which holds naevi and melanomas, every completion scores `None`.
    """
    return MalignancyReward(taxonomy, false_alarm, same_side, check_diagnosis, reviewed, prior, style)


class MalignancyReward(AnswerReward):
    """Made by `get_malignancy_reward`."""

    __name__ = "malignancy_reward"

    def __init__(
        self,
        taxonomy: Taxonomy,
        false_alarm: float,
        same_side: float,
        check_diagnosis: bool,
        reviewed: bool,
        prior: Mapping[str, float] | None,
        style: str,
    ) -> None:
        if not 0.0 <= false_alarm <= same_side <= 1.0:
            raise PluginError(
                f"the malignancy reward has false_alarm {false_alarm!r} and same_side {same_side!r}; "
                "expected 0 <= false_alarm <= same_side <= 1: a false alarm must not cost less than a smaller error"
            )
        super().__init__(taxonomy, style)
        self.errors = (false_alarm, same_side, check_diagnosis)
        self.reviewed = reviewed
        self._golds: dict[Gold, str | None] = {}
        self.malignant_weight = 1.0 if prior is None else malignant_weight(prior, false_alarm, same_side)

    def score(self, row: Row) -> float | None:
        expected = self._expected(row.gold)
        if expected is None:
            return None
        score = _score(self.taxonomy, row.answer, expected, *self.errors)
        return score * self.malignant_weight if side_of(expected) == "malignant" else score

    def _expected(self, gold: Gold) -> str | None:
        if gold not in self._golds:
            if len(self._golds) >= _KEPT:
                self._golds.clear()
            self._golds[gold] = gold_behaviour(self.taxonomy, gold, reviewed=self.reviewed)
        return self._golds[gold]

    def why(self, row: Row, score: float | None) -> Mapping[str, Any]:
        return {
            "said": row.answer.malignancy or "",
            "gold": self._expected(row.gold) or "",
            "contradicts": contradicts(self.taxonomy, row.answer),
        }

    def metrics(self, rows: Sequence[Row], scores: Sequence[float | None]) -> Mapping[str, float]:
        return {
            "contradicts": sum(contradicts(self.taxonomy, row.answer) for row in rows) / len(rows),
            "unscored": sum(score is None for score in scores) / len(rows),
        }
