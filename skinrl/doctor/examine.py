"""All checks in one go: of the machine, and of a recipe on it. The only part of this room that reads recipes."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from skinrl.cpu_install import SUPERFLUOUS
from skinrl.doctor import data as data_checks
from skinrl.doctor import environment, model, training
from skinrl.doctor.finding import Finding, ok, skipped
from skinrl.doctor.machine import Machine, exact_set, look_at_machine
from skinrl.errors import InputError, PluginError

if TYPE_CHECKING:
    from skinrl.data.loading import LoadedData
    from skinrl.recipe import DataSection, Recipe
    from skinrl.taxonomy import Taxonomy

GIB = 2**30
_LEAST = 2 * GIB  # disk and memory that even the tiny model needs
_STAGES: tuple[Literal["sft", "grpo", "evaluation"], ...] = ("sft", "grpo", "evaluation")


def examine_machine(
    machine: Machine, *, processes: int = 1, vllm: bool = False, weights: int = 0, runs: Path = Path("runs")
) -> list[Finding]:
    """Every check that needs no recipe.

    Args:
        machine: What was looked up.
        processes: How many processes the launch starts.
        vllm: Whether rollouts ask for vLLM.
        weights: Bytes of the model's weights; 0 if unknown.
        runs: Where run directories lie.
    """
    packages, cpu = machine.installed, machine.cpu_build
    findings = environment.check_versions(packages, exact_set("gpu" if machine.gpus else "cpu", None))
    if machine.torch_version is not None:
        findings.append(environment.check_torch_build(machine.torch_version, machine.torch_gpu_runtime, machine.gpus))
    zero3 = processes > 1
    findings += [
        environment.check_torchvision(machine.torchvision_error),
        environment.check_superfluous(packages, SUPERFLUOUS, cpu),
        environment.check_vllm(packages, cpu, vllm),
        environment.check_deepspeed(packages, zero3, machine.gpus, os.environ.get("DS_ACCELERATOR")),
        environment.check_compiler(machine.compiler, vllm),
        environment.check_shared_memory(machine.shared_memory, processes),
    ]
    folder = next(parent for parent in (runs.absolute(), *runs.absolute().parents) if parent.exists())
    # three checkpoints at a time (two kept, one being written), each with the optimiser's two moments
    findings.append(environment.check_disk(folder, shutil.disk_usage(folder).free, max(_LEAST, 9 * weights)))
    if machine.memory_available is not None:
        needed = max(_LEAST, (2 if machine.gpus else 8) * weights)
        findings.append(environment.check_memory(machine.memory_available, needed))
    return findings


def examine(
    recipe: Recipe | None = None,
    file: Path | None = None,
    *,
    machine: Machine | None = None,
    processes: int = 1,
    runs: Path = Path("runs"),
) -> list[Finding]:
    """Everything that can be found before a run: of the machine, and of ``recipe`` if there is one.

    Args:
        recipe: The experiment; None examines the machine alone.
        file: Where the recipe was read from: its rewards may be files beside it.
        machine: What was looked up; None looks now.
        processes: How many processes the launch starts.
        runs: Where run directories lie.
    """
    machine = machine or look_at_machine()
    if recipe is None:
        return examine_machine(machine, processes=processes, runs=runs)
    path = recipe.model.path
    weights = _weight_bytes(Path(path)) if path is not None else 0
    vllm = bool(recipe.grpo.get("use_vllm"))
    findings = examine_machine(machine, processes=processes, vllm=vllm, weights=weights, runs=runs)
    findings += _of_settings(recipe, machine, processes, weights)
    if "trl" in machine.installed:
        findings += _of_arguments(recipe, file or Path("recipe.yaml"))
    base = (file or Path("recipe.yaml")).parent
    taxonomy = _load_taxonomy(recipe, findings)
    if taxonomy is not None:
        findings.append(data_checks.check_taxonomy(taxonomy))
        findings += _of_rewards(recipe, taxonomy, base)
        findings += _of_data(recipe, taxonomy, base, runs)
    return findings + list(_of_model(recipe))


def _of_settings(recipe: Recipe, machine: Machine, processes: int, weights: int) -> list[Finding]:
    grpo = recipe.grpo
    share = float(grpo.get("vllm_gpu_memory_utilization", 0.3)) if grpo.get("use_vllm") else 0.0
    if grpo.get("vllm_mode") == "server" or grpo.get("vllm_enable_sleep_mode"):
        share = 0.0  # elsewhere, or asleep while the trainer works
    findings = [
        training.check_launch(recipe.launch.processes, processes),
        training.check_device_fit(recipe.model.dtype, bool(machine.gpus)),
        training.check_group_batches(grpo, processes),
        training.check_importance_sampling(grpo, recipe.model.dtype),
        training.check_gradient_noise(grpo, len(recipe.rewards)),
        training.check_max_length(recipe.sft, vision=True),
        training.check_trackers("sft", recipe.sft),
        training.check_trackers("grpo", grpo),
    ]
    if weights:
        lora = recipe.model.lora is not None
        findings.append(
            model.check_gpu_memory(
                weights, parameters=0, lora=lora, processes=processes, gpu=machine.gpu_bytes, engine_share=share
            )
        )
    return findings


def _of_arguments(recipe: Recipe, file: Path) -> Iterator[Finding]:
    """Whether TRL knows every key of the two training sections."""
    from skinrl.grpo.config import SkinGRPOConfig
    from skinrl.recipe import training_arguments
    from skinrl.sft.config import SkinSFTConfig

    sections: tuple[tuple[Literal["sft", "grpo"], type], ...] = (("sft", SkinSFTConfig), ("grpo", SkinGRPOConfig))
    for section, config in sections:
        try:
            count = len(training_arguments(recipe, section, config, file))
        except InputError as problem:
            yield Finding(f"{section} settings", "fail", str(problem), f"{section} would stop at its start", "mend it")
        else:
            yield ok(f"{section} settings", f"{count}, all known")


def _load_taxonomy(recipe: Recipe, findings: list[Finding]) -> Taxonomy | None:
    from skinrl.taxonomy import load_taxonomy

    try:
        return load_taxonomy(recipe.taxonomy)
    except InputError as problem:
        findings.append(Finding("taxonomy", "fail", str(problem), "nothing can be scored without it", "mend the file"))
        return None


def _of_rewards(recipe: Recipe, taxonomy: Taxonomy, base: Path) -> list[Finding]:
    from skinrl.plugins import call_factory, check_reward_signature, resolve

    findings = []
    for entry in recipe.rewards:
        name = entry.fn or entry.factory or ""
        try:
            reward = resolve(name, base=base)
            if entry.factory is not None:
                reward = call_factory(reward, name, entry.kwargs, {"taxonomy": taxonomy})
            check_reward_signature(reward, name)
        except PluginError as problem:
            why = "GRPO would stop at its start"
            findings.append(Finding("reward", "fail", str(problem), why, "mend `rewards:` in the recipe"))
        else:
            findings.append(ok("reward", f"{name}, weight {entry.weight:g}"))
    return findings


def _of_data(recipe: Recipe, taxonomy: Taxonomy, base: Path, runs: Path) -> list[Finding]:
    from skinrl.cli.evaluation_data import evaluation_entries
    from skinrl.data.loading import load_records

    findings = []
    for stage in _STAGES:
        sections = recipe.data_for(stage)
        if not sections:
            findings.append(skipped("data", f"no data entry is for {stage}"))
            continue
        absent = [entry.path for entry in sections if entry.path is not None and _is_absent(entry)]
        if absent:
            why, mend = f"{stage} has nothing to work on", "mend `path`, or give DATA= (--data)"
            findings.append(Finding("data", "fail", f"{stage}: no {', '.join(absent)}", why, mend))
            continue
        if any(_is_generated(entry) for entry in sections):
            findings.append(skipped("data", f"{stage}: synthetic images, made when the stage starts"))
            continue
        cache = runs / "cache" / "images.sqlite"
        try:
            entries = evaluation_entries(sections) if stage == "evaluation" else sections
            loaded = load_records(entries, taxonomy, seed=recipe.seed, cache=cache, base=base)
        except InputError as problem:
            why, mend = f"{stage} would stop here", "see the message"
            findings.append(Finding("data", "fail", f"{stage}: {problem}", why, mend))
            continue
        findings += _of_records(stage, loaded, taxonomy)
    return findings


def _of_records(stage: Literal["sft", "grpo", "evaluation"], loaded: LoadedData, taxonomy: Taxonomy) -> list[Finding]:
    needed = {"sft": ("train", "validation"), "grpo": ("train",), "evaluation": ("test",)}[stage]
    sizes = Counter(str(record.split) for record in loaded.records)
    found = [
        data_checks.check_images(loaded.records, (), ()),  # those that cannot be read are refused while loading
        data_checks.check_labels(loaded.records, taxonomy),
        data_checks.check_groups(loaded.records),
        data_checks.check_splits(sizes, needed),
    ]
    if loaded.leaks:
        what = f"{len(loaded.leaks)} identical images stand in two splits"
        found.append(Finding("leaks", "warn", what, "the test flatters the model", "split by patient, or drop them"))
    for warning in loaded.warnings:  # of a published dataset: its layout, its number of rows
        found.append(Finding("data", "warn", warning, "the records may not be what was published", "docs/datasets.md"))
    return [Finding(one.check, one.status, f"{stage}: {one.what}", one.why, one.mend) for one in found]


def _of_model(recipe: Recipe) -> Iterator[Finding]:
    """Checks with the model's own processor, on one image; no weights are loaded."""
    path = recipe.model.path
    if path is None:
        yield skipped("model", f"built by {recipe.model.factory} when a stage starts")
        return
    offline = any(os.environ.get(name) == "1" for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"))
    finding = model.check_model_path(path, offline, _in_hub_cache(path))
    yield finding
    if not Path(path).is_dir() or finding.status == "fail":
        yield skipped("image tokens", "the model's processor is not in a local folder")
        return
    from transformers import AutoConfig

    from skinrl.engine.tokens import vision_token_ids
    from skinrl.model import load_processor

    image = recipe.model.image
    config = AutoConfig.from_pretrained(path)
    processor = load_processor(path, min_pixels=image.min_pixels, max_pixels=image.max_pixels)
    token, is_vision = model.image_tokens_of(processor), getattr(config, "vision_config", None) is not None
    tokenizer = getattr(processor, "tokenizer", processor)
    yield model.check_vision_tokens(vision_token_ids(config, tokenizer), is_vision, token)
    if not is_vision or token is None:
        return
    prompt = _expanded_prompt(processor, image.max_pixels)
    yield model.check_collapse(prompt, token, images=1)
    completion = int(recipe.grpo.get("max_completion_length", 256))
    text = getattr(config, "text_config", config)
    yield model.check_length(len(prompt), completion, getattr(text, "max_position_embeddings", None), "the model")
    if recipe.grpo.get("use_vllm"):
        limit = recipe.grpo.get("vllm_max_model_length")
        yield model.check_length(len(prompt), completion, limit, "vllm_max_model_length")


def _expanded_prompt(processor: Any, max_pixels: int | None) -> list[int]:
    """One prompt with the largest image that the recipe lets through, as the trainer tokenises it."""
    from PIL import Image

    side = max(28, int((max_pixels or 1024 * 1024) ** 0.5))
    content = [{"type": "image"}, {"type": "text", "text": "What is the diagnosis?"}]
    text = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
    )
    encoded = processor(text=[text], images=[Image.new("RGB", (side, side))])
    return [int(token) for token in encoded["input_ids"][0]]


def _is_absent(entry: DataSection) -> bool:
    return entry.path is not None and not _is_generated(entry) and not Path(entry.path).exists()


def _is_generated(entry: DataSection) -> bool:
    return entry.source == "phantom"


def _weight_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in islice(folder.glob("*.safetensors"), 1000)) if folder.is_dir() else 0


def _in_hub_cache(name: str) -> bool | None:
    """Whether the hub's cache has the model's configuration; None for a path or without the hub's library."""
    if Path(name).is_dir() or name.count("/") != 1 or name.startswith((".", "/", "~")):
        return None
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return None
    return isinstance(try_to_load_from_cache(name, "config.json"), str)
