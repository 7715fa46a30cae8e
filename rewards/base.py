"""What all rewards share: the columns of a batch, the reading of its answers, the logs, offline scoring."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from skinrl.report import DiagnosticReport, ParsedReport, looks_cut, parse_report
from skinrl.taxonomy.answer import ANSWER_OUTCOMES, Answer, answer_of, look_up_together
from skinrl.taxonomy.graph import Taxonomy

Completion = str | Sequence[Mapping[str, Any]]
Reward = Callable[..., list[float | None]]
LogExtra = Callable[[str, list[Any]], None]
LogMetric = Callable[[str, float], None]
Gold = tuple[tuple[str, float], ...]

_T = TypeVar("_T")

_BUILTIN = {
    "skinrl.rewards:report_format_reward": "fn: 1 for a valid report, 0 otherwise",
    "skinrl.rewards:get_report_format_reward": "factory: the same for another report style",
    "skinrl.rewards:get_hierarchy_reward": "factory: credit on the disease hierarchy, 0 to 1, eight measures",
    "skinrl.rewards:get_malignancy_reward": "factory: the Malignancy line, a missed malignancy costing most, 0 to 1",
    "skinrl.rewards:get_differential_reward": "factory: is the gold listed, how high, beside real neighbours, 0 to 1",
    "skinrl.rewards:get_consistency_reward": "factory: 1 if the diagnosis heads the differential, 0 otherwise",
    "skinrl.rewards:get_grounding_reward": "factory: findings recorded for this very image, 0 to 1; else None",
    "skinrl.rewards:get_length_reward": "factory: 1 up to a number of characters, falling to 0 at twice as many",
    "skinrl.rewards:get_repetition_reward": "factory: 1 less the share of word sequences said over and over",
    "skinrl.rewards:get_skin_r1_reward": "factory: Skin-R1's sum of format (1), depth (0.75) and malignancy (0.25)",
}


def builtin_rewards() -> dict[str, str]:
    """Import path of each built-in reward, as a recipe names it, to one line about it."""
    return dict(_BUILTIN)


def completion_text(completion: Completion) -> str:
    """Text of one completion: a string, or messages whose last one is the assistant's.

    Raises:
        TypeError: neither of these.
    """
    if isinstance(completion, str):
        return completion
    if (
        type(completion) is list and completion and type(completion[-1]) is dict
    ):  # as TRL gives it: no abstract class is asked
        content = completion[-1].get("content")
        if type(content) is str:
            return content
    if isinstance(completion, Sequence) and completion and isinstance(completion[-1], Mapping):
        content = completion[-1].get("content")
        if isinstance(content, str):
            return content
        if isinstance(content, Sequence):
            return "".join(block.get("text", "") for block in content)
    raise TypeError(f"a completion must be a string or a list of messages, found {completion!r:.200}")


def column(name: str, values: Sequence[_T] | None, default: _T, count: int) -> Sequence[_T]:
    """A dataset column, or ``count`` defaults where the dataset has none.

    Raises:
        ValueError: the column is not as long as the batch.
    """
    if values is None:
        return [default] * count
    if len(values) != count:
        raise ValueError(f"column {name!r} has {len(values)} values for {count} completions")
    return values


class Parsed(NamedTuple):
    """Columns of a batch in plain form, each as long as the batch, and the report of each row."""

    texts: tuple[str, ...]
    options: tuple[tuple[str, ...], ...]
    finished: tuple[bool | None, ...]
    prefilled: tuple[str, ...]
    reports: tuple[ParsedReport, ...]


class Batch(NamedTuple):
    """A parsed batch with the nodes of its options, and the answer read from each row."""

    parsed: Parsed
    option_nodes: tuple[tuple[str | None, ...], ...]
    answers: tuple[Answer, ...]


# The batch before: the rewards of a step read the same one in turn.
_parsed: tuple[str, Parsed] | None = None
_last: tuple[Taxonomy, Batch] | None = None


def parse_batch(
    completions: Sequence[Completion],
    options: Sequence[Sequence[str] | None] | None = None,
    finished: Sequence[bool | None] | None = None,
    prefilled: Sequence[str | None] | None = None,
    style: str = "report",
) -> Parsed:
    """Parse a batch once, however many rewards ask for it, and equal completions once; see `read_answers`."""
    global _parsed
    count = len(completions)
    columns = (
        tuple(map(completion_text, completions)),
        tuple([tuple(names) if names else () for names in column("options", options, (), count)]),
        tuple(column("finished", finished, None, count)),
        tuple([before or "" for before in column("prefilled", prefilled, "", count)]),
    )
    last = _parsed
    if last is not None and last[0] == style and last[1][:4] == columns:
        return last[1]
    known: dict[tuple[Any, ...], ParsedReport] = {}
    reports = []
    for row in zip(*columns, strict=True):
        report = known.get(row)
        if report is None:
            report = known[row] = _parse(style, *row)
        reports.append(report)
    parsed = Parsed(*columns, tuple(reports))
    _parsed = (style, parsed)
    return parsed


def _parse(style: str, text: str, names: tuple[str, ...], done: bool | None, before: str) -> ParsedReport:
    if done is None:
        done = not looks_cut(text, prefilled=before, style=style)
    return parse_report(text, options=names, finished=done, prefilled=before, style=style, thinking=False)


def read_batch(
    taxonomy: Taxonomy,
    completions: Sequence[Completion],
    options: Sequence[Sequence[str] | None] | None = None,
    option_nodes: Sequence[Sequence[str | None] | None] | None = None,
    finished: Sequence[bool | None] | None = None,
    prefilled: Sequence[str | None] | None = None,
    style: str = "report",
) -> Batch:
    """Read a batch once, however many rewards ask for it; see `read_answers`."""
    global _last
    parsed = parse_batch(completions, options, finished, prefilled, style)
    column_of_nodes = column("option_nodes", option_nodes, (), len(completions))
    nodes = tuple([tuple(offered) if offered else () for offered in column_of_nodes])
    last = _last
    if last is not None and last[0] is taxonomy and last[1].parsed is parsed and last[1].option_nodes == nodes:
        return last[1]
    look_up_together(parsed.reports, taxonomy)
    rows = zip(parsed.reports, parsed.options, nodes, strict=True)
    batch = Batch(parsed, nodes, tuple([answer_of(*row, taxonomy) for row in rows]))
    _last = (taxonomy, batch)
    return batch


def read_answers(
    taxonomy: Taxonomy,
    completions: Sequence[Completion],
    options: Sequence[Sequence[str] | None] | None = None,
    option_nodes: Sequence[Sequence[str | None] | None] | None = None,
    finished: Sequence[bool | None] | None = None,
    prefilled: Sequence[str | None] | None = None,
    style: str = "report",
) -> list[Answer]:
    """One answer per completion.

    ``finished`` is what the trainer knows about the length limit; where nobody says, a text that ends inside a block
    that it opened counts as truncated.
    """
    return list(read_batch(taxonomy, completions, options, option_nodes, finished, prefilled, style).answers)


def read_golds(
    count: int,
    gold_nodes: Sequence[Sequence[str] | None] | None,
    gold_weights: Sequence[Sequence[float] | None] | None = None,
) -> list[Gold]:
    """Weighted golds of each row; ``()`` where a row has none. Without weights, all golds of a row weigh the same.

    Raises:
        ValueError: a row with another number of weights than of nodes.
    """
    golds: list[Gold] = []
    last: tuple[object, object] | None = None  # the rows of a group follow each other, with the same golds
    nodes_of = column("gold_nodes", gold_nodes, None, count)
    for row in zip(nodes_of, column("gold_weights", gold_weights, None, count), strict=True):
        if row == last:
            golds.append(golds[-1])
            continue
        last = row
        nodes, weights = row[0] or (), row[1]
        weights = [1.0 / (len(nodes) or 1)] * len(nodes) if weights is None else weights
        if len(nodes) != len(weights):
            raise ValueError(f"gold_nodes {list(nodes)} and gold_weights {list(weights)} differ in length")
        golds.append(tuple(zip(nodes, weights, strict=True)))
    return golds


def log_answers(
    name: str, answers: Sequence[Answer], log_extra: LogExtra | None, log_metric: LogMetric | None
) -> None:
    """Answers into the completions table, shares of the outcomes into the metrics.

    Columns carry the reward's name: TRL appends to a column of the same name, which would then be too long. Every
    metric is logged at every call, so that all ranks log the same ones.
    """
    if log_extra is not None:
        log_extra(f"{name}/answer", [answer.text or f"[{answer.reason}]" for answer in answers])
        log_extra(f"{name}/node", [answer.node or f"[{answer.outcome}]" for answer in answers])
    if log_metric is not None and answers:
        for outcome in ANSWER_OUTCOMES:
            share = sum(answer.outcome == outcome for answer in answers) / len(answers)
            log_metric(f"answer/{outcome}", share)


class Row(NamedTuple):
    """One completion with its answer and what its question gives; `extra` are the reward's own columns."""

    answer: Answer
    gold: Gold
    options: Sequence[str]
    option_nodes: Sequence[str | None]
    text: str
    prefilled: str
    extra: tuple[Any, ...]

    @property
    def readable(self) -> bool:
        """Whether the report is valid, whole, and names a disease of the taxonomy or none (``undetermined``)."""
        return self.answer.outcome == "ok"

    def report(self) -> DiagnosticReport:
        """The report with its thinking block; only where the row is readable."""
        report = self.answer.parsed.whole().report
        if report is None:
            raise ValueError(f"no report can be read: {self.answer.parsed.reason}")
        return report


class AnswerReward(ABC):
    """A reward that scores each row by itself: a subclass gives `score`, and `why` for the completions table.

    A callable class and not a closure, so that it can be pickled into a worker process.

    Args:
        taxonomy: reads the answers.
        style: one of `skinrl.report.STYLES`.

    Raises:
        DataError: unknown style.
    """

    __name__ = "answer_reward"
    maximum = 1.0
    columns: tuple[str, ...] = ()  # dataset columns beside the common ones; their values come as `Row.extra`

    def __init__(self, taxonomy: Taxonomy, style: str = "report") -> None:
        looks_cut("", style=style)  # an unknown style is refused here, before training
        self.taxonomy, self.style = taxonomy, style

    @abstractmethod
    def score(self, row: Row) -> float | None:
        """0 for a wrong answer, `None` for a prompt that cannot be scored, whatever the answer."""

    def score_all(self, rows: Sequence[Row]) -> list[float | None]:
        """`score` of each row; for a subclass that is quicker with all of them at once."""
        return [self.score(row) for row in rows]

    def why(self, row: Row, score: float | None) -> Mapping[str, Any]:
        """Columns of the completions table, by their last name; the same ones for every row."""
        return {}

    def metrics(self, rows: Sequence[Row], scores: Sequence[float | None]) -> Mapping[str, float]:
        """Scalars of a batch that is not empty; the same ones for every batch."""
        return {}

    def __call__(
        self,
        completions: Sequence[Completion],
        gold_nodes: Sequence[Sequence[str] | None] | None = None,
        gold_weights: Sequence[Sequence[float] | None] | None = None,
        options: Sequence[Sequence[str] | None] | None = None,
        option_nodes: Sequence[Sequence[str] | None] | None = None,
        finished: Sequence[bool | None] | None = None,
        prefilled: Sequence[str | None] | None = None,
        log_extra: LogExtra | None = None,
        log_metric: LogMetric | None = None,
        **kwargs: Any,
    ) -> list[float | None]:
        """Score a batch; lists are as long as ``completions``."""
        count = len(completions)
        batch = read_batch(self.taxonomy, completions, options, option_nodes, finished, prefilled, self.style)
        golds = read_golds(count, gold_nodes, gold_weights)
        own = [column(name, kwargs.get(name), None, count) for name in self.columns]
        extra = list(zip(*own, strict=True)) if own else [()] * count
        parsed = batch.parsed
        columns = (batch.answers, golds, parsed.options, batch.option_nodes, parsed.texts, parsed.prefilled, extra)
        rows = list(map(Row, *columns))
        scores = self.score_all(rows)
        log_answers(self.__name__, batch.answers, log_extra, log_metric)
        if log_extra is not None and rows:
            told = [self.why(row, score) for row, score in zip(rows, scores, strict=True)]
            for name in told[0]:
                log_extra(f"{self.__name__}/{name}", [one[name] for one in told])
        if log_metric is not None and rows:
            for name, value in self.metrics(rows, scores).items():
                log_metric(f"{self.__name__}/{name}", value)
        return scores


def score_rows(rows: Iterable[Mapping[str, Any]], rewards: Sequence[Reward]) -> list[dict[str, float | None]]:
    """Score saved completions offline.

    Args:
        rows: each with ``completion`` (text or messages) and the dataset's columns; a column that some rows lack is
            `None` there.
        rewards: callables with TRL's signature and distinct ``__name__``.

    Returns:
        For each row, the score of each reward by its ``__name__``.
    """
    rows = list(rows)
    names = [getattr(reward, "__name__", type(reward).__name__) for reward in rewards]
    if len(set(names)) < len(names):
        raise ValueError(f"rewards must have distinct names, found {names}")
    keys = sorted({key for row in rows for key in row} - {"completion", "completions"})
    columns = {key: [row.get(key) for row in rows] for key in keys}
    completions = [row["completion"] for row in rows]
    columns.setdefault("prompts", columns.pop("prompt", [None] * len(rows)))
    scored: list[dict[str, float | None]] = [{} for _ in rows]
    for name, reward in zip(names, rewards, strict=True):
        values = reward(completions=completions, **columns) if rows else []
        for row, value in zip(scored, values, strict=True):
            row[name] = value
    return scored
