"""What the tests of packed rows share: batches, both ways to score them, what differs, and a planted fault."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from trl.trainer.utils import add_fused_lm_head
from vlm_families import END, IMAGE, START, build_family

from skinrl.grpo import prefix_attention
from skinrl.grpo.prefix_attention import Group
from skinrl.grpo.shared_prefix import Rows, groups_of, install_shared_prefix
from skinrl.grpo.sharing import packed_scores

LOSS, GRADIENT = 1e-5, 1e-4  # absolute; relative to each tensor's norm
LORA_TARGETS = r".*(q_proj|v_proj|up_proj|down_proj|qkv|attn\.proj|linear_fc1|mlp\.[02])$"  # all three parts


def rows(groups: Sequence[tuple[int, int, Sequence[tuple[int, int]]]], width: int = 7, seed: int = 3) -> Rows:
    """Groups of (completions, prompt words, grids of the images) as TRL batches them."""
    generator = torch.Generator().manual_seed(seed)
    words = lambda count: torch.randint(1, 49, (count,), generator=generator).tolist()  # noqa: E731
    prompts, counts, patches, grids, lengths = [], [], [], [], []
    for completions, length, images in groups:
        prompt = words(length)
        for height, wide in images:
            prompt += [START, *[IMAGE] * (height * wide // 4), END, *words(2)]
        pixels = [torch.randn(height * wide, 3 * 2 * 4 * 4, generator=generator) for height, wide in images]
        for index in range(completions):
            prompts.append(prompt)
            counts.append(len(images))
            patches += pixels
            grids += [[1, height, wide] for height, wide in images]
            least = 2 if index == 1 else 1  # the planted fault is in the second; one token alone would not show it
            lengths.append(int(torch.randint(least, width + 1, (1,), generator=generator)))
    widest = max(map(len, prompts))
    ids, mask = [], []
    for prompt, length in zip(prompts, lengths, strict=True):
        ids.append([0] * (widest - len(prompt)) + prompt + words(length) + [0] * (width - length))
        mask.append([0] * (widest - len(prompt)) + [1] * (len(prompt) + length) + [0] * (width - length))
    input_ids = torch.tensor(ids)
    return Rows(
        input_ids, torch.tensor(mask), width, (input_ids == IMAGE).long() if grids else None,
        torch.cat(patches) if patches else None, torch.tensor(grids) if grids else None, counts if grids else None,
    )  # fmt: skip


BATCHES: dict[str, list[tuple[int, int, list[tuple[int, int]]]]] = {
    "one group": [(4, 5, [(4, 4)])],
    "groups of different prompts and images": [(3, 2, [(2, 2)]), (2, 9, [(4, 8)]), (4, 4, [(4, 4)])],
    "several images": [(3, 3, [(2, 2), (4, 4)]), (3, 6, [(4, 2)])],
    "no image": [(3, 5, []), (2, 8, [])],
    "with and without images": [(3, 5, []), (2, 3, [(4, 4)]), (1, 4, [])],
}


def model_of(family: str, *, lora: bool = False, checkpointing: bool = False) -> Any:
    """A model as the trainer holds it, in float32; with ``lora``, adapters on language model, tower and merger."""
    model = build_family(family)
    add_fused_lm_head(model, temperature=0.9, outputs=("log_probs", "entropy"))
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    if lora:
        from peft import LoraConfig, get_peft_model

        torch.manual_seed(1)
        config = LoraConfig(r=4, lora_alpha=8, target_modules=LORA_TARGETS, init_lora_weights=False)
        model = get_peft_model(model, config)
    return model.train()


def by_rows(model: Any, batch: Rows) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probs and entropies as TRL computes them."""
    labels = batch.input_ids.masked_fill(batch.attention_mask == 0, -100)
    labels[:, : batch.prompt_width] = -100
    images = {"pixel_values": batch.pixel_values, "image_grid_thw": batch.image_grid_thw}
    images |= {"mm_token_type_ids": batch.mm_token_type_ids}
    out = model(
        input_ids=batch.input_ids, attention_mask=batch.attention_mask, labels=labels, fused_lm_head=True,
        **(images if batch.pixel_values is not None else {}),
    )  # fmt: skip
    return out.log_probs[:, -batch.completion_width :], out.entropy[:, -batch.completion_width :]


def by_groups(model: Any, batch: Rows) -> tuple[torch.Tensor, torch.Tensor]:
    """The same from one packed row."""
    install_shared_prefix(model)
    return packed_scores(model, batch, groups_of(batch))


def loss_of(scores: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """A loss that weighs every token differently, so that no two may be exchanged unseen."""
    weights = torch.randn(scores[0].shape, generator=torch.Generator().manual_seed(5))
    return (weights * scores[0]).mean() + 0.1 * (weights * scores[1]).mean()


def loss_and_gradients(model: Any, scores: tuple[torch.Tensor, torch.Tensor]) -> tuple[float, dict[str, torch.Tensor]]:
    loss = loss_of(scores)
    model.zero_grad()
    loss.backward()
    return loss.item(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def gradient_differences(model: Any, batch: Rows) -> tuple[float, float]:
    """Difference of the losses, and the largest of the gradients, relative to the rows' own."""
    loss, gradients = loss_and_gradients(model, by_rows(model, batch))
    packed_loss, packed = loss_and_gradients(model, by_groups(model, batch))
    assert gradients.keys() == packed.keys()
    assert len(gradients) > 20
    return abs(loss - packed_loss), largest_difference(gradients, packed)


def largest_difference(expected: dict[str, torch.Tensor], found: dict[str, torch.Tensor]) -> float:
    """Over all tensors, relative to the norm of the expected one. Where that is nothing, so must the other be."""
    worst = 0.0
    for name, tensor in expected.items():
        norm = tensor.norm().item()
        if norm > 1e-9:
            worst = max(worst, (found[name] - tensor).norm().item() / norm)
        else:
            assert found[name].norm().item() < 1e-7, name
    return worst


def end_points_apart(family: str, *, lora: bool, steps: int = 20) -> float:
    """Distance of the two end points after SGD with fixed completions, as a share of the way travelled."""
    batches = [rows(groups, seed=seed) for seed, groups in enumerate(BATCHES.values())]
    ends = []
    for score in (by_rows, by_groups):
        model = model_of(family, lora=lora)
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        start = torch.cat([parameter.detach().flatten() for parameter in trained])
        optimizer = torch.optim.SGD(trained, lr=0.02)
        for step in range(steps):
            optimizer.zero_grad()
            loss_of(score(model, batches[step % len(batches)])).backward()
            optimizer.step()
        ends.append(torch.cat([parameter.detach().flatten() for parameter in trained]))
    return ((ends[1] - ends[0]).norm() / (ends[0] - start).norm()).item()


# --- the planted fault ----------------------------------------------------------------------------------------------

FAULTS = ("sees one token too many", "sees one token too few")


def seen_by(groups: Sequence[Group], fault: str = "") -> torch.Tensor:
    """(T, T) whom each position attends to, written down token by token; with a fault, one completion errs by one.

    The second completion of the first group that has two then also sees the first token of the completion before it,
    or does not see the prompt's first token.
    """
    total = sum(group.tokens for group in groups)
    seen = torch.zeros(total, total, dtype=torch.bool)
    start = 0
    for group in groups:
        body = start + group.prompt
        for position in range(start, body):
            seen[position, start : position + 1] = True
        for completion in range(group.completions):
            first = body + completion * group.length
            for position in range(first, first + group.length):
                seen[position, start:body] = True
                seen[position, first : position + 1] = True
            if fault and completion == 1:
                other = body if fault == FAULTS[0] else start
                seen[first : first + group.length, other] = fault == FAULTS[0]
                fault = ""
        start += group.tokens
    return seen


@contextmanager
def planted(fault: str) -> Iterator[None]:
    """While open, packed rows are attended by a dense mask: ``fault`` of ``FAULTS``, or the right one with ``""``."""

    def attend(query: Any, key: Any, value: Any, groups: Any, scale: Any) -> torch.Tensor:
        repeats = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(repeats, 1), value.repeat_interleave(repeats, 1)
        return scaled_dot_product_attention(query, key, value, attn_mask=seen_by(groups, fault), scale=scale)

    right = prefix_attention.packed_attention
    prefix_attention.packed_attention = attend
    try:
        yield
    finally:
        prefix_attention.packed_attention = right
