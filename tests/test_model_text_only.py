"""The zero image: every parameter takes part, nothing changes, whichever family."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from vlm_families import FAMILIES, batch, build_family

from skinrl.text_only import install_text_only


def gradients(model: Any, inputs: dict[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, torch.Tensor | None]]:
    model.zero_grad(set_to_none=True)
    logits = model(**inputs).logits
    logits.logsumexp(-1).sum().backward()
    return logits.detach(), {name: parameter.grad for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("family", FAMILIES)
def test_batch_without_image_reaches_every_parameter_and_stays_the_same(family: str) -> None:
    model = build_family(family)
    plain_logits, plain = gradients(model, batch(image=False))
    assert any(gradient is None for gradient in plain.values())  # what DDP and ZeRO-3 cannot bear
    hook = install_text_only(model)
    assert hook is not None
    logits, touched = gradients(model, batch(image=False))
    assert hook.calls == 1
    assert torch.equal(logits, plain_logits)
    for name, gradient in touched.items():
        assert gradient is not None, name
        assert torch.equal(gradient, torch.zeros_like(gradient) if plain[name] is None else plain[name]), name


@pytest.mark.parametrize("family", FAMILIES)
def test_batch_with_image_is_left_alone(family: str) -> None:
    model = build_family(family)
    before, expected = gradients(model, batch(image=True))
    hook = install_text_only(model)
    assert hook is not None
    after, got = gradients(model, batch(image=True))
    assert hook.calls == 0
    assert torch.equal(before, after)
    assert all(torch.equal(got[name], gradient) for name, gradient in expected.items())  # type: ignore[arg-type]


def test_pixels_of_no_rows_are_a_batch_without_image() -> None:
    model = build_family("qwen2_5_vl")
    hook = install_text_only(model)
    assert hook is not None
    expected, _ = gradients(model, batch(image=False))
    pixels = batch(image=True)
    nothing = {"pixel_values": pixels["pixel_values"][:0], "image_grid_thw": pixels["image_grid_thw"][:0]}
    logits, _ = gradients(model, batch(image=False) | nothing)
    assert hook.calls == 2
    assert torch.equal(logits, expected)


def test_generation_runs_the_zero_image_once_not_at_every_token() -> None:
    model = build_family("qwen2_5_vl").eval()
    hook = install_text_only(model)
    assert hook is not None
    model.generate(**batch(image=False), max_new_tokens=5, min_new_tokens=5, do_sample=False, pad_token_id=0)
    assert hook.calls == 1


def test_gradient_checkpointing_keeps_the_same_gradients() -> None:
    model = build_family("qwen2_5_vl").train()
    install_text_only(model)
    _, expected = gradients(model, batch(image=False))
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    _, got = gradients(model, batch(image=False))
    for name, gradient in expected.items():
        assert gradient is not None
        torch.testing.assert_close(got[name], gradient, rtol=1e-5, atol=1e-6)


def test_hook_is_installed_once_goes_away_and_is_none_for_a_text_model() -> None:
    model = build_family("qwen3_vl")
    hook = install_text_only(model)
    assert hook is not None
    assert install_text_only(model) is hook
    hook.remove()
    model(**batch(image=False))
    assert hook.calls == 0
    assert install_text_only(torch.nn.Linear(2, 2)) is None
