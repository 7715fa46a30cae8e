"""GRPO with rollouts that are samples of the policy being trained.

A thin subclass of TRL's trainer: every override calls ``super()`` and adds one thing. All overrides
of TRL's underscored methods of the trainer stand here, those of its vLLM side in ``rollouts.py``;
``tests/test_trl_seams.py`` compares their signatures with the pinned TRL.
"""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from trl import GRPOTrainer

from skinrl.checkpoint import CheckpointMixin
from skinrl.engine.prompts import set_image_size
from skinrl.engine.sampling import recorded_generate, rollout_seed, seeded
from skinrl.engine.tokens import ended, vision_token_ids
from skinrl.errors import InputError
from skinrl.grpo.alarms import Alarms
from skinrl.grpo.bad_batch import check_loss
from skinrl.grpo.ban import install_ban, mark_available
from skinrl.grpo.config import SkinGRPOConfig
from skinrl.grpo.correction import LossCorrection
from skinrl.grpo.dropout import switch_off_dropout
from skinrl.grpo.failed_batch import save_failed_batch
from skinrl.grpo.gap import Gap, GapGuard, summarise, token_gaps
from skinrl.grpo.group_training import GroupTraining
from skinrl.grpo.groups import groups_shuffled_whole, refuse_split_groups
from skinrl.grpo.numbers import StepNumbers, timed, timed_rollout
from skinrl.grpo.once import distinct_rows, images_once, tokenized_once
from skinrl.grpo.reward_failure import RewardError, failures_named, row_as_json
from skinrl.grpo.shared_prefix import Rows
from skinrl.grpo.sharing import SharedPrefix
from skinrl.grpo.signal import zero_loss
from skinrl.text_only import install_text_only

logger = logging.getLogger(__name__)


class SkinGRPOTrainer(CheckpointMixin, GRPOTrainer):
    """``trl.GRPOTrainer``, with the settings of :class:`SkinGRPOConfig`.

    Rollouts come from vLLM in the same process (``vllm_mode="colocate"``), from a vLLM server
    (``"server"``), or from ``generate`` (``use_vllm=False``). With the settings in
    ``skinrl.grpo.config.STOCK_SETTINGS`` it computes exactly what ``GRPOTrainer`` computes.

    Args: those of ``GRPOTrainer``; ``args`` must be a :class:`SkinGRPOConfig`.
    """

    _tag_names = ["trl", "grpo", "skinrl"]  # noqa: RUF012 (TRL's own attribute)
    resumed_attributes = (*CheckpointMixin.resumed_attributes, "fair_state")

    def __init__(
        self, model: Any, reward_funcs: Any = None, args: SkinGRPOConfig | None = None, **kwargs: Any
    ) -> None:
        if not isinstance(args, SkinGRPOConfig):
            raise TypeError(f"SkinGRPOTrainer needs args of type SkinGRPOConfig, got {type(args).__name__}.")
        processor = kwargs.get("processing_class")
        if processor is None:
            processor = kwargs["processing_class"] = _load_processor(model, args)
        if hasattr(processor, "image_processor"):
            set_image_size(processor.image_processor, args.min_pixels, args.max_pixels)
        # TRL pads prompts on the left, and takes the token types of the image from the processor, as that pads them.
        # Qwen2.5-VL's pads on the right: in a batch of unequal prompts the image's positions would be off, silently.
        getattr(processor, "tokenizer", processor).padding_side = "left"
        self.banned_token_ids: tuple[int, ...] = ()
        self._gap_guard: GapGuard | None = None
        self._gaps: list[torch.Tensor] = []
        self._latest_logps: torch.Tensor | None = None
        self._sharing: SharedPrefix | None = None
        self._correction = LossCorrection(self)
        self._numbers = StepNumbers(self, args.step_numbers)
        self._rollouts_at: tuple[str, int, int] = ("", -1, 0)  # phase, step, rollouts begun there

        with self._rollout_backend(args):
            super().__init__(model, reward_funcs, args, **kwargs)

        self._set_up_policy(args)
        self.add_callback(self._numbers)
        if self.use_vllm:
            self._numbers.watch_pushes(self.vllm_generation)
        if args.alarm_limits:
            self.add_callback(Alarms(self._metrics["train"], args.alarm_limits, args.alarm_patience))
        self._groups = GroupTraining(self)

    def _rollout_backend(self, args: SkinGRPOConfig) -> AbstractContextManager[None]:
        """Have TRL build skinrl's vLLM side in place of its own, where that was asked for."""
        if not (args.use_vllm and args.exact_rollouts):
            return nullcontext()
        from skinrl.grpo.rollouts import skinrl_generation

        return skinrl_generation(args)

    def _set_up_policy(self, args: SkinGRPOConfig) -> None:
        models = (
            [self.model] if self.ref_model is None else [self.model, self.accelerator.unwrap_model(self.ref_model)]
        )
        if args.disable_dropout:
            for model in models:
                switch_off_dropout(model)
        if args.mixed_batches:
            for model in models:
                install_text_only(model)
            # TRL gathers the images for its log only on processes that have some: the others would hang
            if self.accelerator.num_processes > 1:
                self.log_multimodal = False
        if args.ban_vision_tokens:
            self.banned_token_ids = vision_token_ids(self.model.config, self._tokenizer)
            if self.banned_token_ids and self._dist.is_fsdp:
                raise InputError("ban_vision_tokens does not work under FSDP: use DeepSpeed ZeRO, or set it to false.")
            for model in models:
                install_ban(model, self.banned_token_ids)
        if self.use_vllm and args.exact_rollouts:
            self.vllm_generation.follow_policy(banned=self.banned_token_ids, stop=self.eos_token_ids)
        if args.shared_prefix:
            sharing = SharedPrefix(
                models,
                policy_dtype(args, self.model),
                self._largest_of_all,
                max_tokens=args.shared_prefix_max_tokens,
                form=args.shared_prefix_attention,
            )
            if not sharing.off:
                refuse_split_groups(
                    args.per_device_train_batch_size, self.num_generations, args.gradient_accumulation_steps
                )
            self._sharing = sharing
        if args.rollout_gap:
            self._gap_guard = GapGuard.for_dtype(
                policy_dtype(args, self.model),
                warn=args.rollout_gap_warn,
                stop=args.rollout_gap_stop,
                patience=args.rollout_gap_patience,
            )

    # Rollouts

    def _get_dataloader(self, dataset, *args, **kwargs):  # type: ignore[no-untyped-def]
        if self.args.once_per_group and not self.args.remove_unused_columns:  # columns are removed by a dataset's type
            dataset = distinct_rows(dataset)
        return super()._get_dataloader(dataset, *args, **kwargs)

    def _tokenize_prompts(self, prompts):  # type: ignore[no-untyped-def]
        tokenize = super()._tokenize_prompts
        # `generate` needs the tensors of all rows, tools may change a row's prompt
        if not (self.args.once_per_group and self.use_vllm) or self.tools or self.environment_factories is not None:
            return tokenize(prompts)
        return tokenized_once(tokenize, prompts)

    @timed("data")
    def get_batch_samples(self, *args, **kwargs):  # type: ignore[no-untyped-def]
        return super().get_batch_samples(*args, **kwargs)

    @timed_rollout
    def _generate_single_turn(self, prompt_ids, images, multimodal_fields, num_generations, has_tool_images=False):  # type: ignore[no-untyped-def]
        rest = (prompt_ids, images, multimodal_fields, num_generations, has_tool_images)
        with self._seeded_rollout():
            if self.use_vllm or not self.args.rollout_gap:
                return super()._generate_single_turn(*rest)
            # Mixed precision: TRL scores under autocast but generates without it.
            generating_model = self.accelerator.unwrap_model(self.model_wrapped)
            with recorded_generate(generating_model, self.temperature) as record, self.accelerator.autocast():
                completion_ids, _ = super()._generate_single_turn(*rest)
        return completion_ids, record.per_completion([len(ids) for ids in completion_ids])

    @property
    def fair_state(self) -> dict[str, Any]:
        """The fair weights and what they rest on; a checkpoint keeps it."""
        return self._groups.state

    @fair_state.setter
    def fair_state(self, stored: dict[str, Any]) -> None:
        self._groups.state = stored

    def _get_train_sampler(self, dataset=None):  # type: ignore[no-untyped-def]
        return self._groups.sampler(super()._get_train_sampler(dataset))

    def _generate(self, prompts):  # type: ignore[no-untyped-def]
        if self._groups.replay is not None:
            return self._groups.replay.generated()
        *rollout, images, tool_images = super()._generate(prompts)
        if images is not None and self.args.mixed_batches:
            images = [shown or [] for shown in images]  # processors refuse the None that TRL writes for a text row
        return *rollout, images, tool_images

    def _seeded_rollout(self) -> AbstractContextManager[None]:
        if not self.args.seed_rollouts:
            return nullcontext()
        phase = "train" if self.model.training else "eval"
        before = self._rollouts_at
        count = before[2] + 1 if before[:2] == (phase, self.state.global_step) else 0
        self._rollouts_at = (phase, self.state.global_step, count)
        # ranks that share one tensor-parallel engine must draw the same tokens
        sharing = self.args.vllm_tensor_parallel_size if self.use_vllm and self.vllm_mode == "colocate" else 1
        stream = self.accelerator.process_index // sharing
        return seeded(rollout_seed(self.args.seed, stream, phase, self.state.global_step, count))

    # Rewards

    @timed("reward")
    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):  # type: ignore[no-untyped-def]
        if self._groups.replay is not None:
            return self._groups.replayed_rewards()
        rows = inputs
        if inputs and "id" in inputs[0]:  # the completions log then says which row each completion belongs to
            self._log_completion_extra("id", [row["id"] for row in inputs])
        if self.args.pass_finished:
            finished = [ended(ids, self.eos_token_ids) for ids in completion_ids_list]
            inputs = [{**row, "finished": flag} for row, flag in zip(inputs, finished, strict=True)]
        if inputs:  # what `skinrl rewards score` needs to score the log again
            self._log_completion_extra("row", [row_as_json(row) for row in inputs])
        with failures_named(self, inputs, completions):
            rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        self._groups.rewarded(rows, completions, rewards)
        return rewards

    # Log-probs, loss and the gap between the two policies

    def _generate_and_score_completions(self, inputs):  # type: ignore[no-untyped-def]
        with self._correction.rollout():
            return self._groups.rollout(inputs, super()._generate_and_score_completions)

    @timed("preprocess")
    def _prepare_inputs(self, generation_batch):  # type: ignore[no-untyped-def]
        whole = self._sharing is not None and not self._sharing.off
        with (
            groups_shuffled_whole(self.num_generations) if whole else nullcontext(),
            images_once(self.processing_class) if self.args.once_per_group else nullcontext(),
        ):
            return super()._prepare_inputs(generation_batch)

    @timed("scoring")
    def _get_per_token_logps_and_entropies(  # type: ignore[no-untyped-def]
        self, model, input_ids, attention_mask, logits_to_keep, batch_size=None, compute_entropy=False,
        compute_aux_loss=False, **images,
    ):  # fmt: skip
        if self.banned_token_ids and self._dist.is_zero3:
            mark_available(self.accelerator.unwrap_model(model))
        stock = super()._get_per_token_logps_and_entropies
        if self._sharing is None or self._sharing.off or compute_aux_loss:
            result = stock(
                model,
                input_ids,
                attention_mask,
                logits_to_keep,
                batch_size,
                compute_entropy,
                compute_aux_loss,
                **images,
            )
        else:

            def by_rows(rows: Rows) -> tuple[torch.Tensor, torch.Tensor | None]:
                arguments = (rows.input_ids, rows.attention_mask, logits_to_keep, batch_size, compute_entropy)
                return stock(model, *arguments, **{**images, **rows.images_of_all()})[:2]

            kinds = ("mm_token_type_ids", "pixel_values", "image_grid_thw", "num_images")
            rows = Rows(input_ids, attention_mask, logits_to_keep, **{kind: images.get(kind) for kind in kinds})
            with self.accelerator.autocast():
                logps, entropies = self._sharing.score(model, rows, batch_size or len(rows), by_rows)
            self._metrics["train" if self.model.training else "eval"]["shared_prefix/tokens_saved"].append(
                self._sharing.saved
            )
            result = (logps, entropies if compute_entropy else None, None)
        self._latest_logps = result[0].detach()
        self._correction.scored(self._latest_logps)
        return result

    def _largest_of_all(self, value: float) -> float:
        """The largest of a number over all processes."""
        return self.accelerator.gather(torch.tensor([value], device=self.accelerator.device)).max().item()

    def _compute_loss(self, model, inputs):  # type: ignore[no-untyped-def]
        kept = self._groups.micro_batch(inputs)
        batch = kept.batch
        with self._correction.loss_of(batch):
            loss = super()._compute_loss(model, batch) * kept.factor if batch else zero_loss(self.model)
        if self.args.refuse_bad_batches and self.model.training:
            check_loss(self, loss, batch)
        self._numbers.trained(batch, None if self._sharing is None or self._sharing.off else self._sharing.ran)
        if self._gap_guard is not None:
            self._follow_gap(batch)
        return loss

    def _follow_gap(self, inputs: dict[str, Any]) -> None:
        """Add this micro-batch to the step's gap; at the step's last micro-batch, log and judge it.

        TRL leaves out the log-probs at sampling time where no update separates them from those of
        the loss; then the loss's own are the ones to compare with.
        """
        sampled = inputs.get("sampling_per_token_logps")
        trained = inputs.get("old_per_token_logps", self._latest_logps)
        if sampled is not None and trained is not None:
            mask = inputs["completion_mask"]
            if "tool_mask" in inputs:
                mask = mask * inputs["tool_mask"]
            self._gaps.append(token_gaps(trained, sampled, mask))
        training = self.model.training
        if training and not self.accelerator.sync_gradients:
            return
        gap = self._gather_gap()
        metrics = self._metrics["train" if training else "eval"]
        metrics["rollout/logp_gap_mean"].append(gap.mean)
        metrics["rollout/logp_gap_p99"].append(gap.p99)
        metrics["rollout/logp_gap_max"].append(gap.max)
        if training and self._gap_guard is not None:
            self._gap_guard.check(gap, self.state.global_step + 1)

    def _gather_gap(self) -> Gap:
        local = torch.cat(self._gaps) if self._gaps else torch.zeros(0, device=self.accelerator.device)
        self._gaps = []
        padded = self.accelerator.pad_across_processes(local, dim=0, pad_index=-1)
        gathered = self.accelerator.gather(padded)
        return summarise(gathered[~(gathered < 0)])  # a NaN is kept: it is a fault, not padding

    # Failures

    @timed("training")
    def training_step(self, model, inputs, num_items_in_batch=None):  # type: ignore[no-untyped-def]
        try:
            return super().training_step(model, inputs, num_items_in_batch)
        except Exception as error:
            if self.args.keep_failed_batch and not isinstance(error, RewardError):  # that one is kept already
                save_failed_batch(
                    self.args.output_dir,
                    error,
                    inputs,
                    self._buffered_inputs,
                    step=self.state.global_step + 1,
                    rank=self.accelerator.process_index,
                )
            raise


def policy_dtype(args: Any, model: Any) -> str:
    """The dtype in which the trainer computes log-probs: "float32", "bfloat16" or "float16"."""
    if args.bf16:
        return "bfloat16"
    if args.fp16:
        return "float16"
    # quantized weights are stored as integers
    dtypes = (parameter.dtype for parameter in model.parameters() if parameter.is_floating_point())
    return str(next(dtypes)).removeprefix("torch.")


def _load_processor(model: Any, args: SkinGRPOConfig) -> Any:
    """The processor of ``model`` as TRL would load it, so that its image size can be set before vLLM starts."""
    from transformers import AutoProcessor

    path = model if isinstance(model, str) else model.config._name_or_path
    revision = (args.model_init_kwargs or {}).get("revision") if isinstance(model, str) else None
    return AutoProcessor.from_pretrained(
        path,
        revision=revision,
        truncation_side="left",
        padding_side="left",
        trust_remote_code=args.trust_remote_code,
    )
