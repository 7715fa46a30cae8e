"""The methods of TRL that skinrl overrides still take what they took in the pinned minor release.

An override that calls ``super()`` breaks silently when TRL renames or reorders an argument. When this
test fails after an update of TRL, read the method's new body before changing the line here.
"""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import trl
from trl import GRPOTrainer
from trl.generation import vllm_generation
from trl.generation.vllm_client import VLLMClient
from trl.generation.vllm_generation import VLLMGeneration
from trl.trainer import grpo_trainer

SEAMS: dict[Any, dict[str, str]] = {
    GRPOTrainer: {
        "_get_dataloader": (
            "self, dataset, description, batch_size, sampler_fn=None, is_training=False, dataloader_key=None"
        ),
        "_tokenize_prompts": "self, prompts",
        "_generate": "self, prompts",
        "_generate_single_turn": (
            "self, prompt_ids, images, multimodal_fields, num_generations, has_tool_images=False"
        ),
        "_get_train_sampler": "self, dataset=None",
        "_prepare_inputs": "self, generation_batch",
        "get_batch_samples": "self, epoch_iterator, num_batches, device",
        "_generate_and_score_completions": "self, inputs",
        "_calculate_rewards": "self, inputs, prompts, completions, completion_ids_list",
        "_get_per_token_logps_and_entropies": (
            "self, model, input_ids, attention_mask, logits_to_keep, batch_size=None, compute_entropy=False, "
            "compute_aux_loss=False, pixel_values=None, image_grid_thw=None, num_images=None, "
            "pixel_attention_mask=None, spatial_shapes=None, num_tiles=None, image_sizes=None, token_type_ids=None, "
            "mm_token_type_ids=None, image_position_ids=None"
        ),
        "_compute_loss": "self, model, inputs",
        "training_step": "self, model, inputs, num_items_in_batch",
    },
    VLLMGeneration: {
        "_init_vllm": "self",
        "_iter_named_params": "self",
        "sync_weights": "self",
        "_place_features": "self, features, prompt_ids",
        "generate": "self, prompts, images, num_generations, profiler=None",
    },
    VLLMClient: {"init_communicator": "self, device=0"},
}


def parameters(function: Any) -> str:
    found = inspect.signature(inspect.unwrap(function)).parameters.values()
    return ", ".join(p.name if p.default is p.empty else f"{p.name}={p.default!r}" for p in found)


@pytest.mark.parametrize(
    ("owner", "name", "expected"),
    [(owner, name, expected) for owner, methods in SEAMS.items() for name, expected in methods.items()],
)
def test_an_overridden_method_of_trl_takes_what_it_took(owner: Any, name: str, expected: str) -> None:
    assert parameters(getattr(owner, name)) == expected


def test_every_override_is_listed_here() -> None:
    from skinrl.grpo.rollouts import FilePushClient, SkinVLLMGeneration
    from skinrl.grpo.trainer import SkinGRPOTrainer

    for ours, theirs in (
        (SkinGRPOTrainer, GRPOTrainer),
        (SkinVLLMGeneration, VLLMGeneration),
        (FilePushClient, VLLMClient),
    ):
        methods = {name for name, value in vars(ours).items() if inspect.isfunction(value) and name != "__init__"}
        overridden = {name for name in methods if hasattr(theirs, name)}
        assert overridden == set(SEAMS[theirs]), ours.__name__


def test_trl_is_the_pinned_minor() -> None:
    assert trl.__version__.split(".")[:2] == ["1", "16"]


def test_the_names_that_are_replaced_while_trl_builds_its_engine_exist() -> None:
    assert grpo_trainer.VLLMGeneration is VLLMGeneration
    assert vllm_generation.VLLMClient is VLLMClient
