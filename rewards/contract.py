"""The contract test of a reward: what would otherwise show as a flat or a corrupted run."""

from __future__ import annotations

import inspect
import math
import pickle
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Real
from typing import Any

from skinrl.rewards.base import Reward
from skinrl.rewards.cheating import check_adversarial
from skinrl.rewards.finding import Finding, failed
from skinrl.rewards.processes import HASH_SEEDS, scores_elsewhere
from skinrl.rewards.samples import GARBAGE, Probe, answers_to, call, sample_rows
from skinrl.taxonomy.graph import Taxonomy

_TRAINER = frozenset({"prompts", "completions", "completion_ids", "trainer_state", "log_extra", "log_metric"})


def check_reward(
    reward: Reward,
    taxonomy: Taxonomy,
    rows: Sequence[Mapping[str, Any]] | None = None,
    *,
    style: str | None = None,
    hash_seeds: Sequence[int] = HASH_SEEDS,
) -> list[Finding]:
    """Try a reward on rows as the trainer would, and say what is wrong with it.

    Checked: name, that it can be pickled, signature, length, type, range, that `None` is decided for the whole prompt,
    that the gold answer scores the maximum, garbage, extra arguments, that the same call and another order give the
    same scores, fresh processes with other hash seeds, and the adversarial corpus.

    Args:
        reward: a callable with TRL's signature, not a factory.
        taxonomy: names and behaviours of the golds are taken from it.
        rows: as of the GRPO dataset; `sample_rows` where none are given.
        style: report style of the gold completions; by default the reward's own ``style``, else ``report``.
        hash_seeds: of the processes that are started; none skips that check, which takes a second or two.

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
    probes = [(row, text) for row in rows for text in answers_to(taxonomy, row, form)]
    try:
        scores = call(reward, probes)
    except Exception as error:  # noqa: BLE001 - whatever a user's reward raises is the finding
        mend = "mend the reward; None or 0, never an exception, for an answer"
        return [*findings, failed("call", f"raised {type(error).__name__}: {error}", mend, "it would stop the run")]
    findings.extend(_check_values(reward, scores, len(probes)))
    if any(finding.status == "fail" for finding in findings[3:]):
        return findings
    findings.append(_check_whole_prompts(probes, scores))
    findings.append(_check_gold(rows, probes, scores))
    findings.append(_check_garbage(reward, rows))
    findings.extend(_check_same(reward, probes, scores))
    findings.append(_check_hash_seeds(reward, probes, scores, hash_seeds, findings[1]))
    findings.append(check_adversarial(reward, taxonomy, form))
    return findings


def _check_name(reward: Reward) -> Finding:
    name = getattr(reward, "__name__", type(reward).__name__)
    if not isinstance(name, str) or not name or name == "<lambda>":
        mend = "give it a __name__"
        return Finding("name", "warn", f"its name is {name!r}", mend, "the metrics are logged under its name")
    return Finding("name", "ok", name)


def _check_pickle(reward: Reward) -> Finding:
    try:
        pickle.loads(pickle.dumps(reward))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        mend = "use a module-level function or a callable class, no closure or lambda"
        return failed("pickles", str(error), mend, "workers are processes of their own, and get it pickled")
    return Finding("pickles", "ok")


def _check_signature(reward: Reward, rows: Sequence[Mapping[str, Any]]) -> Finding:
    try:
        parameters = inspect.signature(reward).parameters
    except (TypeError, ValueError) as error:
        return failed("signature", str(error), "give a callable", "the trainer calls it")
    kinds = [parameter.kind for parameter in parameters.values()]
    if inspect.Parameter.VAR_KEYWORD not in kinds:
        why = "TRL passes every column of the dataset by name"
        return failed("signature", f"takes ({', '.join(parameters)})", "take **kwargs", why)
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
        why = "the trainer has no such column, and the first step would raise"
        return failed("signature", f"nothing is given for: {', '.join(needed)}", f"use one of: {columns}", why)
    return Finding("signature", "ok", f"({', '.join(parameters)})")


def _check_values(reward: Reward, scores: Any, count: int) -> Iterable[Finding]:
    why = "TRL takes one number or None per completion, in their order"
    if not isinstance(scores, Sequence) or isinstance(scores, str):
        yield failed("length", f"returned {type(scores).__name__}", "return a list with one score per completion", why)
        return
    if len(scores) != count:
        yield failed("length", f"{len(scores)} scores for {count} completions", "return one score each", why)
        return
    yield Finding("length", "ok", f"{count} scores for {count} completions")
    strange = [score for score in scores if score is not None and not isinstance(score, Real)]
    if strange:
        yield failed("type", f"returned {strange[0]!r:.80}", "return a float or None for each completion", why)
        return
    yield Finding("type", "ok")
    yield _check_range(scores, float(getattr(reward, "maximum", 1.0)))


def _check_range(scores: Sequence[float | None], maximum: float) -> Finding:
    numbers = [float(score) for score in scores if score is not None]
    if any(not math.isfinite(number) for number in numbers):
        mend = "return None where a completion cannot be scored"
        return failed("range", "returned nan or an infinity", mend, "one such score spoils the whole step")
    if numbers and (min(numbers) < 0 or max(numbers) > maximum + 1e-9):
        found = f"{min(numbers):g} to {max(numbers):g}, expected 0 to {maximum:g}"
        mend = "scale it to 0 to 1 and set its weight in the recipe, or state .maximum"
        return Finding("range", "warn", found, mend, "a recipe's weights compare rewards that share one range")
    found = f"{min(numbers):g} to {max(numbers):g}" if numbers else "every score is None"
    return Finding("range", "ok" if numbers else "warn", found, "" if numbers else "no row can be scored")


def _check_whole_prompts(probes: Sequence[Probe], scores: Sequence[float | None]) -> Finding:
    scored: dict[int, set[bool]] = {}
    for (row, _), score in zip(probes, scores, strict=True):
        scored.setdefault(id(row), set()).add(score is None)
    mixed = [row for row, _ in probes if len(scored[id(row)]) > 1]
    if mixed:
        what = f"row {mixed[0].get('id')!r}: None for some completions and a number for others"
        mend = "decide None from the prompt's columns alone; a bad answer scores 0"
        return failed(
            "None", what, mend, "a completion without a score leaves its group: bad answers would cost nothing"
        )
    return Finding("None", "ok", "decided for whole prompts")


def _check_gold(rows: Sequence[Mapping[str, Any]], probes: Sequence[Probe], scores: Sequence[float | None]) -> Finding:
    """Rows with one certain gold that the question offers: no other answer may score above it."""
    check, why = "gold scores the maximum", "training moves towards what scores highest"
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
            return failed(check, what, "the gold answer must score highest", why)
        if of_row[0] <= 0:
            what = f"row {row.get('id')!r}, gold {golds[0]!r}: the gold answer scores {of_row[0]:g}"
            return failed(check, what, "the gold answer must score above 0; is the style right?", why)
    if not checked:
        return Finding(check, "skipped", "no row with one gold was scored")
    return Finding(check, "ok", f"{checked} rows")


def _check_garbage(reward: Reward, rows: Sequence[Mapping[str, Any]]) -> Finding:
    probes = [(row, text) for row in rows for text in GARBAGE]
    try:
        scores = call(reward, probes)
    except Exception as error:  # noqa: BLE001 - whatever a user's reward raises is the finding
        what, mend = f"raised {type(error).__name__}: {error}", "score any text; 0 for an unreadable one"
        return failed("garbage", what, mend, "an untrained model writes such texts")
    paid = [text for (_, text), score in zip(probes, scores, strict=True) if score]
    if paid:
        mend = "score 0 where the answer cannot be read"
        return Finding("garbage", "warn", f"pays for {paid[0]!r:.60}", mend, "what is paid for is learnt")
    return Finding("garbage", "ok", f"{len(GARBAGE)} unreadable texts score 0")


def _check_same(reward: Reward, probes: Sequence[Probe], scores: Any) -> Iterable[Finding]:
    yield _try(
        "extra arguments",
        lambda: call(reward, probes, a_column_of_next_year=True) == scores,
        "ignore unknown keyword arguments: take **kwargs",
        "datasets gain columns",
    )
    yield _try(
        "deterministic",
        lambda: call(reward, probes) == scores,
        "seed what is drawn from the row itself, or draw nothing",
        "the same completion must earn the same, or the advantage is noise",
    )
    yield _try(
        "repeatable",
        lambda: call(reward, probes[::-1])[::-1] == scores,
        "let a score depend on its own row alone",
        "which completions share a batch is chance",
    )


def _try(check: str, same: Callable[[], bool], mend: str, why: str) -> Finding:
    try:
        equal = same()
    except Exception as error:  # noqa: BLE001 - whatever a user's reward raises is the finding
        return failed(check, f"raised {type(error).__name__}: {error}", mend, why)
    return Finding(check, "ok") if equal else failed(check, "the scores changed", mend, why)


def _check_hash_seeds(
    reward: Reward, probes: Sequence[Probe], scores: Any, seeds: Sequence[int], pickles: Finding
) -> Finding:
    check, mend = "hash seeds", "sort what comes out of a set or a frozenset before it is used"
    if not seeds or pickles.status == "fail":
        return Finding(check, "skipped", "it cannot be pickled" if seeds else "not asked for")
    try:
        elsewhere = scores_elsewhere([reward], probes, seeds)
    except RuntimeError as problem:
        mend = "give it a module that another process can import; guard what a script runs by __name__ == '__main__'"
        return failed(check, str(problem), mend, "workers are processes of their own")
    for seed, (found,) in zip(seeds, elsewhere, strict=True):
        if found != list(scores):
            what = found if isinstance(found, str) else _first_difference(probes, scores, found)
            why = "the processes of one run would score differently"
            return failed(check, f"PYTHONHASHSEED={seed}: {what}", mend, why)
    return Finding(check, "ok", f"the same in {len(seeds)} fresh processes")


def _first_difference(probes: Sequence[Probe], here: Sequence[Any], there: Sequence[Any]) -> str:
    pairs = zip(probes, here, there, strict=True)
    (row, _), ours, theirs = next((probe, a, b) for probe, a, b in pairs if a != b)
    return f"row {row.get('id')!r} scores {ours!r} here and {theirs!r} there"
