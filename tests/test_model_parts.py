"""Parts of a model by name; what is frozen does not move, what is not does; adapters go where they should."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_model import build_tiny_text, build_tiny_vlm, random_image
from tiny_trainers import sft_rows, sft_trainer, weights
from vlm_families import FAMILIES, build_family

from skinrl.errors import InputError
from skinrl.model import count_parts, describe_parts, freeze_parts, load_policy, load_processor, part_of_parameter

LORA = {"r": 4, "alpha": 8}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_vlm(tmp_path_factory.mktemp("model"))


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("model.visual.patch_embed.proj.weight", "vision"),
        ("model.visual.blocks.3.attn.qkv.weight", "vision"),
        ("model.visual.merger.mlp.0.weight", "merger"),
        ("model.visual.deepstack_merger_list.1.linear_fc1.weight", "merger"),
        ("model.language_model.embed_tokens.weight", "language"),
        ("model.language_model.layers.0.mlp.gate_proj.weight", "language"),
        ("module.model.visual.blocks.0.norm1.weight", "vision"),
        ("lm_head.weight", "head"),
        ("base_model.model.model.language_model.layers.0.mlp.up_proj.lora_A.default.weight", "adapter"),
        ("base_model.model.model.visual.merger.mlp.2.lora_B.default.weight", "adapter"),
        ("base_model.model.model.language_model.layers.0.mlp.up_proj.base_layer.weight", "language"),
    ],
)
def test_part_is_known_by_name(name: str, part: str) -> None:
    assert part_of_parameter(name) == part


@pytest.mark.parametrize("family", FAMILIES)
def test_parts_cover_every_parameter_of_every_family(family: str) -> None:
    policy = build_family(family, tied=False)
    counts = count_parts(policy)
    assert list(counts) == ["vision", "merger", "language", "head"]
    assert sum(total for _, total in counts.values()) == sum(p.numel() for p in policy.parameters())
    # The merger: all that leads from the tower into the language model's width
    mergers = [policy.model.visual.merger, *getattr(policy.model.visual, "deepstack_merger_list", [])]
    assert counts["merger"][1] == sum(p.numel() for merger in mergers for p in merger.parameters())
    assert counts["head"] == (64 * 32, 64 * 32)


def test_freezing_language_takes_the_head_along_and_counts_say_so() -> None:
    counts = freeze_parts(build_family("qwen3_vl", tied=False), ["language"])
    assert counts["language"][0] == counts["head"][0] == 0
    assert counts["vision"][0] == counts["vision"][1]
    assert "language  " in describe_parts(counts)
    assert describe_parts(counts).count("(frozen)") == 2


@pytest.mark.parametrize("frozen", [["vision"], ["merger"], ["language"], ["vision", "merger"], []])
def test_training_moves_exactly_the_parts_that_are_not_frozen(frozen: list[str], model: Path, tmp_path: Path) -> None:
    trainer = sft_trainer(model, tmp_path, max_steps=3, load={"freeze": frozen})
    before = weights(trainer.model)
    trainer.train()
    after = weights(trainer.model)
    for name in before:
        moved = not torch.equal(before[name], after[name])
        assert moved == (part_of_parameter(name) not in {*frozen, *(["head"] if "language" in frozen else [])}), name


def test_gradient_checkpointing_trains_beside_a_frozen_tower(model: Path, tmp_path: Path) -> None:
    plain = sft_trainer(model, tmp_path / "a", max_steps=2, load={"freeze": ["vision"]})
    plain.train()
    saving = sft_trainer(model, tmp_path / "b", max_steps=2, load={"freeze": ["vision"]}, gradient_checkpointing=True)
    saving.train()
    for name, value in weights(plain.model).items():
        torch.testing.assert_close(saving.model.state_dict()[name], value, rtol=1e-4, atol=1e-6)


def adapted(policy: Any) -> dict[str, set[str]]:
    """Part -> names of the layers that carry an adapter."""
    found: dict[str, set[str]] = {}
    for name, _ in policy.named_parameters():
        if "lora_A" in name:
            layer = name.removeprefix("base_model.model.").partition(".lora_A")[0]
            found.setdefault(part_of_parameter(f"{layer}.weight"), set()).add(layer.rpartition("model.")[2])
    return found


def test_adapters_go_into_the_parts_that_are_not_frozen(model: Path) -> None:
    policy, _ = load_policy(model, dtype="float32", lora=LORA, freeze=["vision"])
    found = adapted(policy)
    assert found.keys() == {"merger", "language"}
    assert {name.rpartition(".")[2] for name in found["language"]} == {
        *("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    }
    assert found["merger"] == {"visual.merger.mlp.0", "visual.merger.mlp.2"}
    counts = count_parts(policy)
    assert [part for part, (trainable, _) in counts.items() if trainable] == ["adapter"]


def test_names_of_layers_reach_the_language_model_but_not_a_frozen_tower_of_the_same_names(model: Path) -> None:
    targets = {**LORA, "target_modules": ["gate_proj", "q_proj"]}
    policy, _ = load_policy(model, dtype="float32", lora=targets, freeze=["vision", "merger"])
    assert adapted(policy).keys() == {"language"}
    everywhere, _ = load_policy(model, dtype="float32", lora=targets)
    assert any("gate_proj" in name for name in adapted(everywhere)["vision"])


@pytest.mark.parametrize("family", FAMILIES)
def test_every_linear_layer_of_every_family_can_be_adapted(family: str, tmp_path: Path) -> None:
    from skinrl.model import _add_lora

    policy = build_family(family, tied=False)
    layers = {
        part: sum(
            isinstance(module, torch.nn.Linear) and part_of_parameter(f"{name}.weight") == part
            for name, module in policy.named_modules()
        )
        for part in ("vision", "merger", "language")
    }
    found = adapted(_add_lora(policy, LORA, []))
    assert {part: len(names) for part, names in found.items()} == layers


def test_saved_adapter_is_continued_as_the_same_adapter(model: Path, tmp_path: Path) -> None:
    trainer = sft_trainer(model, tmp_path / "run", max_steps=2, load={"lora": LORA, "freeze": ["vision"]})
    trainer.train()
    trainer.save_model(str(tmp_path / "final"))
    policy, processor = load_policy(tmp_path / "final", dtype="float32", lora=LORA)
    assert list(policy.peft_config) == ["default"]
    trained = weights(trainer.model)
    assert all(torch.equal(value, trained[name]) for name, value in policy.state_dict().items())
    assert any(parameter.requires_grad for parameter in policy.parameters())
    assert processor.image_processor.size == load_processor(model).image_processor.size
    with pytest.raises(InputError, match=r"model\.lora\.r: found 8, but the adapter at .* was made with 4"):
        load_policy(tmp_path / "final", dtype="float32", lora={"r": 8})


def image_tokens(processor: Any) -> int:
    return int(processor(text=["<|image_pad|>"], images=[random_image(0, 200, 200)])["image_grid_thw"].prod()) // 4


def test_one_resolution_rules_the_tokens_and_is_saved_for_all_stages(model: Path, tmp_path: Path) -> None:
    _, processor = load_policy(model, dtype="float32", min_pixels=28 * 28, max_pixels=84 * 84)
    assert image_tokens(processor) == 9
    processor.save_pretrained(tmp_path)
    assert image_tokens(load_processor(tmp_path)) == 9
    assert image_tokens(load_processor(model, min_pixels=140 * 140, max_pixels=168 * 168)) == 36
    with pytest.raises(InputError, match="min_pixels 9999 is above max_pixels 784"):
        load_processor(model, min_pixels=9999, max_pixels=784)


def test_precision_and_attention_are_as_asked(model: Path) -> None:
    policy, _ = load_policy(model, dtype="bfloat16", attention="eager")
    assert {parameter.dtype for parameter in policy.parameters()} == {torch.bfloat16}
    assert policy.config._attn_implementation == "eager"


def test_text_model_has_no_vision_part_to_freeze(tmp_path: Path) -> None:
    path = build_tiny_text(tmp_path)
    policy, tokenizer = load_policy(path, dtype="float32")
    assert list(count_parts(policy)) == ["language"]
    assert tokenizer.eos_token == "<|im_end|>"
    with pytest.raises(InputError, match="Qwen2ForCausalLM has no part 'vision'; it has language"):
        load_policy(path, dtype="float32", freeze=["vision"])
    with pytest.raises(InputError, match="image resolution is set, but the model takes no images"):
        load_processor(path, max_pixels=784)


def drop_a_weight(path: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(path / "model.safetensors")
    del tensors["visual.merger.mlp.0.weight"]
    save_file(tensors, path / "model.safetensors", {"format": "pt"})


def test_checkpoint_that_lacks_a_weight_is_refused_instead_of_filled_with_noise(tmp_path: Path) -> None:
    path = build_tiny_vlm(tmp_path)
    drop_a_weight(path)
    with pytest.raises(InputError, match=r"1 missing keys in the weights, such as model\.visual\.merger\.mlp\.0"):
        load_policy(path, dtype="float32")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"freeze": ["visual"]}, "freeze: found 'visual'; expected some of vision, merger, language"),
        ({"freeze": ["vision", "merger", "language"]}, "leaves nothing to train"),
        ({"dtype": "fp8"}, "model.dtype: found 'fp8'"),
        ({"lora": {"rank": 4}}, "model.lora: unknown key 'rank'"),
        ({"lora": {"target_modules": ["q_prj"]}}, "no linear layer q_prj in the parts"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, Any], message: str, model: Path) -> None:
    with pytest.raises(InputError, match=message):
        load_policy(model, **settings)


def test_missing_model_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no model could be loaded from there"):
        load_policy(tmp_path / "nothing")


def test_adapters_train_on_rows_with_and_without_images(model: Path, tmp_path: Path) -> None:
    rows = sft_rows(8, text_only=frozenset({0, 1, 4, 5}))
    trainer = sft_trainer(model, tmp_path, rows=rows, max_steps=4, load={"lora": LORA})
    before = weights(trainer.model)
    trainer.train()
    assert trainer.text_only.calls > 0
    for name, value in weights(trainer.model).items():
        assert torch.equal(value, before[name]) == ("lora_" not in name), name
