"""A search for cheating in the rollouts of a run: docs/view.md defines the signs and their score.

Each file is read once; of each rollout stay its scores, its length and two hashes, 40 bytes or so.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path

import numpy as np

from skinrl.cli.rollout_log import RolloutLog, UnreadableStepError, version
from skinrl.cli.rollout_signs import Judged, StepFacts, judge
from skinrl.pages.rollouts_given import Found, Suspect

MARKED = 0.5  # a sign as high as this is counted


class RolloutSearch:
    """Reads the files of a log one after the other, and says which rollouts to look at first."""

    def __init__(self, log: RolloutLog) -> None:
        self.log = log
        self._steps: dict[int, StepFacts] = {}
        self._changes = 0  # how often the steps have changed: what was judged before is stale then
        self._judged: tuple[int, Judged] | None = None
        self._found: tuple[tuple[int, int, str], Found] | None = None  # the last one, while nothing is new
        self._lock = threading.Lock()  # one thread searches, others ask

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
            for step in set(self._steps) - set(present):
                del self._steps[step]
                self._changes += 1
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
                self._steps[step] = facts
                self._changes += 1
            read += 1
        return read

    def _facts(self, file: Path, now: tuple[int, int]) -> StepFacts:
        texts, prompts, scores = self.log.texts(file)
        return StepFacts(
            now,
            np.array(scores, np.float32).reshape(len(texts), len(self.log.weights())),
            np.array([len(text) for text in texts], np.int32),
            np.array([_hash(" ".join(text.casefold().split())) for text in texts], np.uint64),
            np.array([_hash(prompt) for prompt in prompts], np.uint64),
        )

    def found(self, count: int = 40, by: str = "score") -> Found:
        """The ``count`` rollouts to look at first, of each text in a block of steps the worst one.

        Args:
            by: ``score``, or one of `rollout_signs.SIGNS`.
        """
        with self._lock:
            steps, now, known = dict(sorted(self._steps.items())), self._changes, self._judged
        if known is None or known[0] != now:
            known = self._judged = (now, judge(steps, list(self.log.weights().values())))
        last, key = self._found, (now, count, by)
        if last is None or last[0] != key:
            last = self._found = (key, self._look(known[1], count, by))
        return replace(last[1], steps=len(steps), all_steps=len(self.log.files()))

    def _look(self, judged: Judged, count: int, by: str) -> Found:
        value = judged.score if by == "score" else judged.signs[by]
        order = np.lexsort((judged.rows, judged.steps, -judged.score, -value))
        _, first = np.unique(judged.alike[order], return_index=True)
        chosen = [index for index in order[np.sort(first)][:count] if value[index] > 0]
        suspects = [suspect for index in chosen if (suspect := self._suspect(judged, int(index))) is not None]
        partings = _partings(judged, list(self.log.weights()))
        counts = {
            name: int((values >= MARKED).sum()) for name, values in {"score": judged.score, **judged.signs}.items()
        }
        return Found(suspects, partings, len(judged.score), 0, 0, counts)

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
            step,
            group.number,
            row,
            group.id,
            float(judged.score[index]),
            signs,
            because,
            alike,
            rollout.total,
            rollout.text,
        )


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


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
