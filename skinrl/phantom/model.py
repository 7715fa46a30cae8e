"""A tiny Qwen2.5-VL made on the spot: tokenizer, processor, weights, and a vision tower that has been taught to see.

A model of this size learns the wording of reports in a minute of SFT and never learns the image: the language loss
alone does not reach the vision tower. So the tower is warmed up first, on the visible attributes recorded for the
textbook images (never on clinical ones), through one linear head to each attribute that is thrown away afterwards.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from PIL import Image

from skinrl.data.prompts import question_text
from skinrl.data.questions import KINDS, Question
from skinrl.data.record import Record
from skinrl.errors import DataError, RunError
from skinrl.phantom.dataset import load
from skinrl.phantom.vocabulary import VOCABULARY
from skinrl.report import DiagnosticReport
from skinrl.taxonomy import Taxonomy
from skinrl.textbook.templates import make_trajectory

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast, Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLProcessor

SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
#: The fixed parts of a report, one token each, so that a report is short enough for a demonstration on a CPU.
SCAFFOLD = (
    "<think>\n",
    "Findings: ",
    "\nDifferential: 1. ",
    " 2. ",
    "\nReasoning: ",
    "\n</think>\n",
    "</think>\n",
    "<answer>\nDiagnosis: ",
    "\nMalignancy: ",
    "\nConfidence: ",
    "\n</answer>",
)
#: Qwen's chat template, less tools and videos. Content is text, or a list of {"type": "image"} and {"type": "text"}.
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif 'text' in part %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass(frozen=True)
class TinyShape:
    """Sizes of the model. vLLM on CPU wants heads of at least 32; `mrope_section` is half a head in three parts."""

    hidden: int = 128
    layers: int = 3
    feed_forward: int = 256
    vision_hidden: int = 128
    vision_layers: int = 3
    vision_feed_forward: int = 256
    patch: int = 14
    vocabulary: int = 1024
    max_positions: int = 2048

    HEAD = 32
    MROPE = (4, 6, 6)


@dataclass(frozen=True)
class WarmUp:
    """How the vision tower is taught the recorded attributes of the textbook images."""

    steps: int = 700
    batch: int = 32
    learning_rate: float = 2.5e-3


_Settings = TypeVar("_Settings", TinyShape, WarmUp)


def build(
    output_dir: Path | str,
    *,
    taxonomy: Taxonomy,
    seed: int = 0,
    textbook_count: int = 1200,
    size: int = 84,
    shape: Mapping[str, int] | None = None,
    warm_up: Mapping[str, float] | None = None,
    extra_texts: Sequence[str] = (),
    progress: bool = True,
) -> dict[str, Any]:
    """Write a tiny Qwen2.5-VL checkpoint (safetensors, tokenizer, processor) to `output_dir`, whole or not at all.

    Args:
        output_dir: replaced where it exists.
        taxonomy: its names are the words of the tokenizer.
        seed: textbook images (those of `dataset.load` with this seed and size), weights, order: the same seed gives
            the same weights on the same machine and number of threads.
        textbook_count: textbook images that teach the vision tower.
        size: side of the images in pixels; also the largest image that the processor passes on unshrunk.
        shape, warm_up: fields of `TinyShape` and `WarmUp` that differ from their defaults.
        extra_texts: further wording for the tokenizer. It is byte-level, so that it can write any text; what it was
            trained on takes fewer tokens.
        progress: show a progress bar.

    Returns:
        What was made: parameters, accuracy of each attribute's head over the last steps, seconds.

    Raises:
        DataError: a field of `shape` or `warm_up` that does not exist.
        RunError: the vision tower's loss is not finite.
    """
    import torch
    from transformers import set_seed

    sizes, schedule = _settings(TinyShape, shape, "shape"), _settings(WarmUp, warm_up, "warm_up")
    with tempfile.TemporaryDirectory(prefix="phantom-") as folder:
        records = load(folder, taxonomy, domain="textbook", split="train", count=textbook_count, seed=seed, size=size)
        texts = [*report_texts(records, taxonomy), *extra_texts]
        state = torch.random.get_rng_state()
        set_seed(seed)
        try:
            tokenizer = make_tokenizer(texts, sizes.vocabulary)
            processor = _make_processor(tokenizer, sizes, size)
            model = _make_model(tokenizer, sizes)
            made = _warm_up(model, processor, records, schedule, seed, progress) if schedule.steps else {}
        finally:
            torch.random.set_rng_state(state)
    made |= {
        "parameters": sum(p.numel() for p in model.parameters()),
        "vocabulary": len(tokenizer),
        "seed": seed,
        "shape": asdict(sizes),
    }
    _save(Path(output_dir), model, processor, made)
    return made


def report_texts(records: Sequence[Record], taxonomy: Taxonomy) -> list[str]:
    """The wording that the tokenizer is trained on: reports of the records, names of their classes, the questions."""
    asked = [Question("open", question_text("open", wording="short"))]
    reports = [make_trajectory(record, asked[0], taxonomy) for record in records]
    texts = [report.report.render() for report in reports if report is not None]
    names = {node for record in records for leaf in record.nodes for node in taxonomy.path(leaf)}
    # An answer alone, at any depth, several times over: rare names become whole tokens too.
    for node in sorted(names):
        alone = DiagnosticReport(taxonomy.node(node).name, taxonomy.behaviour(node))
        texts += [alone.render()] * 8
    return texts + [question_text(kind, wording="short") for kind in KINDS] * 8


def _settings(kind: type[_Settings], values: Mapping[str, Any] | None, name: str) -> _Settings:
    known = {field.name for field in fields(kind)}
    unknown = sorted(set(values or {}) - known)
    if unknown:
        raise DataError(f"{name} of the tiny model: unknown {unknown}; expected some of {sorted(known)}")
    return kind(**(values or {}))


def make_tokenizer(texts: Sequence[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE whose merges may cross spaces within a phrase, so that "seborrheic keratosis" is one token."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    # A phrase takes the punctuation before it along; numbers and line ends stand alone.
    phrase = Regex(r"\n|\d|(?:[,;:.] ?)?[^,;:.\n\d]+|[,;:.]")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(phrase, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    scaffold = [AddedToken(text, normalized=False, special=False) for text in SCAFFOLD]
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - len(scaffold),
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    pieces: list[str] = []
    for text in texts:
        for part in SCAFFOLD:
            text = text.replace(part, "\0")
        pieces.extend(piece for piece in text.split("\0") if piece)
    tokenizer.train_from_iterator(sorted(pieces), trainer)
    tokenizer.add_tokens(scaffold)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=list(SPECIAL_TOKENS),
        model_max_length=2048,
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
    )


def _make_processor(tokenizer: PreTrainedTokenizerFast, shape: TinyShape, size: int) -> Qwen2_5_VLProcessor:
    from transformers import Qwen2_5_VLProcessor, Qwen2VLImageProcessor, Qwen2VLVideoProcessor

    images = Qwen2VLImageProcessor(min_pixels=(2 * shape.patch) ** 2, max_pixels=size * size, patch_size=shape.patch)
    videos = Qwen2VLVideoProcessor(patch_size=shape.patch)
    return Qwen2_5_VLProcessor(
        image_processor=images, tokenizer=tokenizer, video_processor=videos, chat_template=CHAT_TEMPLATE
    )


def _make_model(tokenizer: PreTrainedTokenizerFast, shape: TinyShape) -> Qwen2_5_VLForConditionalGeneration:
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    heads = shape.hidden // shape.HEAD
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in SPECIAL_TOKENS}
    ends = {
        "bos_token_id": ids["<|endoftext|>"],
        "eos_token_id": ids["<|im_end|>"],
        "pad_token_id": ids["<|endoftext|>"],
    }
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": shape.hidden,
            "intermediate_size": shape.feed_forward,
            "num_hidden_layers": shape.layers,
            "num_attention_heads": heads,
            "num_key_value_heads": max(1, heads // 2),
            "max_position_embeddings": shape.max_positions,
            "rope_parameters": {"rope_type": "default", "mrope_section": list(shape.MROPE), "rope_theta": 10000.0},
            "tie_word_embeddings": True,
            **ends,
        },
        vision_config={
            "depth": shape.vision_layers,
            "hidden_size": shape.vision_hidden,
            "intermediate_size": shape.vision_feed_forward,
            "num_heads": shape.vision_hidden // shape.HEAD,
            "out_hidden_size": shape.hidden,
            "patch_size": shape.patch,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "window_size": 4 * shape.patch,
            "fullatt_block_indexes": list(range(shape.vision_layers)),
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=True,
        **ends,
    )
    model = Qwen2_5_VLForConditionalGeneration(config)
    model.generation_config.eos_token_id = ends["eos_token_id"]
    model.generation_config.pad_token_id = ends["pad_token_id"]
    return model


def _warm_up(
    model: Qwen2_5_VLForConditionalGeneration,
    processor: Qwen2_5_VLProcessor,
    records: Sequence[Record],
    schedule: WarmUp,
    seed: int,
    progress: bool,
) -> dict[str, Any]:
    """Train the vision tower and one linear head to each attribute; the heads are thrown away."""
    import math
    import time

    import numpy as np
    import torch
    import torch.nn.functional as F  # noqa: N812 (its usual name)
    from rich.progress import Progress

    start = time.monotonic()
    images, targets = _attribute_images(records)
    patches = _patcher(processor, images)
    tower = model.model.visual
    heads = torch.nn.ModuleList(
        torch.nn.Linear(2 * tower.config.out_hidden_size, len(words)) for words in VOCABULARY.values()
    )
    weights = [*tower.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=schedule.learning_rate, weight_decay=0.01)
    rng = np.random.default_rng([seed, 7])
    right = torch.zeros(len(heads))
    tower.train()
    with Progress(disable=not progress, transient=True) as bar:
        task = bar.add_task("teaching the vision tower", total=schedule.steps)
        for step in range(schedule.steps):
            rate = min(1.0, (step + 1) / 20) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / schedule.steps)))
            for group in optimizer.param_groups:
                group["lr"] = schedule.learning_rate * rate
            pick = torch.from_numpy(rng.integers(0, len(images), schedule.batch))
            # A lesion on its side is the same lesion: four times the plates for nothing.
            shown = torch.rot90(images[pick], int(rng.integers(4)), (2, 3))
            features = model.get_image_features(*patches(shown)).pooler_output
            seen = torch.stack(list(features))
            seen = torch.cat([seen.mean(1), seen.amax(1)], -1)
            logits = [head(seen) for head in heads]
            wanted = targets[pick]
            loss = torch.stack([F.cross_entropy(z, wanted[:, k], ignore_index=-1) for k, z in enumerate(logits)]).sum()
            if not torch.isfinite(loss):
                raise RunError(f"vision warm-up: loss {loss.item()} at step {step}; lower the learning rate")
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
            hits = torch.stack([(z.argmax(-1) == wanted[:, k]).float().mean() for k, z in enumerate(logits)])
            right += (hits - right) * (1.0 if step == 0 else 0.1)
            bar.update(task, advance=1, description=f"teaching the vision tower, loss {loss.item():.2f}")
    accuracy = {name: round(float(value), 3) for name, value in zip(VOCABULARY, right, strict=True)}
    return {"warm_up_accuracy": accuracy, "warm_up_seconds": round(time.monotonic() - start, 1)}


def _attribute_images(records: Sequence[Record]) -> tuple[torch.Tensor, torch.Tensor]:
    """Pixels (N, 3, H, W) as bytes, and the number of each recorded word (N, attributes), -1 where none is."""
    import numpy as np
    import torch

    pixels = []
    for record in records:
        with Image.open(record.images[0]) as image:
            pixels.append(np.asarray(image.convert("RGB")))
    targets = [
        [
            words.index(record.concepts[name][0]) if record.concepts.get(name) else -1
            for name, words in VOCABULARY.items()
        ]
        for record in records
    ]
    return torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).contiguous(), torch.tensor(targets)


def _patcher(
    processor: Qwen2_5_VLProcessor, images: torch.Tensor
) -> Callable[[torch.Tensor], tuple[torch.Tensor, ...]]:
    """The image processor's arithmetic for square images (B, 3, S, S) of the right size, without its overhead.

    Returns a function to (patches, grid) as the vision tower takes them; checked against the processor once.
    """
    import torch

    settings = processor.image_processor
    size, patch, merge = images.shape[-1], settings.patch_size, settings.merge_size
    rows = size // patch
    mean = torch.tensor(settings.image_mean)[:, None, None]
    std = torch.tensor(settings.image_std)[:, None, None]

    def patches(shown: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        values = (shown.float() / 255 - mean) / std
        cut = values.reshape(-1, 3, rows // merge, merge, patch, rows // merge, merge, patch)
        cut = cut.permute(0, 2, 5, 3, 6, 1, 4, 7)
        # Two equal frames: to the tower a photograph is a very short video.
        cut = cut.unsqueeze(6).expand(*cut.shape[:6], settings.temporal_patch_size, patch, patch)
        grid = torch.tensor([[1, rows, rows]]).expand(len(shown), 3)
        return cut.reshape(len(shown) * rows * rows, -1), grid

    first = Image.fromarray(images[0].permute(1, 2, 0).numpy())
    theirs = settings(images=[first], return_tensors="pt")["pixel_values"]
    ours = patches(images[:1])[0]
    if ours.shape != theirs.shape or not torch.allclose(ours, theirs, atol=1e-4):
        raise RunError("the vision warm-up cuts images into other patches than the image processor does")
    return patches


def _save(folder: Path, model: Any, processor: Any, made: dict[str, Any]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        model.save_pretrained(temporary)
        processor.save_pretrained(temporary)
        (temporary / "tiny_model.json").write_text(json.dumps(made, indent=1, sort_keys=True), "utf-8")
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
