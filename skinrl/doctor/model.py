"""Checks of the model: where it lies, what its processor makes of an image, and what fits into its memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from skinrl.doctor.finding import Finding, ok, skipped
from skinrl.errors import RunError

GIB = 2**30
_WEIGHTS = ("*.safetensors", "*.safetensors.index.json")


def check_model_path(path: str, offline: bool, cached: bool | None = None) -> Finding:
    """Whether the model can be loaded from where the recipe says.

    Args:
        path: A folder, or a name on the model hub.
        offline: Whether HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set.
        cached: Whether the hub's name is in the local cache; None if that was not looked up.
    """
    folder = Path(path).expanduser()
    if folder.is_dir():
        lacking = [name for name in ("config.json", "tokenizer_config.json") if not (folder / name).is_file()]
        if not any(file for pattern in _WEIGHTS for file in folder.glob(pattern)):
            lacking.append("*.safetensors")
        if lacking:
            what = f"{folder} has no {', '.join(lacking)}"
            return Finding("model", "fail", what, "it is not a whole checkpoint", "copy the whole folder again")
        return ok("model", f"{folder}")
    if folder.is_absolute() or path.startswith((".", "~")) or path.count("/") != 1:
        what, why = f"no folder {folder}", "the model is loaded from there"
        return Finding("model", "fail", what, why, "mend model.path; a relative path starts at the recipe")
    if offline and not cached:
        what = f"{path} is a name on the model hub, and the hub is switched off (HF_HUB_OFFLINE)"
        why = "compute nodes have no internet: the run would stop at its start"
        return Finding("model", "fail", what, why, "download it where there is a network, and set model.path to it")
    if not cached:
        why = "it will be downloaded at the start of the run, which a compute node without internet cannot"
        return Finding("model", "warn", f"{path} is a name on the model hub", why, "set model.path to a local folder")
    return ok("model", f"{path}, in the local cache of the hub")


def check_collapse(expanded: Sequence[int], image_token_id: int, images: int) -> Finding:
    """Whether a prompt can be handed to vLLM without its images being expanded twice.

    Args:
        expanded: Token ids of one real prompt, as the processor makes them (one image token a patch).
        image_token_id: The id that the processor repeats.
        images: How many images the prompt shows.
    """
    from skinrl.engine.prompts import collapse_prompt

    count = sum(token == image_token_id for token in expanded)
    try:
        collapsed = collapse_prompt(expanded, image_token_id, images)
    except RunError as problem:
        why = "the engine would answer another prompt than the trainer scores"
        return Finding("image tokens", "fail", str(problem), why, "use the chat template that came with the model")
    return ok(
        "image tokens", f"{count} for {images} image(s), {len(expanded)} tokens in all, {len(collapsed)} collapsed"
    )


def check_vision_tokens(banned: Sequence[int], is_vision_model: bool, image_token_id: int | None) -> Finding:
    """Whether the tokens that stand for images were found, so that a policy cannot write them."""
    if not is_vision_model:
        return skipped("vision tokens", "the model takes no images")
    if not banned or (image_token_id is not None and image_token_id not in banned):
        what = f"found {list(banned)}, image token {image_token_id}"
        why = "a policy that writes an image token stops the training: features and tokens no longer match"
        return Finding("vision tokens", "fail", what, why, "check image_token_id in the model's config.json")
    return ok("vision tokens", f"{len(banned)} never written: {', '.join(map(str, banned))}")


def check_length(prompt: int, completion: int, limit: int | None, what_limits: str) -> Finding:
    """Whether prompt and completion, in tokens, stay within a limit of the model or the engine."""
    total = prompt + completion
    if limit is None:
        return skipped("length", f"{what_limits} has no limit")
    what = f"prompt {prompt} + completion {completion} = {total} tokens; {what_limits}: {limit}"
    if total > limit:
        mend = "lower max_completion_length or model.image.max_pixels, or raise the limit"
        return Finding("length", "fail", what, "longer ones are cut or refused", mend)
    return ok("length", what)


def check_gpu_memory(
    weights: int, *, parameters: int, lora: bool, processes: int, gpu: int, engine_share: float
) -> Finding:
    """Whether training can fit on each GPU: a lower bound, without activations.

    Full training with Adam keeps 16 bytes a parameter (bf16 weight and gradient, float32 copy and two moments),
    shared by the processes under ZeRO-3; LoRA keeps the weights, and little beside them.

    Args:
        weights: Bytes of the checkpoint.
        parameters: Count; 0 if unknown (then two bytes each are assumed).
        lora: Whether only adapters train.
        processes: GPUs that share the training under ZeRO-3.
        gpu: Bytes of memory of one GPU.
        engine_share: The share of it that a colocated vLLM takes (0 without one).
    """
    if gpu == 0:
        return skipped("GPU memory", "no GPU in sight")
    count = parameters or weights // 2
    training = weights if lora else 16 * count / processes
    left = gpu * (1 - engine_share)
    what = (
        f"at least {training / GIB:.1f} GiB for training, activations aside; {left / GIB:.1f} of {gpu / GIB:.1f} GiB "
        f"left beside the engine"
    )
    if training > left:
        mend = "model.lora, more GPUs (LAUNCH=), vllm_enable_sleep_mode, a smaller vllm_gpu_memory_utilization"
        return Finding("GPU memory", "fail", what, "it cannot fit", mend)
    return ok("GPU memory", what)


def image_tokens_of(processor: Any) -> int | None:
    """The id of the token that a processor repeats for every patch; None for a processor without one."""
    found = getattr(processor, "image_token_id", None)
    return found if isinstance(found, int) else None
