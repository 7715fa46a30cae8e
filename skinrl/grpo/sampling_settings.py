"""Sampling settings that the trainer's log-probs do not model, refused by name; limits of the engine's settings.

The importance correction divides the trainer's probability of a token by the one it was sampled with. A setting that
cuts or reshapes the distribution after the temperature changes the second alone: the ratio is then off for every token
(a factor of about 0.17 was reported for ``top_k=50``, trl#6789), not noisy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from skinrl.errors import InputError

# The value at which each setting does nothing, and the test of it
BIASED: Mapping[str, Callable[[Any], bool]] = {
    "top_p": lambda value: value >= 1.0,
    "top_k": lambda value: value <= 0,
    "min_p": lambda value: value <= 0.0,
    "repetition_penalty": lambda value: value == 1.0,
    "presence_penalty": lambda value: value == 0.0,
    "frequency_penalty": lambda value: value == 0.0,
    "typical_p": lambda value: value >= 1.0,
    "epsilon_cutoff": lambda value: value == 0.0,
    "eta_cutoff": lambda value: value == 0.0,
    "no_repeat_ngram_size": lambda value: value <= 0,
}

LORA_WAYS = ("auto", "adapter", "merge")


def biased_settings(args: Any) -> dict[str, Any]:
    """Those that are on in a ``GRPOConfig``, with their values; ``generation_kwargs`` win, as in TRL."""
    own = {name: getattr(args, name, None) for name in BIASED}
    values = own | {name: value for name, value in (args.generation_kwargs or {}).items() if name in BIASED}
    found = {name: value for name, value in values.items() if value is not None and not BIASED[name](value)}
    temperature = (args.generation_kwargs or {}).get("temperature", args.temperature)
    if temperature != args.temperature:  # the trainer scales its logits by args.temperature
        found["temperature"] = temperature
    return found


def refuse_biased_sampling(args: Any) -> None:
    """Raise :class:`InputError` where a setting is on that ``args.biased_sampling`` does not name."""
    allowed = args.biased_sampling or []
    unknown = sorted(set(allowed) - {*BIASED, "temperature"})
    if unknown:
        raise InputError(
            f"grpo.biased_sampling names {unknown[0]!r}: expected names among {', '.join([*BIASED, 'temperature'])}."
        )
    refused = {name: value for name, value in biased_settings(args).items() if name not in allowed}
    if refused:
        listed = ", ".join(f"{name}={value}" for name, value in refused.items())
        raise InputError(
            f"grpo.{listed}: completions would be sampled from another distribution than the one whose log-probs the "
            "trainer computes, which biases the importance correction at every token; expected the neutral value (set "
            f"grpo.temperature for sharper samples), or the name under grpo.biased_sampling: {list(refused)}."
        )


def check_engine_settings(args: Any) -> None:
    """Raise :class:`InputError` where a setting of vLLM is out of its range."""
    least = {
        "vllm_max_num_batched_tokens": 1,
        "vllm_images_per_prompt": 1,
        "vllm_mm_processor_cache_gb": 0,
    }
    for name, low in least.items():
        value = getattr(args, name)
        if value is not None and value < low:
            raise InputError(f"grpo.{name} is {value}: expected at least {low}.")
    if args.vllm_request_timeout is not None and args.vllm_request_timeout <= 0:
        raise InputError(
            f"grpo.vllm_request_timeout is {args.vllm_request_timeout}: expected seconds above 0, or null to wait."
        )
    if args.vllm_lora not in LORA_WAYS:
        raise InputError(f"grpo.vllm_lora is {args.vllm_lora!r}: expected one of {', '.join(LORA_WAYS)}.")
    clash = {"min_pixels", "max_pixels", "size"} & set(args.vllm_mm_processor_kwargs or {})
    if clash:
        raise InputError(
            f"grpo.vllm_mm_processor_kwargs holds {sorted(clash)[0]}: image sizes are the trainer's too, so set "
            "model.image.min_pixels and max_pixels (from Python, min_pixels and max_pixels)."
        )
