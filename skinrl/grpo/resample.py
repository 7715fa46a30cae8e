"""Dynamic sampling: groups whose rewards have no spread give way to groups of other prompts.

Prompts are rolled out and scored until every group has a spread or the cap is reached. Then TRL's own method runs on
the rows that were chosen, with their completions and rewards handed to it in place of new ones: what it normalises,
counts and logs is the final batch, by its own code.

By spread and not by accuracy: a group of graded rewards that are all 0.4 is neither solved nor hopeless, and teaches
as little as one that is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from accelerate.utils import gather_object
from trl.data_utils import prepare_multimodal_messages

from skinrl.engine.sampling import rollout_seed
from skinrl.errors import InputError
from skinrl.grpo.fair import Value, balanced_order
from skinrl.grpo.signal import GroupSignal, signal_of

Row = dict[str, Any]


@dataclass(frozen=True)
class Sampled:
    """One completion as ``_generate`` and ``_calculate_rewards`` of TRL's trainer gave it."""

    row: Row
    prompt_ids: list[int]
    completion_ids: list[int]
    completion: Any
    logps: list[float] | None
    images: list[Any] | None
    rewards: torch.Tensor
    extras: Mapping[str, Any]

    def without_row(self) -> Sampled:
        """To be sent to another process, which reads the row, and its images, itself."""
        own = images_of(self.row)
        return replace(self, row={}, images=self.images if own is None else None, rewards=self.rewards.cpu())

    def with_row(self, row: Row) -> Sampled:
        """As it was sampled, given its row."""
        own = images_of(row)
        return replace(self, row=dict(row), images=self.images if own is None else own)


@dataclass(frozen=True)
class Drop:
    """A group that was not trained on."""

    id: Any
    reward: float
    spread: float
    reason: str
    fate: str

    def line(self, step: int) -> dict[str, Any]:
        """As the log of dropped groups has it."""
        reward = None if math.isnan(self.reward) else round(self.reward, 6)
        return asdict(self) | {"step": step, "reward": reward, "spread": round(self.spread, 9)}


@dataclass(frozen=True)
class Choice:
    """What :meth:`Resampler.choose` found, the same on all processes but for ``sampled``.

    Args:
        sampled: this process's completions, group by group.
        first: signal of the groups as they were first sampled.
        dropped: groups that gave way, and candidates that were not taken.
        replaced: how many groups gave way; ``rounds``: rounds of resampling.
    """

    sampled: list[Sampled]
    first: GroupSignal
    dropped: list[Drop]
    replaced: int
    rounds: int


def reason_of(signal: GroupSignal, group: int) -> str:
    """Why a flat group is one, in words."""
    return "no completion could be scored" if signal.unscorable[group] else "rewards without spread"


def refuse_resampling(trainer: Any) -> None:
    """Raise :class:`InputError` where this trainer's rollouts cannot be put together from several."""
    args, generations = trainer.args, trainer.num_generations
    rows = args.per_device_train_batch_size * args.steps_per_generation
    if rows % generations:
        raise InputError(
            f"resample_flat_groups needs whole groups on each process: {rows} completions a process and rollout are "
            f"no multiple of num_generations={generations}"
        )
    if trainer.tools or trainer.environment_factories is not None or trainer.rollout_func is not None:
        raise InputError("resample_flat_groups does not work with tools, environments or a rollout_func; set it to 0")
    if not hasattr(trainer.train_dataset, "__len__"):
        raise InputError("resample_flat_groups needs a dataset with a length, not a stream; set it to 0")


class Resampler:
    """Rolls out further prompts in place of flat groups.

    Args:
        trainer: a ``SkinGRPOTrainer``.
        rounds: at most so many rounds a rollout.
        values: fair group of each row of the dataset where further prompts are to be drawn balanced; else None.
    """

    def __init__(self, trainer: Any, rounds: int, values: Sequence[Value] | None) -> None:
        refuse_resampling(trainer)
        self._trainer, self._rounds, self._values = trainer, rounds, values
        dataset = trainer.train_dataset
        self._ids: list[Any] = list(dataset["id"]) if "id" in (dataset.column_names or ()) else [None] * len(dataset)

    def choose(self, rows: list[Row]) -> Choice:
        """Sample the rows, then others in place of flat groups. All processes call it together."""
        trainer, limit = self._trainer, self._trainer.args.flat_group_limit
        generations, processes = trainer.num_generations, trainer.accelerator.num_processes
        sampled, signal = self._sample(rows)
        ids = gather_object([row.get("id") for row in rows[::generations]])
        first, further = signal, self._others(set(ids))
        dropped: list[Drop] = []
        replaced = rounds = 0
        while rounds < self._rounds and (places := signal.flat(limit).nonzero()[:, 0].tolist()):
            # every process rolls out as many prompts: rollouts and rewards are gathered
            share = min(math.ceil(len(places) / processes), len(further) // processes)
            if share == 0:
                break
            rounds += 1
            fresh, further = further[: share * processes], further[share * processes :]
            candidates, new = self._sample_prompts(fresh[trainer.accelerator.process_index * share :][:share])
            sources = (~new.flat(limit)).nonzero()[:, 0].tolist()
            moves = assign(places, sources, len(ids) // processes, share)
            self._move(sampled, candidates, moves, fresh, len(ids) // processes)
            dropped += [self._drop(signal, place, ids[place], "resampled") for place, _ in moves]
            taken = {source for _, source in moves}
            left = [candidate for candidate in range(len(fresh)) if candidate not in taken]
            dropped += [self._drop(new, candidate, self._ids[fresh[candidate]], "not taken") for candidate in left]
            for place, source in moves:
                ids[place] = self._ids[fresh[source]]
            signal = signal.replace([place for place, _ in moves], new, [source for _, source in moves])
            replaced += len(moves)
        return Choice(sampled, first, dropped, replaced, rounds)

    def _sample_prompts(self, indices: Sequence[int]) -> tuple[list[Sampled], GroupSignal]:
        shown = [self._trainer.train_dataset[index] for index in indices]  # an image is decoded once
        return self._sample([row for row in shown for _ in range(self._trainer.num_generations)])

    def _move(
        self,
        sampled: list[Sampled],
        candidates: Sequence[Sampled],
        moves: Sequence[tuple[int, int]],
        fresh: Sequence[int],
        groups: int,
    ) -> None:
        """Put candidates into ``sampled``, this process's own and those that another one sampled for it.

        Args:
            moves: (group of all processes, candidate of all processes).
            groups: of each process.
        """
        generations, process = self._trainer.num_generations, self._trainer.accelerator.process_index
        share = len(candidates) // generations
        sent: dict[int, list[Sampled]] = {}
        for place, source in moves:
            if source // share == process:
                at = (source % share) * generations
                sent[place] = list(candidates[at : at + generations])
        if any(place // groups != source // share for place, source in moves):
            away = {place: [one.without_row() for one in group] for place, group in sent.items()}
            for others in gather_object([{p: group for p, group in away.items() if p // groups != process}]):
                sent |= {place: group for place, group in others.items() if place // groups == process}
        for place, source in moves:
            if place // groups == process:
                group = sent[place]
                if source // share != process:
                    row = self._trainer.train_dataset[fresh[source]]
                    group = [one.with_row(row) for one in group]
                at = (place % groups) * generations
                sampled[at : at + generations] = group

    def _drop(self, signal: GroupSignal, group: int, name: Any, fate: str) -> Drop:
        flat = bool(signal.flat(self._trainer.args.flat_group_limit)[group])
        reason = reason_of(signal, group) if flat else "no place was free"
        return Drop(name, signal.reward[group].item(), signal.spread[group].item(), reason, fate)

    def _others(self, used: set[Any]) -> list[int]:
        """Row numbers of prompts that the batch does not show, in an order that follows from (seed, step)."""
        trainer = self._trainer
        seed = rollout_seed(trainer.args.seed, 0, "resample", trainer.state.global_step, 0)
        generator = torch.Generator().manual_seed(seed)
        if self._values is None:
            order = torch.randperm(len(self._ids), generator=generator).tolist()
        else:
            order = list(dict.fromkeys(balanced_order(self._values, generator)))
        return [index for index in order if self._ids[index] is None or self._ids[index] not in used]

    def _sample(self, rows: list[Row]) -> tuple[list[Sampled], GroupSignal]:
        """Roll out and score some rows, without a word to TRL's log of completions."""
        trainer = self._trainer
        rows = [dict(row) for row in rows]
        prompts = prompts_of(rows)
        prompt_ids, completion_ids, _, completions, logps, _, images, _ = trainer._generate(prompts)
        rewards = trainer._calculate_rewards(rows, prompts, completions, completion_ids)
        pending = trainer._pending_extra_logs
        extras = {name: list(values) for name, values in pending.items() if len(values) == len(rows)}
        pending.clear()
        start = trainer.accelerator.process_index * len(rows)
        sampled = [
            Sampled(
                row,
                prompt_ids[i],
                completion_ids[i],
                completions[i],
                None if logps is None else logps[i],
                None if images is None else images[i],
                rewards[start + i],
                {name: values[i] for name, values in extras.items()},
            )
            for i, row in enumerate(rows)
        ]
        each = trainer.multi_objective_aggregation == "normalize_then_sum"
        return sampled, signal_of(rewards, trainer.reward_weights, trainer.num_generations, each=each)


def prompts_of(rows: Sequence[Row]) -> list[Any]:
    """Prompts as TRL's ``_generate_and_score_completions`` hands them to ``_generate``: images inside the messages."""
    prompts = [row["prompt"] for row in rows]
    images = [images_of(row) for row in rows]
    if ("images" not in rows[0] and "image" not in rows[0]) or all(shown == [] for shown in images):
        return prompts
    return [prepare_multimodal_messages(prompt, images=shown) for prompt, shown in zip(prompts, images, strict=True)]


def images_of(row: Mapping[str, Any]) -> list[Any] | None:
    """The images of a dataset row; None where it has no column of them."""
    if "images" in row:
        images: list[Any] | None = row["images"]
        return images
    return [row["image"]] if row.get("image") is not None else None


def assign(places: Sequence[int], sources: Sequence[int], groups: int, share: int) -> list[tuple[int, int]]:
    """Which candidate takes which flat group's place: one of the same process where there is one.

    Args:
        places: flat groups, numbered over all processes, ``groups`` to each.
        sources: candidates with a spread, numbered over all processes, ``share`` to each.
    """
    free, good, moves = list(places), list(sources), []
    for place in places:
        own = next((source for source in good if source // share == place // groups), None)
        if own is not None:
            moves.append((place, own))
            free.remove(place)
            good.remove(own)
    return sorted([*moves, *zip(free, good, strict=False)])


class Replay:
    """Completions to be handed to TRL's method in place of new ones."""

    def __init__(self, sampled: Sequence[Sampled]) -> None:
        self._sampled = sampled

    @property
    def rows(self) -> list[Row]:
        """Dataset rows, one per completion."""
        return [one.row for one in self._sampled]

    def generated(self) -> tuple[Any, ...]:
        """What ``_generate`` returns."""
        all_of = self._sampled
        logps = None if any(one.logps is None for one in all_of) else [one.logps for one in all_of]
        shown = any(one.images is not None for one in all_of)
        images = [one.images if one.images is not None else [] for one in all_of] if shown else None
        ids = [one.prompt_ids for one in all_of], [one.completion_ids for one in all_of]
        return *ids, None, [one.completion for one in all_of], logps, {}, images, []

    def rewards(self, extra_logs: dict[str, list[Any]]) -> torch.Tensor:
        """This process's rewards (N, rewards); what the reward functions logged goes to ``extra_logs`` again."""
        names = sorted({name for one in self._sampled for name in one.extras})
        for name in names:
            extra_logs[name] = [one.extras.get(name) for one in self._sampled]
        return torch.stack([one.rewards.to(self._sampled[0].rewards.device) for one in self._sampled])
