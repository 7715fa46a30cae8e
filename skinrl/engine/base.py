"""What goes into a generation engine, what comes out, and how to open one.

Evaluation, ``predict``, the teacher and the judge all speak these few types. GRPO's rollouts go
through TRL (``skinrl.grpo``), with the same prompt, token-ban and weight-push helpers.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from skinrl.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

BACKENDS = ("auto", "vllm", "transformers")


@dataclass(frozen=True)
class Request:
    """One prompt: chat messages (Hugging Face format) and the images that they show, in order.

    A user message whose content is a plain string gets the images put in front of it, exactly as
    TRL does for a dataset row, so that training and evaluation ask the same question.

    ``prefix`` is what the model is taken to have written already: the completion goes on from there and does not
    repeat it. With ``choices`` the completion can be nothing but one of these texts, each followed by ``ending``;
    the token limit of the sampling is then theirs. One call has choices in all of its requests or in none.
    """

    messages: Sequence[dict[str, Any]]
    images: tuple[Image.Image, ...] = ()
    prefix: str = ""
    choices: tuple[str, ...] = ()
    ending: str = ""


@dataclass(frozen=True)
class Sampling:
    """How to sample. ``temperature`` 0 is greedy; ``n`` completions are drawn per request.

    ``seed`` makes one call of ``generate`` repeatable on the same machine, versions and batch; it
    is a seed of the call, not of each request (vLLM on CPU cannot seed a request whose prompt is
    computed in chunks).
    """

    max_tokens: int
    temperature: float = 1.0
    n: int = 1
    top_p: float = 1.0
    seed: int | None = None

    def __post_init__(self) -> None:
        if self.max_tokens < 1 or self.n < 1 or self.temperature < 0 or not 0 < self.top_p <= 1:
            raise InputError(
                f"Sampling({self.max_tokens=}, {self.n=}, {self.temperature=}, {self.top_p=}) is out of range: "
                "expected max_tokens >= 1, n >= 1, temperature >= 0 and 0 < top_p <= 1."
            )


@dataclass(frozen=True)
class Completion:
    """One completion: its text without special tokens, its token ids, and whether it ended by itself.

    ``logprobs`` are natural logarithms of the sampled tokens' probabilities under the policy that
    was sampled from (banned tokens removed, temperature applied); greedy decoding reports them at
    temperature 1. ``finished`` is false where the token limit cut the completion off.
    """

    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...] | None
    finished: bool


class Generator(Protocol):
    """An open engine. Completions come back request by request, ``n`` for each, in order."""

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion]]: ...

    def score(self, requests: Sequence[Request]) -> list[list[float]]:
        """Log-likelihood (natural) of each choice of each request, given prompt and prefix.

        Counted from where the choices differ, up to the first token of the ending, so that a choice which begins
        another one competes with it fairly. Nothing is divided by length: these are probabilities.
        """

    def load(self, model_path: str, *, adapter: str | None = None, revision: str | None = None) -> None:
        """Put the weights of another checkpoint of the same architecture into the open engine."""

    def close(self) -> None: ...


def vllm_is_installed() -> bool:
    """Whether a vLLM (GPU or CPU build) can be imported, without importing it."""
    return importlib.util.find_spec("vllm") is not None


def open_generator(
    model_path: str,
    *,
    backend: str = "auto",
    dtype: str = "auto",
    min_pixels: int | None = None,
    max_pixels: int | None = None,
    max_model_len: int | None = None,
    adapter: str | None = None,
    gpu_memory_utilization: float = 0.5,
    max_batch: int = 64,
    revision: str | None = None,
) -> Generator:
    """Open a generation engine on a checkpoint directory.

    Args:
        backend: ``"vllm"``, ``"transformers"``, or ``"auto"`` (vLLM where it is installed).
        dtype: ``"float32"``, ``"bfloat16"``, ``"float16"``, or ``"auto"`` for the checkpoint's own.
        min_pixels, max_pixels: image size limits in pixels (height times width); None keeps the checkpoint's.
        max_model_len: longest prompt plus completion in tokens; None takes the model's own limit.
        adapter: directory of a LoRA adapter that is merged into the weights before generating.
        gpu_memory_utilization: share of the GPU's memory that vLLM may take; unused on CPU.
        max_batch: completions generated at once.
        revision: commit, tag or branch where ``model_path`` is an id on the model hub; a folder has none.

    Raises:
        InputError: unknown backend, or ``backend="vllm"`` where vLLM is not installed.
    """
    if backend not in BACKENDS:
        raise InputError(f"Unknown generation backend {backend!r}: expected one of {', '.join(BACKENDS)}.")
    if backend == "auto":
        backend = "vllm" if vllm_is_installed() else "transformers"
    if backend == "transformers":
        from skinrl.engine.transformers_engine import TransformersEngine

        return TransformersEngine(
            model_path,
            dtype=dtype,
            min_pixels=min_pixels,
            max_pixels=max_pixels,
            max_model_len=max_model_len,
            adapter=adapter,
            max_batch=max_batch,
            revision=revision,
        )
    if not vllm_is_installed():
        raise InputError("backend='vllm' was asked for, but vLLM is not installed: use backend='transformers'.")
    from skinrl.engine.vllm_engine import VLLMEngine

    return VLLMEngine(
        model_path,
        dtype=dtype,
        min_pixels=min_pixels,
        max_pixels=max_pixels,
        max_model_len=max_model_len,
        adapter=adapter,
        gpu_memory_utilization=gpu_memory_utilization,
        max_batch=max_batch,
        revision=revision,
    )
