"""Fair groups: weights that follow the worst group, and sampling that shows every group equally often.

The groups are the values of one column of the dataset; what the column means is not known here. A row without a value
(None or empty text) belongs to no group: its weight stays 1 and its share of the prompts what it is.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from trl.trainer.utils import RepeatSampler

from skinrl.errors import InputError

Value = str | None


def column_values(dataset: Any, column: str) -> list[Value]:
    """The group of each row of a dataset; None where it has none.

    Raises:
        InputError: the dataset has no such column, no length, or fewer than two groups in it.
    """
    names = getattr(dataset, "column_names", None)
    if names is None or not hasattr(dataset, "__len__"):
        raise InputError(f"fair_column is {column!r}: the training data is a stream; expected a dataset with a length")
    if column not in names:
        raise InputError(
            f"fair_column is {column!r}: the training data has no such column; it has {', '.join(sorted(names))}"
        )
    values = [None if value is None or str(value) == "" else str(value) for value in dataset[column]]
    groups = sorted({value for value in values if value is not None})
    if len(groups) < 2:
        found = f"one group, {groups[0]!r}" if groups else "no value at all"
        raise InputError(
            f"fair_column is {column!r}: its {len(values)} rows hold {found}; expected two groups or more"
        )
    return values


def shares_of(values: Sequence[Value], *, balanced: bool) -> dict[str, float]:
    """Share of each group among the prompts that are sampled and have one; equal where sampling is balanced."""
    counts = Counter(value for value in values if value is not None)
    if balanced:
        return dict.fromkeys(sorted(counts), 1 / len(counts))
    return {group: counts[group] / counts.total() for group in sorted(counts)}


class GroupWeights:
    """Group DRO (Sagawa et al. 2020, arXiv:1911.08731, algorithm 1) on the running reward of each group.

    At each rollout, with R_g the running reward of group g (an exponential average) and p_g its share of the prompts::

        q_g <- q_g exp(-step R_g) / sum_h q_h exp(-step R_h)
        q_g <- (1 - mix) q_g + mix p_g          (fixed share: a group that has caught up is not forgotten)

    An advantage is multiplied by q_g / p_g, so that the expected gradient is that of sum_g q_g E_g[reward]. It begins
    with q = p, that is with weights of 1; the mean weight over the prompts stays 1. With ``mix`` 0 it is the paper's
    update, on all groups at once.

    Args:
        shares: p_g, positive, summing to 1.
        step: size of a step; the larger, the sooner a group that lags gets its weight.
        memory: of the running reward: what remains of it at each rollout that shows the group.
        mix: how strongly q is drawn back to p at each rollout.
    """

    def __init__(self, shares: Mapping[str, float], *, step: float, memory: float, mix: float) -> None:
        self._shares = dict(shares)
        self._step, self._memory, self._mix = step, memory, mix
        self.probabilities = dict(shares)
        self.rewards: dict[str, float] = {}

    def update(self, rewards: Sequence[tuple[Value, float]]) -> None:
        """Take in one rollout: (group, mean reward) of each prompt. NaN and rows without a group count for nothing."""
        seen: dict[str, list[float]] = {}
        for group, reward in rewards:
            if group in self._shares and not math.isnan(reward):
                seen.setdefault(str(group), []).append(reward)
        for group in sorted(seen):
            mean = math.fsum(seen[group]) / len(seen[group])
            before = self.rewards.get(group, mean)
            self.rewards[group] = self._memory * before + (1 - self._memory) * mean
        if not self.rewards:
            return
        typical = math.fsum(self.rewards.values()) / len(self.rewards)  # for a group that no rollout has shown yet
        scores = {g: math.log(q) - self._step * self.rewards.get(g, typical) for g, q in self.probabilities.items()}
        top = max(scores.values())
        total = math.fsum(math.exp(score - top) for score in scores.values())
        self.probabilities = {
            group: (1 - self._mix) * max(math.exp(score - top) / total, 1e-12) + self._mix * self._shares[group]
            for group, score in scores.items()
        }

    def weight(self, group: Value) -> float:
        """What an advantage of this group is multiplied by; 1 without a group."""
        return self.probabilities[group] / self._shares[group] if group in self._shares else 1.0

    @property
    def worst(self) -> str | None:
        """The group of the lowest running reward; the first by name at a tie."""
        return min(sorted(self.rewards), key=lambda group: self.rewards[group]) if self.rewards else None

    @property
    def state(self) -> dict[str, dict[str, float]]:
        """What a resumed run needs."""
        return {"probabilities": dict(self.probabilities), "rewards": dict(self.rewards)}

    @state.setter
    def state(self, stored: Mapping[str, Mapping[str, float]]) -> None:
        if stored.keys() >= {"probabilities", "rewards"} and stored["probabilities"].keys() == self._shares.keys():
            self.probabilities = dict(stored["probabilities"])
            self.rewards = dict(stored["rewards"])


def balanced_order(values: Sequence[Value], generator: torch.Generator) -> list[int]:
    """As many row numbers as there are rows, every group equally often and evenly spread over the order.

    A small group's rows repeat, each as often as the others (by one more or less); of a large group a random part is
    shown, another one with another random state. Rows without a group keep their share.
    """
    pools: dict[Value, list[int]] = {}
    for row, value in enumerate(values):
        pools.setdefault(value, []).append(row)
    groups = sorted(group for group in pools if group is not None)
    without = len(pools.get(None, ()))
    sizes = dict.fromkeys(groups, (len(values) - without) / len(groups)) | ({None: float(without)} if without else {})
    placed: list[tuple[float, int]] = []
    for group, size in _whole_numbers(sizes).items():
        rows: list[int] = []
        while len(rows) < size:
            pool = pools[group]
            rows += [pool[i] for i in torch.randperm(len(pool), generator=generator).tolist()]
        places = (torch.arange(size) + torch.rand(size, generator=generator)) / max(size, 1)
        placed += zip(places.tolist(), rows[:size], strict=True)
    return [row for _, row in sorted(placed)]


def _whole_numbers(sizes: Mapping[Value, float]) -> dict[Value, int]:
    """Whole numbers of the same sum, each its size rounded up or down (largest remainders)."""
    whole = {group: math.floor(size + 1e-9) for group, size in sizes.items()}
    missing = round(math.fsum(sizes.values())) - sum(whole.values())
    for group in sorted(sizes, key=lambda g: (whole[g] - sizes[g], g is None, g or ""))[:missing]:
        whole[group] += 1
    return whole


class BalancedSampler(RepeatSampler):
    """TRL's sampler with :func:`balanced_order` in place of a permutation; the order follows from (seed, epoch)."""

    def __init__(self, values: Sequence[Value], seed: int, **arguments: int) -> None:
        super().__init__(data_source=values, shuffle=True, seed=seed, **arguments)
        self._values = values
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """The order of another epoch; called before it begins."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 100_003 + self._epoch)
        order = balanced_order(self._values, generator)
        for start in range(0, len(order) - self.batch_size + 1, self.batch_size):
            for _ in range(self.repeat_count):
                for row in order[start : start + self.batch_size]:
                    yield from [row] * self.mini_repeat_count
