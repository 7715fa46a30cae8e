"""Five GRPO steps of the 7B recipe on one GPU, from random weights: does the whole path hold before real hours go in?

    python benchmarks/gpu_smoke.py [--json FILE] [--directory DIR]     one GPU, under 8 minutes, 20 GB of disk
    python benchmarks/gpu_smoke.py --tiny                              the same path in small, on a CPU too

A Qwen2.5-VL of the published shape is made from a configuration (nothing is downloaded), saved once, and trained as
``recipes/skin_r1_qwen2_5_vl_7b.yaml`` says: LoRA, the frozen reference adapter, vLLM in the same process with sleep
mode. What is printed, and written with ``--json``: the gap between rollout and trainer at each of the steps, and the
peak memory of each phase. Random weights learn nothing, but a gap, a leak or a crash shows on them as on real ones.

Exit codes: 0 all within the limits, 1 a limit was broken, 2 it cannot be run here.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench_models.shapes import QWEN2_5_VL_7B, count_parameters, shrink, write_checkpoint

RECIPE = Path(__file__).resolve().parents[1] / "recipes" / "skin_r1_qwen2_5_vl_7b.yaml"
STEPS = 5
SECONDS = 8 * 60
GIB = 2**30


# What it is trained on


def question() -> str:
    """A question as the recipe asks them, with four options."""
    from skinrl.data.prompts import question_text

    return question_text("options", ["melanoma", "melanocytic naevus", "basal cell carcinoma", "seborrheic keratosis"])


def rows(count: int, side: int) -> Any:
    """Prompts with one photograph-sized image of noise each."""
    import numpy as np
    from datasets import Dataset
    from PIL import Image

    def image(seed: int) -> Any:
        return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8))

    prompt = [{"role": "user", "content": question()}]
    return Dataset.from_list([{"prompt": prompt, "images": [image(n)], "id": str(n)} for n in range(count)])


def distinct_characters(completions: list[Any], **kwargs: Any) -> list[float]:
    """A reward in which the completions of a random policy differ, so that every step has a gradient."""
    return [len(set(completion[0]["content"])) / 100 for completion in completions]


# Measuring


class MemoryWatch:
    """Peak memory in bytes of each phase: all that is used of the GPU, or of this process where there is none.

    Sampled 50 times a second. On a GPU torch keeps what it has once taken, so that short peaks are seen as well.
    """

    def __init__(self, used: Callable[[], int]) -> None:
        self.peaks: dict[str, int] = {}
        self.seconds: dict[str, float] = {}
        self._used = used
        self._phase = "elsewhere"
        self._begun = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample_until_stopped, daemon=True)

    def __enter__(self) -> MemoryWatch:
        self._begun = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.seconds[self._phase] = self.seconds.get(self._phase, 0.0) + time.monotonic() - self._begun
        self._stop.set()
        self._thread.join()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count what happens inside to ``name``; a phase inside a phase is counted to the inner one alone."""
        outer, self._phase, start = self._phase, name, time.monotonic()
        try:
            yield
        finally:
            self._sample()
            self._phase = outer
            seconds = time.monotonic() - start
            self.seconds[name] = self.seconds.get(name, 0.0) + seconds
            self.seconds[outer] = self.seconds.get(outer, 0.0) - seconds

    def follow(self, owner: Any, method: str, phase: str) -> None:
        """Make every call of ``owner.method`` a phase."""
        original = getattr(owner, method)

        def watched(*args: Any, **kwargs: Any) -> Any:
            with self.phase(phase):
                return original(*args, **kwargs)

        setattr(owner, method, watched)

    def _sample(self) -> None:
        name, used = self._phase, self._used()
        self.peaks[name] = max(used, self.peaks.get(name, 0))

    def _sample_until_stopped(self) -> None:
        while not self._stop.wait(0.02):
            self._sample()


def used_memory() -> int:
    """Bytes in use on the GPU by everybody, or by this process where there is no GPU."""
    import torch

    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        return total - free
    import resource

    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


# The run


class CannotRunError(Exception):
    """This machine cannot run the check; exit code 2."""


def engine_share(weights: int, total: int) -> float:
    """The share of a GPU of ``total`` bytes that vLLM needs for ``weights`` bytes and a cache of 6 GiB.

    Raises:
        CannotRunError: trainer and engine together do not fit.
    """
    engine = weights + 6 * GIB
    needed = weights + engine + 6 * GIB  # activations of a micro-batch, adapters and their optimiser
    if needed > total:
        raise CannotRunError(f"the GPU has {total / GIB:.0f} GiB; this check needs about {needed / GIB:.0f} GiB")
    return math.ceil(100 * engine / total) / 100


def check_disk(directory: Path, needed: int) -> None:
    """Raises CannotRunError where ``directory`` has no room for ``needed`` bytes, or is not there."""
    if not directory.is_dir():
        raise CannotRunError(f"--directory {directory}: no such folder")
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise CannotRunError(
            f"{directory} has {free / GIB:.1f} GiB free; the checkpoint takes {needed / GIB:.1f} GiB: "
            "name another folder with --directory (/dev/shm where there is memory to spare)"
        )


def settings(recipe: Any, *, output: Path, tiny: bool, vllm: bool, gpu: bool, share: float) -> Any:
    """The recipe's GRPO settings, cut down to five short steps; what is not named here is the recipe's own."""
    from skinrl.grpo.config import SkinGRPOConfig
    from skinrl.recipe import training_arguments

    short: dict[str, Any] = {
        "max_steps": STEPS,
        "gradient_accumulation_steps": 4,  # 4 prompts of 4 completions a step
        "max_completion_length": 24 if tiny else 256,
        "learning_rate": 1e-4,  # five steps must move the weights, or a push that does nothing would pass
        "lr_scheduler_type": "constant",
        "warmup_steps": 0,
        "save_strategy": "no",
        "use_vllm": vllm,
        "vllm_enable_sleep_mode": vllm and gpu,  # vLLM refuses it on CPU
        "vllm_gpu_memory_utilization": share,
        "rollout_gap_patience": STEPS + 1,  # measure all steps, then judge
        "log_completions": False,
    }
    arguments = training_arguments(recipe, "grpo", SkinGRPOConfig, RECIPE) | short
    return SkinGRPOConfig(output_dir=str(output), bf16=gpu, use_cpu=not gpu, seed=recipe.seed, **arguments)


def run(*, tiny: bool, engine: str, directory: Path) -> dict[str, Any]:
    """Make the checkpoint, train five steps, and say what was measured.

    Raises:
        CannotRunError: no GPU, or too little of it, or of the disk.
    """
    import torch

    gpu = torch.cuda.is_available()
    if not gpu and not tiny:
        build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "a CPU build"
        raise CannotRunError(
            f"no GPU in sight (torch {torch.__version__}, {build}); --tiny runs the same path in small without one"
        )
    from skinrl.engine.base import vllm_is_installed

    vllm = engine == "vllm" or (engine == "auto" and vllm_is_installed())
    if vllm and not vllm_is_installed():
        raise CannotRunError("vLLM is not installed; --engine generate runs without it")
    shape = shrink(QWEN2_5_VL_7B) if tiny else QWEN2_5_VL_7B
    parameters, dtype = count_parameters(shape), "bfloat16" if gpu else "float32"
    size = parameters * (2 if gpu else 4)
    total = torch.cuda.get_device_properties(0).total_memory if gpu else 0
    share = engine_share(size, total) if gpu else 0.5
    check_disk(directory, int(1.1 * size))
    print(f"Qwen2.5-VL of {parameters:,} random parameters, {dtype}, {size / GIB:.2f} GiB in {directory}", flush=True)

    start = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="skinrl-gpu-smoke-", dir=directory) as folder,
        MemoryWatch(used_memory) as watch,
    ):
        with watch.phase("make checkpoint"):
            device = "cuda" if gpu else "cpu"
            write_checkpoint(Path(folder) / "model", shape, texts=[question()], dtype=dtype, device=device)
            if gpu:
                torch.cuda.empty_cache()
        trainer, recipe = _trainer(Path(folder), watch, tiny=tiny, vllm=vllm, gpu=gpu, dtype=dtype, share=share)
        with watch.phase("train"):
            trainer.train()
        steps = [row for row in trainer.state.log_history if "rollout/logp_gap_mean" in row]
        moved = _largest_change(trainer.model)
    from skinrl.grpo.gap import LIMITS

    warn, stop = LIMITS[dtype]
    faults = judge(steps, warn=warn, stop=stop, moved=moved)
    return {
        "device": torch.cuda.get_device_name(0) if gpu else "cpu",
        "memory_total": total or None,
        "parameters": parameters,
        "dtype": dtype,
        "engine": "vllm" if vllm else "generate",
        "sleep_mode": vllm and gpu,
        "recipe": recipe.name,
        "image_pixels": recipe.model.image.max_pixels if not tiny else _side(tiny) ** 2,
        "limits": {"warn": warn, "stop": stop},
        "steps": steps,
        "peak_bytes": watch.peaks,
        "phase_seconds": {name: round(seconds, 2) for name, seconds in watch.seconds.items()},
        "adapter_moved": moved,
        "seconds": round(time.monotonic() - start, 1),
        "faults": faults,
        "passed": not faults,
    }


def _side(tiny: bool) -> int:
    return 112 if tiny else 448


def _trainer(
    folder: Path, watch: MemoryWatch, *, tiny: bool, vllm: bool, gpu: bool, dtype: str, share: float
) -> tuple[Any, Any]:
    """Load the policy as the recipe says, open the engine and follow its phases; returns trainer and recipe."""
    from skinrl.grpo.trainer import SkinGRPOTrainer
    from skinrl.model import load_policy
    from skinrl.recipe import load_recipe

    recipe = load_recipe(RECIPE)
    args = settings(recipe, output=folder / "run", tiny=tiny, vllm=vllm, gpu=gpu, share=share)
    with watch.phase("load policy"):
        model, processor = load_policy(
            folder / "model",
            dtype=dtype,
            attention=recipe.model.attention,
            lora=recipe.model.lora.model_dump() if recipe.model.lora else None,
            freeze=recipe.model.freeze,
            min_pixels=recipe.model.image.min_pixels,
            max_pixels=recipe.model.image.max_pixels,
        )
    with watch.phase("open engine"):
        trainer = SkinGRPOTrainer(
            model=model,
            reward_funcs=distinct_characters,
            args=args,
            train_dataset=rows(4 * STEPS, _side(tiny)),
            processing_class=processor,
        )
    if vllm:
        watch.follow(trainer.vllm_generation, "sync_weights", "push weights")
        watch.follow(trainer.vllm_generation, "generate", "rollout")
    else:
        watch.follow(trainer, "_generate_single_turn", "rollout")
    return trainer, recipe


def _largest_change(model: Any) -> float:
    """How far the trained adapter is from its frozen copy: 0 where no step changed anything."""
    parameters = dict(model.named_parameters())
    changes = [
        (parameter - parameters[name.replace(".default.", ".ref.")]).abs().max().item()
        for name, parameter in parameters.items()
        if ".default." in name
    ]
    return max(changes, default=0.0)


def judge(steps: Sequence[Mapping[str, Any]], *, warn: float, stop: float, moved: float) -> list[str]:
    """What is wrong with a run: empty where all is well.

    Args:
        steps: the trainer's logs, one per step.
        warn: mean gap in nats per token that the mean over the steps must not pass.
        stop: mean gap that no step may pass.
        moved: largest change of an adapter weight.
    """
    faults = []
    if len(steps) != STEPS:
        faults.append(f"{len(steps)} steps were logged, expected {STEPS}")
    gaps = [float(step["rollout/logp_gap_mean"]) for step in steps]
    faults += [f"step {n}: mean gap {gap:.2g}, limit {stop:g}" for n, gap in enumerate(gaps, 1) if not gap <= stop]
    if gaps and not sum(gaps) / len(gaps) <= warn:
        faults.append(f"mean gap over all steps {sum(gaps) / len(gaps):.2g}, limit {warn:g}")
    for step in steps:
        if not math.isfinite(float(step["loss"])) or not math.isfinite(float(step.get("grad_norm", 0.0))):
            faults.append(f"step {step.get('step')}: loss {step['loss']}, gradient norm {step.get('grad_norm')}")
    if not moved > 0:
        faults.append("the adapter did not move, so the weight push was not put to the test")
    return faults


def show(result: Mapping[str, Any]) -> None:
    """Print what was measured."""
    print(
        f"\n{result['device']}, rollouts by {result['engine']}, sleep mode {'on' if result['sleep_mode'] else 'off'}"
    )
    print(f"{'step':>6}{'gap mean':>12}{'p99':>12}{'max':>12}{'reward':>10}{'seconds':>10}")
    for number, step in enumerate(result["steps"], 1):
        gaps = "".join(f"{step[f'rollout/logp_gap_{name}']:>12.2e}" for name in ("mean", "p99", "max"))
        print(f"{number:>6}{gaps}{step['reward']:>10.3f}{step.get('step_time', math.nan):>10.1f}")
    print(f"limits: mean over the steps {result['limits']['warn']:g}, any step {result['limits']['stop']:g}\n")
    for name, peak in result["peak_bytes"].items():
        print(f"{name:<18}peak {peak / GIB:7.2f} GiB   {result['phase_seconds'].get(name, 0.0):7.1f} s")
    print(f"\n{result['seconds']} s in all, for which {SECONDS} are meant")
    for fault in result["faults"]:
        print(f"FAULT: {fault}")
    print("passed" if result["passed"] else "failed")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="a shape of a few megabytes; runs on a CPU too")
    parser.add_argument("--engine", choices=("auto", "vllm", "generate"), default="auto", help="what samples")
    parser.add_argument(
        "--directory", type=Path, default=Path(tempfile.gettempdir()), help="where the checkpoint is written, once"
    )
    parser.add_argument("--json", type=Path, help="write what was measured to this file")
    options = parser.parse_args(arguments)
    from skinrl.engine.environment import prepare_environment

    try:
        prepare_environment(model_path=str(options.directory))  # a local folder: the hub stays out of it
        result = run(tiny=options.tiny, engine=options.engine, directory=options.directory)
    except CannotRunError as problem:
        print(f"gpu_smoke: {problem}", file=sys.stderr)
        return 2
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(result, indent=2, default=str) + "\n")
    show(result)
    return 0 if result["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
