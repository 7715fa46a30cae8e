"""A search for cheating in the rollouts of a run: docs/view.md defines the signs and their score.

Each file is read once; of each rollout stay its scores, its length and two hashes, 40 bytes or so.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinrl.cli.rollout_log import RolloutLog, UnreadableStepError, version
from skinrl.pages.rollouts_given import Found, Suspect

SIGNS = ("disagreement", "repeated", "parting", "long")
BLOCK_PROMPTS = 32  # a block of steps holds at least as many prompts: what is common in it is judged there
LEAST_PARTING = 0.1  # smaller changes of two curves are noise
LEAST_STEPS = 10  # for curves to part
LONG = 4.0  # times the median length of the block: the full sign

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class _Step:
    """What stays of a file: ``scores`` is (rollouts, rewards), NaN where a reward gave None."""

    version: tuple[int, int]
    scores: NDArray[np.float32]
    lengths: NDArray[np.int32]
    texts: NDArray[np.uint64]
    prompts: NDArray[np.uint64]


@dataclass(frozen=True)
class Judged:
    """All rollouts of a run, judged; arrays have one entry per rollout, in the order of steps and rows.

    Args:
        signs: sign -> 0 to 1.
        score: 1 less the product of (1 - sign).
        alike: which rollouts share block and text: equal numbers.
        same_text: prompts of the block that got the rollout's text; ``prompts``: all prompts of the block.
        medians: median length in the block, characters.
        since: per step of ``steps`` and ordered pair of rewards (risen, fallen): (first step, rise, fall).
    """

    steps: Integers
    rows: Integers
    totals: Floats
    scaled: Floats
    lengths: Integers
    signs: Mapping[str, Floats]
    score: Floats
    alike: Integers
    same_text: Integers
    prompts: Integers
    medians: Floats
    pair: Integers
    pairs: Sequence[tuple[int, int]]
    since: Mapping[int, Mapping[int, tuple[int, float, float]]]


class RolloutSearch:
    """Reads the files of a log one after the other, and says which rollouts to look at first."""

    def __init__(self, log: RolloutLog) -> None:
        self.log = log
        self._steps: dict[int, _Step] = {}
        self._judged: Judged | None = None
        self._lock = threading.Lock()

    @property
    def searched(self) -> int:
        """How many files have been read so far."""
        return len(self._steps)

    def scan(self, stop: Callable[[], bool] = lambda: False) -> int:
        """Read what is new or was written anew; a file that cannot be read is tried again at the next call.

        Args:
            stop: asked before each file; true ends the call.

        Returns:
            How many files were read.
        """
        present = self.log.files()
        with self._lock:
            gone = [step for step in self._steps if step not in present]
            for step in gone:
                del self._steps[step]
        read = 0
        for step, file in present.items():
            if stop():
                break
            try:
                known, now = self._steps.get(step), version(file)
                if known is not None and known.version == now:
                    continue
                facts = self._facts(file, now)
            except (UnreadableStepError, FileNotFoundError):
                continue
            with self._lock:
                self._steps[step], self._judged = facts, None
            read += 1
        if gone:
            self._judged = None
        return read

    def _facts(self, file: Path, now: tuple[int, int]) -> _Step:
        texts, prompts, scores = self.log.texts(file)
        return _Step(
            now,
            np.array(scores, np.float32).reshape(len(texts), len(self.log.weights())),
            np.array([len(text) for text in texts], np.int32),
            np.array([_hash(" ".join(text.casefold().split())) for text in texts], np.uint64),
            np.array([_hash(prompt) for prompt in prompts], np.uint64),
        )

    def found(self, count: int = 50, by: str = "score") -> Found:
        """The ``count`` rollouts to look at first, of each text in a block of steps the worst one.

        Args:
            by: ``score``, or one of `SIGNS`.
        """
        with self._lock:
            steps, judged = dict(sorted(self._steps.items())), self._judged
        if judged is None:
            judged = judge(steps, list(self.log.weights().values()))
            with self._lock:
                self._judged = judged
        value = judged.score if by == "score" else judged.signs[by]
        order = np.lexsort((judged.rows, judged.steps, -judged.score, -value))
        _, first = np.unique(judged.alike[order], return_index=True)
        chosen = [index for index in order[np.sort(first)][:count] if value[index] > 0]
        suspects = [suspect for index in chosen if (suspect := self._suspect(judged, int(index))) is not None]
        partings = _partings(judged, list(self.log.weights()))
        return Found(suspects, partings, len(judged.score), len(steps), len(self.log.files()))

    def _suspect(self, judged: Judged, index: int) -> Suspect | None:
        step, row = int(judged.steps[index]), int(judged.rows[index])
        try:
            groups = self.log.groups(step)
        except (UnreadableStepError, FileNotFoundError):
            return None
        shown = next(((group, one) for group in groups for one in group.rollouts if one.row == row), None)
        if shown is None:  # the file was written anew since it was searched
            return None
        group, rollout = shown
        signs = {name: float(values[index]) for name, values in judged.signs.items()}
        because = _because(judged, index, signs, list(self.log.weights()), rollout.rewards)
        alike = int((judged.alike == judged.alike[index]).sum())
        return Suspect(
            step, row, group.id, float(judged.score[index]), signs, because, alike, rollout.total, rollout.text
        )


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


# --- judging -----------------------------------------------------------------------------------------------------


def judge(steps: Mapping[int, Any], weights: Sequence[float]) -> Judged:
    """The signs of every rollout.

    Args:
        steps: step -> scores, lengths, hashes; a step that shows the rollouts of the one before once more (several
            optimiser steps on one generation) counts once.
    """
    kept = _without_repeats(steps)
    sizes = [len(facts.lengths) for facts in kept.values()]
    of_step = np.repeat(np.arange(len(kept)), sizes)
    scores = _joined([facts.scores for facts in kept.values()], (0, len(weights))).astype(np.float64)
    lengths = _joined([facts.lengths for facts in kept.values()], (0,)).astype(np.int64)
    texts = _joined([facts.texts for facts in kept.values()], (0,))
    prompts = _joined([facts.prompts for facts in kept.values()], (0,))
    totals = np.where(np.isnan(scores).all(1), np.nan, np.nansum(scores * np.asarray(weights), 1))
    scaled = _scaled(scores)
    level = _level(totals)
    block = _blocks(of_step, prompts)
    alike, same_text, of_block = _same_texts(block, texts, prompts)
    medians = _medians(block, lengths)
    parting, pair, pairs, since = _parting(of_step, scaled)
    signs = {
        "disagreement": level * _disagreement(scaled),
        "repeated": level * (same_text - 1) / np.maximum(of_block - 1, 1),
        "parting": parting,
        "long": level * np.clip(np.log2(np.maximum(lengths, 1) / np.maximum(medians, 1)) / math.log2(LONG), 0, 1),
    }
    score = 1 - np.prod([1 - values for values in signs.values()], axis=0)
    numbers = np.array(list(kept), np.int64)
    rows = np.concatenate([np.arange(size) for size in sizes]) if sizes else np.zeros(0, np.int64)
    named = {int(numbers[place]): changes for place, changes in since.items()}
    named = {step: {p: (int(numbers[at]), up, down) for p, (at, up, down) in c.items()} for step, c in named.items()}
    return Judged(
        numbers[of_step] if sizes else rows, rows, totals, scaled, lengths, signs, score, alike, same_text, of_block,
        medians, pair, pairs, named,
    )  # fmt: skip


def _joined(arrays: Sequence[NDArray[Any]], empty: tuple[int, ...]) -> NDArray[Any]:
    return np.concatenate(arrays) if arrays else np.zeros(empty)


def _without_repeats(steps: Mapping[int, Any]) -> dict[int, Any]:
    kept: dict[int, Any] = {}
    last = None
    for step, facts in steps.items():
        same = last is not None and all(
            np.array_equal(getattr(facts, name), getattr(last, name), equal_nan=name == "scores")
            for name in ("texts", "prompts", "scores")
        )
        if not same:
            kept[step] = last = facts
    return kept


def _scaled(scores: Floats) -> Floats:
    """Each reward between its lowest (0) and highest (1) score of the run; NaN for one that never varies."""
    if not len(scores):
        return scores
    known = np.where(np.isnan(scores), np.inf, scores)
    low = known.min(0)
    high = np.where(np.isnan(scores), -np.inf, scores).max(0)
    width = np.where(high > low, high - low, np.nan)
    return (scores - low) / width


def _level(totals: Floats) -> Floats:
    """The weighted sum between its lowest (0) and highest (1) of the run; 1 where all are equal, 0 without one."""
    known = totals[~np.isnan(totals)]
    if not len(known):
        return np.zeros(len(totals))
    low, high = known.min(), known.max()
    return np.nan_to_num((totals - low) / (high - low)) if high > low else np.where(np.isnan(totals), 0.0, 1.0)


def _disagreement(scaled: Floats) -> Floats:
    """Highest less lowest scaled reward; 0 where fewer than two could score."""
    known = ~np.isnan(scaled)
    high = np.where(known, scaled, -np.inf).max(1, initial=-np.inf)
    low = np.where(known, scaled, np.inf).min(1, initial=np.inf)
    return np.where(known.sum(1) > 1, high - low, 0.0)


def _blocks(of_step: Integers, prompts: NDArray[np.uint64]) -> Integers:
    """The block of each rollout: consecutive steps, cut as soon as they hold `BLOCK_PROMPTS` prompts."""
    block = np.zeros(len(of_step), np.int64)
    number, seen = 0, 0
    for place in range(int(of_step[-1]) + 1 if len(of_step) else 0):
        low, high = np.searchsorted(of_step, (place, place + 1))
        block[low:high] = number
        seen += len(np.unique(prompts[low:high]))
        if seen >= BLOCK_PROMPTS:
            number, seen = number + 1, 0
    return block


def _same_texts(
    block: Integers, texts: NDArray[np.uint64], prompts: NDArray[np.uint64]
) -> tuple[Integers, Integers, Integers]:
    """Number of (block, text); prompts that share it; prompts of the block. Each per rollout."""
    _, text = np.unique(texts, return_inverse=True)
    _, prompt = np.unique(prompts, return_inverse=True)
    many_texts, many_prompts = text.max(initial=0) + 1, prompt.max(initial=0) + 1
    _, alike = np.unique(block * many_texts + text, return_inverse=True)
    pairs = np.unique(alike * many_prompts + prompt)
    asked = np.unique(block * many_prompts + prompt)
    return alike, np.bincount(pairs // many_prompts)[alike], np.bincount(asked // many_prompts)[block]


def _medians(block: Integers, lengths: Integers) -> Floats:
    edges = np.flatnonzero(np.diff(block)) + 1
    parts = np.split(lengths, edges)
    return np.concatenate([np.full(len(part), np.median(part)) for part in parts if len(part)] or [np.zeros(0)])


def _parting(
    of_step: Integers, scaled: Floats
) -> tuple[Floats, Integers, list[tuple[int, int]], dict[int, dict[int, tuple[int, float, float]]]]:
    """How far one reward has risen while another fell, times how much this rollout is a case of it.

    At step t, of the smoothed means of rewards a and b: let u be the step at which b was best so far. b fell by
    b(u) - b(t), a rose by a(t) - a(u); the parting is the smaller of both, 0 below `LEAST_PARTING`.

    Returns:
        Per rollout the largest parting * scaled a * (1 - scaled b), and its pair; the pairs; per step (its place) and
        pair the place of u, the rise and the fall.
    """
    count, rewards = len(of_step), scaled.shape[1]
    steps = int(of_step[-1]) + 1 if count else 0
    pairs = list(permutations(range(rewards), 2))
    best, which = np.zeros(count), np.zeros(count, np.int64)
    since: dict[int, dict[int, tuple[int, float, float]]] = {}
    if steps < LEAST_STEPS:
        return best, which, pairs, since
    means = np.stack([_smoothed(of_step, scaled[:, reward], steps) for reward in range(rewards)], 1)
    for number, (a, b) in enumerate(pairs):
        if np.isnan(means[:, [a, b]]).all(0).any():
            continue
        at = np.maximum.accumulate(np.where(_is_new_best(means[:, b]), np.arange(steps), 0))
        rise, fall = means[:, a] - means[at, a], means[at, b] - means[:, b]
        apart = np.nan_to_num(np.minimum(rise, fall))
        apart[apart < LEAST_PARTING] = 0
        value = np.nan_to_num(apart[of_step] * scaled[:, a] * (1 - scaled[:, b]))
        best, which = np.where(value > best, value, best), np.where(value > best, number, which)
        for place in np.flatnonzero(apart):
            since.setdefault(int(place), {})[number] = (int(at[place]), float(rise[place]), float(fall[place]))
    return best, which, pairs, since


def _is_new_best(curve: Floats) -> NDArray[np.bool_]:
    known = np.where(np.isnan(curve), -np.inf, curve)
    return known >= np.maximum.accumulate(known)


def _smoothed(of_step: Integers, values: Floats, steps: int) -> Floats:
    """Mean over the last 5 steps, or the last twentieth of the run where that is more; NaN where nothing scored."""
    known = ~np.isnan(values)
    sums = np.bincount(of_step[known], values[known], steps)
    counts = np.bincount(of_step[known], minlength=steps).astype(float)
    width = max(5, math.ceil(steps / 20))
    sums, counts = (np.convolve(one, np.ones(width))[:steps] for one in (sums, counts))
    return np.where(counts > 0.5, sums / np.maximum(counts, 1), np.nan)


# --- in words ----------------------------------------------------------------------------------------------------


def _because(
    judged: Judged, index: int, signs: Mapping[str, float], names: Sequence[str], rewards: Mapping[str, float | None]
) -> list[str]:
    said = []
    scaled = judged.scaled[index]
    if signs["disagreement"] > 0:
        low, high = names[int(np.nanargmin(scaled))], names[int(np.nanargmax(scaled))]
        said.append(f"{high} gives {rewards[high]:.3g}, {low} {rewards[low]:.3g}")
    if signs["repeated"] > 0:
        said.append(
            f"the same text for {judged.same_text[index]} of the {judged.prompts[index]} prompts of these steps"
        )
    if signs["parting"] > 0:
        number = int(judged.pair[index])
        said.append(_parted(names, judged.pairs[number], judged.since[int(judged.steps[index])][number]))
    if signs["long"] > 0:
        said.append(f"{judged.lengths[index] / max(judged.medians[index], 1):.1f} times the median length")
    return said


def _parted(names: Sequence[str], pair: tuple[int, int], change: tuple[int, float, float]) -> str:
    step, rise, fall = change
    return (
        f"since step {step} {names[pair[1]]} fell by {fall:.0%} of its range while {names[pair[0]]} rose by {rise:.0%}"
    )


def _partings(judged: Judged, names: Sequence[str]) -> list[str]:
    """Each pair of rewards at the step where it had parted most."""
    most: dict[int, tuple[float, int]] = {}
    for step, changes in judged.since.items():
        for number, (_, rise, fall) in changes.items():
            most[number] = max(most.get(number, (0.0, 0)), (min(rise, fall), step))
    ordered = sorted(most.items(), key=lambda item: -item[1][0])
    return [
        f"step {step}: {_parted(names, judged.pairs[number], judged.since[step][number])}"
        for number, (_, step) in ordered
    ]
