"""Packed groups against rows: the same losses and gradients, for every family; a planted fault fails each check."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from packed_rows import (
    BATCHES,
    FAULTS,
    GRADIENT,
    LOSS,
    by_groups,
    by_rows,
    end_points_apart,
    gradient_differences,
    model_of,
    planted,
    rows,
    seen_by,
)
from vlm_families import FAMILIES, IMAGE, START, batch, build_family

from skinrl.grpo import prefix_attention, sharing
from skinrl.grpo.budget import in_more_parts, parts_within
from skinrl.grpo.groups import shuffle_groups
from skinrl.grpo.prefix_attention import Group, Layout, flex_packed_attention, packed_attention
from skinrl.grpo.shared_prefix import CannotShare, Rows, groups_of, install_shared_prefix
from skinrl.grpo.sharing import SharedPrefix, packed_scores

END_POINTS = 1e-3  # of the way travelled
WAYS = {
    "full": {},
    "lora": {"lora": True},
    "checkpointing": {"checkpointing": True},
    "lora-checkpointing": {"lora": True, "checkpointing": True},
}


@pytest.fixture(params=list(FAMILIES))
def family(request):
    return request.param


@pytest.fixture(params=list(WAYS))
def way(request):
    return WAYS[request.param]


@pytest.mark.parametrize("groups", BATCHES.values(), ids=list(BATCHES))
def test_groups_give_the_rows_losses_and_gradients(family, way, groups):
    loss, gradient = gradient_differences(model_of(family, **way), rows(groups))
    assert loss < LOSS
    assert gradient < GRADIENT


@pytest.mark.parametrize("fault", FAULTS)
def test_one_token_wrong_in_one_mask_fails_that_comparison_everywhere(family, way, fault):
    for groups in BATCHES.values():
        with planted(fault):
            loss, gradient = gradient_differences(model_of(family, **way), rows(groups))
        assert loss > LOSS
        assert gradient > GRADIENT


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
def test_twenty_steps_end_where_rows_end_and_elsewhere_with_a_token_wrong(family, lora):
    assert end_points_apart(family, lora=lora) < END_POINTS
    for fault in FAULTS:
        with planted(fault):
            assert end_points_apart(family, lora=lora) > END_POINTS


def test_a_dense_mask_written_token_by_token_is_the_same_attention(family):
    model, groups = model_of(family), rows(BATCHES["with and without images"])
    with torch.no_grad():
        two_part = by_groups(model, groups)
        with planted(""):
            dense = by_groups(model, groups)
    for one, other in zip(two_part, dense, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


def test_bfloat16_rounds_packed_rows_no_more_than_rows(family):
    """On CPU, rows in bfloat16 are the same bits at any batch size, so the measure is what float32 says of both."""
    off_rows, off_packed, apart = [], [], []
    for groups in BATCHES.values():
        some = rows(groups, width=24)
        mask = some.attention_mask[:, some.prompt_width :].bool()
        with torch.no_grad():
            model = model_of(family)
            truth = by_rows(model, some)[0][mask]
            model = model.to(torch.bfloat16)
            plain, packed = (score(model, some)[0].float()[mask] for score in (by_rows, by_groups))
        off_rows.append((plain - truth).abs())
        off_packed.append((packed - truth).abs())
        apart.append((packed - plain).abs())
    error = torch.cat(off_rows).mean()
    assert 0 < torch.cat(apart).mean() < error
    assert torch.cat(off_packed).mean() < 1.15 * error


# --- forms of the attention ------------------------------------------------------------------------------------------

LAYOUT = (Group(5, 3, 4), Group(2, 1, 6), Group(9, 2, 1))


def test_the_block_mask_lets_through_what_the_token_by_token_mask_does():
    mask = Layout(LAYOUT, torch.arange(3)).block_mask.mask_mod
    at = torch.arange(sum(group.tokens for group in LAYOUT))
    assert torch.equal(mask(0, 0, at[:, None], at[None]), seen_by(LAYOUT))


@pytest.mark.parametrize("form", ["_merged", "_copied"])
@pytest.mark.parametrize("size", [1.0, 30.0], ids=["usual", "one part takes all the weight"])
def test_each_form_has_the_gradients_of_the_dense_mask(monkeypatch, form, size):
    """``_merged`` is what float32 on CPU takes, ``_copied`` everything else."""
    monkeypatch.setattr(prefix_attention, "_merged", getattr(prefix_attention, form))
    generator = torch.Generator().manual_seed(0)
    tokens = sum(group.tokens for group in LAYOUT)
    found = []
    inputs = [torch.randn(1, heads, tokens, 16, generator=generator) for heads in (4, 2, 2)]
    inputs[0] *= size
    weights = torch.randn(1, 4, tokens, 16, generator=generator)
    weights[:, :, 8] = 0  # a position that nothing depends on
    for fault in (None, ""):
        query, key, value = (tensor.clone().requires_grad_() for tensor in inputs)
        with nullcontext() if fault is None else planted(fault):
            output = prefix_attention.packed_attention(query, key, value, LAYOUT, 0.25)
        (weights * output).sum().backward()
        found.append([output, query.grad, key.grad, value.grad])
    for one, other in zip(*found, strict=True):
        assert (one - other).norm() < 1e-5 * other.norm()


@torch.no_grad()  # torch has no backward of it on CPU
def test_flex_attention_is_the_two_part_attention():
    generator = torch.Generator().manual_seed(0)
    tokens = sum(group.tokens for group in LAYOUT)
    query, key, value = (torch.randn(1, heads, tokens, 16, generator=generator) for heads in (4, 2, 2))
    expected = packed_attention(query, key, value, LAYOUT, 0.2)
    found = flex_packed_attention(query, key, value, Layout(LAYOUT, torch.arange(3)), 0.2)
    torch.testing.assert_close(found, expected, atol=2e-6, rtol=0)


@torch.no_grad()
def test_a_model_with_flex_attention_gives_the_rows_scores(family):
    model, some = model_of(family), rows(BATCHES["groups of different prompts and images"])
    expected = by_rows(model, some)
    install_shared_prefix(model, "flex")
    found = packed_scores(model, some, groups_of(some))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


# --- groups, and packed rows within a budget -------------------------------------------------------------------------


def test_groups_are_found_by_prompt_and_image():
    some = rows([(3, 2, [(2, 2)]), (2, 9, [(4, 8)]), (4, 4, [(4, 4)])])
    assert groups_of(some) == [range(0, 3), range(3, 5), range(5, 9)]
    some.pixel_values[4] += 1  # the second row's own image, of the same prompt
    assert groups_of(some) == [range(0, 1), range(1, 2), range(2, 3), range(3, 5), range(5, 9)]


def full_rows(completions: int, prompt: int, width: int) -> Rows:
    """One group whose completions are all of full length."""
    ids = torch.ones(completions, prompt + width, dtype=torch.long)
    return Rows(ids, torch.ones_like(ids), width)


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        (90, [[range(0, 8)]]),  # 10 + 8 * 10
        (89, [[range(0, 4)], [range(4, 8)]]),  # halves of 10 + 4 * 10
        (49, [[range(0, 2)], [range(2, 5)], [range(5, 8)]]),
        (20, [[range(row, row + 1)] for row in range(8)]),
        (1, [[range(row, row + 1)] for row in range(8)]),
    ],
)
def test_a_group_above_the_budget_is_cut(budget, expected):
    some = full_rows(8, 10, 10)
    assert parts_within(some, groups_of(some), budget) == expected


def test_groups_share_a_packed_row_up_to_the_budget():
    ids = torch.tensor([[group] * 4 for group in (1, 1, 2, 2, 3, 3)])
    some = Rows(ids, torch.ones_like(ids), 2)  # each group 2 + 2 * 2 tokens
    groups = groups_of(some)
    assert groups == [range(0, 2), range(2, 4), range(4, 6)]
    assert parts_within(some, groups, 18) == [groups]
    assert parts_within(some, groups, 17) == [groups[:2], groups[2:]]
    assert parts_within(some, groups, 6) == [[group] for group in groups]


def test_parts_are_cut_until_there_are_as_many_as_elsewhere():
    parts = [[range(0, 2), range(2, 5)], [range(5, 6)]]
    assert in_more_parts(parts, 2) == parts
    assert in_more_parts(parts, 3) == [[range(0, 2)], [range(2, 5)], [range(5, 6)]]
    assert in_more_parts(parts, 4) == [[range(0, 2)], [range(2, 3)], [range(3, 5)], [range(5, 6)]]
    assert in_more_parts(parts, 9) == [[range(row, row + 1)] for row in range(6)]


@torch.no_grad()
@pytest.mark.parametrize("budget", [1, 60, 100])
def test_scores_do_not_depend_on_the_budget(family, budget):
    model, some = model_of(family), rows(BATCHES["with and without images"])
    passes: list[int] = []
    model.register_forward_pre_hook(lambda *_: passes.append(1))
    expected = by_rows(model, some)
    for elsewhere, count in ((0, None), (6, 6)):  # passes that another process needs
        asked = lambda own, elsewhere=elsewhere: max(own, elsewhere)  # noqa: E731
        shared = SharedPrefix([model], "float32", asked, max_tokens=budget)
        shared._checked = True
        passes.clear()
        found = shared.score(model, some, len(some), lambda part: by_rows(model, part))
        assert count is None or budget == 1 or len(passes) == count
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


def test_groups_stay_together_when_a_batch_is_shuffled():
    torch.manual_seed(0)
    some = {"ids": torch.arange(12), "names": list("abcdefghijkl"), "none": None, "count": torch.tensor(5)}
    mixed = shuffle_groups(some, 3)
    assert mixed["none"] is None
    assert mixed["count"] == 5
    groups = mixed["ids"].view(4, 3).tolist()
    assert sorted(groups) == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]]
    assert groups != sorted(groups)
    assert ["abcdefghijkl"[index] for index in mixed["ids"]] == mixed["names"]
    with pytest.raises(ValueError, match="12 rows are not whole groups of 5"):
        shuffle_groups(some, 5)


# --- what cannot share takes the rows --------------------------------------------------------------------------------


def reason(model: Any) -> str:
    with pytest.raises(CannotShare) as found:
        install_shared_prefix(model)
    return str(found.value)


def test_a_model_of_another_family_takes_the_rows_and_says_why(caplog):
    model = torch.nn.Module()
    model.config = SimpleNamespace(model_type="llava")
    with caplog.at_level("WARNING"):
        shared = SharedPrefix([model], "float32", float)
    assert "the model is 'llava'; supported: qwen2_vl, qwen2_5_vl, qwen3_vl" in caplog.text
    some = rows([(3, 5, [])])
    scores = (torch.zeros(3, 7), None)
    assert shared.score(model, some, 3, lambda part: scores) is scores


def test_an_attention_or_dropout_that_cannot_be_packed_is_named():
    model = build_family("qwen2_vl")
    model.set_attn_implementation("eager")
    assert "'eager', which transformers does not register" in reason(model)
    model = build_family("qwen2_vl")
    model.model.language_model.layers[0].self_attn.attention_dropout = 0.1
    assert "attention dropout of 0.1" in reason(model)


def test_adapters_that_need_rows_are_named():
    from peft import LoraConfig, PromptTuningConfig, get_peft_model

    prompts = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    assert "PROMPT_TUNING, which adds tokens to every row" in reason(get_peft_model(build_family("qwen2_vl"), prompts))
    activated = LoraConfig(target_modules=["q_proj"], task_type="CAUSAL_LM", alora_invocation_tokens=[3, 4])
    assert "an activated LoRA" in reason(get_peft_model(build_family("qwen2_vl"), activated))


@torch.no_grad()
@pytest.mark.parametrize("where", ["in a completion", "without token types"])
def test_images_where_packing_does_not_look_take_the_rows(where):
    model, some = model_of("qwen2_vl"), rows([(3, 5, [(4, 4)])])
    if where == "in a completion":  # a tool answered with it
        some.mm_token_type_ids[1, -2] = 1
    else:
        some = replace(some, mm_token_type_ids=None)
    shared = SharedPrefix([model], "float32", float)
    scores = (torch.zeros(3, 7), None)
    assert torch.equal(shared.score(model, some, 3, lambda part: scores)[0], scores[0])
    assert shared.saved == 0
    assert not shared.off


@torch.no_grad()
@pytest.mark.parametrize("fault", FAULTS)
def test_the_check_at_start_finds_a_token_wrong_in_one_mask(family, fault, caplog):
    model, some = model_of(family), rows(BATCHES["groups of different prompts and images"])
    right, wrong = (SharedPrefix([model], "float32", float) for _ in range(2))
    expected = by_rows(model, some)[0]
    scores = right.score(model, some, len(some), lambda part: by_rows(model, part))[0]
    assert not right.off
    assert right.saved > sharing.SMALLEST_SAVING
    torch.testing.assert_close(scores, expected, atol=1e-5, rtol=0)
    with planted(fault), caplog.at_level("WARNING"):
        scores = wrong.score(model, some, len(some), lambda part: by_rows(model, part))[0]
    assert "gave log-probs that differ by" in caplog.text
    assert wrong.off
    assert torch.equal(scores, expected)


def test_the_check_at_start_makes_as_many_passes_whatever_the_groups_are():
    """Under ZeRO-3 processes would otherwise wait for each other for ever."""
    model = model_of("qwen2_vl")
    passes: list[int] = []
    model.register_forward_pre_hook(lambda *_: passes.append(1))
    for groups in ([(8, 3, [])], [(2, 3, []), (3, 4, [(4, 4)]), (3, 5, [])], [(1, 3, [])] * 8):
        passes.clear()
        shared = SharedPrefix([model], "float32", float)
        with torch.no_grad():
            shared.score(model, rows(groups), 4, lambda part: by_rows(model, part))
        assert len(passes) == 2 + 2  # one group both ways, then two windows


# --- beside training -------------------------------------------------------------------------------------------------


def test_a_taught_model_generates_and_scores_rows_as_before(family):
    some = batch(image=True)
    plain, taught = build_family(family).eval(), build_family(family).eval()
    install_shared_prefix(taught)
    with torch.no_grad():
        for model in (plain, taught):
            model.generation_config.pad_token_id = 0
        options = {"max_new_tokens": 8, "do_sample": False, "suppress_tokens": [IMAGE, START]}
        assert torch.equal(plain.generate(**some, **options), taught.generate(**some, **options))
        assert torch.equal(plain(**some).logits, taught(**some).logits)


def test_a_taught_model_is_saved_as_the_model_it_was(family, tmp_path):
    model = build_family(family)
    model.save_pretrained(tmp_path / "before")
    install_shared_prefix(model)
    model.save_pretrained(tmp_path / "after")
    configs = [(tmp_path / name / "config.json").read_text(encoding="utf-8") for name in ("before", "after")]
    assert configs[0] == configs[1]
    assert "shared_prefix" not in configs[1]
    again = type(model).from_pretrained(tmp_path / "after")
    assert again.config.get_text_config()._attn_implementation == "sdpa"
    assert json.loads(configs[1])["model_type"] == family
    for name, weight in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], weight)
