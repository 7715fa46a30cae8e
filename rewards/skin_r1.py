"""Skin-R1's composite reward, format + depth + malignancy, with a parser that cannot be gamed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from skinrl.errors import PluginError
from skinrl.report import looks_cut
from skinrl.rewards.base import Completion, Gold, LogExtra, LogMetric, log_answers, read_answers, read_golds
from skinrl.rewards.malignancy import gold_behaviour
from skinrl.taxonomy.answer import Answer
from skinrl.taxonomy.graph import Taxonomy
from skinrl.taxonomy.similarity import expected_credit

FORMS: Mapping[str, str] = {"paper": "skin_r1_paper", "code": "skin_r1_code", "standard": "skin_r1_code"}
_BUCKETS = ("benign", "precancerous or in situ", "malignant")


def score_skin_r1(
    taxonomy: Taxonomy, answer: Answer, gold: Gold, option_nodes: Sequence[str | None] = (), *, form: str = "code"
) -> float | None:
    """``format (1) + depth (up to 0.75) + malignancy (0.25)``, from 0 to 2.

    - format: 1 for a valid report, whatever it answers;
    - depth: `skin_r1_paper` or `skin_r1_code` of `skinrl.taxonomy.similarity`, expected over weighted golds; the form
      ``standard``, the paper's ablation, pays it only where it is all of 0.75;
    - malignancy: 0.25 if the Malignancy line equals the gold's bucket (benign, precancerous, malignant).

    0 for an invalid or truncated answer; an unresolved one earns the format alone. `None` where the gold has no node.
    """
    depth = expected_credit(taxonomy, answer.node, gold, option_nodes=option_nodes, measure=FORMS[form])
    if depth is None:
        return None
    if answer.outcome in ("invalid", "truncated"):
        return 0.0
    if form == "standard" and depth < 0.75:
        depth = 0.0
    behaviour = gold_behaviour(taxonomy, gold)
    right = answer.outcome == "ok" and behaviour in _BUCKETS and answer.malignancy == behaviour
    return 1.0 + depth + 0.25 * right


def get_skin_r1_reward(taxonomy: Taxonomy, form: str = "code", style: str = "report") -> SkinR1Reward:
    """Skin-R1's reward for its multiple-choice questions; works on open questions too.

    Source: arXiv 2511.14900 and github.com/l593191569/Skin-R1 at 6ea8b447.

    Differences from the released code, all on purpose: the option is read by the strict parser (the code takes the
    first letter A to Z of the answer, so that "basal cell carcinoma" is B); malignancy is read from its own place (the
    code takes the first of three words anywhere in the answer); an answer that is not valid earns nothing at all (the
    code pays option and malignancy without the format); samples without a bucket (non-neoplastic, uncertain, mixed)
    are kept, and earn no malignancy part, where Skin-R1 drops them. The format is ours by default; ``style="skin_r1"``
    takes Skin-R1's tags.

    Args:
        taxonomy: injected by the command line.
        form: ``code``, ``paper`` or ``standard``.
        style: one of `skinrl.report.STYLES`.

    Raises:
        PluginError: unknown form.
    """
    return SkinR1Reward(taxonomy, form, style)


class SkinR1Reward:
    """Made by `get_skin_r1_reward`. A class and not a closure, so that it can be pickled into a worker process."""

    maximum = 2.0
    # What it pays for, for the adversarial corpus.
    parts: ClassVar[Mapping[str, float]] = {"form": 1.0, "diagnosis": 0.75, "behaviour_line": 0.25}

    def __init__(self, taxonomy: Taxonomy, form: str, style: str) -> None:
        if form not in FORMS:
            raise PluginError(f"unknown form {form!r} of Skin-R1's reward; expected one of: {', '.join(FORMS)}")
        looks_cut("", style=style)  # an unknown style is refused here, before training
        self.taxonomy, self.form, self.style = taxonomy, form, style
        self.__name__ = f"skin_r1_{form}_reward"

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
        """Score a batch; lists are as long as ``completions``. See `score_skin_r1`."""
        answers = read_answers(self.taxonomy, completions, options, option_nodes, finished, prefilled, self.style)
        golds = read_golds(len(answers), gold_nodes, gold_weights)
        offered = option_nodes if option_nodes is not None else [()] * len(answers)
        log_answers(self.__name__, answers, log_extra, log_metric)
        return [
            score_skin_r1(self.taxonomy, answer, gold, nodes or (), form=self.form)
            for answer, gold, nodes in zip(answers, golds, offered, strict=True)
        ]
