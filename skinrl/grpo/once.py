"""What a group shares is read, decoded, preprocessed and sent to the engine once.

TRL hands out every row G times: it decodes the image G times for each micro-batch, runs the processor on all rows
twice, and in colocate mode sends each row to vLLM as a request of its own. Here each distinct row, image and prompt
is worked on once, and the results are repeated by index: the same numbers, bit for bit.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset

_IMAGE_COLUMNS = ("image", "images")
_FEATURES = {"pixel_values", "image_grid_thw"}


# --- rows -----------------------------------------------------------------------------------------------------------


class DistinctRows(Dataset):
    """A dataset that reads each row of a batch once, however often the sampler names it.

    TRL's sampler names a row G times, and the whole batch again for every micro-batch, so the rows of the latest
    batch are kept. Rows with one index share their images; every other column is each row's own.
    """

    def __init__(self, rows: Any) -> None:
        self.rows = rows
        self._latest: dict[int, dict[str, Any]] = {}

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Any:
        return self.rows[index]

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        missing = [index for index in dict.fromkeys(indices) if index not in self._latest]
        read = self._read(missing)
        self._latest = {index: read[index] if index in read else self._latest[index] for index in indices}
        return [_own(self._latest[index]) for index in indices]

    def _read(self, indices: list[int]) -> dict[int, Any]:
        if not indices:
            return {}
        several = getattr(self.rows, "__getitems__", None)
        rows = several(indices) if several is not None else [self.rows[index] for index in indices]
        return dict(zip(indices, rows, strict=True))


def distinct_rows(dataset: Any) -> Any:
    """``dataset`` as :class:`DistinctRows`; a stream, which cannot be indexed, as it is."""
    indexed = hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")
    return DistinctRows(dataset) if indexed and not isinstance(dataset, IterableDataset) else dataset


def _own(row: dict[str, Any]) -> dict[str, Any]:
    """A row whose columns may be changed without changing the others', its images apart, which are shared."""
    return {
        name: (list(value) if isinstance(value, list) else value) if name in _IMAGE_COLUMNS else copy.deepcopy(value)
        for name, value in row.items()
    }


# --- the processor --------------------------------------------------------------------------------------------------


@contextmanager
def images_once(processor: Any) -> Iterator[None]:
    """While open, ``processor`` preprocesses each distinct image once, over all its calls.

    For image processors of the Qwen-VL kind (``pixel_values`` as one matrix of patches, ``image_grid_thw``); others
    work as before.
    """
    image_processor = getattr(processor, "image_processor", None)
    if image_processor is None or "preprocess" in vars(image_processor):  # open already
        yield
        return
    image_processor.preprocess = _Once(image_processor.preprocess)
    try:
        yield
    finally:
        del image_processor.preprocess


class _Once:
    """``preprocess`` of an image processor, with a memory of the images it has seen."""

    def __init__(self, preprocess: Callable[..., Any]) -> None:
        self._preprocess = preprocess
        # by object and arguments; the image stands beside, so that its id stays its own
        self._seen: dict[tuple[int, str], tuple[Image.Image, torch.Tensor, torch.Tensor]] = {}

    def __call__(self, images: Any, *args: Any, **kwargs: Any) -> Any:
        flat = _flat(images)
        if flat is None or len(flat) == 0 or kwargs.get("return_tensors") not in (None, "pt"):
            return self._preprocess(images, *args, **kwargs)
        with_what = repr((args, sorted((name, value) for name, value in kwargs.items() if name != "return_tensors")))
        index = distinct(flat)
        firsts = dict(zip(reversed(index), reversed(flat), strict=True))
        new = {at: image for at, image in sorted(firsts.items()) if (id(image), with_what) not in self._seen}
        if new:
            made = self._preprocess(list(new.values()), *args, **kwargs)
            parts = _by_image(made, len(new))
            if parts is None:  # an image processor of another kind
                return made if len(new) == len(flat) else self._preprocess(images, *args, **kwargs)
            for image, (patches, grid) in zip(new.values(), parts, strict=True):
                self._seen[id(image), with_what] = (image, patches, grid)
        features = [self._seen[id(firsts[at]), with_what] for at in index]
        return _batch_feature(
            {
                "pixel_values": torch.cat([patches for _, patches, _ in features]),
                "image_grid_thw": torch.stack([grid for _, _, grid in features]),
            },
            kwargs.get("return_tensors"),
        )


def _batch_feature(data: dict[str, torch.Tensor], kind: str | None) -> Any:
    from transformers import BatchFeature

    return BatchFeature(data=data, tensor_type=kind)


def _flat(images: Any) -> list[Image.Image] | None:
    """The images of a nested list in order; None where they are not all Pillow images."""
    if isinstance(images, Image.Image):
        return [images]
    if not isinstance(images, list | tuple):
        return None
    flat: list[Image.Image] = []
    for part in images:
        inner = _flat(part)
        if inner is None:
            return None
        flat += inner
    return flat


def _by_image(made: Any, count: int) -> list[tuple[torch.Tensor, torch.Tensor]] | None:
    """(patches, grid) of each image; None where the features are not those of the Qwen-VL kind."""
    if set(made) != _FEATURES or not all(isinstance(value, torch.Tensor) for value in made.values()):
        return None
    pixels, grids = made["pixel_values"], made["image_grid_thw"]
    sizes = grids.prod(-1).tolist()
    if len(sizes) != count or pixels.ndim != 2 or pixels.shape[0] != sum(sizes):
        return None
    return list(zip(pixels.split(sizes), grids, strict=True))


def distinct(items: Sequence[Any]) -> list[int]:
    """For each item the number of its kind, counted in order: items are of one kind where they are one object, or
    equal to their left neighbour.

    >>> distinct(["a", "a", "b", "b"])
    [0, 0, 1, 1]
    """
    kinds: dict[int, int] = {}
    index: list[int] = []
    for at, item in enumerate(items):
        if id(item) not in kinds:
            same = at > 0 and _equal(item, items[at - 1])
            kinds[id(item)] = index[-1] if same else max(index, default=-1) + 1
        index.append(kinds[id(item)])
    return index


def _equal(one: Any, other: Any) -> bool:
    try:
        return bool(one == other)
    except ValueError:  # arrays: which then count as different
        return False


# --- prompts --------------------------------------------------------------------------------------------------------

Tokenized = tuple[list[list[int]], list[Any] | None, dict[str, Any]]


def tokenized_once(tokenize: Callable[[list[Any]], Tokenized], prompts: list[Any]) -> Tokenized:
    """``tokenize`` on the distinct prompts, its token ids and images repeated for all rows.

    The tensors of the images are left out: for an engine that takes token ids and images.
    """
    index = distinct(prompts)
    firsts = [index.index(kind) for kind in range(max(index) + 1)]
    ids, images, _ = tokenize([prompts[at] for at in firsts])
    shown = None if images is None else [images[at] and list(images[at]) for at in index]
    return [list(ids[at]) for at in index], shown, {}


# --- the engine -----------------------------------------------------------------------------------------------------


@contextmanager
def prompts_once(llm: Any) -> Iterator[None]:
    """While open, ``llm.generate`` (a ``vllm.LLM``) takes equal neighbouring prompts as one with ``n`` completions.

    It still returns one output a prompt. Under tensor parallelism TRL hands every rank all prompts of its ranks, so
    groups that are spread over the ranks of one engine are whole there.
    """
    generate = llm.generate

    def once(prompts: list[dict[str, Any]], sampling_params: Any, **kwargs: Any) -> list[Any]:
        if sampling_params.n != 1 or sampling_params.temperature == 0:  # vLLM refuses several greedy samples
            return list(generate(prompts, sampling_params=sampling_params, **kwargs))
        index = distinct(prompts)
        counts = [index.count(kind) for kind in range(max(index, default=-1) + 1)]
        firsts = [index.index(kind) for kind in range(len(counts))]
        outputs = generate(
            [prompts[at] for at in firsts],
            sampling_params=[_with_n(sampling_params, count) for count in counts],
            **kwargs,
        )
        samples = [iter(output.outputs) for output in outputs]
        return [_with_outputs(outputs[kind], [next(samples[kind])]) for kind in index]

    llm.generate = once
    try:
        yield
    finally:
        llm.generate = generate


def _with_n(sampling_params: Any, count: int) -> Any:
    own = sampling_params.clone()
    own.n = count
    return own


def _with_outputs(output: Any, outputs: list[Any]) -> Any:
    own = copy.copy(output)
    own.outputs = outputs
    return own
