"""Greedy completions from the weights that a trainer holds now, by the engine that it trains with.

Where rollouts come from vLLM (in the same process or on a server), vLLM answers; elsewhere the trainer's own model
does, through the transformers engine: no second copy of the weights is made. Every process takes its share of the
requests, and has all answers at the end.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from accelerate.utils import gather_object
from trl.distributed import DistributedBackend
from trl.models import unwrap_model_for_generation

from skinrl.engine.base import Completion, Request, Sampling
from skinrl.engine.chat import encode, tokenizer_of
from skinrl.engine.tokens import end_token_ids, ended
from skinrl.engine.transformers_engine import TransformersEngine
from skinrl.errors import InputError

_AT_ONCE = 64  # requests whose images are in memory together, where vLLM makes its batches itself


class TrainerEngine:
    """Answers from a trainer's present weights. Every process must make the same calls.

    Args:
        trainer: a transformers ``Trainer`` on one process, under DDP or DeepSpeed; a ``GRPOTrainer`` may have vLLM.

    Raises:
        InputError: the trainer shards its model by FSDP.
    """

    def __init__(self, trainer: Any) -> None:
        if DistributedBackend(trainer.accelerator).is_fsdp:
            raise InputError("task_metrics does not work under FSDP: use DeepSpeed ZeRO, or leave task_metrics out")
        self._trainer = trainer
        self._processor = copy.deepcopy(trainer.processing_class)  # SFT pads on the right
        tokenizer = tokenizer_of(self._processor)
        tokenizer.padding_side = "left"
        model = trainer.accelerator.unwrap_model(trainer.model)
        self._ends = end_token_ids(model.generation_config, tokenizer)

    def greedy(self, count: int, request: Callable[[int], Request], max_tokens: int) -> list[Completion]:
        """One greedy completion (without log-probs) for each of ``count`` requests, in order, on every process.

        Args:
            request: the request of a number from 0; called just before it is needed, on one process.
            max_tokens: longest completion.
        """
        accelerator = self._trainer.accelerator
        each = -(-count // accelerator.num_processes)
        first = accelerator.process_index * each
        # Equally many for all, since vLLM's collectives want that: the last process begins again at the first request
        share = [number % count for number in range(first, first + each)]
        by_vllm = getattr(self._trainer, "use_vllm", False)
        own = (self._by_vllm if by_vllm else self._by_model)(share, request, max_tokens)
        return gather_object(own)[:count]

    def _by_model(self, share: Sequence[int], request: Callable[[int], Request], max_tokens: int) -> list[Completion]:
        trainer = self._trainer
        size = trainer.args.per_device_eval_batch_size
        answers: list[Completion] = []
        with (
            unwrap_model_for_generation(
                trainer.model_wrapped,
                trainer.accelerator,
                gradient_checkpointing_kwargs=trainer.args.gradient_checkpointing_kwargs,
            ) as model,
            trainer.accelerator.autocast(),
        ):
            engine = TransformersEngine.around(model, self._processor, max_batch=size)
            for start in range(0, len(share), size):
                requests = [request(number) for number in share[start : start + size]]
                found = engine.generate(requests, Sampling(max_tokens, temperature=0.0))
                answers += [Completion(one.text, one.token_ids, None, one.finished) for (one,) in found]
        return answers

    def _by_vllm(self, share: Sequence[int], request: Callable[[int], Request], max_tokens: int) -> list[Completion]:
        trainer = self._trainer
        generation = trainer.vllm_generation
        if trainer.state.global_step != trainer._last_loaded_step:  # as TRL does before a rollout
            generation.sync_weights()
            trainer._last_loaded_step = trainer.state.global_step
        answers: list[Completion] = []
        with _greedily(generation, max_tokens):
            for start in range(0, len(share), _AT_ONCE):
                requests = [request(number) for number in share[start : start + _AT_ONCE]]
                prompts = [encode(self._processor, [one])["input_ids"][0] for one in requests]
                images = [list(one.images) or None for one in requests]
                _, completions, *_ = generation.generate(prompts, images if any(images) else None, 1)
                answers += [self._completion(list(ids)) for ids in completions]
        return answers

    def _completion(self, token_ids: list[int]) -> Completion:
        text = tokenizer_of(self._processor).decode(token_ids, skip_special_tokens=True)
        return Completion(text, tuple(token_ids), None, ended(token_ids, self._ends))


@contextmanager
def _greedily(generation: Any, max_tokens: int) -> Iterator[None]:
    """While open, TRL's ``VLLMGeneration`` decodes greedily; banned tokens and end tokens stay as they are."""
    kept = {name: generation.generation_kwargs[name] for name in _STAY if name in generation.generation_kwargs}
    changed = {
        "temperature": 0.0,
        "top_p": 1.0,
        "top_k": 0,
        "min_p": None,
        "repetition_penalty": 1.0,
        "max_completion_length": max_tokens,
        "structured_outputs_regex": None,
        "generation_kwargs": kept,
    }
    before = {name: getattr(generation, name) for name in changed}
    for name, value in changed.items():
        setattr(generation, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(generation, name, value)


_STAY = ("stop_token_ids", "logit_bias")


@contextmanager
def evaluating(trainer: Any) -> Iterator[None]:
    """The trainer's model in evaluation mode inside the block, without gradients, and as it was after it."""
    model = trainer.model_wrapped
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)
