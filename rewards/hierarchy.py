"""The hierarchy reward: partial credit for an answer near the gold in the taxonomy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from skinrl.errors import PluginError
from skinrl.report import looks_cut
from skinrl.rewards.base import Completion, Gold, LogExtra, LogMetric, log_answers, read_answers, read_golds
from skinrl.taxonomy.answer import Answer
from skinrl.taxonomy.graph import Taxonomy
from skinrl.taxonomy.similarity import RELATIONS, SCHEMES, expected_credit, relation


def score_hierarchy(
    taxonomy: Taxonomy,
    answer: Answer,
    gold: Gold,
    option_nodes: Sequence[str | None] = (),
    *,
    scheme: str = "default",
    undetermined: float = 0.0,
) -> float | None:
    """Credit of one answer; see `skinrl.taxonomy.similarity.expected_credit`.

    Returns:
        0 to 1. 0 for an invalid, truncated or unresolved answer. ``undetermined`` for a valid report that declines
        to name a disease. `None` where the prompt cannot be scored: the gold has no node, or no option earns anything.
    """
    value = expected_credit(taxonomy, answer.node, gold, option_nodes=option_nodes, scheme=scheme)
    return undetermined if answer.undetermined and value is not None else value


def get_hierarchy_reward(
    taxonomy: Taxonomy, scheme: str = "default", undetermined: float = 0.0, style: str = "report"
) -> HierarchyReward:
    """Reward for an answer on or near the gold's place in the taxonomy.

    Args:
        taxonomy: injected by the command line.
        scheme: one of `skinrl.taxonomy.similarity.SCHEMES`; the default is design section 3's.
        undetermined: what a valid report with ``Diagnosis: undetermined`` earns, from 0 to 1.
        style: one of `skinrl.report.STYLES`.

    Raises:
        PluginError: unknown scheme, or ``undetermined`` outside 0 to 1.

    Example: gold melanoma: the answer melanoma earns 1, its parent less, a sibling of the same behaviour less than the
    parent, melanocytic naevus 0.
    """
    return HierarchyReward(taxonomy, scheme, undetermined, style)


class HierarchyReward:
    """Made by `get_hierarchy_reward`. A class and not a closure, so that it can be pickled into a worker process."""

    def __init__(self, taxonomy: Taxonomy, scheme: str, undetermined: float, style: str) -> None:
        if scheme not in SCHEMES:
            raise PluginError(f"unknown credit scheme {scheme!r}; expected one of: {', '.join(SCHEMES)}")
        if not 0.0 <= undetermined <= 1.0:
            raise PluginError(f"the credit for undetermined must lie from 0 to 1, found {undetermined!r}")
        looks_cut("", style=style)  # an unknown style is refused here, before training
        self.taxonomy, self.scheme, self.undetermined, self.style = taxonomy, scheme, undetermined, style
        self.maximum = SCHEMES[scheme].maximum
        self.__name__ = "hierarchy_reward" if scheme == "default" else f"hierarchy_{scheme}_reward"

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
        """Score a batch; lists are as long as ``completions``. See the factory and `score_hierarchy`."""
        answers = read_answers(self.taxonomy, completions, options, option_nodes, finished, prefilled, self.style)
        golds = read_golds(len(answers), gold_nodes, gold_weights)
        offered = option_nodes if option_nodes is not None else [()] * len(answers)
        scores = [
            score_hierarchy(
                self.taxonomy, answer, gold, nodes or (), scheme=self.scheme, undetermined=self.undetermined
            )
            for answer, gold, nodes in zip(answers, golds, offered, strict=True)
        ]
        log_answers(self.__name__, answers, log_extra, log_metric)
        if log_extra is not None or log_metric is not None:
            relations = [self._relation(answer, gold) for answer, gold in zip(answers, golds, strict=True)]
            if log_extra is not None:
                log_extra(f"{self.__name__}/relation", relations)
            if log_metric is not None and relations:
                for name in RELATIONS:
                    log_metric(f"taxonomy/{name}", relations.count(name) / len(relations))
        return scores

    def _relation(self, answer: Answer, gold: Gold) -> str:
        """Relation to the heaviest gold, the first of equals; ``none`` where one of the two has no node."""
        if not gold:
            return "none"
        return relation(self.taxonomy, answer.node, max(gold, key=lambda item: item[1])[0])
