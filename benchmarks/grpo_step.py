"""The training phase of a GRPO step: stock ``GRPOTrainer`` against ``SkinGRPOTrainer``, on the same completions.

    python benchmarks/grpo_step.py                      about a dozen cells of a small shape, on CPU under 15 minutes
    python benchmarks/grpo_step.py --shape 7b           the full grid of the published shape, on one GPU
    python benchmarks/grpo_step.py --cells p300-c64-g8 --repeats 5 --json rows.json --chart rows.svg

Both trainers hold the same random weights and are given the same batch: one group of G completions, one image, one
prompt. Timed is what happens to it in a step: with vLLM rollouts stock TRL scores the old log-probs without gradient,
then the loss forward and backward. ``loss`` alone is shown beside it. Peak memory is what a fresh process needs beyond
model and batch. The largest differences of loss and gradients are in each row (without the ban of vision tokens, which
stock does not have): a speed without them would mean little.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench_models.shapes import QWEN2_5_VL_3B, QWEN2_5_VL_7B, Shape, write_checkpoint

SMALL = Shape(
    384, 1024, 8, 6, 2, 2048, tie_word_embeddings=True, mrope_section=(8, 12, 12), vision_depth=8,
    vision_hidden_size=256, vision_intermediate_size=512, vision_num_heads=4, fullatt_block_indexes=(3, 7),
)  # fmt: skip
LONG = 60.0  # seconds: a cell that takes longer is repeated twice
SHAPES = {"small": SMALL, "3b": QWEN2_5_VL_3B, "7b": QWEN2_5_VL_7B}


@dataclass(frozen=True)
class Cell:
    """One batch: tokens of the prompt (of which of the image), of each completion, completions; what is trained."""

    prompt: int
    image: int
    completion: int
    generations: int
    lora: bool = False
    frozen_tower: bool = False

    @property
    def name(self) -> str:
        """Such as ``p300-c64-g8-lora-frozen``."""
        words = [f"p{self.prompt}", f"c{self.completion}", f"g{self.generations}"]
        return "-".join(words + ["lora"] * self.lora + ["frozen"] * self.frozen_tower)


SMALL_CELLS = (
    Cell(300, 256, 64, 4),
    Cell(300, 256, 64, 8),
    Cell(300, 256, 64, 16),
    Cell(300, 256, 32, 8),
    Cell(300, 256, 128, 8),
    Cell(300, 256, 64, 8, lora=True),
    Cell(300, 256, 64, 8, frozen_tower=True),
    Cell(300, 256, 64, 8, lora=True, frozen_tower=True),
    Cell(300, 256, 32, 4, lora=True, frozen_tower=True),
    Cell(300, 256, 128, 16),
    Cell(40, 0, 64, 4),  # no image and a short prompt: little to share
    Cell(1300, 1024, 256, 8),
)
PUBLISHED_CELLS = tuple(
    Cell(image + 60, image, completion, 8, lora, frozen_tower=lora)
    for image in (300, 1296)
    for completion in (256, 512)
    for lora in (True, False)
)


def batch(cell: Cell, config: Any, device: str, dtype: Any) -> dict[str, Any]:
    """What TRL's trainer would hold after a rollout of one prompt."""
    import torch

    generator = torch.Generator().manual_seed(1)
    words = lambda *size: torch.randint(20, 1000, size, generator=generator)  # noqa: E731
    side = round(cell.image**0.5)
    height, width = (side, side) if side * side == cell.image else (cell.image // 12, 12)
    grid = torch.tensor([[1, 2 * height, 2 * width]])
    image = torch.full((height * width,), config.image_token_id)
    start, end = torch.tensor([config.vision_start_token_id]), torch.tensor([config.vision_end_token_id])
    around = cell.prompt - cell.image
    shown = [start, image, end] if cell.image else []
    prompt = torch.cat([words(4), *shown, words(around - 4 - (2 if cell.image else 0))])
    ids = prompt.repeat(cell.generations, 1)
    completions = words(cell.generations, cell.completion)
    made: dict[str, Any] = {
        "prompt_ids": ids,
        "prompt_mask": torch.ones_like(ids),
        "completion_ids": completions,
        "completion_mask": torch.ones_like(completions),
        "advantages": torch.randn(cell.generations, generator=generator),
        "num_items_in_batch": torch.tensor(completions.numel()),
    }
    if cell.image:
        pixels = torch.randn(4 * cell.image, 1176, generator=generator).to(dtype)
        made |= {
            "pixel_values": pixels.repeat(cell.generations, 1),
            "image_grid_thw": grid.repeat(cell.generations, 1),
            "num_images": [1] * cell.generations,
            "mm_token_type_ids": torch.cat([(ids == config.image_token_id).long(), torch.zeros_like(completions)], 1),
        }
    return {key: value.to(device) if isinstance(value, torch.Tensor) else value for key, value in made.items()}


def trainer_of(stock: bool, cell: Cell, checkpoint: Path, folder: Path, *, gpu: bool) -> Any:
    """Either trainer on the same weights; no data and no rollouts are used."""
    import torch
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    from skinrl.grpo.config import SkinGRPOConfig
    from skinrl.grpo.trainer import SkinGRPOTrainer
    from skinrl.model import load_policy

    torch.manual_seed(0)  # of the adapter
    lora = {"r": 16, "alpha": 32} if cell.lora else None
    freeze = ["vision", "merger"] if cell.frozen_tower else []
    dtype = "bfloat16" if gpu else "float32"
    model, processor = load_policy(checkpoint, dtype=dtype, lora=lora, freeze=freeze)
    settings: dict[str, Any] = {
        "output_dir": str(folder), "per_device_train_batch_size": cell.generations,
        "num_generations": cell.generations, "report_to": [], "use_cpu": not gpu, "bf16": gpu,
        "gradient_checkpointing": gpu, "max_completion_length": cell.completion,
    }  # fmt: skip
    # What stock does not have, and would make the gradients others: the ban, and the tower on a zero image
    ours = settings | {"rollout_gap": False, "ban_vision_tokens": False, "mixed_batches": False}
    args = GRPOConfig(**settings) if stock else SkinGRPOConfig(**ours)
    made = (GRPOTrainer if stock else SkinGRPOTrainer)(
        model=model, reward_funcs=len, args=args, processing_class=processor,
        train_dataset=Dataset.from_list([{"prompt": "x"}] * 4),
    )  # fmt: skip
    made.model.train()
    made.current_gradient_accumulation_steps = 1
    return made


def old_logps(trainer: Any, inputs: dict[str, Any]) -> None:
    """The pass without gradient that stock TRL makes before the loss when rollouts come from vLLM."""
    import torch

    ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], 1)
    mask = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], 1)
    kinds = ("pixel_values", "image_grid_thw", "num_images", "mm_token_type_ids")
    with torch.no_grad():
        trainer._get_per_token_logps_and_entropies(
            trainer.model, ids, mask, inputs["completion_ids"].shape[1], len(ids),
            **{kind: inputs.get(kind) for kind in kinds},
        )  # fmt: skip


def loss_and_backward(trainer: Any, inputs: dict[str, Any]) -> float:
    trainer.model.zero_grad()
    loss = trainer._compute_loss(trainer.model, inputs)
    loss.backward()
    return float(loss.detach())


def seconds(work: Callable[[], Any], gpu: bool) -> float:
    import torch

    begun = time.perf_counter()
    work()
    if gpu:
        torch.cuda.synchronize()
    return time.perf_counter() - begun


def gradients(trainer: Any) -> dict[str, Any]:
    return {name: p.grad.clone() for name, p in trainer.model.named_parameters() if p.grad is not None}


def largest_difference(one: dict[str, Any], other: dict[str, Any]) -> float:
    """Of all gradients, relative to the norm of the first's tensor."""
    assert one.keys() == other.keys(), sorted(one.keys() ^ other.keys())[:3]
    return max(float((other[name] - g).norm() / g.norm()) for name, g in one.items() if g.norm() > 1e-9)


def times_of(cell: Cell, checkpoint: Path, repeats: int, *, gpu: bool) -> dict[str, Any]:
    """Both trainers in this process, one after the other in every repeat."""
    with tempfile.TemporaryDirectory() as folder:
        stock, ours = (trainer_of(kind, cell, checkpoint, Path(folder), gpu=gpu) for kind in (True, False))
    inputs = batch(cell, stock.model.config, stock.accelerator.device, next(stock.model.parameters()).dtype)
    losses, grads = [], []
    for trainer in (stock, ours):  # also the warm-up, and the check that skinrl makes at its first batch
        losses.append(loss_and_backward(trainer, inputs))
        grads.append(gradients(trainer))
        old_logps(trainer, inputs)
    found: dict[str, list[float]] = {"stock loss": [], "stock old": [], "skinrl loss": []}
    begun = time.perf_counter()
    for done in range(repeats):
        if done >= 2 and time.perf_counter() - begun > LONG:
            break
        found["stock old"].append(seconds(lambda: old_logps(stock, inputs), gpu))
        found["stock loss"].append(seconds(lambda: loss_and_backward(stock, inputs), gpu))
        found["skinrl loss"].append(seconds(lambda: loss_and_backward(ours, inputs), gpu))
    loss_ratios = [a / b for a, b in zip(found["stock loss"], found["skinrl loss"], strict=True)]
    whole = [a + b for a, b in zip(found["stock loss"], found["stock old"], strict=True)]
    ratios = [a / b for a, b in zip(whole, found["skinrl loss"], strict=True)]
    return {
        "cell": cell.name,
        **asdict(cell),
        "stock": statistics.median(whole),
        "skinrl": statistics.median(found["skinrl loss"]),
        "ratio": {"median": statistics.median(ratios), "low": min(ratios), "high": max(ratios)},
        "stock_loss": statistics.median(found["stock loss"]),
        "loss_ratio": {"median": statistics.median(loss_ratios), "low": min(loss_ratios), "high": max(loss_ratios)},
        "repeats": len(ratios),
        "loss_difference": abs(losses[0] - losses[1]),
        "gradient_difference": largest_difference(*grads),
        "tokens_saved": ours._sharing.saved if ours._sharing is not None else 0.0,
    }


def peak_of(arguments: tuple[bool, Cell, Path, bool]) -> float:
    """Mebibytes that one step needs beyond model and batch, in this process."""
    import torch

    stock, cell, checkpoint, gpu = arguments
    with tempfile.TemporaryDirectory() as folder:
        trainer = trainer_of(stock, cell, checkpoint, Path(folder), gpu=gpu)
    inputs = batch(cell, trainer.model.config, trainer.accelerator.device, next(trainer.model.parameters()).dtype)
    if not stock:
        trainer._sharing._checked = True  # the check scores plain rows once, at the start of a run
    gc.collect()
    if gpu:
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        loss_and_backward(trainer, inputs)
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark begins anew; ru_maxrss never does
    before = _status("VmRSS")
    loss_and_backward(trainer, inputs)
    return _status("VmHWM") - before


def _status(key: str) -> float:
    """A field of this process's status, in mebibytes."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key + ":"))
    return int(line.split()[1]) / 2**10


def peaks_of(cell: Cell, checkpoint: Path, *, gpu: bool) -> dict[str, float]:
    """Peak memory of both, each in a process of its own."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1, maxtasksperchild=1) as pool:
        stock, ours = pool.map(peak_of, [(kind, cell, checkpoint, gpu) for kind in (True, False)], chunksize=1)
    return {"stock_peak_mib": stock, "skinrl_peak_mib": ours, "peak_share": ours / stock}


def chart(rows: list[dict[str, Any]]) -> str:
    """Bars of the ratios, with their spread, as SVG."""
    height, left, scale = 26 * len(rows) + 50, 210, 480 / max(row["ratio"]["high"] for row in rows)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="800" height="{height}" font-family="sans-serif" '
        'font-size="13">',
        '<text x="10" y="20">Training phase of a GRPO step: times faster than stock TRL</text>',
    ]
    for index, row in enumerate(rows):
        y, ratio = 36 + 26 * index, row["ratio"]
        ends = [left + scale * ratio[key] for key in ("low", "high")]
        parts += [
            f'<text x="{left - 8}" y="{y + 14}" text-anchor="end">{row["cell"]}</text>',
            f'<rect x="{left}" y="{y}" width="{scale * ratio["median"]:.1f}" height="18" fill="#0072b2"/>',
            f'<line x1="{ends[0]:.1f}" x2="{ends[1]:.1f}" y1="{y + 9}" y2="{y + 9}" stroke="#222" stroke-width="2"/>',
            f'<text x="{ends[1] + 6:.1f}" y="{y + 14}">{ratio["median"]:.1f}</text>',
        ]
    one = left + scale
    parts.append(
        f'<line x1="{one:.1f}" x2="{one:.1f}" y1="30" y2="{height - 14}" stroke="#222" stroke-dasharray="3"/>'
    )
    return "\n".join([*parts, "</svg>"]) + "\n"


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=list(SHAPES), default="small")
    parser.add_argument("--cells", nargs="+", help="names of cells; default: all of the shape")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--no-memory", action="store_true", help="leave the peak memory out")
    parser.add_argument("--json", type=Path, help="file for the rows")
    parser.add_argument("--chart", type=Path, help="SVG file for the chart")
    arguments = parser.parse_args()
    gpu = torch.cuda.is_available()
    cells = SMALL_CELLS if arguments.shape == "small" else PUBLISHED_CELLS
    if arguments.cells:
        known = {cell.name: cell for cell in cells}
        missing = [name for name in arguments.cells if name not in known]
        if missing:
            parser.error(f"no cell {missing[0]}; there are: {', '.join(known)}")
        cells = tuple(known[name] for name in arguments.cells)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = write_checkpoint(
            Path(folder) / "model", SHAPES[arguments.shape], texts=["A lesion of the skin."] * 4,
            dtype="bfloat16" if gpu else "float32", device="cuda" if gpu else "cpu",
        )  # fmt: skip
        for cell in cells:
            row = times_of(cell, checkpoint, arguments.repeats, gpu=gpu)
            if not arguments.no_memory:
                row |= peaks_of(cell, checkpoint, gpu=gpu)
            rows.append(row)
            peak = f", peak {row['peak_share']:.0%}" if "peak_share" in row else ""
            print(
                f"{row['cell']:<26} {row['stock']:.2f} s -> {row['skinrl']:.2f} s: {row['ratio']['median']:.1f} times "
                f"[{row['ratio']['low']:.1f}, {row['ratio']['high']:.1f}], loss alone "
                f"{row['loss_ratio']['median']:.1f}{peak}; gradients differ by {row['gradient_difference']:.0e}",
                flush=True,
            )
            if arguments.json:
                arguments.json.write_text(json.dumps(rows, indent=2) + "\n")
    if arguments.chart:
        arguments.chart.write_text(chart(rows))


if __name__ == "__main__":
    main()
