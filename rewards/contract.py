"""The contract test of a reward: what would otherwise show as a flat or a corrupted run."""

from __future__ import annotations

import asyncio
import inspect
import math
import pickle
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

from skinrl.report import DiagnosticReport, option_letter, prefill
from skinrl.rewards.base import Reward
from skinrl.taxonomy.graph import Taxonomy

GARBAGE = (
    "",
    " \n\t",
    "melanoma",
    "<think>",
    "<answer></answer>",
    "</answer><answer></think><think>",
    "<think>\n</think>\n<answer>\nDiagnosis: \nMalignancy: \n</answer>",
    "<think>\n</think>\n<answer>\nDiagnosis: melanoma\nDiagnosis: wart\nMalignancy: malignant\n</answer>",
    "<think>\n</think>\n<answer>\nDiagnosis: no such disease\nMalignancy: evil\nConfidence: 900\n</answer>",
    "\x00\ud800 \u2028 ﷽ 🦠" * 50,
    "<think>" * 2000,
    "word " * 20000,
)
_TRAINER = frozenset({"prompts", "completions", "completion_ids", "trainer_state", "log_extra", "log_metric"})


@dataclass(frozen=True)
class Finding:
    """One line of the contract test.

    Args:
        check: what was looked at.
        status: ``ok``, ``warn``, ``fail`` or ``skipped``.
        what: what was found.
        mend: what to do, empty when ``ok``.
    """

    check: str
    status: str
    what: str = ""
    mend: str = ""


def sample_rows(taxonomy: Taxonomy, count: int = 12, seed: int = 0, style: str = "report") -> list[dict[str, Any]]:
    """Rows as the GRPO dataset holds them: open questions and options, leaf and inner golds, a weighted one, one
    without a node."""
    rng = random.Random(seed)
    inner = [node for node in taxonomy.ids if taxonomy.children(node) and node != taxonomy.root]
    rows = []
    for index in range(count):
        gold = rng.choice(inner if inner and index % 4 == 3 else taxonomy.leaves)
        others = [node for node in taxonomy.ids if node not in (gold, taxonomy.root)]
        offered = [gold, *rng.sample(others, min(3, len(others)))] if index % 2 else []
        rng.shuffle(offered)
        rows.append(
            {
                "prompt": [{"role": "user", "content": "Which disease does the picture show?"}],
                "images": [],
                "id": f"sample-{index}",
                "gold_nodes": [gold],
                "gold_weights": [1.0],
                "options": [taxonomy.node(node).name for node in offered],
                "option_nodes": offered,
                "prefilled": prefill(style) if index % 3 == 2 else "",
            }
        )
    if len(taxonomy.leaves) > 1:
        pair = list(taxonomy.leaves[:2])
        rows.append(rows[0] | {"id": "sample-weighted", "gold_nodes": pair, "gold_weights": [0.6, 0.4]})
    rows.append(rows[0] | {"id": "sample-without-node", "gold_nodes": [], "gold_weights": []})
    return rows


def gold_completion(taxonomy: Taxonomy, row: Mapping[str, Any], style: str = "report") -> str:
    """The completion that a perfect model would write for a row with one certain gold."""
    return _completion(taxonomy, row, row["gold_nodes"][0], style)


def check_reward(
    reward: Reward, taxonomy: Taxonomy, rows: Sequence[Mapping[str, Any]] | None = None, *, style: str | None = None
) -> list[Finding]:
    """Try a reward on rows as the trainer would, and say what is wrong with it.

    Checked: signature, name, that it can be pickled, length, type, range, extra arguments, order and repetition,
    garbage, that `None` is decided for the whole prompt, and that the gold answer scores the maximum.

    Args:
        reward: a callable with TRL's signature, not a factory.
        taxonomy: names and behaviours of the golds are taken from it.
        rows: as of the GRPO dataset; `sample_rows` where none are given.
        style: report style of the gold completions; by default the reward's own ``style``, else ``report``.

    Returns:
        One finding per check; if the reward cannot be called at all, what could be said until then.
    """
    form = style or str(getattr(reward, "style", "report"))
    rows = list(sample_rows(taxonomy, style=form) if rows is None else rows)
    findings = [_check_name(reward), _check_pickle(reward)]
    signature = _check_signature(reward, rows)
    findings.append(signature)
    if signature.status == "fail":
        return findings
    probes = [(row, text) for row in rows for text in _answers(taxonomy, row, form)]
    try:
        scores = _call(reward, probes)
    except Exception as error:  # noqa: BLE001 - whatever a user's reward raises is the finding
        return [
            *findings,
            _fail(
                "call",
                f"raised {type(error).__name__}: {error}",
                "mend the reward; None or 0, never an exception, for an answer",
            ),
        ]
    findings.extend(_check_values(reward, scores, len(probes)))
    if any(finding.status == "fail" for finding in findings[3:]):
        return findings
    findings.append(_check_whole_prompts(probes, scores))
    findings.append(_check_gold(rows, probes, scores))
    findings.append(_check_garbage(reward, rows))
    findings.append(
        _try(
            "extra arguments",
            lambda: _call(reward, probes, a_column_of_next_year=True) == scores,
            "ignore unknown keyword arguments: take **kwargs",
        )
    )
    findings.append(
        _try(
            "repeatable",
            lambda: _call(reward, probes[::-1])[::-1] == scores,
            "let a score depend on its own row alone",
        )
    )
    return findings


def _answers(taxonomy: Taxonomy, row: Mapping[str, Any], style: str) -> list[str]:
    """The gold first, then answers near and far, then nothing."""
    golds = list(row.get("gold_nodes") or ())
    near: list[str] = []
    if golds:
        parents = taxonomy.parents(golds[0])
        near = [*parents, *(child for parent in parents for child in taxonomy.children(parent))][:6]
    nodes = list(dict.fromkeys([*golds[:1], *near, *taxonomy.leaves[:3], *taxonomy.leaves[-3:]]))
    offered = list(row.get("option_nodes") or ())
    if offered:
        nodes = list(dict.fromkeys([*(node for node in golds[:1] if node in offered), *offered]))
    return [*(_completion(taxonomy, row, node, style) for node in nodes if node != taxonomy.root), ""]


def _completion(taxonomy: Taxonomy, row: Mapping[str, Any], node: str, style: str) -> str:
    name, option = taxonomy.node(node).name, ""
    if node in (row.get("option_nodes") or ()):
        index = list(row["option_nodes"]).index(node)
        name, option = row["options"][index], option_letter(index)
    text = DiagnosticReport(name, taxonomy.behaviour(node)).render(style, option=option)
    return text.removeprefix(row.get("prefilled") or "")


def _call(reward: Reward, probes: Sequence[tuple[Mapping[str, Any], str]], **extra: Any) -> Any:
    """As TRL 1.16 calls it: everything by keyword, columns as lists, conversational completions."""
    keys = {key for row, _ in probes for key in row} - {"prompt", "completion", "completion_ids"}
    columns = {key: [row.get(key) for row, _ in probes] for key in sorted(keys)}
    if extra:
        extra = {key: [value] * len(probes) for key, value in extra.items()}
    result = reward(
        prompts=[row.get("prompt") for row, _ in probes],
        completions=[[{"role": "assistant", "content": text}] for _, text in probes],
        completion_ids=[[0] for _ in probes],
        trainer_state=None,
        log_extra=lambda column, values: None,
        log_metric=lambda name, value: None,
        **columns,
        **extra,
    )
    return asyncio.run(_wait(result)) if inspect.isawaitable(result) else result


async def _wait(result: Any) -> Any:
    return await result


def _fail(check: str, what: str, mend: str) -> Finding:
    return Finding(check, "fail", what, mend)


def _check_name(reward: Reward) -> Finding:
    name = getattr(reward, "__name__", type(reward).__name__)
    if not isinstance(name, str) or not name or name == "<lambda>":
        return Finding("name", "warn", f"its name is {name!r}", "give it a __name__: the metrics are logged under it")
    return Finding("name", "ok", name)


def _check_pickle(reward: Reward) -> Finding:
    try:
        pickle.loads(pickle.dumps(reward))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        return _fail("pickles", str(error), "use a module-level function or a callable class, no closure or lambda")
    return Finding("pickles", "ok")


def _check_signature(reward: Reward, rows: Sequence[Mapping[str, Any]]) -> Finding:
    try:
        parameters = inspect.signature(reward).parameters
    except (TypeError, ValueError) as error:
        return _fail("signature", str(error), "give a callable")
    kinds = [parameter.kind for parameter in parameters.values()]
    if inspect.Parameter.VAR_KEYWORD not in kinds:
        return _fail("signature", f"takes ({', '.join(parameters)})", "take **kwargs: TRL passes every column by name")
    known = _TRAINER.union(*(row.keys() for row in rows)) if rows else _TRAINER
    needed = [
        name
        for name, parameter in parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        and (parameter.kind is parameter.POSITIONAL_ONLY or name not in known)
    ]
    if needed:
        columns = ", ".join(sorted(known - {"prompt"}))
        return _fail("signature", f"nothing is given for: {', '.join(needed)}", f"use one of: {columns}")
    return Finding("signature", "ok", f"({', '.join(parameters)})")


def _check_values(reward: Reward, scores: Any, count: int) -> Iterable[Finding]:
    if not isinstance(scores, Sequence) or isinstance(scores, str):
        yield _fail("length", f"returned {type(scores).__name__}", "return a list with one score per completion")
        return
    if len(scores) != count:
        yield _fail("length", f"{len(scores)} scores for {count} completions", "return one score per completion")
        return
    yield Finding("length", "ok", f"{count} scores for {count} completions")
    strange = [score for score in scores if score is not None and not isinstance(score, Real)]
    if strange:
        yield _fail("type", f"returned {strange[0]!r:.80}", "return a float or None for each completion")
        return
    yield Finding("type", "ok")
    numbers = [float(score) for score in scores if score is not None]
    maximum = float(getattr(reward, "maximum", 1.0))
    if any(not math.isfinite(number) for number in numbers):
        yield _fail("range", "returned nan or an infinity", "return None where a completion cannot be scored")
    elif numbers and (min(numbers) < 0 or max(numbers) > maximum + 1e-9):
        found = f"{min(numbers):g} to {max(numbers):g}, expected 0 to {maximum:g}"
        yield Finding("range", "warn", found, "scale it to 0 to 1 and set its weight in the recipe, or state .maximum")
    else:
        found = f"{min(numbers):g} to {max(numbers):g}" if numbers else "every score is None"
        yield Finding("range", "ok" if numbers else "warn", found, "" if numbers else "no row can be scored")


def _check_whole_prompts(probes: Sequence[tuple[Mapping[str, Any], str]], scores: Sequence[float | None]) -> Finding:
    scored: dict[int, set[bool]] = {}
    for (row, _), score in zip(probes, scores, strict=True):
        scored.setdefault(id(row), set()).add(score is None)
    mixed = [row for row, _ in probes if len(scored[id(row)]) > 1]
    if mixed:
        what = f"row {mixed[0].get('id')!r}: None for some completions and a number for others"
        return _fail("None", what, "decide None from the prompt's columns alone; a bad answer scores 0")
    return Finding("None", "ok", "decided for whole prompts")


def _check_gold(
    rows: Sequence[Mapping[str, Any]],
    probes: Sequence[tuple[Mapping[str, Any], str]],
    scores: Sequence[float | None],
) -> Finding:
    """Rows with one certain gold that the question offers: no other answer may score above it."""
    checked = 0
    for row in rows:
        golds, offered = list(row.get("gold_nodes") or ()), list(row.get("option_nodes") or ())
        of_row = [score for (other, _), score in zip(probes, scores, strict=True) if other is row]
        if len(golds) != 1 or (offered and golds[0] not in offered) or not of_row or of_row[0] is None:
            continue
        checked += 1
        best = max(score for score in of_row if score is not None)
        if of_row[0] < best:
            what = f"row {row.get('id')!r}, gold {golds[0]!r}: the gold scores {of_row[0]:g}, another answer {best:g}"
            return _fail("gold scores the maximum", what, "the gold answer must score highest")
        if of_row[0] <= 0:
            what = f"row {row.get('id')!r}, gold {golds[0]!r}: the gold answer scores {of_row[0]:g}"
            return _fail("gold scores the maximum", what, "the gold answer must score above 0; is the style right?")
    if not checked:
        return Finding("gold scores the maximum", "skipped", "no row with one gold was scored")
    return Finding("gold scores the maximum", "ok", f"{checked} rows")


def _check_garbage(reward: Reward, rows: Sequence[Mapping[str, Any]]) -> Finding:
    probes = [(row, text) for row in rows for text in GARBAGE]
    try:
        scores = _call(reward, probes)
    except Exception as error:  # noqa: BLE001 - whatever a user's reward raises is the finding
        return _fail("garbage", f"raised {type(error).__name__}: {error}", "score any text; 0 for an unreadable one")
    paid = [text for (_, text), score in zip(probes, scores, strict=True) if score]
    if paid:
        return Finding("garbage", "warn", f"pays for {paid[0]!r:.60}", "score 0 where the answer cannot be read")
    return Finding("garbage", "ok", f"{len(GARBAGE)} unreadable texts score 0")


def _try(check: str, same: Callable[[], bool], mend: str) -> Finding:
    try:
        equal = same()
    except Exception as error:  # noqa: BLE001 - whatever a user's reward raises is the finding
        return _fail(check, f"raised {type(error).__name__}: {error}", mend)
    return Finding(check, "ok") if equal else _fail(check, "the scores changed", mend)
