"""What the trainer does with groups as wholes: other prompts for flat ones, no training pass, fair weights."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import DistributedType
from accelerate.utils import gather, gather_object

from skinrl.files import append_jsonl
from skinrl.grpo.bad_batch import BadBatchError, Unscorable, check_matrix, kept_in
from skinrl.grpo.fair import BalancedSampler, GroupWeights, Value, column_values, shares_of
from skinrl.grpo.resample import Choice, Drop, Replay, Resampler, reason_of
from skinrl.grpo.signal import GroupSignal, Kept, left_out, signal_of, why_all_count

logger = logging.getLogger(__name__)

LOG = "dropped_groups.jsonl"
_MOST_NAMED = 20  # groups with a metric of their own


class GroupTraining:
    """The settings ``skip_flat_groups``, ``resample_flat_groups`` and ``fair_*`` of one trainer.

    Args:
        trainer: a ``SkinGRPOTrainer`` that is set up.
    """

    def __init__(self, trainer: Any) -> None:
        args = trainer.args
        self._trainer = trainer
        self._unscorable = Unscorable()
        self._rewards: torch.Tensor | None = None
        # by the identity of a micro-batch, which is held beside it, so that no other takes its id
        self._kept: dict[int, tuple[Any, Kept]] = {}
        self.replay: Replay | None = None
        self.values: list[Value] | None = None
        self._weights: GroupWeights | None = None
        if args.fair_column is not None:
            self.values = column_values(trainer.train_dataset, args.fair_column)
            if args.fair_weights:
                shares = shares_of(self.values, balanced=args.fair_sampling)
                self._weights = GroupWeights(shares, step=args.fair_step, memory=args.fair_memory, mix=args.fair_mix)
        balanced = self.values if args.fair_sampling else None
        rounds = args.resample_flat_groups
        self._resampler = Resampler(trainer, rounds, balanced) if rounds else None
        self._skips = args.skip_flat_groups
        reason = why_all_count(args, router=trainer.aux_loss_enabled)
        if self._skips and reason:
            self._skips = False
            logger.info("Groups without a spread of rewards are trained like others: %s.", reason)

    # Rollouts

    def sampler(self, stock: Any) -> Any:
        """The sampler of the prompts: TRL's, or one that shows every fair group equally often."""
        if not self._trainer.args.fair_sampling or self.values is None:
            return stock
        return BalancedSampler(
            self.values,
            seed=self._trainer.args.seed,
            mini_repeat_count=stock.mini_repeat_count,
            batch_size=stock.batch_size,
            repeat_count=stock.repeat_count,
        )

    def rewarded(self, rows: Sequence[Mapping[str, Any]], completions: Sequence[Any], rewards: torch.Tensor) -> None:
        """Take in the rewards of a rollout, (completions of all processes, rewards)."""
        check_matrix(self._trainer, rewards, len(rows))
        self._rewards = rewards
        if self._training and self._trainer.args.refuse_bad_batches:
            none = self._by_row(self._signal().unscorable, len(rows))
            self._unscorable.look(self._trainer, rows, completions, none.tolist())

    def replayed_rewards(self) -> torch.Tensor:
        """The rewards of the completions that are handed to TRL again, of all processes."""
        assert self.replay is not None
        self._rewards = gather(self.replay.rewards(self._trainer._pending_extra_logs))
        return self._rewards

    def rollout(self, rows: list[dict[str, Any]], stock: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        """A batch of completions with advantages; ``stock`` is TRL's way to it."""
        if not self._training:
            return stock(rows)
        self._kept.clear()
        if self._resampler is None:
            output = stock(rows)
            self._weigh(rows, self._signal())
            return self._finish(rows, output, None)
        choice = self._resampler.choose(rows)
        self._weigh(rows, choice.first)
        self.replay = Replay(choice.sampled)
        try:
            output = stock(self.replay.rows)
        finally:
            self.replay = None
        return self._finish([one.row for one in choice.sampled], output, choice)

    def _weigh(self, rows: Sequence[Mapping[str, Any]], signal: GroupSignal) -> None:
        """Move the fair weights by the rewards of the prompts as they were drawn: those that gave way count too."""
        if self._weights is None:
            return
        values = self._of_groups([self._value(row) for row in rows])
        self._weights.update(list(zip(values, signal.reward.tolist(), strict=True)))
        metrics = self._trainer._metrics["train"]
        groups = sorted(self._weights.rewards)
        if self._weights.worst is not None:
            metrics["fair/worst_reward"].append(self._weights.rewards[self._weights.worst])
        metrics["fair/largest_weight"].append(max(map(self._weights.weight, self._weights.probabilities)))
        for group in groups if len(groups) <= _MOST_NAMED else []:
            metrics[f"fair/reward/{group}"].append(self._weights.rewards[group])
            metrics[f"fair/weight/{group}"].append(self._weights.weight(group))

    def _finish(self, rows: list[dict[str, Any]], output: dict[str, Any], choice: Choice | None) -> dict[str, Any]:
        trainer, signal = self._trainer, self._signal()
        if trainer.args.refuse_bad_batches and bool(signal.unscorable.all()):
            raise BadBatchError(
                f"step {trainer.state.global_step + 1}: no reward scored any of the {len(signal.unscorable)} groups "
                f"of this step: nothing to train on. `skinrl rewards check` looks for the reason{kept_in(trainer)}"
            )
        flat = signal.flat(trainer.args.flat_group_limit)
        if self._skips:
            output["advantages"] = output["advantages"].masked_fill(self._by_row(flat, len(rows)), 0.0)
        if self._weights is not None:
            weights = [self._weights.weight(self._value(row)) for row in rows]
            output["advantages"] = output["advantages"] * output["advantages"].new_tensor(weights)
        first = flat if choice is None else choice.first.flat(trainer.args.flat_group_limit)
        metrics = trainer._metrics["train"]
        if self._skips or choice is not None:
            metrics["groups/without_spread"].append(first.float().mean().item())
            metrics["groups/unscorable"].append(signal.unscorable.float().mean().item())
        dropped = [] if choice is None else list(choice.dropped)
        if choice is not None:
            metrics["groups/replaced"].append(choice.replaced / len(flat))
            metrics["groups/resample_rounds"].append(float(choice.rounds))
        if (self._skips or choice is not None) and bool(flat.any()):  # all processes see the same rewards
            ids = self._of_groups([row.get("id") for row in rows])
            fate = "left out" if self._skips else "kept"
            for group in flat.nonzero()[:, 0].tolist():
                reward, spread = signal.reward[group].item(), signal.spread[group].item()
                dropped.append(Drop(ids[group], reward, spread, reason_of(signal, group), fate))
        self._write(dropped)
        return output

    def _write(self, dropped: Iterable[Drop]) -> None:
        if self._trainer.accelerator.is_main_process:
            for drop in dropped:
                append_jsonl(Path(self._trainer.args.output_dir) / LOG, drop.line(self._trainer.state.global_step + 1))

    # The loss

    def micro_batch(self, batch: dict[str, Any]) -> Kept:
        """The rows of a micro-batch that must pass through the model."""
        if not (self._skips and self._training):
            return Kept(batch, 1.0, 0.0)
        if id(batch) not in self._kept:
            self._kept[id(batch)] = batch, self._without_flat(batch)
        kept = self._kept[id(batch)][1]
        self._trainer._metrics["train"]["groups/rows_left_out"].append(kept.share)
        return kept

    def _without_flat(self, batch: dict[str, Any]) -> Kept:
        accelerator = self._trainer.accelerator
        # one remains for the gap between rollout and trainer, which is measured at every step
        alone = accelerator.distributed_type == DistributedType.NO
        at_least = 0 if alone and not self._trainer.args.rollout_gap else 1
        if accelerator.num_processes > 1:
            # as many rows and passes on every process: TRL gathers per row, ZeRO-3 and DDP count passes
            rows = float((batch["advantages"] != 0).sum())
            at_least = max(at_least, int(self._trainer._largest_of_all(rows)))
        return left_out(batch, self._trainer.loss_type, at_least)

    # Helpers

    @property
    def state(self) -> dict[str, Any]:
        """What a resumed run needs."""
        return {} if self._weights is None else self._weights.state

    @state.setter
    def state(self, stored: Mapping[str, Any]) -> None:
        if self._weights is not None:
            self._weights.state = stored

    @property
    def _training(self) -> bool:
        return bool(self._trainer.model.training)

    def _signal(self) -> GroupSignal:
        assert self._rewards is not None
        trainer = self._trainer
        each = trainer.multi_objective_aggregation == "normalize_then_sum"
        return signal_of(self._rewards, trainer.reward_weights, trainer.num_generations, each=each)

    def _by_row(self, of_groups: torch.Tensor, rows: int) -> torch.Tensor:
        """A value of each group -> of each of this process's completions."""
        start = self._trainer.accelerator.process_index * rows
        return of_groups.repeat_interleave(self._trainer.num_generations)[start : start + rows]

    def _of_groups(self, of_rows: list[Any]) -> list[Any]:
        """A value of each of this process's completions -> of each group of all processes."""
        return list(gather_object(of_rows))[:: self._trainer.num_generations]

    def _value(self, row: Mapping[str, Any]) -> Value:
        value = row.get(self._trainer.args.fair_column)
        return None if value is None or str(value) == "" else str(value)
