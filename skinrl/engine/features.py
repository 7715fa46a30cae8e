"""Features of images from frozen encoders: the policy's own vision tower, or any encoder of timm or open_clip.

A linear classifier on them (`skinrl.evaluation.probe`) says what the images give without a word of language. Features
are kept on disk by the pixels of the image and the weights of the encoder, so that a tower that was frozen in training
is asked once for all stages.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from skinrl import files
from skinrl.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

Features = NDArray[np.float32]
_KEPT = 16  # batches that are lost at most when a run is stopped
_PACKAGES = {"timm": "timm", "open_clip": "open_clip_torch"}  # library -> what pip calls it


class Encoder(Protocol):
    """A frozen encoder of images.

    Attributes:
        name: for people, such as `timm:vit_small_patch14_dinov2`.
        key: a checksum of the weights and the preprocessing: equal keys give equal features.
    """

    name: str
    key: str

    def encode(self, images: Sequence[Image.Image]) -> Features:
        """Features (images, D)."""


def check_encoder(name: str) -> tuple[str, str, str]:
    """Library, model and weights (or no text) of an encoder's name.

    Raises:
        InputError: another form of name, or a library that is not installed, with the line that installs it.
    """
    library, _, rest = name.partition(":")
    model, _, weights = rest.partition("@")
    if library not in _PACKAGES or not model:
        raise InputError(
            f"baseline {name!r}: expected policy, base, timm:NAME, timm:NAME@FILE, open_clip:MODEL@TAG or "
            "open_clip:MODEL@FILE"
        )
    if importlib.util.find_spec(library) is None:
        raise InputError(
            f"baseline {name!r} needs {library}, which is not installed: pip install {_PACKAGES[library]}"
        )
    return library, model, weights


def open_encoder(name: str, *, device: str | None = None) -> Encoder:
    """An encoder of another library.

    Args:
        name: `timm:NAME`, `timm:NAME@FILE`, `open_clip:MODEL@TAG` or `open_clip:MODEL@FILE`: with the library's
            own names (`timm:hf-hub:owner/name` and `open_clip:hf-hub:owner/name` too); FILE holds weights.
        device: None: the GPU where there is one.

    Raises:
        InputError: another form of name, a library that is not installed, a model or weights that are not there.
    """
    library, model, weights = check_encoder(name)
    make = {"timm": _make_timm, "open_clip": _make_open_clip}[library]
    try:
        module, transform = make(model, weights)
    except (OSError, RuntimeError, ValueError) as problem:
        reason = str(problem).strip().partition("\n")[0]
        raise InputError(
            f"baseline {name!r}: {library} could not load it ({reason}). Name a model that it knows, with weights in "
            "its cache or as NAME@FILE"
        ) from problem
    return _ModuleEncoder(name, module, transform, device)


def _make_timm(model: str, weights: str) -> tuple[Any, Any]:
    import timm

    settings = {"pretrained_cfg_overlay": {"file": weights}} if weights else {}
    module = timm.create_model(model, pretrained=True, num_classes=0, **settings)
    return module, timm.data.create_transform(**timm.data.resolve_model_data_config(module), is_training=False)


def _make_open_clip(model: str, weights: str) -> tuple[Any, Any]:
    import open_clip

    if not weights and ":" not in model:
        raise ValueError("no weights are named; without them open_clip draws random ones")
    whole, _, transform = open_clip.create_model_and_transforms(model, pretrained=weights or None)
    return _ImageSide(whole), transform


class _ImageSide(torch.nn.Module):
    """The half of a CLIP that looks at images."""

    def __init__(self, whole: Any) -> None:
        super().__init__()
        self.visual = whole.visual

    def forward(self, pixels: torch.Tensor) -> Any:
        return self.visual(pixels)


class _ModuleEncoder:
    """A module that takes (N, 3, H, W) and gives (N, D), with the transform that belongs to it."""

    def __init__(self, name: str, module: Any, transform: Callable[[Any], Any], device: str | None) -> None:
        self.name = name
        self._device = device or _best_device()
        self._transform = transform
        self.key = _checksum(module, repr(transform))
        self._module = module.to(self._device).eval()

    @torch.inference_mode()
    def encode(self, images: Sequence[Image.Image]) -> Features:
        pixels = torch.stack([self._transform(image) for image in images]).to(self._device)
        return _as_features(self._module(pixels))


class PolicyEncoder:
    """Vision tower and merger of a vision-language model (Qwen2-VL, 2.5-VL and 3-VL families), mean over the image.

    Only the tower is put on the device; the language model stays where it was read.

    Args:
        model_path: checkpoint folder or hub id.
        adapter: folder of a LoRA adapter that is merged in.
        dtype: `auto` for the checkpoint's own.
        min_pixels, max_pixels: image size limits in pixels (height times width), as in training.

    Raises:
        InputError: the model takes no images.
    """

    def __init__(
        self,
        model_path: str,
        *,
        adapter: str | None = None,
        dtype: str = "auto",
        min_pixels: int | None = None,
        max_pixels: int | None = None,
        device: str | None = None,
        revision: str | None = None,
    ) -> None:
        from skinrl.engine.chat import load_processor
        from skinrl.engine.prompts import set_image_size
        from skinrl.engine.transformers_engine import load_model

        processor = load_processor(model_path, revision)
        whole = load_model(model_path, dtype=dtype, adapter=adapter, device="cpu", revision=revision)
        tower = getattr(getattr(whole, "model", None), "visual", None)
        if tower is None or not hasattr(processor, "image_processor"):
            raise InputError(
                f"{model_path}: {type(whole).__name__} has no vision tower of the Qwen-VL kind, so the baseline "
                "`policy` cannot be measured; name an encoder instead (evaluation.baselines: [timm:NAME])"
            )
        self.name = "policy"
        self._images = processor.image_processor
        set_image_size(self._images, min_pixels, max_pixels)
        self.key = _checksum(tower, json.dumps(self._images.to_dict(), sort_keys=True, default=str))
        self._whole = whole
        self._device = device or _best_device()
        tower.to(self._device)

    @torch.inference_mode()
    def encode(self, images: Sequence[Image.Image]) -> Features:
        inputs = self._images(images=list(images), return_tensors="pt")
        found = self._whole.get_image_features(
            inputs["pixel_values"].to(self._device), inputs["image_grid_thw"].to(self._device)
        )
        return _as_features(torch.stack([tokens.float().mean(dim=0) for tokens in found.pooler_output]))


def _best_device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _as_features(found: torch.Tensor) -> Features:
    return np.asarray(found.float().cpu().numpy(), dtype=np.float32)


def _checksum(module: torch.nn.Module, preprocessing: str) -> str:
    digest = hashlib.sha256(preprocessing.encode())
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


# --- many images, kept on disk -------------------------------------------------------------------------------------


def features_of(
    encoder: Encoder,
    images: Mapping[str, str],
    read: Callable[[str], Image.Image],
    *,
    cache: Path | None = None,
    batch: int = 32,
    advance: Callable[[int], None] = lambda count: None,
) -> dict[str, Features]:
    """Features of images, each computed once.

    Args:
        images: checksum of the pixels -> file.
        read: opens a file: upright, RGB.
        cache: SQLite file that keeps features by the encoder's `key` and the pixels; holds no pixels and no names.
        batch: images at once.
        advance: told how many images are done.

    Returns:
        checksum -> features (D,).
    """
    found = _read(cache, encoder.key, set(images)) if cache is not None else {}
    advance(len(found))
    todo = [pixels for pixels in images if pixels not in found]
    fresh: dict[str, Features] = {}
    with ThreadPoolExecutor(4) as pool:
        for start in range(0, len(todo), batch):
            part = todo[start : start + batch]
            rows = encoder.encode(list(pool.map(read, [images[pixels] for pixels in part])))
            fresh.update(zip(part, rows, strict=True))
            advance(len(part))
            if cache is not None and (len(fresh) >= _KEPT * batch or start + batch >= len(todo)):
                _write(cache, encoder.key, fresh)
                found.update(fresh)
                fresh = {}
    return found | fresh


_TABLE = "features (encoder TEXT, pixels TEXT, vector BLOB, PRIMARY KEY (encoder, pixels))"


def _read(cache: Path, key: str, wanted: set[str]) -> dict[str, Features]:
    with closing(files.open_cache(cache, _TABLE)) as connection:
        rows = connection.execute("SELECT pixels, vector FROM features WHERE encoder = ?", (key,))
        return {pixels: np.frombuffer(vector, dtype=np.float32) for pixels, vector in rows if pixels in wanted}


def _write(cache: Path, key: str, rows: Mapping[str, Features]) -> None:
    with closing(files.open_cache(cache, _TABLE)) as connection, connection:
        connection.executemany(
            "INSERT OR REPLACE INTO features VALUES (?, ?, ?)",
            [(key, pixels, np.ascontiguousarray(row, dtype=np.float32).tobytes()) for pixels, row in rows.items()],
        )
