"""Settings of rollouts: what would bias the importance correction is refused by name, limits are checked at start."""

from __future__ import annotations

from typing import Any

import pytest
from tiny_model import random_image

from skinrl.engine.prompts import check_image_counts
from skinrl.errors import InputError
from skinrl.grpo.config import STOCK_SETTINGS, SkinGRPOConfig


def settings(**changes: Any) -> SkinGRPOConfig:
    return SkinGRPOConfig(output_dir="unused", use_cpu=True, bf16=False, report_to=[], **changes)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("top_p=0.9", {"top_p": 0.9}),
        ("top_k=50", {"top_k": 50}),
        ("min_p=0.1", {"min_p": 0.1}),
        ("repetition_penalty=1.1", {"repetition_penalty": 1.1}),
        ("top_k=20", {"generation_kwargs": {"top_k": 20}}),
        ("presence_penalty=0.5", {"generation_kwargs": {"presence_penalty": 0.5}}),
        ("temperature=0.5", {"generation_kwargs": {"temperature": 0.5}}),
    ],
)
def test_a_setting_that_biases_the_correction_is_refused_unless_it_is_named(
    name: str, changes: dict[str, Any]
) -> None:
    with pytest.raises(InputError, match=rf"grpo\.{name}: .*biased_sampling: \['{name.split('=')[0]}'\]"):
        settings(**changes)
    settings(**changes, biased_sampling=[name.split("=")[0]])


def test_naming_one_setting_does_not_allow_another() -> None:
    with pytest.raises(InputError, match=r"grpo\.min_p=0\.1: "):
        settings(top_p=0.9, min_p=0.1, biased_sampling=["top_p"])


def test_neutral_values_a_temperature_and_other_arguments_are_taken() -> None:
    settings(top_p=1.0, top_k=0, min_p=0.0, repetition_penalty=1.0, temperature=0.7)
    settings(top_k=-1, generation_kwargs={"suppress_tokens": [3], "temperature": 1.0, "presence_penalty": 0.0})


def test_what_generation_kwargs_set_back_to_neutral_is_neutral() -> None:
    settings(top_p=0.9, generation_kwargs={"top_p": 1.0})


def test_a_name_that_is_no_such_setting_is_told() -> None:
    with pytest.raises(InputError, match="'topp': expected names among top_p, top_k"):
        settings(biased_sampling=["topp"])


def test_stock_settings_take_what_stock_takes() -> None:
    settings(**STOCK_SETTINGS, top_p=0.9, top_k=50, min_p=0.1, repetition_penalty=1.1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vllm_max_num_batched_tokens": 0}, "vllm_max_num_batched_tokens is 0: expected at least 1"),
        ({"vllm_images_per_prompt": 0}, "vllm_images_per_prompt is 0: expected at least 1"),
        ({"vllm_mm_processor_cache_gb": -1.0}, "vllm_mm_processor_cache_gb is -1.0: expected at least 0"),
        ({"vllm_request_timeout": 0.0}, "vllm_request_timeout is 0.0: expected seconds above 0, or null"),
        ({"vllm_mm_processor_kwargs": {"max_pixels": 3136}}, "holds max_pixels: image sizes are the trainer's too"),
    ],
)
def test_an_engine_setting_out_of_its_range_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        settings(**changes)


def test_more_images_than_the_engine_takes_are_refused_before_it_is_asked() -> None:
    image = random_image(1, 28, 28)
    check_image_counts([[image], None, [], [image, image]], 2)
    check_image_counts([[image] * 9], None)
    with pytest.raises(InputError, match=r"shows 2 images, but the engine takes 1 \(grpo.vllm_images_per_prompt\)"):
        check_image_counts([[image], [image, image]], 1)
