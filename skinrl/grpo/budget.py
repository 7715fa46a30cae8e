"""Packed rows within a budget of tokens: which groups run together, and as many passes on every process.

The budget bounds what one forward pass computes. The loss is of all rows of a micro-batch, so what its passes keep for
the backward adds up as before.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from skinrl.grpo.shared_prefix import Rows, tokens_of


def parts_within(rows: Rows, groups: Sequence[range], budget: int) -> list[list[range]]:
    """Distribute groups, in their order, over packed rows of at most ``budget`` tokens.

    A group above the budget is cut; each piece then carries the prompt. A completion that with its prompt is above the
    budget stands alone.
    """
    parts: list[list[range]] = [[]]
    used = 0
    for group in groups:
        for piece in _pieces(rows, group, budget):
            size = tokens_of(rows, piece)
            if parts[-1] and used + size > budget:
                parts.append([])
                used = 0
            parts[-1].append(piece)
            used += size
    return parts


def in_more_parts(parts: list[list[range]], count: int) -> list[list[range]]:
    """The same rows in ``count`` parts, or in one for each row if that is less: parts of most rows are cut in two."""
    parts = list(parts)
    while len(parts) < count:
        sizes = [sum(map(len, part)) for part in parts]
        if max(sizes) == 1:
            break
        at = sizes.index(max(sizes))
        parts[at : at + 1] = _halves(parts[at])
    return parts


def _halves(part: list[range]) -> list[list[range]]:
    middle = part[0].start + sum(map(len, part)) // 2
    left = [range(piece.start, min(piece.stop, middle)) for piece in part if piece.start < middle]
    right = [range(max(piece.start, middle), piece.stop) for piece in part if piece.stop > middle]
    return [left, right]


def _pieces(rows: Rows, group: range, budget: int) -> list[range]:
    for count in range(1, len(group) + 1):
        cuts = [group.start + len(group) * index // count for index in range(count + 1)]
        pieces = [range(start, stop) for start, stop in pairwise(cuts)]
        if max(tokens_of(rows, piece) for piece in pieces) <= budget:
            return pieces
    return [range(row, row + 1) for row in group]
