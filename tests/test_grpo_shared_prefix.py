"""Packed groups against rows: the same losses and gradients, for every family, and a planted fault is found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny_model import build_tiny_vlm
from tiny_trainers import grpo_trainer
from trl.trainer.utils import add_fused_lm_head
from vlm_families import END, FAMILIES, IMAGE, START, build_family

from skinrl.errors import InputError
from skinrl.grpo import shared_prefix
from skinrl.grpo.config import SkinGRPOConfig
from skinrl.grpo.groups import shuffle_groups
from skinrl.grpo.shared_prefix import Rows, backbone, groups_of, install_shared_prefix, pack
from skinrl.grpo.sharing import SharedPrefix
from skinrl.grpo.trainer import SkinGRPOTrainer

LOSS, GRADIENT = 1e-5, 1e-4  # absolute; relative to each tensor's norm


def rows(groups: Sequence[tuple[int, int, Sequence[tuple[int, int]]]], width: int = 7, seed: int = 3) -> Rows:
    """Groups of (completions, prompt words, grids of the images) as TRL batches them."""
    generator = torch.Generator().manual_seed(seed)
    words = lambda count: torch.randint(1, 49, (count,), generator=generator).tolist()  # noqa: E731
    prompts, counts, patches, grids = [], [], [], []
    for completions, length, images in groups:
        prompt = words(length)
        for height, wide in images:
            prompt += [START, *[IMAGE] * (height * wide // 4), END, *words(2)]
        pixels = [torch.randn(height * wide, 3 * 2 * 4 * 4, generator=generator) for height, wide in images]
        for _ in range(completions):
            prompts.append(prompt)
            counts.append(len(images))
            patches += pixels
            grids += [[1, height, wide] for height, wide in images]
    widest = max(map(len, prompts))
    ids, mask = [], []
    for prompt in prompts:
        length = int(torch.randint(1, width + 1, (1,), generator=generator))
        ids.append([0] * (widest - len(prompt)) + prompt + words(length) + [0] * (width - length))
        mask.append([0] * (widest - len(prompt)) + [1] * (len(prompt) + length) + [0] * (width - length))
    input_ids = torch.tensor(ids)
    return Rows(
        input_ids, torch.tensor(mask), width, (input_ids == IMAGE).long() if grids else None,
        torch.cat(patches) if patches else None, torch.tensor(grids) if grids else None, counts if grids else None,
    )  # fmt: skip


def model_of(family: str) -> Any:
    model = build_family(family)
    add_fused_lm_head(model, temperature=0.9, outputs=("log_probs", "entropy"))
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
    packed = pack(batch, groups_of(batch), backbone(model))
    out = model(**packed.inputs, shift_labels=packed.labels, fused_lm_head=True)
    return packed.unpack(out.log_probs, batch.completion_width), packed.unpack(out.entropy, batch.completion_width)


def loss_and_gradients(model: Any, scores: tuple[torch.Tensor, torch.Tensor]) -> tuple[float, dict[str, torch.Tensor]]:
    """A loss that weighs every token differently, so that no two may be exchanged unseen."""
    weights = torch.randn(scores[0].shape, generator=torch.Generator().manual_seed(5))
    loss = (weights * scores[0]).mean() + 0.1 * (weights * scores[1]).mean()
    model.zero_grad()
    loss.backward()
    return loss.item(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def compare(model: Any, batch: Rows) -> tuple[float, float]:
    """Difference of the losses, and the largest of the gradients, relative to the rows' own."""
    loss, gradients = loss_and_gradients(model, by_rows(model, batch))
    install_shared_prefix(model)
    packed_loss, packed = loss_and_gradients(model, by_groups(model, batch))
    assert gradients.keys() == packed.keys()
    worst = max(
        ((packed[n] - g).norm() / g.norm().clamp_min(1e-12)).item() for n, g in gradients.items() if g.norm() > 1e-9
    )
    return abs(loss - packed_loss), worst


BATCHES = {
    "one group": [(4, 5, [(4, 4)])],
    "groups of different prompts and images": [(3, 2, [(2, 2)]), (2, 9, [(4, 8)]), (4, 4, [(4, 4)])],
    "several images": [(3, 3, [(2, 2), (4, 4)]), (3, 6, [(4, 2)])],
    "no image": [(3, 5, []), (2, 8, [])],
    "with and without images": [(3, 5, []), (2, 3, [(4, 4)]), (1, 4, [])],
}


@pytest.mark.parametrize("batch", BATCHES.values(), ids=list(BATCHES))
@pytest.mark.parametrize("family", FAMILIES)
def test_groups_give_the_rows_losses_and_gradients(family, batch):
    loss, gradient = compare(model_of(family), rows(batch))
    assert loss < LOSS
    assert gradient < GRADIENT


def test_groups_are_found_by_prompt_and_image():
    batch = rows([(3, 2, [(2, 2)]), (2, 9, [(4, 8)]), (4, 4, [(4, 4)])])
    assert groups_of(batch) == [range(0, 3), range(3, 5), range(5, 9)]
    batch.pixel_values[4] += 1  # the second row's own image, of the same prompt
    assert groups_of(batch) == [range(0, 1), range(1, 2), range(2, 3), range(3, 5), range(5, 9)]


# --- in the trainer --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny_model_path(tmp_path_factory):
    return build_tiny_vlm(tmp_path_factory.mktemp("model"))


def train(path: Path, folder: Path, *, shared: bool, lora: bool = False, **settings: Any) -> Any:
    """Three steps of GRPO on two prompts of four completions each."""
    settings = {"per_device_train_batch_size": 8, "max_steps": 3, "shared_prefix": shared} | settings
    load = {"lora": {"r": 4, "alpha": 8}} if lora else {}
    torch.manual_seed(0)  # of the adapter
    trainer = grpo_trainer(
        path, folder, trainer_class=SkinGRPOTrainer, config_class=SkinGRPOConfig, load=load, **settings
    )
    trainer.train()
    return trainer


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"gradient_checkpointing": True},
        {"gradient_accumulation_steps": 2},
        {"beta": 0.1},
        {"num_iterations": 2, "max_steps": 4},
        {"lora": True},
    ],
    ids=lambda settings: "-".join(settings) or "plain",
)
def test_training_is_what_it_is_with_rows(tiny_model_path, tmp_path, settings):
    plain = train(tiny_model_path, tmp_path / "rows", shared=False, **settings)
    packed = train(tiny_model_path, tmp_path / "groups", shared=True, **settings)
    history = [[entry for entry in t.state.log_history if "grad_norm" in entry] for t in (plain, packed)]
    assert len(history[0]) == len(history[1]) >= 3
    for rows_log, groups_log in zip(*history, strict=True):
        assert groups_log["loss"] == pytest.approx(rows_log["loss"], abs=LOSS)
        assert groups_log["grad_norm"] == pytest.approx(rows_log["grad_norm"], rel=1e-3)
        assert groups_log["entropy"] == pytest.approx(rows_log["entropy"], abs=LOSS)
        assert groups_log["shared_prefix/tokens_saved"] > 0.3
        assert "shared_prefix/tokens_saved" not in rows_log


def test_groups_stay_together_when_a_batch_is_shuffled():
    torch.manual_seed(0)
    batch = {"ids": torch.arange(12), "names": list("abcdefghijkl"), "none": None, "count": torch.tensor(5)}
    mixed = shuffle_groups(batch, 3)
    assert mixed["none"] is None
    assert mixed["count"] == 5
    groups = mixed["ids"].view(4, 3).tolist()
    assert sorted(groups) == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]]
    assert groups != sorted(groups)
    assert ["abcdefghijkl"[index] for index in mixed["ids"]] == mixed["names"]


def test_a_batch_size_that_splits_groups_is_refused_with_one_that_works(tiny_model_path, tmp_path):
    with pytest.raises(InputError, match=r"per_device_train_batch_size is 2 .*such as 4 with grpo\.gradient_acc.*=2"):
        train(tiny_model_path, tmp_path, shared=True, per_device_train_batch_size=2, gradient_accumulation_steps=4)


def test_a_model_of_another_family_takes_the_rows_and_says_why(caplog):
    model = torch.nn.Module()
    model.config = SimpleNamespace(model_type="llava")
    with caplog.at_level("WARNING"):
        sharing = SharedPrefix([model], "float32", float)
    assert "the model is 'llava'; supported: qwen2_vl, qwen2_5_vl, qwen3_vl" in caplog.text
    batch = rows([(3, 5, [])])
    scores = (torch.zeros(3, 7), None)
    assert sharing.score(model, batch, 3, lambda part: scores) is scores


def test_packing_is_switched_off_where_it_differs(tiny_model_path, tmp_path, monkeypatch, caplog):
    """A planted fault: the completions' positions are off by one."""
    right = shared_prefix._positions

    def wrong(rows, group, length, model):
        positions = right(rows, group, length, model)
        positions[..., len(rows.prompt(group.start)) :] += 1
        return positions

    monkeypatch.setattr(shared_prefix, "_positions", wrong)
    with caplog.at_level("WARNING"):
        trainer = train(tiny_model_path, tmp_path, shared=True)
    assert "gave log-probs that differ by" in caplog.text
    assert trainer._sharing.off
