"""The malignancy reward: is the Malignancy line right?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from skinrl.report import looks_cut
from skinrl.rewards.base import Completion, Gold, LogExtra, LogMetric, log_answers, read_answers, read_golds
from skinrl.taxonomy.answer import Answer
from skinrl.taxonomy.graph import Taxonomy


def gold_behaviour(taxonomy: Taxonomy, gold: Gold) -> str | None:
    """The behaviour that all golds share; `None` where they differ, or one is mixed or uncertain, or there is none."""
    found = {taxonomy.behaviour(node) for node, weight in gold if weight}
    behaviour = found.pop() if len(found) == 1 else None
    return None if behaviour == "uncertain" else behaviour


def score_malignancy(taxonomy: Taxonomy, answer: Answer, gold: Gold) -> float | None:
    """1 if the report's Malignancy is the gold's behaviour, else 0.

    0 for an invalid, truncated or unresolved answer and for ``Malignancy: undetermined``. `None` where the gold's
    behaviour is mixed, uncertain or absent.
    """
    expected = gold_behaviour(taxonomy, gold)
    if expected is None:
        return None
    return float(answer.outcome == "ok" and answer.malignancy == expected)


def get_malignancy_reward(taxonomy: Taxonomy, style: str = "report") -> MalignancyReward:
    """Reward for the Malignancy line, whatever the Diagnosis line says.

    Args:
        taxonomy: injected by the command line.
        style: one of `skinrl.report.STYLES`.

    Example: gold melanoma: ``Malignancy: malignant`` earns 1 even beside a wrong diagnosis; with the gold
    "melanocytic tumour", which holds naevi and melanomas, every completion of the prompt scores `None`.
    """
    return MalignancyReward(taxonomy, style)


class MalignancyReward:
    """Made by `get_malignancy_reward`. A class and not a closure, so that it can be pickled into a worker process."""

    __name__ = "malignancy_reward"
    maximum = 1.0

    def __init__(self, taxonomy: Taxonomy, style: str) -> None:
        looks_cut("", style=style)  # an unknown style is refused here, before training
        self.taxonomy, self.style = taxonomy, style

    def __call__(
        self,
        completions: Sequence[Completion],
        gold_nodes: Sequence[Sequence[str] | None],
        gold_weights: Sequence[Sequence[float] | None] | None = None,
        options: Sequence[Sequence[str] | None] | None = None,
        option_nodes: Sequence[Sequence[str] | None] | None = None,
        finished: Sequence[bool | None] | None = None,
        prefilled: Sequence[str | None] | None = None,
        log_extra: LogExtra | None = None,
        log_metric: LogMetric | None = None,
        **kwargs: Any,
    ) -> list[float | None]:
        """Score a batch; lists are as long as ``completions``. See `score_malignancy`."""
        answers = read_answers(self.taxonomy, completions, options, option_nodes, finished, prefilled, self.style)
        golds = read_golds(len(answers), gold_nodes, gold_weights)
        log_answers(self.__name__, answers, log_extra, log_metric)
        if log_extra is not None:
            log_extra(f"{self.__name__}/said", [answer.malignancy or "" for answer in answers])
        return [score_malignancy(self.taxonomy, answer, gold) for answer, gold in zip(answers, golds, strict=True)]
