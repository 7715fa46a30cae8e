"""When the trainer packs groups, when it takes the rows, and whether the two agree."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch

from skinrl.grpo.budget import in_more_parts, parts_within
from skinrl.grpo.shared_prefix import (
    CannotShare,
    Rows,
    backbone,
    groups_of,
    install_shared_prefix,
    needs_rows,
    pack,
    saved_share,
    tokens_of,
)

logger = logging.getLogger(__name__)

Scores = tuple[torch.Tensor, torch.Tensor | None]
# Differences of the log-probs of one group, packed and in rows, above which packing is switched off: the mean, and the
# worst token. In float32 the two ways differ by 1e-6; in half precision by what two batch sizes differ by, and then a
# rare token may differ by anything.
TOLERANCE = {
    "float64": (1e-4, 1e-3),
    "float32": (1e-4, 1e-3),
    "bfloat16": (3e-2, float("inf")),
    "float16": (1e-2, float("inf")),
}
# Below this share of tokens left out, packing gains nothing (docs/shared_prefix.md).
SMALLEST_SAVING = 0.1


class SharedPrefix:
    """The packed way to score a batch, for models that can, switched off for good where it is found to differ.

    Args:
        models: the policy, and the reference model if there is one; each is taught packed rows, in place.
        dtype: "float64", "float32", "bfloat16" or "float16": decides how far packed and plain rows may differ.
        agree: reduces a number over all processes to its maximum, so that all decide alike.
        max_tokens: of a packed row; None runs a whole window in one.
        form: of the attention, one of ``skinrl.grpo.prefix_attention.FORMS``.
    """

    def __init__(
        self,
        models: Sequence[Any],
        dtype: str,
        agree: Callable[[float], float],
        *,
        max_tokens: int | None = None,
        form: str = "two_part",
    ) -> None:
        self.off = ""  # why it is off, in words
        self.saved = 0.0  # share of tokens left out of the latest batch
        self.ran = (0, 0)  # positions that the model ran on for it, and the tokens among them: the rest is padding
        self._checked = False
        self._tolerance = TOLERANCE[dtype]
        self._agree = agree
        self._max_tokens = max_tokens
        try:
            for model in models:
                install_shared_prefix(model, form)
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
            by_rows: the trainer's own way for some rows, at most ``window``, in one forward pass: one group is scored
                both ways at first, and a window in which little would be saved takes it.
        """
        if not self._checked:
            self._checked = True
            self._check(model, rows.window(0, min(window, len(rows))), by_rows)
        self.ran = (0, 0)
        if self.off:
            self.saved = 0.0
            self._count(rows.input_ids.numel(), int(rows.attention_mask.sum()))
            return by_rows(rows)
        parts: list[Scores] = []
        saved = 0.0
        for start in range(0, len(rows), window):
            part = rows.window(start, min(start + window, len(rows)))
            scores, share = self._score_window(model, part, by_rows)
            parts += scores
            saved += share * len(part) / len(rows)
        self.saved = saved
        entropies = [entropy for _, entropy in parts if entropy is not None]
        return torch.cat([logps for logps, _ in parts]), torch.cat(entropies) if entropies else None

    def _score_window(self, model: Any, rows: Rows, by_rows: Callable[[Rows], Scores]) -> tuple[list[Scores], float]:
        """Scores of a window in order, and the share of its tokens that was left out."""
        groups = groups_of(rows)
        share = 0.0 if needs_rows(rows) else saved_share(rows, groups)
        budget = self._max_tokens
        parts = [groups] if budget is None else parts_within(rows, groups, budget)
        if budget is not None:  # processes wait for each other in every pass
            parts = in_more_parts(parts, int(self._agree(float(len(parts)))))
        if share < SMALLEST_SAVING:
            self._count(rows.input_ids.numel(), int(rows.attention_mask.sum()))
            return [by_rows(rows.window(part[0].start, part[-1].stop)) for part in parts], 0.0
        pieces = [group for part in parts for group in part]
        self._count(
            sum(tokens_of(rows, group) for group in pieces), int(rows.attention_mask[:, rows.prompt_width :].sum())
        )
        self._count(0, sum(len(rows.prompt(group.start)) for group in pieces))
        return [packed_scores(model, rows, part) for part in parts], share

    def _count(self, positions: int, tokens: int) -> None:
        self.ran = (self.ran[0] + positions, self.ran[1] + tokens)

    @torch.no_grad()
    def _check(self, model: Any, rows: Rows, by_rows: Callable[[Rows], Scores]) -> None:
        """Score one group both ways: with an image if one has it, and of those the one with most tokens to score.

        Every process runs the same passes, whatever its rows are.
        """
        if self.off:
            return
        scored = rows.attention_mask[:, rows.prompt_width :].sum(-1).tolist()
        chosen = max(
            groups_of(rows),
            key=lambda group: (rows.images(group.start) is not None, sum(scored[group.start : group.stop])),
        )
        group = rows.window(chosen.start, chosen.stop)
        mask = group.attention_mask[:, group.prompt_width :]
        plain = by_rows(group)[0]
        packed = plain if needs_rows(group) else packed_scores(model, group, [range(len(group))])[0]
        differences = ((plain - packed).abs() * mask).nan_to_num(nan=float("inf"))
        found = (differences.sum() / mask.sum().clamp(min=1), differences.max())
        mean, worst = (self._agree(value.item()) for value in found)
        if mean > self._tolerance[0] or worst > self._tolerance[1]:
            self._switch_off(
                f"one group packed and in rows gave log-probs that differ by {mean:.1e} on average and {worst:.1e} at "
                f"most (limits {self._tolerance[0]:.0e} and {self._tolerance[1]:.0e})"
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
