"""When the trainer packs groups, when it takes the rows, and whether the two agree."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch

from skinrl.grpo.shared_prefix import (
    CannotShare,
    Rows,
    backbone,
    groups_of,
    install_shared_prefix,
    pack,
    saved_share,
)

logger = logging.getLogger(__name__)

Scores = tuple[torch.Tensor, torch.Tensor | None]
# Mean difference of the log-probs of one group, packed and in rows, above which packing is switched off. In float32
# the two differ by 1e-6; in bf16 by what two batch sizes differ by.
TOLERANCE = {"float32": 1e-4, "bfloat16": 3e-2, "float16": 1e-2}
# Below this share of tokens left out, packing costs more than it saves (docs/performance.md).
SMALLEST_SAVING = 0.1


class SharedPrefix:
    """The packed way to score a batch, for models that can, switched off for good where it is found to differ.

    Args:
        models: the policy, and the reference model if there is one; each is taught packed rows, in place.
        dtype: "float32", "bfloat16" or "float16": decides how far packed and plain rows may differ.
        agree: reduces a number over all processes to its maximum, so that all decide alike.
    """

    def __init__(self, models: Sequence[Any], dtype: str, agree: Callable[[float], float]) -> None:
        self.off = ""  # why it is off, in words
        self.saved = 0.0  # share of tokens left out of the latest batch
        self._checked = False
        self._tolerance = TOLERANCE[dtype]
        self._agree = agree
        try:
            for model in models:
                install_shared_prefix(model)
        except CannotShare as reason:
            self._switch_off(str(reason))

    def _switch_off(self, reason: str) -> None:
        self.off = reason
        logger.warning("Groups are not packed: %s. Every completion then carries its own prompt and image.", reason)

    def score(self, model: Any, rows: Rows, window: int, by_rows: Callable[[Rows], Scores]) -> Scores:
        """Log-probs and entropies (N, completion width) of a batch.

        Args:
            model: as the trainer calls it, wrapped or not.
            window: rows to a forward pass, the same on every process (ZeRO-3 counts them).
            by_rows: the trainer's own way for some rows: the first group is scored both ways, and a window in which
                little would be saved takes it.
        """
        if not self._checked:
            self._checked = True
            self._check(model, rows, by_rows)
        if self.off:
            self.saved = 0.0
            return by_rows(rows)
        parts: list[Scores] = []
        saved = 0.0
        for start in range(0, len(rows), window):
            part = rows.window(start, min(start + window, len(rows)))
            groups = groups_of(part)
            share = saved_share(part, groups)
            if share < SMALLEST_SAVING:
                parts.append(by_rows(part))
            else:
                parts.append(packed_scores(model, part, groups))
                saved += share * len(part) / len(rows)
        self.saved = saved
        entropies = [entropy for _, entropy in parts if entropy is not None]
        return torch.cat([logps for logps, _ in parts]), torch.cat(entropies) if entropies else None

    @torch.no_grad()
    def _check(self, model: Any, rows: Rows, by_rows: Callable[[Rows], Scores]) -> None:
        """Score the first group both ways; every process runs the same passes, whatever its rows are."""
        if self.off:
            return
        first = groups_of(rows)[0]
        group = rows.window(first.start, first.stop)
        mask = group.attention_mask[:, group.prompt_width :]
        plain, packed = by_rows(group)[0], packed_scores(model, group, [range(len(group))])[0]
        difference = ((plain - packed).abs() * mask).sum() / mask.sum().clamp(min=1)
        worst = self._agree(float("inf") if torch.isnan(difference) else difference.item())
        if worst > self._tolerance:
            self._switch_off(
                f"one group packed and in rows gave log-probs that differ by {worst:.1e} on average "
                f"(limit {self._tolerance:.0e})"
            )


def packed_scores(model: Any, rows: Rows, groups: Sequence[range]) -> Scores:
    """Log-probs and entropies (N, completion width) of groups that cover ``rows``, from one packed row."""
    packed = pack(rows, groups, backbone(unwrapped(model)))
    out = model(**packed.inputs, shift_labels=packed.labels, fused_lm_head=True)
    entropy = None if out.entropy is None else packed.unpack(out.entropy, rows.completion_width)
    return packed.unpack(out.log_probs, rows.completion_width), entropy


def unwrapped(model: Any) -> Any:
    """The model inside DDP or DeepSpeed's engine."""
    return model.module if hasattr(model, "module") and not hasattr(model, "get_output_embeddings") else model
