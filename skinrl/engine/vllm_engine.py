"""Generation with vLLM in this process, on GPU or CPU."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from transformers import AutoConfig, GenerationConfig

from skinrl.engine.base import Completion, Request, Sampling
from skinrl.engine.chat import encode, load_processor, tokenizer_of
from skinrl.engine.choices import Choices, check_choices
from skinrl.engine.environment import on_cpu, prepare_environment
from skinrl.engine.prompts import (
    check_lengths,
    check_same_prompts,
    collapse_prompt,
    engine_image_arguments,
    set_image_size,
)
from skinrl.engine.push import push_into
from skinrl.engine.sampling import seeded
from skinrl.engine.tokens import ENGINE_BAN, end_token_ids, ended, vision_token_ids
from skinrl.errors import InputError, RunError


class VLLMEngine:
    """See :func:`skinrl.engine.base.open_generator` for the arguments."""

    def __init__(
        self,
        model_path: str,
        *,
        dtype: str = "auto",
        min_pixels: int | None = None,
        max_pixels: int | None = None,
        max_model_len: int | None = None,
        adapter: str | None = None,
        gpu_memory_utilization: float = 0.5,
        max_batch: int = 64,
        revision: str | None = None,
    ) -> None:
        prepare_environment(model_path=model_path)
        from vllm import LLM

        self.processor = load_processor(model_path, revision)
        self._tokenizer = tokenizer_of(self.processor)
        self._choices = Choices(self._tokenizer)
        config = AutoConfig.from_pretrained(model_path, revision=revision)
        self._banned = vision_token_ids(config, self._tokenizer)
        self._ends = end_token_ids(_generation_config(model_path, revision), self._tokenizer)
        arguments: dict[str, Any] = {}
        image_processor = getattr(self.processor, "image_processor", None)
        if image_processor is not None:
            set_image_size(image_processor, min_pixels, max_pixels)
            arguments["mm_processor_kwargs"] = engine_image_arguments(image_processor) or None
            arguments["limit_mm_per_prompt"] = {"video": 0}
        if on_cpu():
            # compiling costs more than it saves for a model that fits a CPU
            arguments["enforce_eager"] = True
        else:
            arguments["gpu_memory_utilization"] = gpu_memory_utilization
        self._llm = LLM(
            model=model_path,
            revision=revision,
            tokenizer_revision=revision,
            dtype=dtype,
            max_model_len=max_model_len,
            max_num_seqs=max_batch,
            logprobs_mode="processed_logprobs",
            seed=0,
            **arguments,
        )
        self._limit = self._llm.llm_engine.model_config.max_model_len
        if adapter is not None:
            self.load(model_path, adapter=adapter, revision=revision)

    def load(self, model_path: str, *, adapter: str | None = None, revision: str | None = None) -> None:
        """Put the weights of another checkpoint of the same architecture into the open engine.

        The checkpoint is read on the CPU and pushed as GRPO pushes its policy; an adapter is merged first.
        """
        from skinrl.engine.transformers_engine import load_model

        dtype = str(self._llm.llm_engine.model_config.dtype).removeprefix("torch.")
        model = load_model(model_path, dtype=dtype, adapter=adapter, device="cpu", revision=revision)
        push_into(self._llm, _named(model))

    def close(self) -> None:
        """Free the engine's memory."""
        from vllm.distributed import cleanup_dist_env_and_memory

        core = self._llm.llm_engine.engine_core
        del self._llm
        core.shutdown()
        gc.collect()
        cleanup_dist_env_and_memory()

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion]]:
        """``sampling.n`` completions for each request, in order."""
        if not requests:
            return []
        from vllm import SamplingParams

        prompts = self._prompts(requests)
        constrained = check_choices(requests)
        # a character may be a token of its own; the end comes after
        longest = (
            max(len(choice) + len(one.ending) for one in requests for choice in one.choices) if constrained else 0
        )
        tokens = longest + 1 if constrained else sampling.max_tokens
        room = self._choices.longest(requests) if constrained else tokens
        check_lengths([len(ids) for ids in prompts], room, self._limit, "the engine (max_model_len)")
        shared: dict[str, Any] = {
            "max_tokens": tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "n": sampling.n,
            "logprobs": 0,
            "stop_token_ids": list(self._ends),
            "logit_bias": dict.fromkeys(self._banned, ENGINE_BAN) or None,
        }
        settings: Any = SamplingParams(**shared)
        if constrained:
            settings = [SamplingParams(**shared, structured_outputs=_one_of(request)) for request in requests]
        inputs = [self._input(ids, request) for ids, request in zip(prompts, requests, strict=True)]
        with nullcontext() if sampling.seed is None else seeded(sampling.seed):
            outputs = self._llm.generate(inputs, sampling_params=settings, use_tqdm=False)
        check_same_prompts(prompts, [output.prompt_token_ids for output in outputs])
        return [[self._completion(completion) for completion in output.outputs] for output in outputs]

    def _prompts(self, requests: Sequence[Request]) -> list[list[int]]:
        """Token ids of the prompts, image tokens expanded, each with what is taken as written."""
        prompts: list[list[int]] = []
        for request in requests:  # one at a time: the image tensors are thrown away
            (ids,) = encode(self.processor, [request])["input_ids"]
            prompts.append([*ids, *self._choices.ids(request.prefix)])
        return prompts

    def score(self, requests: Sequence[Request]) -> list[list[float]]:
        """Log-likelihood of each choice of each request; see :class:`skinrl.engine.base.Generator`."""
        if not requests:
            return []
        if not check_choices(requests):
            raise InputError("nothing to score: the requests have no choices")
        from vllm import SamplingParams

        prompts, inputs, counts = [], [], []
        for request, prompt in zip(requests, self._prompts(requests), strict=True):
            encoded = self._choices.encoded(request.choices, request.ending)
            for ids, told in zip(encoded.whole, encoded.counted, strict=True):
                prompts.append([*prompt, *ids[:told]])
                inputs.append(self._input(prompts[-1], request))
                counts.append(told - encoded.shared)
        check_lengths([len(ids) for ids in prompts], 1, self._limit, "the engine (max_model_len)")
        settings = SamplingParams(max_tokens=1, temperature=0.0, prompt_logprobs=0)
        outputs = self._llm.generate(inputs, sampling_params=settings, use_tqdm=False)
        check_same_prompts(prompts, [output.prompt_token_ids for output in outputs])
        found = iter([_sum_of_last(output, count) for output, count in zip(outputs, counts, strict=True)])
        return [[next(found) for _ in request.choices] for request in requests]

    def _input(self, prompt: list[int], request: Request) -> dict[str, Any]:
        if not request.images:
            return {"prompt_token_ids": prompt}
        collapsed = collapse_prompt(prompt, self.processor.image_token_id, len(request.images))
        return {"prompt_token_ids": collapsed, "multi_modal_data": {"image": list(request.images)}}

    def _completion(self, output: Any) -> Completion:
        token_ids = tuple(output.token_ids)
        if output.logprobs is None:
            raise RunError("vLLM returned no log-probs.")
        logps = tuple(entry[token].logprob for token, entry in zip(token_ids, output.logprobs, strict=True))
        text = self._tokenizer.decode(token_ids, skip_special_tokens=True)
        return Completion(text, token_ids, logps, ended(token_ids, self._ends))


def _one_of(request: Request) -> Any:
    from vllm.sampling_params import StructuredOutputsParams

    return StructuredOutputsParams(choice=[choice + request.ending for choice in request.choices])


def _sum_of_last(output: Any, count: int) -> float:
    """Log-prob of the last ``count`` tokens of a prompt."""
    tokens = output.prompt_token_ids[len(output.prompt_token_ids) - count :]
    entries = output.prompt_logprobs[len(output.prompt_logprobs) - count :]
    return float(sum(entry[token].logprob for token, entry in zip(tokens, entries, strict=True)))


def _named(model: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    for name, parameter in model.named_parameters():
        yield name, parameter.data


def _generation_config(model_path: str, revision: str | None) -> GenerationConfig | None:
    try:
        return GenerationConfig.from_pretrained(model_path, revision=revision)
    except OSError:  # the checkpoint has none
        return None
