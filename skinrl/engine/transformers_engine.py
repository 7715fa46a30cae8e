"""Generation with transformers' ``generate``: slow, everywhere, no vLLM needed."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText, GenerationConfig

from skinrl.engine.base import Completion, Request, Sampling
from skinrl.engine.chat import encode, load_processor, tokenizer_of
from skinrl.engine.choices import Choices, allowed_after, check_choices
from skinrl.engine.prompts import check_lengths, set_image_size
from skinrl.engine.sampling import SampledLogProbs, seeded
from skinrl.engine.tokens import end_token_ids, ended, vision_token_ids
from skinrl.errors import InputError


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
        self._choices = Choices(self._tokenizer)

    def load(self, model_path: str, *, adapter: str | None = None, revision: str | None = None) -> None:
        """Put the weights of another checkpoint of the same architecture into the open engine."""
        self.close()  # two models at once may not fit
        self._model = load_model(model_path, dtype=self._dtype, adapter=adapter, revision=revision)

    def close(self) -> None:
        """Free the model's memory."""
        self.__dict__.pop("_model", None)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion]]:
        """``sampling.n`` completions for each request, in order."""
        per_batch = max(1, self._max_batch // sampling.n)
        if check_choices(requests):
            sampling = replace(sampling, max_tokens=self._choices.longest(requests))
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
        inputs = self._encoded(requests, [self._choices.ids(request.prefix) for request in requests])
        lengths = inputs["attention_mask"].sum(-1).tolist()
        check_lengths(lengths, sampling.max_tokens, self._limit, "the model (max_position_embeddings)")
        recorder = SampledLogProbs(sampling.temperature or 1.0)
        options: dict[str, Any] = {}
        if requests[0].choices:
            options["prefix_allowed_tokens_fn"] = self._allowed(requests, inputs["input_ids"].shape[1], sampling)
        with torch.no_grad():
            sequences = self._model.generate(
                **inputs, generation_config=config, logits_processor=[recorder], **options
            )
        logps = recorder.finish(sequences).tolist()
        rows = sequences[:, inputs["input_ids"].shape[1] :].tolist()
        done = [self._completion(row, values) for row, values in zip(rows, logps, strict=True)]
        if sampling.temperature == 0:
            return [[completion] * sampling.n for completion in done]
        return [done[i : i + sampling.n] for i in range(0, len(done), sampling.n)]

    def _encoded(self, requests: Sequence[Request], written: Sequence[Sequence[int]]) -> Any:
        """Prompts, each followed by the tokens taken as written, padded on the left; on the model's device."""
        inputs = encode(self.processor, requests, padding=True, return_tensors="pt")
        if any(written):
            inputs = _followed_by(inputs, written, self._tokenizer.pad_token_id)
        return inputs.to(self._model.device)

    def _allowed(self, requests: Sequence[Request], start: int, sampling: Sampling) -> Any:
        """What ``generate`` asks for the tokens that may follow: (row of the batch, all its tokens) -> token ids."""
        tries = [self._choices.trie(request.choices, request.ending) for request in requests]
        each = 1 if sampling.temperature == 0 else sampling.n

        def allowed(row: int, tokens: torch.Tensor) -> list[int]:
            return allowed_after(tries[row // each], tokens[start:].tolist(), self._ends)

        return allowed

    def score(self, requests: Sequence[Request]) -> list[list[float]]:
        """Log-likelihood of each choice of each request; see :class:`skinrl.engine.base.Generator`."""
        if requests and not check_choices(requests):
            raise InputError("nothing to score: the requests have no choices")
        rows = [(request, number) for request in requests for number in range(len(request.choices))]
        found: list[float] = []
        for start in range(0, len(rows), self._max_batch):
            found += self._score_rows(rows[start : start + self._max_batch])
        values = iter(found)
        return [[next(values) for _ in request.choices] for request in requests]

    @torch.no_grad()
    def _score_rows(self, rows: Sequence[tuple[Request, int]]) -> list[float]:
        encoded = [self._choices.encoded(request.choices, request.ending) for request, _ in rows]
        told = [one.whole[number][: one.counted[number]] for one, (_, number) in zip(encoded, rows, strict=True)]
        written = [[*self._choices.ids(request.prefix), *ids] for (request, _), ids in zip(rows, told, strict=True)]
        inputs = self._encoded([request for request, _ in rows], written)
        check_lengths(inputs["attention_mask"].sum(-1).tolist(), 0, self._limit, "the model (max_position_embeddings)")
        kept = max(map(len, told)) + 1  # padded on the left, so that all rows end in the last column
        logits = self._model(**inputs, logits_to_keep=kept, use_cache=False).logits
        logps = torch.log_softmax(logits[:, :-1].float(), dim=-1)
        tokens = inputs["input_ids"][:, -(kept - 1) :]
        taken = logps.gather(2, tokens.unsqueeze(2)).squeeze(2)  # (B, kept - 1)
        counts = [len(ids) - one.shared for ids, one in zip(told, encoded, strict=True)]
        return [float(row[len(row) - count :].sum()) for row, count in zip(taken, counts, strict=True)]

    def _completion(self, token_ids: list[int], logps: list[float]) -> Completion:
        end = next((i for i, token in enumerate(token_ids) if token in self._ends), len(token_ids) - 1)
        token_ids, logps = token_ids[: end + 1], logps[: end + 1]
        text = self._tokenizer.decode(token_ids, skip_special_tokens=True)
        return Completion(text, tuple(token_ids), tuple(logps), ended(token_ids, self._ends))


def _followed_by(inputs: Any, written: Sequence[Sequence[int]], pad: int) -> Any:
    """Left-padded model inputs with further text tokens after each row, padded anew; images stay as they are."""
    mask = inputs["attention_mask"].bool()
    longest = max(int(own.sum()) + len(ids) for own, ids in zip(mask, written, strict=True))
    for name, values in list(inputs.items()):
        if name != "input_ids" and values.shape != mask.shape:
            continue  # pixels and sizes of images
        rows = values.new_full((len(written), longest), pad if name == "input_ids" else 0)
        for row, ids in enumerate(written):
            kinds = {"input_ids": list(ids), "attention_mask": [1] * len(ids)}  # any other: 0 is the kind of text
            more = values.new_tensor(kinds.get(name, [0] * len(ids)))
            told = torch.cat([values[row][mask[row]], more])
            rows[row, longest - len(told) :] = told
        inputs[name] = rows
    return inputs
