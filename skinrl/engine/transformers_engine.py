"""Generation with transformers' ``generate``: slow, everywhere, no vLLM needed."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText, GenerationConfig

from skinrl.engine.base import Completion, Request, Sampling
from skinrl.engine.chat import encode, load_processor, tokenizer_of
from skinrl.engine.prompts import check_lengths, set_image_size
from skinrl.engine.sampling import SampledLogProbs, seeded
from skinrl.engine.tokens import end_token_ids, ended, vision_token_ids


def load_model(
    model_path: str,
    *,
    dtype: str = "auto",
    adapter: str | None = None,
    device: str | None = None,
    revision: str | None = None,
) -> Any:
    """A transformers model for generation: on ``device`` (None: the GPU where there is one), an adapter merged in."""
    kind: Any = AutoModelForCausalLM
    if getattr(AutoConfig.from_pretrained(model_path, revision=revision), "vision_config", None) is not None:
        kind = AutoModelForImageTextToText
    wanted = dtype if dtype == "auto" else getattr(torch, dtype)
    model = kind.from_pretrained(model_path, revision=revision, dtype=wanted)
    if adapter is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, adapter).merge_and_unload()
    return model.to(device or ("cuda" if torch.cuda.is_available() else "cpu")).eval()


class TransformersEngine:
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
        max_batch: int = 64,
        revision: str | None = None,
    ) -> None:
        self._dtype = dtype
        processor = load_processor(model_path, revision)
        if hasattr(processor, "image_processor"):
            set_image_size(processor.image_processor, min_pixels, max_pixels)
        self.load(model_path, adapter=adapter, revision=revision)
        self._settle(processor, max_model_len, max_batch)

    @classmethod
    def around(cls, model: Any, processor: Any, *, max_batch: int) -> TransformersEngine:
        """The engine on a model that is open already, such as the one in training: no weights are read or copied.

        Args:
            model: a transformers model, in evaluation mode while it generates.
            processor: its processor, padding on the left.
        """
        engine = cls.__new__(cls)
        engine._dtype = "auto"
        engine._model = model
        engine._settle(processor, None, max_batch)
        return engine

    def _settle(self, processor: Any, max_model_len: int | None, max_batch: int) -> None:
        self.processor = processor
        self._max_batch = max_batch
        self._tokenizer = tokenizer_of(processor)
        self._limit = max_model_len or self._model.config.get_text_config().max_position_embeddings
        self._banned = vision_token_ids(self._model.config, self._tokenizer)
        self._ends = end_token_ids(self._model.generation_config, self._tokenizer)

    def load(self, model_path: str, *, adapter: str | None = None, revision: str | None = None) -> None:
        """Put the weights of another checkpoint of the same architecture into the open engine."""
        self._model = load_model(model_path, dtype=self._dtype, adapter=adapter, revision=revision)

    def close(self) -> None:
        """Free the model's memory."""
        del self._model
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion]]:
        """``sampling.n`` completions for each request, in order."""
        per_batch = max(1, self._max_batch // sampling.n)
        config = self._generation_config(sampling)
        completions: list[list[Completion]] = []
        with nullcontext() if sampling.seed is None else seeded(sampling.seed):
            for start in range(0, len(requests), per_batch):
                completions += self._batch(requests[start : start + per_batch], sampling, config)
        return completions

    def _generation_config(self, sampling: Sampling) -> GenerationConfig:
        greedy = sampling.temperature == 0
        # Written out in full: a checkpoint's own defaults (top_k, repetition penalty) are another policy.
        return GenerationConfig(
            max_new_tokens=sampling.max_tokens,
            # greedy decoding would draw n equal completions
            num_return_sequences=1 if greedy else sampling.n,
            do_sample=not greedy,
            temperature=None if greedy else sampling.temperature,
            top_p=None if greedy else sampling.top_p,
            top_k=None if greedy else 0,
            repetition_penalty=1.0,
            eos_token_id=list(self._ends),
            pad_token_id=self._tokenizer.pad_token_id,
            bos_token_id=self._tokenizer.bos_token_id,
            suppress_tokens=list(self._banned) or None,
            disable_compile=True,
        )

    def _batch(
        self, requests: Sequence[Request], sampling: Sampling, config: GenerationConfig
    ) -> list[list[Completion]]:
        inputs = encode(self.processor, requests, padding=True, return_tensors="pt").to(self._model.device)
        lengths = inputs["attention_mask"].sum(-1).tolist()
        check_lengths(lengths, sampling.max_tokens, self._limit, "the model (max_position_embeddings)")
        recorder = SampledLogProbs(sampling.temperature or 1.0)
        with torch.no_grad():
            sequences = self._model.generate(**inputs, generation_config=config, logits_processor=[recorder])
        logps = recorder.finish(sequences).tolist()
        rows = sequences[:, inputs["input_ids"].shape[1] :].tolist()
        done = [self._completion(row, values) for row, values in zip(rows, logps, strict=True)]
        if sampling.temperature == 0:
            return [[completion] * sampling.n for completion in done]
        return [done[i : i + sampling.n] for i in range(0, len(done), sampling.n)]

    def _completion(self, token_ids: list[int], logps: list[float]) -> Completion:
        end = next((i for i, token in enumerate(token_ids) if token in self._ends), len(token_ids) - 1)
        token_ids, logps = token_ids[: end + 1], logps[: end + 1]
        text = self._tokenizer.decode(token_ids, skip_special_tokens=True)
        return Completion(text, tuple(token_ids), tuple(logps), ended(token_ids, self._ends))
