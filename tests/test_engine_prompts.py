"""Prompts, token bans and environment defaults of the engines: hand-worked cases."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from tiny_model import SPECIAL_TOKENS, VISION_TOKENS, build_tiny_vlm, build_tokenizer, random_image

from skinrl.engine import Request, Sampling, open_generator
from skinrl.engine.chat import encode, load_processor
from skinrl.engine.environment import engine_environment
from skinrl.engine.prompts import (
    check_lengths,
    check_same_prompts,
    collapse_image_tokens,
    collapse_prompt,
    engine_image_arguments,
    image_size,
    set_image_size,
)
from skinrl.engine.tokens import end_token_ids, ended, vision_token_ids
from skinrl.errors import InputError, RunError


@pytest.mark.parametrize(
    ("prompt", "collapsed"),
    [
        ([], []),
        ([1, 2], [1, 2]),
        ([9, 9, 9], [9]),
        ([1, 9, 9, 2, 9, 3], [1, 9, 2, 9, 3]),
        ([1, 1, 9, 2, 2], [1, 1, 9, 2, 2]),
    ],
)
def test_each_run_of_image_tokens_becomes_one(prompt: list[int], collapsed: list[int]) -> None:
    assert collapse_image_tokens(prompt, 9) == collapsed


def test_runs_that_touch_are_refused_because_they_cannot_be_told_apart() -> None:
    assert collapse_prompt([1, 9, 9, 2, 9, 9, 3], 9, images=2) == [1, 9, 2, 9, 3]
    with pytest.raises(RunError, match=r"1 runs of image tokens .* 2 images"):
        collapse_prompt([1, 9, 9, 9, 9, 3], 9, images=2)


def test_another_prompt_length_in_the_engine_is_an_error_that_names_the_image_size() -> None:
    check_same_prompts([[1, 2], [3]], [[1, 2], [3]])
    with pytest.raises(RunError, match=r"Prompt 1 has 3 tokens in the trainer but 4 in the engine.*max_pixels"):
        check_same_prompts([[1], [1, 9, 2]], [[1], [1, 9, 9, 2]])


def test_another_token_in_the_engine_is_an_error_that_names_the_position() -> None:
    with pytest.raises(RunError, match=r"Prompt 0 differs .* token 1: 2 in the trainer, 5 in the engine"):
        check_same_prompts([[1, 2, 3]], [[1, 5, 3]])


def test_prompt_and_completion_must_fit_the_limit() -> None:
    check_lengths([10, 12], 4, 16, "the engine")
    check_lengths([10, 12], 4, None, "the engine")
    with pytest.raises(
        InputError, match=r"12 tokens and completions of up to 5 need 17 tokens, but the engine allows 16"
    ):
        check_lengths([10, 12], 5, 16, "the engine")


def test_image_size_is_set_in_one_processor_and_not_in_its_class(tmp_path: Path) -> None:
    build_tiny_vlm(tmp_path)
    one, other = (load_processor(str(tmp_path)).image_processor for _ in range(2))
    set_image_size(one, None, 56 * 84)
    assert image_size(one) == (56 * 56, 56 * 84)
    assert image_size(other) == (56 * 56, 112 * 112)
    assert engine_image_arguments(one) == {"min_pixels": 56 * 56, "max_pixels": 56 * 84}
    with pytest.raises(InputError, match="greater than max_pixels"):
        set_image_size(one, 10_000, 5_000)


def test_image_size_decides_the_number_of_image_tokens(tmp_path: Path) -> None:
    build_tiny_vlm(tmp_path)
    processor = load_processor(str(tmp_path))
    request = Request([{"role": "user", "content": "Diagnose."}], (random_image(0),))
    image_token = processor.image_token_id
    # one token per 28 x 28 pixels: 112 x 112 gives 16, and at most 56 x 56 gives 4
    assert list(encode(processor, [request])["input_ids"][0]).count(image_token) == 16
    set_image_size(processor.image_processor, 28 * 28, 56 * 56)
    assert list(encode(processor, [request])["input_ids"][0]).count(image_token) == 4


def test_a_processor_without_pixel_limits_refuses_them() -> None:
    with pytest.raises(InputError, match="has no pixel limits"):
        set_image_size(SimpleNamespace(size={"height": 224, "width": 224}), None, 1000)


def test_all_vision_tokens_of_a_model_are_found_and_none_of_a_text_model() -> None:
    tokenizer = build_tokenizer()
    ids = {text: tokenizer.convert_tokens_to_ids(text) for text in SPECIAL_TOKENS}
    config = SimpleNamespace(vision_config=object(), image_token_id=ids["<|image_pad|>"], video_token_id=None)
    # vision_pad stands in no configuration; the tokenizer alone knows it
    assert vision_token_ids(config, tokenizer) == tuple(sorted(ids[text] for text in VISION_TOKENS))
    assert vision_token_ids(config, None) == (ids["<|image_pad|>"],)
    assert vision_token_ids(SimpleNamespace(image_token_id=3), tokenizer) == ()


def test_a_completion_ended_by_itself_only_if_its_last_token_says_so() -> None:
    assert ended([5, 2], (2, 7))
    assert not ended([2, 5], (2, 7))
    assert not ended([], (2, 7))


def test_end_tokens_are_the_tokenizers_and_the_generation_configs() -> None:
    tokenizer = SimpleNamespace(eos_token_id=2)
    assert end_token_ids(SimpleNamespace(eos_token_id=[7, 2]), tokenizer) == (7, 2)
    assert end_token_ids(SimpleNamespace(eos_token_id=7), tokenizer) == (2, 7)
    assert end_token_ids(None, tokenizer) == (2,)


def test_environment_defaults_open_the_hub_only_for_models_from_the_hub(tmp_path: Path) -> None:
    local = engine_environment(model_path=str(tmp_path), cpu=True)
    assert local["HF_HUB_OFFLINE"] == "1"
    assert local["VLLM_CPU_OMP_THREADS_BIND"] == "nobind"
    hub = engine_environment(model_path="Qwen/Qwen2.5-VL-7B-Instruct", cpu=False)
    assert "HF_HUB_OFFLINE" not in hub
    assert "VLLM_CPU_KVCACHE_SPACE" not in hub
    assert hub["VLLM_NO_USAGE_STATS"] == "1"


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_tokens": 0},
        {"max_tokens": 4, "n": 0},
        {"max_tokens": 4, "temperature": -1},
        {"max_tokens": 4, "top_p": 0},
    ],
)
def test_sampling_out_of_range_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match="out of range"):
        Sampling(**wrong)  # type: ignore[arg-type]


def test_an_unknown_backend_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match="'vlm': expected one of auto, vllm, transformers"):
        open_generator("somewhere", backend="vlm")


def test_importing_the_engine_loads_no_torch() -> None:
    code = "import sys, skinrl.engine; sys.exit('torch' in sys.modules or 'vllm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
