"""The training stages: SFT, GRPO, and SFT continued (GRPO's rival). Each reads files and writes its run directory."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from skinrl.cli.build import (
    base_checkpoint,
    checkpoint_of,
    inputs_of,
    records_checksum,
    resolved,
    reward_functions,
    run_directory,
    stage_data,
    trajectories,
)
from skinrl.cli.common import Experiment, console, is_main_process, use_local_files_only
from skinrl.cli.lengths import refuse_too_long
from skinrl.cli.rollout_log import write_image_paths
from skinrl.errors import InputError

if TYPE_CHECKING:
    from skinrl.cli.task_metrics import Watch
    from skinrl.runs import RunDirectory
    from skinrl.task_metrics import TaskMetrics


def run_sft(experiment: Experiment) -> RunDirectory:
    """Stage ``sft``: trajectories teach the report."""
    from skinrl.cli.task_metrics import watch_of
    from skinrl.data.dataset import sft_rows
    from skinrl.recipe import training_arguments

    run = run_directory(experiment, "sft")
    if _finished(experiment, run, "sft", *_watched(experiment, "sft")):
        return run
    data = stage_data(experiment, "sft")
    watch = watch_of(experiment, "sft", data)
    made = trajectories(experiment, data, "train")
    evaluates = experiment.recipe.sft.get("eval_strategy", "no") != "no"
    held_out = trajectories(experiment, data, "validation") if evaluates else []
    _say(f"sft: {len(made)} trajectories for training, {len(held_out)} for validation")

    from skinrl.sft import SkinSFTConfig

    arguments = training_arguments(experiment.recipe, "sft", SkinSFTConfig, experiment.file)
    base = base_checkpoint(experiment, lambda: [item.report.render() for item in made])
    rows_held_out = sft_rows(held_out) if evaluates else None
    checksum = records_checksum(data.train, data.pixels)
    _train_sft(experiment, run, base, arguments, sft_rows(made), rows_held_out, checksum, watch)
    return run


def run_continued_sft(experiment: Experiment) -> RunDirectory:
    """Stage ``sft_continued``: the honest rival of GRPO.

    SFT goes on from the same checkpoint, for the seconds that GRPO trained, on the images that GRPO saw; all that
    it learns from is their labels, as reports with an empty thinking block.
    """
    from skinrl.cli.rival import answer_rows, check_log, rival_arguments, seen_ids
    from skinrl.recipe import training_arguments

    run = run_directory(experiment, "sft_continued")
    if _finished(experiment, run, "sft", "grpo"):
        return run
    check_log(experiment)
    grpo = run_directory(experiment, "grpo")
    checkpoint_of(experiment, "grpo")
    data = stage_data(experiment, "grpo")
    seen = seen_ids(grpo.path)
    records = [record for record in data.split("train") if record.id in seen]
    _say(f"sft_continued: answers alone on the {len(records)} images that GRPO saw, for {grpo.seconds:.0f} s")

    from skinrl.sft import SkinSFTConfig

    arguments = training_arguments(experiment.recipe, "sft", SkinSFTConfig, experiment.file)
    arguments = rival_arguments(arguments, seconds=grpo.seconds, sft_steps=run_directory(experiment, "sft").steps)
    start = _grpo_start(experiment)
    rows = answer_rows(experiment, data, records)
    _train_sft(experiment, run, start, arguments, rows, None, records_checksum(records, data.pixels))
    return run


def run_grpo(experiment: Experiment) -> RunDirectory:
    """Stage ``grpo``: rewards on the hierarchy improve the policy."""
    from skinrl.cli.rival import check_log
    from skinrl.cli.task_metrics import watch_of
    from skinrl.data.columns import gold_counts
    from skinrl.data.dataset import grpo_rows, with_groups
    from skinrl.recipe import training_arguments

    run = run_directory(experiment, "grpo")
    if _finished(experiment, run, "grpo", "rewards", *_watched(experiment, "grpo")):
        return run
    rewards, weights = reward_functions(experiment)  # before the data: a wrong one is known at once
    if not rewards:
        raise InputError(f"{experiment.file}: GRPO needs at least one entry under `rewards`")
    if experiment.recipe.evaluation.continued_sft:
        check_log(experiment)
    data = stage_data(experiment, "grpo")
    watch = watch_of(experiment, "grpo", data)
    records = data.split("train")
    rewards, weights = reward_functions(experiment, gold_counts(records))
    start = _grpo_start(experiment)

    from skinrl.grpo.config import SkinGRPOConfig
    from skinrl.grpo.trainer import SkinGRPOTrainer

    recipe = experiment.recipe
    arguments = training_arguments(recipe, "grpo", SkinGRPOConfig, experiment.file)
    arguments |= {"reward_weights": weights}
    rows = grpo_rows(records, experiment.taxonomy, recipe.questions, seed=recipe.seed, pools=data.pools)
    if arguments.get("fair_column") is not None:
        rows = with_groups(rows, records, arguments["fair_column"], experiment.taxonomy)
    engine = arguments.get("vllm_max_model_length") if arguments.get("use_vllm") else None
    refuse_too_long(experiment, start, rows, completion=arguments.get("max_completion_length", 512), engine=engine)
    _say(f"grpo: {len(rows)} prompts, {len(rewards)} rewards, from {start}")

    def trainer(common: dict[str, Any]) -> Any:
        config = SkinGRPOConfig(**arguments, **common)  # before the model: ZeRO-3 partitions weights as they load
        model, processor = _load(experiment, start)
        made = SkinGRPOTrainer(
            model=model, reward_funcs=rewards, args=config, train_dataset=rows, processing_class=processor
        )
        if is_main_process():  # the trainer knows ids and pixels; `skinrl view` shows the files
            write_image_paths(run.path, {record.id: record.images for record in records})
        return made

    _train(experiment, run, trainer, records_checksum(records, data.pixels), watch)
    return run


def _watched(experiment: Experiment, stage: Literal["sft", "grpo"]) -> tuple[str, ...]:
    """What a stage depends on beside its own sections: the validation data, where it is watched."""
    return ("validation",) if experiment.recipe.task_metrics(stage) else ()


def _grpo_start(experiment: Experiment) -> str:
    """The checkpoint that GRPO (and its rival) starts from: ``grpo.init``."""
    init = experiment.recipe.grpo_init
    if init == "sft":
        return str(checkpoint_of(experiment, "sft"))
    return base_checkpoint(experiment) if init == "base" else init


def _train_sft(
    experiment: Experiment,
    run: RunDirectory,
    start: str,
    arguments: dict[str, Any],
    rows: Any,
    held_out: Any,
    checksum: str,
    watch: Watch | None = None,
) -> None:
    from skinrl.sft import SkinSFTConfig, SkinSFTTrainer

    refuse_too_long(experiment, start, rows)

    def trainer(common: dict[str, Any]) -> Any:
        config = SkinSFTConfig(**arguments, **common)
        model, processor = _load(experiment, start)
        return SkinSFTTrainer(
            model=model, args=config, train_dataset=rows, eval_dataset=held_out, processing_class=processor
        )

    _train(experiment, run, trainer, checksum, watch)


def _load(experiment: Experiment, start: str) -> tuple[Any, Any]:
    from skinrl.model import load_policy

    model = experiment.recipe.model
    return load_policy(
        start,
        revision=model.revision,  # of a hub id, also where it is an adapter's base; a folder has none
        dtype=model.dtype,
        attention=model.attention,
        lora=model.lora.model_dump() if model.lora else None,
        freeze=model.freeze,
        min_pixels=model.image.min_pixels,
        max_pixels=model.image.max_pixels,
    )


def _train(
    experiment: Experiment,
    run: RunDirectory,
    make_trainer: Callable[[dict[str, Any]], Any],
    checksum: str,
    watch: Watch | None = None,
) -> None:
    """Train, resuming from the newest complete checkpoint of the run directory, and hand on ``final/``.

    Args:
        checksum: of the records trained on; a run begun with other ones is refused.
        watch: what is measured on the way.
    """
    import torch
    from transformers import set_seed

    recipe = experiment.recipe
    set_seed(recipe.seed)
    common = {
        "output_dir": str(run.path),
        "seed": recipe.seed,
        "bf16": recipe.model.dtype == "bfloat16",
        "fp16": recipe.model.dtype == "float16",
        "use_cpu": not torch.cuda.is_available(),
    }
    data = {"records": checksum} | ({"task_metrics": watch.checksum} if watch else {})
    if is_main_process():
        run.settle_inputs(inputs_of(experiment, run.stage))
        extra = {"processes": recipe.launch.processes}
        run.write_environment(taxonomy=experiment.taxonomy.checksum, data=data, extra=extra)
    else:
        run.refuse_changed(taxonomy=experiment.taxonomy.checksum, data=data)
    try:
        trainer = make_trainer(common)
        trainer.add_callback(_log_callback(run))
        measured = watch.follow(trainer) if watch else None
        with run.session():
            trainer.train(resume_from_checkpoint=True)
        _hand_on(trainer, run, measured if watch and watch.settings.best == "hand_on" else None)
    finally:
        if torch.distributed.is_initialized():  # its threads would abort an interpreter that ends before them
            torch.distributed.destroy_process_group()


def _log_callback(run: RunDirectory) -> Any:
    """A trainer callback that writes every log to ``metrics.jsonl``."""
    from transformers import TrainerCallback

    class WriteMetrics(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            if state.is_world_process_zero and logs:
                run.log({"step": state.global_step, **logs})

    return WriteMetrics()


def _hand_on(trainer: Any, run: RunDirectory, measured: TaskMetrics | None = None) -> None:
    """Save the model with its processor as ``final/``, whole or not at all.

    Args:
        measured: hand on the best model that it kept, where there is one, in place of the last.
    """
    partial = run.path / "final.partial"
    if is_main_process():
        shutil.rmtree(partial, ignore_errors=True)
    trainer.accelerator.wait_for_everyone()
    facts = {"steps": trainer.state.global_step}
    best = measured.kept() if measured is not None else None
    if best is None:
        trainer.save_model(str(partial))
    elif is_main_process():
        from skinrl.task_metrics import copy_best

        copy_best(best[0], partial)
        facts["handed_on"] = best[1]
    trainer.accelerator.wait_for_everyone()
    if is_main_process():
        shutil.rmtree(run.final, ignore_errors=True)
        partial.rename(run.final)
        run.mark_complete(**facts, seconds=run.seconds)
        _say(f"{run.stage}: {trainer.state.global_step} steps in {run.seconds:.0f} s -> {run.final}")
        if best is not None:
            _say(f"{run.stage}: final is the model of step {best[1]['step']}, the best by {best[1]['metric']}")


def _finished(experiment: Experiment, run: RunDirectory, *sections: str) -> bool:
    """Settle what this stage folder is; say so if there is nothing left to do."""
    if experiment.recipe.model.factory is not None:
        use_local_files_only()
    if not is_main_process():  # refuses what the main process refuses, so that nobody waits for one that has gone
        run.refuse_other(resolved(experiment, *sections))
        run.refuse_inputs(inputs_of(experiment, run.stage))
        return run.is_complete
    state = run.prepare(resolved(experiment, *sections))
    if state != "new":
        run.settle_inputs(inputs_of(experiment, run.stage))
    if state == "complete":
        _say(f"{run.stage}: already complete in {run.path}")
    elif state == "resume":
        _say(f"{run.stage}: resuming in {run.path}")
    return state == "complete"


def _say(text: str) -> None:
    console().print(text)
