"""Whose image to show instead: of another patient and another diagnosis, from the same source and of the same kind.

A model that sees must lose by it: what is left of its accuracy is what the question alone gives away. So that nothing
but the match of image and question changes, the images are exchanged (each is shown once) among cases of one source
and one modality.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence

from skinrl.evaluation.cases import Case
from skinrl.taxonomy.graph import Taxonomy

_TRIES = 2000  # partners looked at for one exchange, so that a set of one large class takes no quadratic time


def other_images(cases: Sequence[Case], chosen: Sequence[int], taxonomy: Taxonomy, *, seed: int) -> dict[int, int]:
    """Position of a case -> position of the case whose images are shown.

    The two are of different patients, and no diagnosis of one equals, contains or lies below a diagnosis of the other
    (an image of a naevus would be no wrong image for "melanocytic lesion"). Within each source and modality the images
    are dealt out by the seed and exchanged until they fit. Where one diagnosis has more than half of the cases, that
    is impossible for all: then images are shown several times.

    Args:
        cases: all cases.
        chosen: positions of those to deal among.

    Returns:
        In the order of `chosen`; a case for which there is no such image is left out.
    """
    strata: dict[tuple[str, str], list[int]] = defaultdict(list)
    for number in chosen:
        strata[cases[number].source, cases[number].modality].append(number)
    excludes = _Excludes(taxonomy)
    found: dict[int, int] = {}
    for (source, modality), members in strata.items():
        rng = random.Random(f"{seed}/wrong_image/{source}/{modality}")
        found.update(_deal(cases, sorted(members, key=lambda n: cases[n].id), excludes, rng))
    return {number: found[number] for number in chosen if number in found}


class _Excludes:
    """Whether an image of one case is a wrong image for another; diagnoses are compared once a pair."""

    def __init__(self, taxonomy: Taxonomy) -> None:
        self._taxonomy = taxonomy
        self._known: dict[tuple[tuple[str, ...], tuple[str, ...]], bool] = {}

    def __call__(self, one: Case, other: Case) -> bool:
        if one.group == other.group:
            return False
        pair = tuple(node for node, _ in one.gold), tuple(node for node, _ in other.gold)
        if pair not in self._known:
            self._known[pair] = not any(self._overlap(a, b) for a in pair[0] for b in pair[1])
        return self._known[pair]

    def _overlap(self, a: str, b: str) -> bool:
        return a == b or self._taxonomy.is_ancestor(a, b) or self._taxonomy.is_ancestor(b, a)


def _deal(cases: Sequence[Case], members: list[int], excludes: _Excludes, rng: random.Random) -> dict[int, int]:
    """Images for the cases of one source and modality."""

    def fits(case: int, image: int) -> bool:
        return excludes(cases[case], cases[image])

    count = len(members)
    shown = list(members)  # shown[i]: whose image case members[i] gets
    rng.shuffle(shown)
    stuck: set[tuple[tuple[str, float], ...]] = set()  # diagnoses for which no exchange was found
    for at, case in enumerate(members):
        if fits(case, shown[at]) or (count > _TRIES and cases[case].gold in stuck):
            continue
        for other in _partners(count, rng):
            if fits(case, shown[other]) and fits(members[other], shown[at]):
                shown[at], shown[other] = shown[other], shown[at]
                break
        else:
            stuck.add(cases[case].gold)
    dealt = {}
    for at, case in enumerate(members):
        if fits(case, shown[at]):
            dealt[case] = shown[at]
            continue
        borrowed = next((members[other] for other in _partners(count, rng) if fits(case, members[other])), None)
        if borrowed is not None:
            dealt[case] = borrowed
    return dealt


def _partners(count: int, rng: random.Random) -> Sequence[int]:
    return rng.sample(range(count), min(count, _TRIES))
