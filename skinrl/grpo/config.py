"""Settings of GRPO: TRL's own, and the few that TRL lacks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from trl import GRPOConfig

from skinrl.errors import InputError
from skinrl.grpo.alarms import BY_SETTING, check_limits
from skinrl.grpo.prefix_attention import FORMS
from skinrl.grpo.sampling_settings import BIASED, check_engine_settings, refuse_biased_sampling

# With these, SkinGRPOTrainer computes what GRPOTrainer computes, number by number.
STOCK_SETTINGS: dict[str, Any] = {
    "disable_dropout": False,
    "exact_rollouts": False,
    "ban_vision_tokens": False,
    "mixed_batches": False,
    "rollout_gap": False,
    "seed_rollouts": False,
    "pass_finished": False,
    "keep_failed_batch": False,
    "shared_prefix": False,
    "skip_old_logps": False,
    "step_numbers": False,
    "alarm_masked_above": None,
    "once_per_group": False,
    "skip_flat_groups": False,
    "refuse_bad_batches": False,
    "biased_sampling": list(BIASED),
}

WEIGHT_PUSHES = ("auto", "nccl", "file")


@dataclass
class SkinGRPOConfig(GRPOConfig):
    """``trl.GRPOConfig`` with dropout and the logging of images off by default, and the settings below.

    Args:
        exact_rollouts: make the engine's policy the trainer's: image tokens collapsed before vLLM sees a prompt
            and the prompt it used compared with the trainer's, the trainer's dtype and image size in the engine,
            every weight pushed by the engine's own reload with all caches emptied. Off: TRL's own way.
        ban_vision_tokens: remove image and video tokens from the policy, in sampling and in log-probs alike.
        mixed_batches: allow rows without images beside rows with: where a process has none, the vision tower still
            runs, on a zero image that changes nothing, or processes would wait for each other for ever. With several
            processes it switches off ``log_multimodal``, which waits likewise.
        rollout_gap: measure the gap between the log-probs that sampling reported and those that the trainer
            computes for the same tokens, and log it at every step.
        rollout_gap_warn: mean gap (nats per token) above which a warning is logged; None picks by dtype.
        rollout_gap_stop: mean gap above which the run stops; None picks by dtype.
        rollout_gap_patience: consecutive steps above ``rollout_gap_stop`` before it stops.
        seed_rollouts: derive the sampling seed of every rollout from (seed, process, step), so that a resumed run
            samples what an uninterrupted one would have. Not for a vLLM server, which samples in its own process.
        pass_finished: give reward functions ``finished`` (list of bool): whether a completion ended by itself.
        keep_failed_batch: when a step raises, write its rows and tensors to ``<output_dir>/failed_batches``.
        shared_prefix: run each prompt and each image once for all completions of its group when log-probs are
            computed, wherever the model can (Qwen2-VL, Qwen2.5-VL, Qwen3-VL): the numbers of plain rows, several times
            faster. Groups then stay together, so ``per_device_train_batch_size`` must be a multiple of
            ``num_generations``.
        once_per_group: read, decode and preprocess what the rows of a group share once, and send it to vLLM once, for
            ``num_generations`` completions. The numbers are those of separate rows.
        skip_old_logps: leave out the pass that scores vLLM's completions for the importance correction alone, where
            the loss scores them again before any optimiser step (``gradient_accumulation_steps`` a multiple of
            ``steps_per_generation * num_iterations``): the correction and its metrics are formed there, with the same
            values. Not used with dropout (``disable_dropout`` off).
        shared_prefix_max_tokens: most tokens of a packed row; None runs the groups of a micro-batch in one. A group
            above it is cut, and its pieces carry the prompt again.
        shared_prefix_attention: "two_part" (prompts to themselves, completions to prompt and self, by SDPA, on every
            device) or "flex" (FlexAttention with a block mask: CUDA alone).
        vllm_max_num_batched_tokens: tokens that a colocated vLLM puts into one pass. 4096 is what TRL fixes it at.
        vllm_images_per_prompt: most images of a prompt in a colocated vLLM, which keeps memory for them; None: any.
        vllm_mm_processor_kwargs: further arguments of the colocated vLLM's image processor, beside the pixel limits.
        vllm_mm_processor_cache_gb: GiB of preprocessed images that a colocated vLLM keeps; None takes vLLM's default
            (4). Emptied at every weight push; with ``once_per_group`` 0 costs nothing while no image comes twice.
        vllm_lora: how adapters reach a colocated vLLM: "adapter" (beside the base weights, as they are), "merge"
            (merged into the weights of a push), "auto" ("adapter" where vLLM can take them: plain LoRA on linear
            layers of a Qwen-VL, no sleep mode; else "merge"). A server takes them merged.
        vllm_request_timeout: seconds that one request to a vLLM server may take before the run stops; None waits
            for ever.
        biased_sampling: names of sampling settings to allow although they make vLLM sample from another
            distribution than the trainer scores, such as ``["top_p"]``; without their name they are refused.
        skip_flat_groups: leave groups whose rewards have no spread out of the training pass: the loss and the
            gradients are those of keeping them with an advantage of 0. Not used where they count for something else
            (``beta``, entropy bonus, ``top_entropy_quantile``, a router's loss).
        flat_group_limit: standard deviation of a group's rewards below which it has no spread.
        resample_flat_groups: so many times a rollout, roll out other prompts in place of groups without spread;
            0: never.
        refuse_bad_batches: stop where the loss is no finite number or no reward scores anything, before the weights
            change; say which prompts no reward scores.
        fair_column: column of the training data whose values are the groups of the settings below.
        fair_weights: weigh prompts by group DRO on the running reward of their group: the worst group counts most.
        fair_sampling: show every group equally often.
        fair_step: step of the weights; the larger, the sooner a group that lags gets its weight.
        fair_memory: share of a group's running reward that remains at each rollout.
        fair_mix: how strongly the weights are drawn back to 1 at each rollout.
        step_numbers: log seconds and tokens per second of each phase of a step, padding, masked sequences and memory
            (docs/monitoring.md).
        alarm_entropy_below, alarm_kl_above, alarm_truncated_above, alarm_flat_groups_above, alarm_length_below,
            alarm_length_above, alarm_masked_above: limits of a step's numbers (docs/monitoring.md); beyond one for
            ``alarm_patience`` steps in a row, the run saves a checkpoint and stops. None: no alarm.
        alarm_patience: see above.
        vllm_weight_push: how weights reach a vLLM *server*: "nccl" (TRL's, CUDA alone), "file" (safetensors on a
            disk or memory file system that both see), "auto" ("nccl" on CUDA, else "file").
        vllm_weight_push_dir: folder for "file"; None takes /dev/shm for a server on this machine, else output_dir.
        min_pixels, max_pixels: image size limits in pixels for trainer and engine; None keeps the processor's.
    """

    disable_dropout: bool = field(default=True, metadata={"help": "Dropout off: the sampler has none."})
    exact_rollouts: bool = field(default=True, metadata={"help": "Make the engine's policy the trainer's."})
    ban_vision_tokens: bool = field(default=True, metadata={"help": "Remove vision tokens from the policy."})
    mixed_batches: bool = field(default=True, metadata={"help": "Allow rows without images beside rows with."})
    rollout_gap: bool = field(default=True, metadata={"help": "Measure and log the rollout/trainer log-prob gap."})
    rollout_gap_warn: float | None = field(default=None, metadata={"help": "Mean gap to warn at; None: by dtype."})
    rollout_gap_stop: float | None = field(default=None, metadata={"help": "Mean gap to stop at; None: by dtype."})
    rollout_gap_patience: int = field(default=3, metadata={"help": "Consecutive steps above the stop limit."})
    seed_rollouts: bool = field(default=True, metadata={"help": "Derive sampling seeds from seed, process, step."})
    pass_finished: bool = field(default=True, metadata={"help": "Give rewards `finished`: ended by itself."})
    keep_failed_batch: bool = field(default=True, metadata={"help": "Write the batch of a failed step to disk."})
    shared_prefix: bool = field(default=True, metadata={"help": "Run prompts and images once for their group."})
    once_per_group: bool = field(default=True, metadata={"help": "Preprocess and roll out a group's prompt once."})
    skip_old_logps: bool = field(default=True, metadata={"help": "Correct for vLLM by the loss's own log-probs."})
    shared_prefix_max_tokens: int | None = field(default=None, metadata={"help": "Most tokens of a packed row."})
    shared_prefix_attention: str = field(default="two_part", metadata={"help": "Packed attention: two_part or flex."})
    vllm_max_num_batched_tokens: int = field(default=4096, metadata={"help": "Tokens in one pass of vLLM."})
    vllm_images_per_prompt: int | None = field(default=None, metadata={"help": "Most images of a prompt in vLLM."})
    vllm_mm_processor_kwargs: dict[str, Any] | None = field(
        default=None, metadata={"help": "Arguments of vLLM's image processor."}
    )
    vllm_mm_processor_cache_gb: float | None = field(
        default=None, metadata={"help": "GiB of preprocessed images that vLLM keeps."}
    )
    vllm_lora: str = field(default="auto", metadata={"help": "Adapters in vLLM: auto, adapter or merge."})
    vllm_request_timeout: float | None = field(
        default=1800.0, metadata={"help": "Seconds for one request to a vLLM server."}
    )
    biased_sampling: list[str] | None = field(
        default=None, metadata={"help": "Sampling settings allowed although they bias the importance correction."}
    )
    skip_flat_groups: bool = field(default=True, metadata={"help": "No training pass for groups without spread."})
    flat_group_limit: float = field(default=1e-6, metadata={"help": "Spread of rewards below which a group is flat."})
    resample_flat_groups: int = field(default=0, metadata={"help": "Rounds of other prompts in place of flat groups."})
    refuse_bad_batches: bool = field(default=True, metadata={"help": "Stop at a loss that is no finite number."})
    fair_column: str | None = field(default=None, metadata={"help": "Column that holds the groups of fair_*."})
    fair_weights: bool = field(default=False, metadata={"help": "Weigh prompts by group DRO on running rewards."})
    fair_sampling: bool = field(default=False, metadata={"help": "Show every group equally often."})
    fair_step: float = field(default=0.3, metadata={"help": "Step of the fair weights."})
    fair_memory: float = field(default=0.9, metadata={"help": "What remains of a running reward per rollout."})
    fair_mix: float = field(default=0.05, metadata={"help": "Pull of the fair weights towards 1 per rollout."})
    step_numbers: bool = field(default=True, metadata={"help": "Log times, speeds, padding, masks and memory."})
    alarm_entropy_below: float | None = field(default=None, metadata={"help": "Stop at a lower mean entropy."})
    alarm_kl_above: float | None = field(default=None, metadata={"help": "Stop at a higher mean KL (needs beta)."})
    alarm_truncated_above: float | None = field(default=None, metadata={"help": "Stop at more cut completions."})
    alarm_flat_groups_above: float | None = field(default=None, metadata={"help": "Stop at more groups all equal."})
    alarm_length_below: float | None = field(default=None, metadata={"help": "Stop at shorter completions (mean)."})
    alarm_length_above: float | None = field(default=None, metadata={"help": "Stop at longer completions (mean)."})
    alarm_masked_above: float | None = field(default=0.95, metadata={"help": "Stop at more sequences left out."})
    alarm_patience: int = field(default=10, metadata={"help": "Steps in a row beyond a limit before an alarm."})
    vllm_weight_push: str = field(default="auto", metadata={"help": "Server weight push: auto, nccl or file."})
    vllm_weight_push_dir: str | None = field(default=None, metadata={"help": "Folder for the push by file."})
    log_multimodal: bool = field(default=False, metadata={"help": "Send images to trackers; off: patients."})
    min_pixels: int | None = field(default=None, metadata={"help": "Least pixels of an image."})
    max_pixels: int | None = field(default=None, metadata={"help": "Most pixels of an image."})

    @property
    def alarm_limits(self) -> dict[str, float]:
        """The limits that are set, by setting."""
        limits = {setting: getattr(self, setting) for setting in BY_SETTING}
        return {setting: limit for setting, limit in limits.items() if limit is not None}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.vllm_weight_push not in WEIGHT_PUSHES:
            raise InputError(
                f"vllm_weight_push is {self.vllm_weight_push!r}: expected one of {', '.join(WEIGHT_PUSHES)}."
            )
        _check_sharing(self)
        _check_groups(self)
        check_engine_settings(self)
        refuse_biased_sampling(self)
        check_limits(self.alarm_limits, self.alarm_patience)
        if self.alarm_kl_above is not None and self.beta == 0:
            raise InputError(
                "alarm_kl_above is set and beta is 0: without a reference no divergence is measured. Set beta, or "
                "alarm_kl_above to null."
            )
        if self.alarm_masked_above is not None and not self.step_numbers:
            raise InputError(
                "alarm_masked_above needs the share of masked sequences, and step_numbers is off: set step_numbers to "
                "true, or alarm_masked_above to null."
            )
        if self.rollout_gap_patience < 1:
            raise InputError(f"rollout_gap_patience is {self.rollout_gap_patience}: expected at least 1.")
        if self.rollout_gap and self.use_transformers_continuous_batching:
            raise InputError(
                "use_transformers_continuous_batching reports no log-probs of the sampled tokens, so the rollout gap "
                "cannot be measured: switch it off, use vLLM, or set rollout_gap to false."
            )


def _check_sharing(args: SkinGRPOConfig) -> None:
    budget, form = args.shared_prefix_max_tokens, args.shared_prefix_attention
    if budget is not None and budget < 1:
        raise InputError(f"shared_prefix_max_tokens is {budget}: expected at least 1, or none for no limit.")
    if form not in FORMS:
        raise InputError(f"shared_prefix_attention is {form!r}: expected one of {', '.join(FORMS)}.")
    if form == "flex" and args.device.type != "cuda":
        raise InputError(
            f"shared_prefix_attention is 'flex' and the device {args.device.type!r}: FlexAttention trains on CUDA "
            "alone; expected 'two_part' here."
        )


def _check_groups(args: SkinGRPOConfig) -> None:
    if args.resample_flat_groups < 0 or not args.flat_group_limit >= 0:
        raise InputError(
            f"resample_flat_groups is {args.resample_flat_groups} and flat_group_limit {args.flat_group_limit}: "
            "expected 0 or more"
        )
    if (args.fair_weights or args.fair_sampling) and args.fair_column is None:
        raise InputError("fair_weights and fair_sampling need fair_column: the column that holds the groups")
    if args.fair_column is not None and not (args.fair_weights or args.fair_sampling):
        raise InputError(
            f"fair_column is {args.fair_column!r} and does nothing by itself: set fair_weights or fair_sampling"
        )
    if not args.fair_step > 0 or not 0 <= args.fair_memory < 1 or not 0 <= args.fair_mix < 1:
        raise InputError(
            f"fair_step is {args.fair_step}, fair_memory {args.fair_memory}, fair_mix {args.fair_mix}: expected a "
            "step above 0, memory and mix from 0 to below 1"
        )
