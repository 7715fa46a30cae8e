"""The format reward: is the completion a report that can be read?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from skinrl.report import looks_cut
from skinrl.rewards.base import Completion, LogExtra, LogMetric, parse_batch


def report_format_reward(
    completions: Sequence[Completion],
    options: Sequence[Sequence[str] | None] | None = None,
    finished: Sequence[bool | None] | None = None,
    prefilled: Sequence[str | None] | None = None,
    log_extra: LogExtra | None = None,
    log_metric: LogMetric | None = None,
    **kwargs: Any,
) -> list[float | None]:
    r"""1 if the completion is a valid report of the project's own format, 0 if it is invalid or truncated.

    It needs no taxonomy, so two diseases in one Diagnosis line pass here; every reward on the taxonomy gives them 0.
    Never `None`.

    Args:
        completions: texts, or lists of messages.
        options: names offered by each question; an answer outside them is invalid.
        finished: whether each completion ended by itself; without it, a text that ends inside a block is truncated.
        prefilled: what the chat template had already written of each completion.
        log_extra, log_metric: given by the trainer.

    Example:
    ```python
    >>> from skinrl.rewards import report_format_reward
    >>> good = "<think>\n</think>\n<answer>\nDiagnosis: melanoma\nMalignancy: malignant\n</answer>"
    >>> report_format_reward([good, "It is a melanoma."])
    [1.0, 0.0]
    ```
    """
    return _score("report_format_reward", "report", completions, options, finished, prefilled, log_extra, log_metric)


def get_report_format_reward(style: str = "report") -> _ReportFormatReward:
    """The same for another style of `skinrl.report.STYLES`, such as ``skin_r1``."""
    return _ReportFormatReward(style)


class _ReportFormatReward:
    # A class and not a closure, so that it can be pickled into a worker process.
    def __init__(self, style: str) -> None:
        looks_cut("", style=style)  # an unknown style is refused here, before training
        self.style = style
        self.__name__ = "report_format_reward" if style == "report" else f"{style}_format_reward"

    def __call__(
        self,
        completions: Sequence[Completion],
        options: Sequence[Sequence[str] | None] | None = None,
        finished: Sequence[bool | None] | None = None,
        prefilled: Sequence[str | None] | None = None,
        log_extra: LogExtra | None = None,
        log_metric: LogMetric | None = None,
        **kwargs: Any,
    ) -> list[float | None]:
        return _score(self.__name__, self.style, completions, options, finished, prefilled, log_extra, log_metric)


def _score(
    name: str,
    style: str,
    completions: Sequence[Completion],
    options: Sequence[Sequence[str] | None] | None,
    finished: Sequence[bool | None] | None,
    prefilled: Sequence[str | None] | None,
    log_extra: LogExtra | None,
    log_metric: LogMetric | None,
) -> list[float | None]:
    parsed = parse_batch(completions, options, finished, prefilled, style)
    reasons = [report.reason for report in parsed.reports]
    if log_extra is not None:
        log_extra(f"{name}/fault", reasons)
    if log_metric is not None and reasons:
        log_metric(f"{name}/valid", sum(not reason for reason in reasons) / len(reasons))
    return [0.0 if reason else 1.0 for reason in reasons]
