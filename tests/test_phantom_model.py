"""The tiny model: built from a seed, readable by transformers, with reports short enough for a CPU."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from skinrl.errors import DataError
from skinrl.phantom.dataset import load
from skinrl.phantom.diseases import DISEASES
from skinrl.phantom.model import SPECIAL_TOKENS, TinyShape, build, report_texts
from skinrl.taxonomy import Taxonomy, load_taxonomy

QUICK: dict[str, Any] = {"textbook_count": 60, "size": 56, "warm_up": {"steps": 2, "batch": 8}, "progress": False}


@pytest.fixture(scope="module")
def taxonomy() -> Taxonomy:
    return load_taxonomy("dermatology")


@pytest.fixture(scope="module")
def built(taxonomy: Taxonomy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny") / "base"
    build(folder, taxonomy=taxonomy, seed=1, extra_texts=["A pigmented lesion of the nose."], **QUICK)
    return folder


def test_it_loads_saves_and_answers(built: Path, tmp_path: Path) -> None:
    import torch
    from PIL import Image
    from transformers import AutoModelForImageTextToText, AutoProcessor

    processor = AutoProcessor.from_pretrained(built)
    model = AutoModelForImageTextToText.from_pretrained(built, dtype=torch.float32)
    message = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is the diagnosis?"}]}]
    text = processor.apply_chat_template(message, add_generation_prompt=True)
    inputs = processor(text=[text], images=[Image.new("RGB", (56, 56))], return_tensors="pt")
    assert int((inputs["input_ids"] == model.config.image_token_id).sum()) == 4  # 56 px: 4 x 4 patches, merged by 4
    torch.manual_seed(0)
    out = model.generate(**inputs, max_new_tokens=3, do_sample=False)
    model.save_pretrained(tmp_path)
    again = AutoModelForImageTextToText.from_pretrained(tmp_path, dtype=torch.float32)
    assert torch.equal(out, again.generate(**inputs, max_new_tokens=3, do_sample=False))


def test_vllm_can_take_its_shape(built: Path) -> None:
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(built)
    head = config.text_config.hidden_size // config.text_config.num_attention_heads
    assert head >= 32
    assert sum(config.text_config.rope_parameters["mrope_section"]) == head // 2
    assert config.vision_config.hidden_size % config.vision_config.num_heads == 0


def test_every_report_and_prompt_fits_in_96_tokens(built: Path, taxonomy: Taxonomy, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(built)
    records = load(tmp_path, taxonomy, domain="textbook", count=300, seed=9, size=28)
    lengths = [len(tokenizer(text).input_ids) for text in report_texts(records, taxonomy)]
    assert max(lengths) + 1 <= 96
    assert sum(lengths) / len(lengths) < 40


def test_reports_survive_the_tokenizer_and_any_other_text_too(built: Path, taxonomy: Taxonomy, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(built)
    records = load(tmp_path, taxonomy, domain="textbook", count=60, seed=9, size=28)
    texts = [
        *report_texts(records, taxonomy),
        "Plaque à bords nets, 12 mm.\n\n\t<think>é漢字</think>",
        "  two  spaces ",
    ]
    for text in texts:
        assert tokenizer.decode(tokenizer(text).input_ids) == text


def test_special_tokens_are_single_and_skipped_on_reading(built: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(built)
    for token in SPECIAL_TOKENS:
        assert len(tokenizer(token).input_ids) == 1
        assert tokenizer.decode(tokenizer(f"a{token}").input_ids, skip_special_tokens=True) == "a"
    assert tokenizer.eos_token == "<|im_end|>"
    tags = tokenizer("<think>\n\n</think>\n<answer>\nDiagnosis: ").input_ids
    assert tokenizer.decode(tags, skip_special_tokens=True).startswith("<think>")  # the parser must see the tags


def test_the_same_seed_builds_the_same_weights(built: Path, taxonomy: Taxonomy, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    build(tmp_path / "again", taxonomy=taxonomy, seed=1, extra_texts=["A pigmented lesion of the nose."], **QUICK)
    one, two = load_file(built / "model.safetensors"), load_file(tmp_path / "again" / "model.safetensors")
    assert one.keys() == two.keys()
    assert all((one[name] == two[name]).all() for name in one)
    assert (built / "tokenizer.json").read_text() == (tmp_path / "again" / "tokenizer.json").read_text()


def test_building_leaves_the_callers_random_numbers_alone(taxonomy: Taxonomy, tmp_path: Path) -> None:
    import torch

    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    build(tmp_path / "base", taxonomy=taxonomy, **(QUICK | {"warm_up": {"steps": 0}}))
    assert torch.equal(torch.rand(2), expected)


def test_the_warm_up_teaches_the_tower_something(taxonomy: Taxonomy, tmp_path: Path) -> None:
    settings = QUICK | {"textbook_count": 120, "warm_up": {"steps": 100, "batch": 32, "learning_rate": 0.002}}
    made = build(tmp_path / "base", taxonomy=taxonomy, seed=0, **settings)
    for attribute in ("primary_lesion", "number"):
        typical = Counter(getattr(disease, attribute)[0] for disease in DISEASES.values())
        commonest = max(typical.values()) / len(DISEASES)
        assert made["warm_up_accuracy"][attribute] > commonest + 0.08, attribute
    assert made["parameters"] < 3_000_000


def test_unknown_settings_are_named(taxonomy: Taxonomy, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="hiden"):
        build(tmp_path / "base", taxonomy=taxonomy, shape={"hiden": 64})
    assert not (tmp_path / "base").exists()


def test_the_shape_has_a_head_that_vllm_accepts() -> None:
    assert TinyShape.HEAD == 32
    assert sum(TinyShape.MROPE) * 2 == TinyShape.HEAD
    assert len(DISEASES) >= 24
