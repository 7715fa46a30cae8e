"""Prompts once, images once: the log-probs of a group's completions from one packed row.

In GRPO the G completions of a group share one image and one prompt, and a batch of rows has each of them G times. Here
the rows of a group become ``prompt, completion 1, ..., completion G``: images are encoded once, the prompt runs
through the model once, each completion attends to its prompt and to itself (``prefix_attention``), its positions go on
from the prompt's end, and the output head runs where completions are. The numbers are those of the rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from skinrl.grpo.prefix_attention import PREFIX, Group, Layout, register

FAMILIES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")


class CannotShare(Exception):  # noqa: N818 (no error: the caller then uses the rows)
    """Why the rows of a model or of a batch cannot be packed, in words for a person."""


@dataclass(frozen=True)
class Rows:
    """A batch as TRL makes it: prompts padded on the left, completions on the right.

    Args:
        input_ids, attention_mask: (N, L).
        completion_width: columns of the completions, the last ones.
        mm_token_type_ids: (N, L), 0 for text and 1 for an image token; None without images.
        pixel_values: (patches of all rows, values of a patch), image_grid_thw: (images of all rows, 3), and
            num_images: per row; None without images.
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    completion_width: int
    mm_token_type_ids: torch.Tensor | None = None
    pixel_values: torch.Tensor | None = None
    image_grid_thw: torch.Tensor | None = None
    num_images: Sequence[int] | None = None

    def __len__(self) -> int:
        return self.input_ids.shape[0]

    def window(self, start: int, stop: int) -> Rows:
        """The rows from ``start`` to ``stop`` (left out), with their images."""
        pixels, grids, counts = self.pixel_values, self.image_grid_thw, self.num_images
        if pixels is not None and grids is not None and counts is not None:
            first, last = sum(counts[:start]), sum(counts[:stop])
            patches = [0, *grids.prod(-1).cumsum(0).tolist()]
            pixels, grids, counts = pixels[patches[first] : patches[last]], grids[first:last], counts[start:stop]
        types = None if self.mm_token_type_ids is None else self.mm_token_type_ids[start:stop]
        ids, mask = self.input_ids[start:stop], self.attention_mask[start:stop]
        return Rows(ids, mask, self.completion_width, types, pixels, grids, counts)

    @property
    def prompt_width(self) -> int:
        """Columns of the prompts, padding included."""
        return self.input_ids.shape[1] - self.completion_width

    def prompt(self, row: int) -> torch.Tensor:
        """(P,) prompt tokens of a row, without padding."""
        width = self.prompt_width
        return self.input_ids[row, :width][self.attention_mask[row, :width].bool()]

    def images_of_all(self) -> dict[str, Any]:
        """The arguments by which TRL's trainer passes the images of a batch."""
        names = ("mm_token_type_ids", "pixel_values", "image_grid_thw", "num_images")
        return {name: getattr(self, name) for name in names}

    def images(self, row: int) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Patches and grids of a row's images; None where it has none."""
        if self.pixel_values is None or self.image_grid_thw is None or self.num_images is None:
            return None
        first = sum(self.num_images[:row])
        last = first + self.num_images[row]
        if first == last:
            return None
        patches = self.image_grid_thw.prod(-1)
        start = int(patches[:first].sum())
        grids = self.image_grid_thw[first:last]
        return self.pixel_values[start : start + int(grids.prod(-1).sum())], grids


def groups_of(rows: Rows) -> list[range]:
    """Neighbouring rows with one prompt and the same images, as ranges that cover the batch."""
    found: list[range] = []
    for row in range(len(rows)):
        if found and _same_prompt(rows, found[-1].start, row):
            found[-1] = range(found[-1].start, row + 1)
        else:
            found.append(range(row, row + 1))
    return found


def _same_prompt(rows: Rows, a: int, b: int) -> bool:
    width = rows.prompt_width
    for values in (rows.attention_mask, rows.input_ids):
        if not torch.equal(values[a, :width], values[b, :width]):
            return False
    left, right = rows.images(a), rows.images(b)
    if left is None or right is None:
        return left is right
    return torch.equal(left[1], right[1]) and torch.equal(left[0], right[0])


def saved_share(rows: Rows, groups: Sequence[range]) -> float:
    """Share of the rows' tokens that packing leaves out, padding included."""
    packed = sum(tokens_of(rows, group) for group in groups)
    return 1.0 - packed / rows.input_ids.numel()


def needs_rows(rows: Rows) -> bool:
    """Whether images stand where packing does not look: in a completion (a tool's answer), or without token types."""
    types = rows.mm_token_type_ids
    if types is None:
        return rows.pixel_values is not None and rows.pixel_values.shape[0] > 0
    return bool(types[:, rows.prompt_width :].any())


def tokens_of(rows: Rows, group: range) -> int:
    """Tokens of a group in a packed row."""
    return len(rows.prompt(group.start)) + len(group) * _longest(rows, group)


def _longest(rows: Rows, group: range) -> int:
    """Tokens of the longest completion of a group."""
    mask = rows.attention_mask[group.start : group.stop, rows.prompt_width :]
    return max(1, int(mask.sum(-1).max()))


@dataclass(frozen=True)
class Packed:
    """Groups as one row: what the model is given, and where its scores belong in the batch.

    Args:
        inputs: keyword arguments of the model, ``shared_prefix`` among them.
        labels: (1, S) the token that each scored position predicts, -100 where it is padding.
        layout: the same as ``inputs["shared_prefix"]``.
    """

    inputs: dict[str, Any]
    labels: torch.Tensor
    layout: Layout

    def unpack(self, scores: torch.Tensor, width: int) -> torch.Tensor:
        """(1, S) scores of the scored positions -> (rows, ``width``), zero where a completion is shorter."""
        flat, at, parts = scores[0], 0, []
        for group in self.layout.groups:
            size = group.completions * group.length
            part = flat[at : at + size].view(group.completions, group.length)
            parts.append(torch.nn.functional.pad(part, (0, width - group.length)))
            at += size
        return torch.cat(parts)


def pack(rows: Rows, groups: Sequence[range], model: Any) -> Packed:
    """Make one row of the given neighbouring groups. ``model`` computes the prompts' positions (M-RoPE)."""
    tokens, masks, positions, scored, labels, types, pixels, grids, layout = [], [], [], [], [], [], [], [], []
    start = 0
    for group in groups:
        prompt = rows.prompt(group.start)
        length = _longest(rows, group)
        window = slice(rows.prompt_width, rows.prompt_width + length)
        completions = rows.input_ids[group.start : group.stop, window]
        mask = rows.attention_mask[group.start : group.stop, window]
        tokens += [prompt, completions.flatten()]
        masks += [torch.ones_like(prompt), torch.ones_like(mask).flatten()]  # padding comes last, nobody attends to it
        positions.append(_positions(rows, group, length, model))
        scored.append(_scored(start, len(prompt), len(group), length, prompt.device))
        labels.append(completions.masked_fill(mask == 0, -100).flatten())
        if rows.mm_token_type_ids is not None:
            width = rows.prompt_width
            own = rows.mm_token_type_ids[group.start, :width][rows.attention_mask[group.start, :width].bool()]
            types += [own, own.new_zeros(completions.numel())]
        shown = rows.images(group.start)
        if shown is not None:
            pixels.append(shown[0])
            grids.append(shown[1])
        layout.append(Group(len(prompt), len(group), length))
        start += layout[-1].tokens
    made = Layout(tuple(layout), torch.cat(scored))
    inputs: dict[str, Any] = {
        "input_ids": torch.cat(tokens)[None],
        "attention_mask": torch.cat(masks)[None],
        "position_ids": torch.cat(positions, -1),
        "shared_prefix": made,
    }
    if types:
        inputs["mm_token_type_ids"] = torch.cat(types)[None]
    if pixels:
        inputs |= {"pixel_values": torch.cat(pixels), "image_grid_thw": torch.cat(grids)}
    return Packed(inputs, torch.cat(labels)[None], made)


def _scored(start: int, prompt: int, completions: int, length: int, device: torch.device) -> torch.Tensor:
    """Positions before each completion token: the prompt's last one, then the completion's own but its last."""
    offsets = torch.arange(length, device=device).repeat(completions, 1) - 1
    first = start + prompt + torch.arange(completions, device=device)[:, None] * length
    at = first + offsets
    at[:, 0] = start + prompt - 1
    return at.flatten()


def _positions(rows: Rows, group: range, length: int, model: Any) -> torch.Tensor:
    """(3, 1, P + G*C) rotary positions: the prompt's, then for each completion those that follow the prompt's end."""
    prompt = rows.prompt(group.start)[None]
    shown = rows.images(group.start)
    if shown is None or rows.mm_token_type_ids is None:
        own = torch.arange(prompt.shape[1], device=prompt.device).expand(3, 1, -1)
    else:
        width = rows.prompt_width
        types = rows.mm_token_type_ids[group.start, :width][rows.attention_mask[group.start, :width].bool()][None]
        own, _ = model.get_rope_index(
            input_ids=prompt, mm_token_type_ids=types, image_grid_thw=shown[1], attention_mask=torch.ones_like(prompt)
        )
    after = own.max() + 1 + torch.arange(length, device=prompt.device)
    return torch.cat([own, after.repeat(len(group)).expand(3, 1, -1)], -1)


# --- the model ------------------------------------------------------------------------------------------------------


def install_shared_prefix(model: Any, form: str = "two_part") -> None:
    """Teach a model (wrapped by PEFT or not) to run packed rows, in place; rows run as before.

    Args:
        form: of the attention, one of ``prefix_attention.FORMS``.

    Raises:
        CannotShare: the model's family, its attention, its adapter or a dropout is not supported.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    config = base.config
    if config.model_type not in FAMILIES:
        raise CannotShare(f"the model is {config.model_type!r}; supported: {', '.join(FAMILIES)}")
    text = config.get_text_config()
    own = text._attn_implementation
    if own.startswith(PREFIX):
        return
    _refuse_attention(own, text)
    _refuse_adapter(model)
    for module in base.base_model.language_model.modules():
        rate = getattr(module, "attention_dropout", 0.0)
        if rate:
            raise CannotShare(f"it has attention dropout of {rate}; disable_dropout=true switches it off")
    vision = config.vision_config._attn_implementation
    base.set_attn_implementation({"text_config": register(own, form), "vision_config": vision})
    base.base_model.register_forward_hook(_keep_scored, with_kwargs=True)


def _refuse_attention(own: str, text: Any) -> None:
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    known = own in ALL_ATTENTION_FUNCTIONS.valid_keys() and own in ALL_MASK_ATTENTION_FUNCTIONS.valid_keys()
    if not known or "/" in own:  # a name with a slash is a kernel to load from a hub
        raise CannotShare(
            f"its attention is {own!r}, which transformers does not register; use attn_implementation: sdpa"
        )
    if "sliding_attention" in (getattr(text, "layer_types", None) or ()):
        raise CannotShare("it has layers with sliding-window attention")


def _refuse_adapter(model: Any) -> None:
    """Adapters that add tokens of their own, or count them from a row's end, need rows."""
    for name, adapter in getattr(model, "peft_config", {}).items():
        if adapter.is_prompt_learning:
            raise CannotShare(f"the adapter {name!r} is {adapter.peft_type.value}, which adds tokens to every row")
        if getattr(adapter, "alora_invocation_tokens", None):
            raise CannotShare(f"the adapter {name!r} is an activated LoRA, which looks for its tokens in every row")


def _keep_scored(module: Any, args: Any, kwargs: dict[str, Any], output: Any) -> Any:
    """Of a packed row, hand only the scored positions (1, S) to the output head."""
    layout = kwargs.get("shared_prefix")
    if layout is None:
        return None
    output.last_hidden_state = output.last_hidden_state[:, layout.scored]
    return output


def backbone(model: Any) -> Any:
    """The part that knows rotary positions, below PEFT and the output head."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    return base.base_model
