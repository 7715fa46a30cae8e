"""The hierarchy reward: partial credit for an answer near the gold in the taxonomy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from skinrl.errors import PluginError
from skinrl.report import looks_cut
from skinrl.rewards.base import Completion, Gold, LogExtra, LogMetric, log_answers, read_answers, read_golds
from skinrl.taxonomy.answer import Answer
from skinrl.taxonomy.graph import Taxonomy
from skinrl.taxonomy.measures import MEASURES, RELATIONS, Measure, information_content_of, relation
from skinrl.taxonomy.similarity import expected_credit, question_of


def score_hierarchy(
    taxonomy: Taxonomy,
    answer: Answer,
    gold: Gold,
    option_nodes: Sequence[str | None] = (),
    *,
    measure: str | Measure = "default",
    undetermined: float = 0.0,
) -> float | None:
    """Credit of one answer; see `skinrl.taxonomy.similarity.expected_credit`.

    Returns:
        0 to 1. 0 for an invalid, truncated or unresolved answer. ``undetermined`` for a valid report that declines
        to name a disease. `None` where the prompt cannot be scored: the gold has no node, or no option earns anything.
    """
    value = expected_credit(taxonomy, answer.node, gold, option_nodes=option_nodes, measure=measure)
    return undetermined if answer.undetermined and value is not None else value


def get_hierarchy_reward(
    taxonomy: Taxonomy,
    measure: str = "default",
    undetermined: float = 0.0,
    style: str = "report",
    gold_counts: Mapping[str, float] | None = None,
) -> HierarchyReward:
    """Reward for an answer on or near the gold's place in the taxonomy.

    Args:
        taxonomy: injected by the command line.
        measure: key of `skinrl.taxonomy.measures.MEASURES`, where each has its formula and its source.
        undetermined: what ``Diagnosis: undetermined`` earns, 0 to 1.
        style: one of `skinrl.report.STYLES`.
        gold_counts: node id to how often the training data has it as its gold, injected by the command line when it
            trains. ``information_content`` takes its content from them; without them, from the structure. The other
            measures do not look at them.

    Raises:
        PluginError: unknown measure, or ``undetermined`` outside 0 to 1.
        TaxonomyError: ``gold_counts`` of an unknown node, or negative.

    Example: gold melanoma, answer nodular melanoma: 1; answer melanocytic naevus: 0, because it is benign.
    """
    return HierarchyReward(taxonomy, measure, undetermined, style, gold_counts)


class HierarchyReward:
    """Made by `get_hierarchy_reward`. A class and not a closure, so that it can be pickled into a worker process."""

    def __init__(
        self,
        taxonomy: Taxonomy,
        measure: str,
        undetermined: float,
        style: str,
        gold_counts: Mapping[str, float] | None = None,
    ) -> None:
        if measure not in MEASURES:
            raise PluginError(f"unknown measure {measure!r}; expected one of: {', '.join(MEASURES)}")
        if not 0.0 <= undetermined <= 1.0:
            raise PluginError(f"the credit for undetermined must lie from 0 to 1, found {undetermined!r}")
        looks_cut("", style=style)  # an unknown style is refused here, before training
        self.taxonomy, self.undetermined, self.style = taxonomy, undetermined, style
        self.measure: str | Measure = measure
        if measure == "information_content" and gold_counts:
            self.measure = information_content_of(taxonomy, gold_counts)
        self.maximum = MEASURES[measure].maximum
        self.__name__ = "hierarchy_reward" if measure == "default" else f"hierarchy_{measure}_reward"

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
        scores: list[float | None] = []
        last: tuple[object, object] | None = None
        for answer, gold, nodes in zip(answers, golds, offered, strict=True):
            if last is None or last[0] is not gold or last[1] != nodes:  # once for the completions of a group
                last, question = (gold, nodes), question_of(self.taxonomy, gold, nodes, self.measure)
            value = question.credit(self.taxonomy, answer.node)
            scores.append(self.undetermined if answer.undetermined and value is not None else value)
        log_answers(self.__name__, answers, log_extra, log_metric)
        if log_extra is not None or log_metric is not None:
            relations = [relation_to(self.taxonomy, answer, gold) for answer, gold in zip(answers, golds, strict=True)]
            if log_extra is not None:
                log_extra(f"{self.__name__}/gold", [_written(gold) for gold in golds])
                log_extra(f"{self.__name__}/relation", relations)
            if log_metric is not None and relations:
                for name in RELATIONS:
                    log_metric(f"taxonomy/{name}", relations.count(name) / len(relations))
        return scores


def relation_to(taxonomy: Taxonomy, answer: Answer, gold: Gold) -> str:
    """Relation to the heaviest gold, to the nearest of several as heavy; ``none`` where one of the two has no node."""
    if not gold:
        return "none"
    most = max(weight for _, weight in gold)
    return min((relation(taxonomy, answer.node, node) for node, weight in gold if weight == most), key=RELATIONS.index)


def _written(gold: Gold) -> str:
    """Golds as the completions table shows them: ``melanoma``, or ``eczema 0.5, psoriasis 0.5``."""
    return gold[0][0] if len(gold) == 1 else ", ".join(f"{node} {weight:.3g}" for node, weight in gold)
