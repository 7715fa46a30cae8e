"""Saved completions as rows that rewards can score, and what their scores say."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from skinrl import files
from skinrl.errors import InputError

Reward = Callable[..., list[float | None]]
Scores = list[dict[str, float | None]]
_EXPECTED = "expected a Parquet file or folder that GRPO logs, or JSONL with `completion` and `gold` or `gold_nodes`"


def read_rows(place: Path) -> list[dict[str, Any]]:
    """The rows of a JSONL or Parquet file, or of all Parquet files of a folder.

    A row of GRPO's log brings its dataset columns as JSON in ``row``; predictions bring ``gold`` and take the options
    from the ``cases.jsonl`` beside them.

    Raises:
        InputError: no such file, another kind of file, no rows, a row without a completion.
    """
    if place.is_dir():
        parts = sorted(place.glob("*.parquet"))
        if not parts:
            raise InputError(f"{place}: holds no *.parquet; {_EXPECTED}")
        return [row for part in parts for row in read_rows(part)]
    if not place.is_file():
        raise InputError(f"{place}: no such file or folder; {_EXPECTED}")
    if place.suffix == ".parquet":
        rows = [_from_log(row) for row in _read_parquet(place)]
    else:
        offered = _offered(place.with_name("cases.jsonl"))
        rows = [_with_gold(row, place) for row in files.read_jsonl(place)]
        rows = [offered.get(row.get("id"), {}) | row for row in rows]
    if not rows:
        raise InputError(f"{place}: holds no rows; {_EXPECTED}")
    if any("completion" not in row for row in rows):
        raise InputError(f"{place}: a row has no `completion`; {_EXPECTED}")
    return rows


def _read_parquet(file: Path) -> list[dict[str, Any]]:
    try:
        from pyarrow import ArrowInvalid, parquet
    except ModuleNotFoundError as error:
        raise InputError(f"{file}: reading Parquet needs pyarrow; install skinrl[train]") from error
    try:
        return list(parquet.read_table(file).to_pylist())
    except ArrowInvalid as error:
        raise InputError(f"{file}: is no Parquet file ({error}); {_EXPECTED}") from error


def _from_log(row: dict[str, Any]) -> dict[str, Any]:
    kept = json.loads(row.pop("row", None) or "{}")
    return {**{key: row[key] for key in ("step", "prompt", "completion", "id") if key in row}, **kept}


def _offered(cases: Path) -> dict[Any, dict[str, Any]]:
    """What was offered in each case, from the ``cases.jsonl`` that an evaluation leaves beside its predictions."""
    keys = ("options", "option_nodes", "prefilled")
    rows = files.read_jsonl(cases) if cases.is_file() else []
    return {row["id"]: {key: row[key] for key in keys} for row in rows}


def _with_gold(row: Any, file: Path) -> dict[str, Any]:
    """A row with ``gold_nodes`` and ``gold_weights``; predictions carry ``gold`` as a node or as weights by node."""
    if not isinstance(row, dict):
        raise InputError(f"{file}: a row is no JSON object; {_EXPECTED}")
    if "gold_nodes" in row or "gold" not in row:
        return row
    gold = row["gold"]
    weights = {gold: 1.0} if isinstance(gold, str) else dict(gold or {})
    return {**row, "gold_nodes": list(weights), "gold_weights": list(weights.values())}


def refuse_without_gold(rows: Sequence[Mapping[str, Any]], rewards: Sequence[Reward], place: Path) -> None:
    """Rows without any gold would score `None` throughout: say so first.

    Raises:
        InputError: a reward takes ``gold_nodes``, and no row has them.
    """
    import inspect

    asking = [reward for reward in rewards if "gold_nodes" in inspect.signature(reward).parameters]
    if asking and not any("gold_nodes" in row for row in rows):
        name = getattr(asking[0], "__name__", "a reward")
        raise InputError(
            f"{place}: no row has `gold_nodes`, which {name} takes; {_EXPECTED}. A log that GRPO wrote before it kept "
            "each row in the column `row` cannot be scored again"
        )


def score_and_explain(
    rows: Sequence[Mapping[str, Any]], rewards: Sequence[Reward]
) -> tuple[Scores, list[dict[str, Any]]]:
    """Scores of each row by the name of the reward, and what each reward logs about it: answer, node, relation ..."""
    from skinrl.rewards import score_rows

    why: list[dict[str, Any]] = [{} for _ in rows]

    def log_extra(column: str, values: Sequence[Any]) -> None:
        for told, value in zip(why, values, strict=True):
            told[column] = value

    named = [_Logging(reward, log_extra) for reward in rewards]
    return score_rows(rows, named), why


class _Logging:
    """A reward that is given ``log_extra``, under its own name."""

    def __init__(self, reward: Reward, log_extra: Callable[[str, Sequence[Any]], None]) -> None:
        self.reward, self.log_extra = reward, log_extra
        self.__name__ = getattr(reward, "__name__", type(reward).__name__)

    def __call__(self, **columns: Any) -> list[float | None]:
        return self.reward(**columns, log_extra=self.log_extra)


def summaries(rows: Sequence[Mapping[str, Any]], scores: Scores) -> list[dict[str, Any]]:
    """One row of the table for each reward.

    ``mean``, ``sd`` (population) and ``zeros`` (share) are over the completions that could be scored; ``none`` is the
    share of all that could not. ``flat_groups`` is the share of groups of two or more scored completions of one prompt
    in which all score the same, so that GRPO learns nothing from them; `None` where there are no such groups.
    """
    groups: dict[Any, list[int]] = {}
    for index, row in enumerate(rows):
        groups.setdefault(_group(row, index), []).append(index)
    table = []
    for name in scores[0]:
        known = [value for one in scores if (value := one[name]) is not None]
        mean = math.fsum(known) / len(known) if known else None
        sd = None if mean is None else math.sqrt(math.fsum((value - mean) ** 2 for value in known) / len(known))
        in_groups = [[scores[i][name] for i in members if scores[i][name] is not None] for members in groups.values()]
        spread = [len(set(values)) > 1 for values in in_groups if len(values) > 1]
        table.append(
            {
                "reward": name,
                "completions": len(scores),
                "mean": mean,
                "sd": sd,
                "zeros": known.count(0.0) / len(known) if known else None,
                "none": 1.0 - len(known) / len(scores),
                "groups": len(spread),
                "flat_groups": spread.count(False) / len(spread) if spread else None,
            }
        )
    return table


def _group(row: Mapping[str, Any], index: int) -> Any:
    """Completions of one prompt at one step of training; rows without an id or a prompt stand alone."""
    if row.get("id") is not None:
        return row.get("step"), str(row["id"])
    if row.get("prompt") is not None:
        return row.get("step"), json.dumps(row["prompt"], default=str)
    return index


def worst_rows(
    rows: Sequence[Mapping[str, Any]],
    scores: Scores,
    why: Sequence[Mapping[str, Any]],
    weights: Mapping[str, float],
    count: int,
) -> list[dict[str, Any]]:
    """The ``count`` rows with the lowest weighted sum of scores, lowest first; rows without a score are left out."""
    totals = {}
    for index, one in enumerate(scores):
        known = [weights[name] * value for name, value in one.items() if value is not None]
        if known:
            totals[index] = math.fsum(known)
    lowest = sorted(totals, key=lambda index: (totals[index], index))[:count]
    return [
        {
            "id": rows[index].get("id"),
            "step": rows[index].get("step"),
            "total": totals[index],
            "gold": rows[index].get("gold_nodes"),
            "scores": scores[index],
            "why": {key: value for key, value in why[index].items() if value not in ("", None)},
            "completion": _text(rows[index]["completion"]),
        }
        for index in lowest
    ]


def _text(completion: Any) -> str:
    from skinrl.rewards.base import completion_text

    return completion_text(completion)
