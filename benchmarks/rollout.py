"""A rollout with each prompt sent to vLLM G times, as stock TRL does in its own process, against once with ``n = G``.

    python benchmarks/rollout.py                          all cells of the small shape, on CPU in minutes
    python benchmarks/rollout.py --cells default-448 --repeats 5 --json rows.json

Each cell opens one engine, in a process of its own. Timed is ``llm.generate`` on the same prompts both ways, in turn,
each time on new images: a cache can help within a call, as it would in training, where every weight push empties it.

default             vLLM's own caches
no-processor-cache  the prefix cache alone
no-cache            neither prefixes nor preprocessed images are kept
processor           no engine: what the trainer's processor does twice for a batch, on all rows or as once.py has it
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench_models.shapes import QWEN2_5_VL_3B, QWEN2_5_VL_7B, Shape, write_checkpoint

SMALL = Shape(
    256, 512, 4, 4, 2, 2048, tie_word_embeddings=True, mrope_section=(8, 12, 12), vision_depth=4,
    vision_hidden_size=128, vision_intermediate_size=256, vision_num_heads=4, fullatt_block_indexes=(1, 3),
)  # fmt: skip
SHAPES = {"small": SMALL, "3b": QWEN2_5_VL_3B, "7b": QWEN2_5_VL_7B}
QUESTION = "What is the diagnosis of this lesion of the skin? Say what you see, then name it."
CACHES: dict[str, dict[str, Any]] = {
    "default": {},
    "no-processor-cache": {"mm_processor_cache_gb": 0},
    "no-cache": {"mm_processor_cache_gb": 0, "enable_prefix_caching": False},
}


@dataclass(frozen=True)
class Cell:
    """One batch: which caches, side of the images in pixels, prompts, completions of each and their tokens."""

    caches: str
    side: int
    prompts: int = 4
    generations: int = 8
    completion: int = 32

    @property
    def name(self) -> str:
        """Such as ``no-cache-448``; what differs from the usual batch is added."""
        usual = Cell(self.caches, self.side)
        others = ("prompts", "generations", "completion")
        more = [f"{key[0]}{getattr(self, key)}" for key in others if getattr(self, key) != getattr(usual, key)]
        return "-".join([self.caches, str(self.side), *more])


CELLS = (
    Cell("default", 448),
    Cell("default", 224),
    Cell("default", 448, completion=128),
    Cell("no-processor-cache", 448),
    Cell("no-cache", 448),
    Cell("processor", 448),
)


def image(seed: int, side: int) -> Any:
    """Noise, which no codec makes small."""
    import numpy as np
    from PIL import Image

    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8))


class NewImages:
    """Batches of a cell whose images never come twice."""

    def __init__(self, cell: Cell, processor: Any) -> None:
        self.cell, self.processor, self.seed = cell, processor, 0
        content = [{"type": "image"}, {"type": "text", "text": QUESTION}]
        self.text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        self.ids = processor.tokenizer(self.text)["input_ids"]  # one token for the image, which the engine expands

    def images(self) -> list[Any]:
        self.seed += self.cell.prompts
        return [image(self.seed + n, self.cell.side) for n in range(self.cell.prompts)]

    def rows(self) -> list[dict[str, Any]]:
        """Every prompt G times, as TRL hands them to the engine."""
        return [
            {"prompt_token_ids": self.ids, "multi_modal_data": {"image": shown}}
            for shown in self.images()
            for _ in range(self.cell.generations)
        ]


def seconds(work: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def engine_way(cell: Cell, checkpoint: Path, processor: Any) -> Callable[[bool], Callable[[], None]]:
    """Opens an engine; makes the work of one rollout, prompts once or not."""
    from vllm import LLM, SamplingParams

    from skinrl.engine.environment import on_cpu
    from skinrl.grpo.once import prompts_once

    more: dict[str, Any] = {"enforce_eager": True} if on_cpu() else {"gpu_memory_utilization": 0.5}
    llm = LLM(
        model=str(checkpoint), dtype="float32" if on_cpu() else "bfloat16", max_model_len=2048, seed=0,
        max_num_batched_tokens=4096, limit_mm_per_prompt={"video": 0}, logprobs_mode="processed_logprobs",
        **more, **CACHES[cell.caches],
    )  # fmt: skip
    params = SamplingParams(max_tokens=cell.completion, min_tokens=cell.completion, logprobs=0)
    batches = NewImages(cell, processor)

    def way(once: bool) -> Callable[[], None]:
        rows = batches.rows()

        def rollout() -> None:
            with prompts_once(llm) if once else nullcontext():
                outputs = llm.generate(rows, sampling_params=params, use_tqdm=False)
            made = [completion for output in outputs for completion in output.outputs]
            assert len(made) == len(rows)
            assert all(len(completion.token_ids) == cell.completion for completion in made)

        return rollout

    return way


def processor_way(cell: Cell, processor: Any) -> Callable[[bool], Callable[[], None]]:
    """Makes the work of one batch, as TRL does it before a rollout with vLLM and again for the tensors of training."""
    from skinrl.grpo.once import images_once, tokenized_once

    batches = NewImages(cell, processor)

    def tokenize(shown: list[Any]) -> Any:
        made = processor(images=[[one] for one in shown], text=[batches.text] * len(shown))
        return made["input_ids"], [[one] for one in shown], dict(made)

    def way(once: bool) -> Callable[[], None]:
        shown = [row["multi_modal_data"]["image"] for row in batches.rows()]

        def both() -> None:
            with images_once(processor) if once else nullcontext():
                _, images, _ = tokenized_once(tokenize, shown) if once else tokenize(shown)
                processor(images=images, text=[batches.text] * len(shown), padding=True, return_tensors="pt")

        return both

    return way


def measure(arguments: tuple[Cell, Path, int]) -> dict[str, Any]:
    """Both ways in this process, in turn."""
    cell, checkpoint, repeats = arguments
    from skinrl.engine.environment import prepare_environment

    prepare_environment(model_path=str(checkpoint))
    from transformers import AutoProcessor

    processor = AutoProcessor.from_pretrained(checkpoint)
    way = processor_way(cell, processor) if cell.caches == "processor" else engine_way(cell, checkpoint, processor)
    for once in (False, True):  # the first pass of an engine compiles
        way(once)()
    duplicates: list[float] = []
    single: list[float] = []
    for repeat in range(repeats):
        pair = [(False, duplicates), (True, single)]
        for once, times in pair if repeat % 2 else pair[::-1]:  # neither always comes first
            times.append(seconds(way(once)))
    ratios = [a / b for a, b in zip(duplicates, single, strict=True)]
    return {
        "cell": cell.name,
        **asdict(cell),
        "duplicates": statistics.median(duplicates),
        "once": statistics.median(single),
        "ratio": {"median": statistics.median(ratios), "low": min(ratios), "high": max(ratios)},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=list(SHAPES), default="small")
    parser.add_argument("--cells", nargs="+", help="names of cells; default: all")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, help="file for the rows")
    arguments = parser.parse_args()
    known = {cell.name: cell for cell in CELLS}
    missing = [name for name in arguments.cells or () if name not in known]
    if missing:
        parser.error(f"no cell {missing[0]}; there are: {', '.join(known)}")

    import torch

    gpu = torch.cuda.is_available()
    rows: list[dict[str, Any]] = []
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = write_checkpoint(
            Path(folder) / "model", SHAPES[arguments.shape], texts=[QUESTION] * 4,
            dtype="bfloat16" if gpu else "float32", device="cuda" if gpu else "cpu",
        )  # fmt: skip
        for name in arguments.cells or known:
            with context.Pool(1, maxtasksperchild=1) as pool:
                row = pool.map(measure, [(known[name], checkpoint, arguments.repeats)])[0]
            rows.append(row)
            print(
                f"{row['cell']:<24} {row['duplicates']:.2f} s -> {row['once']:.2f} s: "
                f"{row['ratio']['median']:.2f} times [{row['ratio']['low']:.2f}, {row['ratio']['high']:.2f}]",
                flush=True,
            )
            if arguments.json:
                arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
