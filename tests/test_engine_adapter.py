"""Adapters that vLLM serves as they are: which, and what is written for it. With an engine: test_grpo_engines.py."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import Qwen2Config, Qwen2ForCausalLM
from vlm_families import build_family

from skinrl.engine.adapter import UnmergedAdapter, why_not_unmerged, write_adapter
from skinrl.engine.merged import base_parameters
from skinrl.errors import InputError
from skinrl.grpo.config import SkinGRPOConfig

TEXT = Qwen2Config(
    vocab_size=16,
    hidden_size=8,
    intermediate_size=8,
    num_hidden_layers=1,
    num_attention_heads=1,
    num_key_value_heads=1,
)


def whole(parameters: list[Any]) -> Any:
    return nullcontext()


def adapted(family: str = "qwen2_5_vl", **settings: Any) -> Any:
    config = LoraConfig(**{"r": 4, "target_modules": r".*(q_proj|qkv)$", "task_type": "CAUSAL_LM"} | settings)
    return get_peft_model(build_family(family), config)


def test_plain_lora_on_linear_layers_is_served_as_it_is() -> None:
    assert why_not_unmerged(adapted()) == ""
    assert why_not_unmerged(adapted(use_rslora=True, lora_alpha=3)) == ""


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"use_dora": True}, "it is not plain LoRA"),
        ({"target_modules": ["q_proj", "embed_tokens"]}, "it adapts embed_tokens"),
        ({"target_modules": ["q_proj", "lm_head"]}, "it adapts lm_head"),
        ({"target_modules": r".*patch_embed\.proj$"}, "it adapts proj"),
        ({"alpha_pattern": {"layers.1.self_attn.q_proj": 64}}, "its layers are scaled differently"),
        ({"r": 600}, "its rank is above 512"),
    ],
)
def test_what_vllm_cannot_take_is_named(settings: dict[str, Any], reason: str) -> None:
    assert why_not_unmerged(adapted(**settings)) == reason


def test_a_family_that_was_not_compared_is_named_and_may_be_asked_for() -> None:
    text = get_peft_model(Qwen2ForCausalLM(TEXT), LoraConfig(target_modules=["q_proj"], task_type="CAUSAL_LM"))
    reason = "the model is 'qwen2'; compared with the trainer: qwen2_vl, qwen2_5_vl, qwen3_vl"
    assert why_not_unmerged(text) == reason
    assert why_not_unmerged(text, any_family=True) == ""


def test_the_engine_is_opened_for_the_rank_and_for_the_tower_where_that_is_adapted() -> None:
    language = r".*language_model.*q_proj$"
    arguments = [
        UnmergedAdapter(model, whole).engine_arguments()
        for model in (adapted(), adapted(r=16, target_modules=language), adapted(r=17, target_modules=language))
    ]
    assert [made["max_lora_rank"] for made in arguments] == [8, 16, 32]
    assert [made["enable_tower_connector_lora"] for made in arguments] == [True, False, False]


def test_what_is_written_is_the_adapter_alone_and_peft_reads_it_back(tmp_path: Path) -> None:
    model = adapted(modules_to_save=["merger"])
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    write_adapter(model, "default", tmp_path, whole)
    assert json.loads((tmp_path / "adapter_config.json").read_text())["modules_to_save"] is None
    read = PeftModel.from_pretrained(build_family("qwen2_5_vl"), tmp_path)
    ours = {name: value for name, value in model.named_parameters() if "lora_" in name}
    theirs = {name: value for name, value in read.named_parameters() if "lora_" in name}
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_the_base_has_its_own_names_and_the_trained_copies_of_what_is_saved() -> None:
    model = adapted(modules_to_save=["merger"])
    trained = [parameter for name, parameter in model.named_parameters() if "modules_to_save" in name]
    for parameter in trained:
        torch.nn.init.constant_(parameter, 7.0)
    base = dict(base_parameters(model, whole))
    plain = dict(build_family("qwen2_5_vl").named_parameters())
    assert base.keys() == plain.keys()
    merger = [name for name in base if ".merger." in name]
    assert len(merger) == len(trained) > 0
    assert all(bool((base[name] == 7.0).all()) for name in merger)
    assert all(torch.equal(base[name], plain[name]) for name in base if name not in merger)


def test_a_way_that_is_none_is_refused() -> None:
    with pytest.raises(InputError, match=r"grpo.vllm_lora is 'merged': expected one of auto, adapter, merge"):
        SkinGRPOConfig(output_dir="unused", use_cpu=True, bf16=False, vllm_lora="merged")
