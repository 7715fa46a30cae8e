"""The batch of a step that raised, kept for the person who has to find out why.

Written to ``<output_dir>/failed_batches/step-<step>-rank-<rank>``: ``error.txt`` (traceback),
``rows.jsonl`` (dataset rows; images as PNG files beside it) and ``tensors.safetensors`` (what the
trainer had prepared, if it came that far). The folder holds the images of its rows: treat it like
the data.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import save_file

logger = logging.getLogger(__name__)

KEEP = 3


def save_failed_batch(
    output_dir: str | os.PathLike[str],
    error: BaseException,
    rows: Any,
    tensors: Sequence[Mapping[str, Any]] | None,
    *,
    step: int,
    rank: int,
    name: str = "",
) -> Path | None:
    """Write a failed batch; at most ``KEEP`` folders per rank stay. Returns its folder, or None if the disk refused.

    The folder appears under its final name only when it is complete.

    Args:
        name: why it is kept, in a word, where the step went on; it stands in front of the folder's name.
    """
    parent = Path(output_dir) / "failed_batches"
    prefix = f"{name}-" if name else ""
    final = parent / f"{prefix}step-{step:06d}-rank-{rank}"
    partial = parent / f".{final.name}.partial"
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        text = "".join(traceback.format_exception(error))
        (partial / "error.txt").write_text(text, encoding="utf-8")
        _write_rows(partial, rows)
        _write_tensors(partial, tensors)
        shutil.rmtree(final, ignore_errors=True)
        os.replace(partial, final)
        for old in sorted(parent.glob(f"{prefix}step-*-rank-{rank}"))[:-KEEP]:
            shutil.rmtree(old, ignore_errors=True)
    except OSError as refused:
        logger.warning("The batch of the failed step %d could not be written to %s: %s", step, final, refused)
        return None
    if not name:
        logger.error("Step %d failed; its batch is kept in %s", step, final)
    return final


def _write_rows(folder: Path, rows: Any) -> None:
    if not isinstance(rows, list):
        return
    with (folder / "rows.jsonl").open("w", encoding="utf-8") as file:
        for index, row in enumerate(rows):
            images = 0

            def plain(value: Any, index: int = index) -> Any:
                nonlocal images
                if isinstance(value, Image.Image):
                    name = f"row-{index}-image-{images}.png"
                    images += 1
                    value.save(folder / name)
                    return name
                return str(value)

            file.write(json.dumps(row, default=plain, ensure_ascii=False) + "\n")


def _write_tensors(folder: Path, batches: Sequence[Mapping[str, Any]] | None) -> None:
    tensors = {
        f"{index}.{name}": value.detach().cpu().contiguous().clone()
        for index, batch in enumerate(batches or [])
        for name, value in batch.items()
        if isinstance(value, torch.Tensor)
    }
    if tensors:
        save_file(tensors, folder / "tensors.safetensors")
