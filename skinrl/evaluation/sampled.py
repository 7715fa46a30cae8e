"""Metrics of several answers to one question, sampled at temperature 1."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import comb

import numpy as np

from skinrl.evaluation.bootstrap import Measure, mean_measure
from skinrl.evaluation.scoring import Judged


def sample_measures(samples: Sequence[Sequence[Judged]]) -> list[Measure]:
    """`accuracy_sampled`, `pass_at_<k>` for k = 2, 4, 8, ... and all, and `self_consistency`.

    Args:
        samples: the same number, at least 1, for each case.
    """
    count = len(samples[0])
    right = np.array([sum(one.hit for one in drawn) for drawn in samples])
    measures = [mean_measure("accuracy_sampled", right / count)]
    for k in tried(count):
        of_right = np.array([pass_at(k, count, hits) for hits in range(count + 1)])
        measures.append(mean_measure(f"pass_at_{k}", of_right[right]))
    if count > 1:
        votes = np.array([self_consistency(drawn) for drawn in samples])
        measures.append(mean_measure("self_consistency", votes))
    return measures


def tried(samples: int) -> list[int]:
    """The k of pass@k: powers of two above 1, and the number of samples."""
    powers = [2**power for power in range(1, samples.bit_length()) if 2**power < samples]
    return [*powers, samples] if samples > 1 else []


def pass_at(k: int, samples: int, right: int) -> float:
    """Chance that k of the samples, drawn without replacement, hold a right one: 1 - C(n - c, k) / C(n, k).

    The unbiased estimator of Chen et al. 2021 (arXiv 2107.03374), equation 1.
    """
    return 1.0 - comb(samples - right, k) / comb(samples, k)


def self_consistency(drawn: Sequence[Judged]) -> float:
    """Whether the answer that most samples give is right (Wang et al. 2023, arXiv 2203.11171).

    Answers without a node have no vote. Of several answers with the most votes one is drawn: the expectation counts.
    Votes are for the node as it was answered; who counts votes does not know the gold.
    """
    votes = Counter(one.answer for one in drawn if one.answer is not None)
    if not votes:
        return 0.0
    most = max(votes.values())
    right = {one.answer for one in drawn if one.hit}
    leading = [node for node, count in votes.items() if count == most]
    return sum(node in right for node in leading) / len(leading)
