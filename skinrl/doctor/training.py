"""Checks of the settings of SFT and GRPO that TRL accepts, or refuses only after the model is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skinrl.doctor.finding import Finding, ok, skipped

# TRL's own defaults, as far as a check below depends on them.
_GRPO_DEFAULTS: dict[str, Any] = {
    "num_generations": 8,
    "per_device_train_batch_size": 8,
    "gradient_accumulation_steps": 1,
    "max_completion_length": 256,
    "vllm_importance_sampling_mode": "sequence_mask",
}
_LONG = 256  # tokens, from which a ratio summed over a whole sequence says little about any one of them


def check_group_batches(grpo: Mapping[str, Any], processes: int) -> Finding:
    """Whether the completions of a step divide into whole groups.

    Args:
        grpo: The recipe's section, TRL's field names.
        processes: How many processes the launch starts.
    """
    values = {**_GRPO_DEFAULTS, **grpo}
    group, each = values["num_generations"], values["per_device_train_batch_size"]
    steps = values.get("steps_per_generation") or values["gradient_accumulation_steps"]
    total = values.get("generation_batch_size") or each * processes * steps
    sum_up = f"{each} a device x {processes} process(es) x {steps} step(s) = {total} completions, groups of {group}"
    if group < 2:
        why = "the advantage compares the completions of one prompt"
        return Finding("groups", "fail", f"grpo.num_generations is {group}", why, "set it to 2 or more")
    if total % group:
        near = max(group, round(total / group) * group)
        mend = f"make per_device_train_batch_size x processes x gradient_accumulation_steps {near}"
        return Finding("groups", "fail", sum_up, "every prompt needs its whole group in one batch", mend)
    if total // group == 1:
        why = "one prompt a step: its gradient is that prompt's alone"
        return Finding("groups", "warn", sum_up, why, "raise gradient_accumulation_steps")
    return ok("groups", f"{sum_up}: {total // group} prompts a step")


def check_launch(expected: int, processes: int) -> Finding:
    """Whether the number of processes is the one that the recipe's batch sizes were chosen for."""
    if expected != processes:
        what = f"the recipe was made for {expected} process(es), the launch starts {processes}"
        why = "the batch of a step, and with it the learning rate, is another"
        return Finding("launch", "warn", what, why, "LAUNCH=, or gradient_accumulation_steps and launch.processes")
    return ok("launch", f"{processes} process(es)")


def check_importance_sampling(grpo: Mapping[str, Any], dtype: str) -> Finding:
    """Whether TRL's correction between rollout and trainer would silently drop long completions."""
    values = {**_GRPO_DEFAULTS, **grpo}
    mode, length = values["vllm_importance_sampling_mode"], values["max_completion_length"]
    if not values.get("use_vllm") or values.get("vllm_importance_sampling_correction") is False:
        return skipped("importance sampling", "no vLLM rollouts, or the correction is off")
    if mode.startswith("sequence") and length >= _LONG and dtype != "float32":
        what = f"vllm_importance_sampling_mode: {mode}, completions of up to {length} tokens in {dtype}"
        why = (
            "the ratio is summed over the sequence: a mean gap of a thousandth a token is enough to drop or distort "
            "long completions"
        )
        mend = "set grpo.vllm_importance_sampling_mode: token_truncate and vllm_importance_sampling_clip_max: 2.0"
        return Finding("importance sampling", "warn", what, why, mend)
    return ok("importance sampling", mode)


def check_trackers(section: str, settings: Mapping[str, Any]) -> Finding:
    """Whether photographs of patients would be sent to a tracker."""
    trackers = settings.get("report_to", [])
    named = [trackers] if isinstance(trackers, str) else list(trackers or [])
    remote = [name for name in named if name not in ("none", "tensorboard")]
    check = f"trackers ({section})"
    if remote and settings.get("log_multimodal"):
        what = f"{section}.report_to: {', '.join(remote)} and log_multimodal: true"
        why = "images, that is, photographs of patients, would leave this machine"
        return Finding(check, "fail", what, why, f"set {section}.log_multimodal: false")
    if remote:
        what = f"{section}.report_to: {', '.join(remote)}"
        why = "numbers and completions leave this machine; images do not"
        return Finding(check, "warn", what, why, "report_to: [] keeps everything here")
    return ok(check, "nothing leaves this machine")


def check_max_length(sft: Mapping[str, Any], vision: bool) -> Finding:
    """Whether SFT would cut sequences, perhaps amid their image tokens (by skinrl's default it never does)."""
    length = sft.get("max_length")
    if not vision or length is None:
        return ok("sft.max_length", "sequences are not cut" if length is None else f"{length} tokens")
    what = f"sft.max_length is {length}"
    why = "a sequence that is cut within its image tokens ends the run with an error"
    return Finding("sft.max_length", "warn", what, why, "set sft.max_length: null; model.image bounds the length")


def check_gradient_noise(grpo: Mapping[str, Any], rewards: int) -> Finding:
    """Whether there is a reward at all, and whether every completion of a group could differ."""
    if rewards == 0:
        what, why = "the recipe names no reward", "GRPO has nothing to follow"
        return Finding(
            "rewards", "fail", what, why, "add one under rewards:, such as skinrl.rewards:get_hierarchy_reward"
        )
    temperature = grpo.get("temperature", 1.0)
    if temperature == 0:
        what, why = "grpo.temperature is 0", "all completions of a group are the same: every advantage is 0"
        return Finding("rewards", "fail", what, why, "set grpo.temperature: 1.0")
    return ok("rewards", f"{rewards}, at temperature {temperature}")


def check_device_fit(dtype: str, gpu: bool) -> Finding:
    """Whether the recipe's number format suits what the run will compute on."""
    if dtype != "float32" and not gpu:
        what, why = f"model.dtype is {dtype}, and no GPU is in sight", "most CPUs compute it slowly"
        return Finding("dtype", "warn", what, why, "run this on a GPU, or set model.dtype=float32")
    return ok("dtype", dtype)
