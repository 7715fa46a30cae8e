"""vLLM rollouts that are the trainer's own policy: TRL's ``VLLMGeneration``, with what it leaves out.

Every override of TRL's vLLM side stands here. What each is for is told in docs/rollouts.md; the
work is done by ``skinrl.engine.prompts`` and ``skinrl.engine.push``.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from accelerate.utils import is_peft_model
from trl.distributed import DistributedBackend
from trl.generation import vllm_generation as trl_vllm
from trl.generation.vllm_client import VLLMClient
from trl.generation.vllm_generation import VLLMGeneration, empty_cache
from trl.trainer import grpo_trainer as trl_grpo

from skinrl.engine.adapter import UnmergedAdapter, why_not_unmerged
from skinrl.engine.environment import on_cpu
from skinrl.engine.merged import can_merge, merged_parameters
from skinrl.engine.prompts import (
    check_image_counts,
    check_lengths,
    check_same_prompts,
    collapse_prompt,
    engine_image_arguments,
)
from skinrl.engine.push import push_by_file, push_into, reset_server_caches
from skinrl.engine.requests import limit_requests, requests_named
from skinrl.engine.tokens import ENGINE_BAN
from skinrl.errors import InputError, RunError
from skinrl.grpo.config import SkinGRPOConfig
from skinrl.grpo.once import prompts_once

logger = logging.getLogger(__name__)

_LOOPBACK = ("localhost", "127.0.0.1", "0.0.0.0", "::1")


@contextmanager
def _replaced(module: Any, name: str, value: Any) -> Iterator[None]:
    """While open, ``module.name`` is ``value``: TRL builds these objects itself and offers no argument for them."""
    original = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, original)


@contextmanager
def skinrl_generation(args: SkinGRPOConfig) -> Iterator[None]:
    """While open, ``GRPOTrainer.__init__`` builds :class:`SkinVLLMGeneration` where it would build TRL's class."""
    with _replaced(trl_grpo, "VLLMGeneration", functools.partial(SkinVLLMGeneration, args)):
        yield


def unmerged_adapter(args: SkinGRPOConfig, generation: Mapping[str, Any]) -> UnmergedAdapter | None:
    """The policy's adapter where a colocated engine can take it as it is, else None: it is then merged.

    Args:
        generation: the arguments of TRL's ``VLLMGeneration``.

    Raises:
        InputError: ``vllm_lora`` is "adapter" and it cannot.
    """
    model, accelerator = generation["model"], generation["accelerator"]
    if args.vllm_lora == "merge" or not is_peft_model(model):
        return None
    dist = DistributedBackend(accelerator)
    reason = why_not_unmerged(model, any_family=args.vllm_lora == "adapter")
    if generation.get("enable_sleep_mode"):
        reason = "sleep mode discards the weights that it belongs to"
    elif dist.is_fsdp:
        reason = "the model is sharded by FSDP"
    if not reason:
        return UnmergedAdapter(model, dist.gather_params)
    if args.vllm_lora == "adapter":
        raise InputError(f"grpo.vllm_lora is 'adapter', but vLLM cannot take this adapter as it is: {reason}.")
    logger.info("The adapter is merged into the weights that vLLM gets: %s.", reason)
    return None


class SkinVLLMGeneration(VLLMGeneration):
    """TRL's generation object, for vLLM in this process or on a server."""

    generation_kwargs: dict[str, Any]

    def __init__(self, args: SkinGRPOConfig, **kwargs: Any) -> None:
        self.args = args
        by_file = args.vllm_weight_push == "file" or (args.vllm_weight_push == "auto" and on_cpu())
        self.pushes_by_file = kwargs.get("mode") == "server" and by_file
        self.adapter = None if kwargs.get("mode") == "server" else unmerged_adapter(args, kwargs)
        super().__init__(**kwargs)

    def follow_policy(self, *, banned: Sequence[int], stop: Sequence[int]) -> None:
        """Sample without ``banned`` tokens and end completions at the trainer's end tokens."""
        ours: dict[str, Any] = {"stop_token_ids": list(stop)}
        if banned:
            ours["logit_bias"] = dict.fromkeys(banned, ENGINE_BAN)
        theirs = self.generation_kwargs
        if "logit_bias" in theirs:
            ours["logit_bias"] = {**theirs["logit_bias"], **ours.get("logit_bias", {})}
        self.generation_kwargs = {**theirs, **ours}

    # Opening the engine

    def _init_vllm(self) -> None:
        engine, ours = trl_vllm.LLM, self._engine_arguments()
        client = FilePushClient if self.pushes_by_file else VLLMClient
        with (
            _replaced(trl_vllm, "LLM", lambda **theirs: engine(**{**theirs, **ours})),
            _replaced(trl_vllm, "VLLMClient", client),
        ):
            super()._init_vllm()
        if self.mode == "server" and self.accelerator.is_main_process:
            limit_requests(self.vllm_client.session, self.args.vllm_request_timeout)

    def _engine_arguments(self) -> dict[str, Any]:
        """What a colocated engine is opened with beside TRL's arguments, or in their place."""
        arguments: dict[str, Any] = {
            "dtype": self._dtype(),
            "max_num_batched_tokens": self.args.vllm_max_num_batched_tokens,
        }
        image_processor = getattr(self.processing_class, "image_processor", None)
        if image_processor is not None:
            own = engine_image_arguments(image_processor) | (self.args.vllm_mm_processor_kwargs or {})
            arguments["mm_processor_kwargs"] = own or None
            images = self.args.vllm_images_per_prompt
            arguments["limit_mm_per_prompt"] = {"video": 0} | ({} if images is None else {"image": images})
            if self.args.vllm_mm_processor_cache_gb is not None:
                arguments["mm_processor_cache_gb"] = self.args.vllm_mm_processor_cache_gb
        if self.adapter is not None:
            arguments |= self.adapter.engine_arguments()
        if on_cpu():
            # compiling costs more than it saves for a model that fits a CPU
            arguments["enforce_eager"] = True
        return arguments

    def _dtype(self) -> str:
        from skinrl.grpo.trainer import policy_dtype

        return policy_dtype(self.args, self.model)

    # Pushing weights

    def _iter_named_params(self) -> Iterator[tuple[str, Any]]:
        if is_peft_model(self.model) and not self._dist.is_fsdp and can_merge(self.model):
            return merged_parameters(self.model, self._dist.gather_params)
        return super()._iter_named_params()

    def sync_weights(self) -> None:
        if self.mode == "colocate":
            if self.enable_sleep_mode:
                empty_cache()
                self.llm.wake_up(tags=["weights"])
                self._llm_weights_sleeping = False
            if self.adapter is not None:
                self.adapter.push(self.llm)
            else:
                push_into(self.llm, self._iter_named_params())
        elif self.pushes_by_file:
            weights = self._iter_named_params()
            if self.accelerator.is_main_process:
                client = self.vllm_client
                push_by_file(client.session, client.base_url, weights, self._push_directory(client.base_url))
            else:
                for _ in weights:  # gathering a parameter takes all processes
                    pass
        else:
            with requests_named(self.args.vllm_request_timeout):
                super().sync_weights()
            if self.accelerator.is_main_process:
                reset_server_caches(self.vllm_client.session, self.vllm_client.base_url)

    def _push_directory(self, base_url: str) -> Path:
        if self.args.vllm_weight_push_dir is not None:
            return Path(self.args.vllm_weight_push_dir)
        memory = Path("/dev/shm")
        if urlparse(base_url).hostname in _LOOPBACK and memory.is_dir():
            return memory
        return Path(self.args.output_dir).absolute() / "weight_push"

    # Generating

    def generate(
        self,
        prompts: list[list[int]],
        images: list[list[Any] | None] | None,
        num_generations: int,
        profiler: Any = None,
    ) -> tuple[Any, ...]:
        lengths = [len(prompt) for prompt in prompts]
        if self.mode == "server":
            with requests_named(self.args.vllm_request_timeout):
                return super().generate(prompts, images, num_generations, profiler)
        check_lengths(
            lengths,
            self.max_completion_length,
            self.llm.llm_engine.model_config.max_model_len,
            "the engine (vllm_max_model_length)",
        )
        collapsed = prompts
        if images is not None:
            token = self.processing_class.image_token_id
            check_image_counts(images, self.args.vllm_images_per_prompt)
            collapsed = [
                collapse_prompt(prompt, token, len(shown or ())) for prompt, shown in zip(prompts, images, strict=True)
            ]
        with (
            self.adapter.served(self.llm) if self.adapter is not None else nullcontext(),
            prompts_once(self.llm) if self.args.once_per_group else nullcontext(),
        ):
            used, *rest = super().generate(collapsed, images, num_generations, profiler)
        check_same_prompts(prompts, used)
        return prompts, *rest

    def _place_features(self, features: dict[str, Any] | None, prompt_ids: list[int]) -> dict[str, Any] | None:
        placed = super()._place_features(features, prompt_ids)
        if features is None or placed is None:
            return placed
        # The server does not report the prompt it used; how many tokens it made of each image says the same.
        theirs = [place["length"] for place in features["mm_placeholders"]["image"]]
        ours = [place["length"] for place in placed["mm_placeholders"]["image"]]
        if theirs != ours:
            raise RunError(
                f"The vLLM server makes {theirs} tokens of a prompt's images, the trainer {ours}, so they answer "
                "different questions. Start the server with the trainer's min_pixels and max_pixels "
                "(--mm-processor-kwargs) and with the processor files of the model that is trained."
            )
        return placed


class FilePushClient(VLLMClient):
    """TRL's client for a server that takes its weights from files: no NCCL group is opened."""

    def init_communicator(self, device: Any = 0) -> None:
        extension = self.get_server_info()["parallel_config"]["worker_extension_cls"]
        if not extension:
            raise RunError(
                f"The vLLM server at {self.base_url} has no worker extension, so it cannot load weights from files. "
                "Start it as docs/rollouts.md shows, or set vllm_weight_push to 'nccl' (CUDA alone)."
            )
