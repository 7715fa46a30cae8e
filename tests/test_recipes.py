"""Every recipe that ships: it loads, its parts resolve, and the GPU ones train a first step in small, on a CPU."""

from __future__ import annotations

import inspect
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as parquet
import pytest
from recipe_models import RECIPES, load_shapes, published_shape, write_pad_ufes_20, write_shrunk_model

from skinrl.cli.build import reward_functions
from skinrl.cli.common import Experiment, open_experiment
from skinrl.data.entries import find_loader
from skinrl.data.prompts import question_text
from skinrl.doctor.training import check_group_batches
from skinrl.plugins import resolve
from skinrl.recipe import load_recipe, training_arguments

ALL = sorted(RECIPES.glob("*.yaml"))
GPU = [path for path in ALL if load_recipe(path).model.path is not None]
WITH_REFERENCE = [path for path in GPU if load_recipe(path).grpo["beta"] > 0]

all_recipes = pytest.mark.parametrize("file", ALL, ids=lambda path: path.stem)
gpu_recipes = pytest.mark.parametrize("file", GPU, ids=lambda path: path.stem)


def stage_arguments(file: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    from skinrl.grpo.config import SkinGRPOConfig
    from skinrl.sft.config import SkinSFTConfig

    recipe = load_recipe(file)
    return (
        training_arguments(recipe, "sft", SkinSFTConfig, file),
        training_arguments(recipe, "grpo", SkinGRPOConfig, file),
    )


def test_the_recipes_that_the_readme_names_are_there() -> None:
    names = {path.stem for path in ALL}
    assert {"phantom", "pad_ufes_20_tiny", "qwen2_5_vl_3b_lora_1gpu", "skin_r1_qwen2_5_vl_7b"} <= names
    readme = (RECIPES / "README.md").read_text()
    assert [name for name in sorted(names) if f"{name}.yaml" not in readme] == []


# What can be checked without training


@all_recipes
def test_a_recipe_is_named_like_its_file(file: Path) -> None:
    assert load_recipe(file).name == file.stem


@all_recipes
def test_every_reward_resolves_and_can_be_called_by_the_trainer(file: Path) -> None:
    experiment = open_experiment(file, None)
    rewards, weights = reward_functions(experiment)  # refuses a wrong signature
    assert len(rewards) == len(weights) == len(experiment.recipe.rewards) > 0
    assert len({reward.__name__ for reward in rewards}) == len(rewards)  # logs are told apart by name


@all_recipes
def test_every_source_and_factory_exists(file: Path) -> None:
    recipe = load_recipe(file)
    for entry in recipe.data:
        assert callable(find_loader(entry.source, file.parent))
    if recipe.model.factory is not None:
        factory = resolve(recipe.model.factory, base=file.parent)
        inspect.signature(factory).bind_partial(**recipe.model.kwargs)


@all_recipes
def test_every_training_setting_is_one_of_the_config_with_a_right_type(file: Path, tmp_path: Path) -> None:
    from skinrl.grpo.config import SkinGRPOConfig
    from skinrl.sft.config import SkinSFTConfig

    sft, grpo = stage_arguments(file)  # refuses unknown names and wrong types
    SkinSFTConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False, **sft)
    config = SkinGRPOConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False, **grpo)
    for key, value in grpo.items():
        assert getattr(config, key) == value, key  # nothing is overruled on the way


@all_recipes
def test_groups_are_whole_in_every_batch(file: Path) -> None:
    recipe = load_recipe(file)
    _, grpo = stage_arguments(file)
    assert check_group_batches(grpo, recipe.launch.processes).status == "ok"
    # Whole groups on each device too: then a micro-batch encodes as few images as possible
    assert grpo["per_device_train_batch_size"] % grpo["num_generations"] == 0


@all_recipes
def test_a_recipe_sends_nothing_away(file: Path) -> None:
    sft, grpo = stage_arguments(file)
    assert sft["report_to"] == []
    assert grpo["report_to"] == []
    assert not grpo["log_multimodal"]


@gpu_recipes
def test_gpu_recipes_set_what_stock_defaults_get_wrong_for_long_bf16_image_runs(file: Path) -> None:
    from skinrl.grpo.config import SkinGRPOConfig

    recipe = load_recipe(file)
    sft, grpo = stage_arguments(file)
    config = SkinGRPOConfig(output_dir="unused", use_cpu=True, bf16=False, **grpo)
    assert recipe.model.dtype == "bfloat16"
    assert config.vllm_importance_sampling_mode == "token_truncate"  # stock: a mean gap of 0.001 masks whole sequences
    assert (config.top_p, config.top_k, config.temperature) == (1.0, 0, 1.0)  # truncation biases the correction
    assert config.exact_rollouts
    assert config.ban_vision_tokens
    assert config.disable_dropout
    assert config.rollout_gap
    assert config.mixed_batches
    assert config.steps_per_generation == config.gradient_accumulation_steps  # one on-policy update a batch
    assert config.gradient_checkpointing
    assert config.vllm_enable_sleep_mode
    assert sft["max_length"] is None  # stock: 1,024, which may cut through an image


@gpu_recipes
def test_prompt_and_completion_fit_the_engine(file: Path) -> None:
    recipe = load_recipe(file)
    _, grpo = stage_arguments(file)
    assert recipe.model.image.max_pixels is not None
    image = recipe.model.image.max_pixels // (28 * 28)  # patches of 14 pixels, merged two by two
    options = ["squamous cell carcinoma"] * (0 if recipe.questions.kind == "open" else recipe.questions.choices)
    words = len(question_text(recipe.questions.kind, options, wording=recipe.questions.wording)) // 2
    longest = max(grpo["max_completion_length"], recipe.evaluation.max_completion_length)
    assert image + words + 64 + longest <= grpo["vllm_max_model_length"]


# Where the adapters are, in the architecture that the recipe names


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Hub name -> a shrunk random checkpoint of that architecture."""
    names = {str(load_recipe(file).model.path) for file in GPU}
    return {name: write_shrunk_model(tmp_path_factory.mktemp("model"), name) for name in sorted(names)}


LANGUAGE = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
# recipe -> names of the merger's modules with adapters
MERGER: dict[str, set[str]] = {"qwen2_5_vl_3b_lora_1gpu": set(), "skin_r1_qwen2_5_vl_7b": {"0", "2"}}


@gpu_recipes
def test_adapters_stand_where_the_recipe_says_and_nowhere_else(file: Path, checkpoints: dict[str, Path]) -> None:
    from skinrl.model import load_policy, part_of_parameter

    settings = load_recipe(file).model
    assert settings.path is not None
    assert settings.lora is not None
    model, _ = load_policy(
        checkpoints[settings.path],
        dtype="float32",
        lora=settings.lora.model_dump(),
        freeze=settings.freeze,
        max_pixels=settings.image.max_pixels,
    )
    found: Counter[tuple[str, str]] = Counter()
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == ("lora_" in name), name
        if ".lora_A." in name:
            module = name.partition(".lora_A.")[0]
            found[part_of_parameter(f"{module}.weight"), module.rpartition(".")[2]] += 1
            assert parameter.shape[0] == settings.lora.r
    layers = model.config.text_config.num_hidden_layers
    expected = {("language", name): layers for name in LANGUAGE}
    expected |= {("merger", name): 1 for name in MERGER[file.stem]}
    assert found == expected


@gpu_recipes
def test_the_shrunk_model_has_the_kinds_of_weights_of_the_published_one(
    file: Path, checkpoints: dict[str, Path]
) -> None:
    import torch
    from safetensors import safe_open
    from transformers import AutoModelForImageTextToText

    shapes = load_shapes()
    name = str(load_recipe(file).model.path)
    config = shapes.model_config(published_shape(name), shapes.build_tokenizer(1024, ["x"]))
    with torch.device("meta"):
        published = AutoModelForImageTextToText.from_config(config)
    small = AutoModelForImageTextToText.from_pretrained(checkpoints[name])

    def kinds(model: Any) -> set[str]:
        return {re.sub(r"\d+", "N", key) for key, _ in model.named_parameters()}

    assert kinds(small) == kinds(published)
    with safe_open(checkpoints[name] / "model.safetensors", framework="pt") as weights:
        assert ("lm_head.weight" in weights.keys()) == (not published_shape(name).tie_word_embeddings)  # noqa: SIM118


def test_the_published_shapes_have_the_published_sizes() -> None:
    shapes = load_shapes()
    # model.safetensors.index.json of the two checkpoints: total_size over two bytes; 3B without its tied head
    assert shapes.count_parameters(shapes.QWEN2_5_VL_7B) == 8_292_166_656
    assert shapes.count_parameters(shapes.QWEN2_5_VL_3B) == 3_754_622_976


# The first step, by the same functions as on the command line


def on_a_cpu(file: Path, model: Path, data: Path, runs: Path, *more: str, run: str = "default") -> Experiment:
    """The recipe with what a CPU cannot do replaced: bfloat16, vLLM, the lengths. The rest is the recipe's."""
    overrides = [
        f"model.path={model}",
        "model.dtype=float32",
        "sft.max_steps=1",
        "grpo.max_steps=1",
        "grpo.use_vllm=false",
        "grpo.max_completion_length=8",
        "evaluation.backend=transformers",
        "evaluation.max_completion_length=8",
        "evaluation.samples=1",
        "evaluation.limit=2",
        "evaluation.bootstrap=100",
        "evaluation.suites=[hierarchical]",
        "evaluation.baselines=[]",
        *more,
    ]
    return open_experiment(file, overrides, run=run, runs=runs, data=data)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pad_ufes_20(tmp_path_factory.mktemp("data") / "pad_ufes_20")


@pytest.fixture(scope="module", params=GPU, ids=lambda path: path.stem)
def trained(
    request: pytest.FixtureRequest,
    checkpoints: dict[str, Path],
    photographs: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Experiment:
    """A GPU recipe after one step of SFT and one of GRPO."""
    from skinrl.cli.stages import run_grpo, run_sft

    file: Path = request.param
    model = checkpoints[str(load_recipe(file).model.path)]
    experiment = on_a_cpu(file, model, photographs, tmp_path_factory.mktemp("runs"))
    run_sft(experiment)
    run_grpo(experiment)
    return experiment


def logged(folder: Path, key: str) -> list[float]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [row[key] for row in rows if key in row]


def adapter(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    weights: dict[str, Any] = load_file(folder / "adapter_model.safetensors")
    return weights


@pytest.mark.slow
def test_sft_takes_its_first_step_and_hands_on_an_adapter_of_its_base(trained: Experiment) -> None:
    folder = trained.folder / "sft"
    (loss,) = logged(folder, "train_loss")
    assert 3.0 < loss < 10.0  # a random model of 1,024 tokens: about log(1024) = 6.9
    assert logged(folder, "eval_loss")
    config = json.loads((folder / "final" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == trained.recipe.model.path
    assert not (folder / "final" / "model.safetensors").exists()


@pytest.mark.slow
def test_grpo_takes_its_first_step_with_every_reward_of_the_recipe(trained: Experiment) -> None:
    folder = trained.folder / "grpo"
    assert len(logged(folder, "rollout/logp_gap_mean")) == 1
    assert logged(folder, "rollout/logp_gap_mean")[0] <= 1e-5
    log = parquet.read_table(next((folder / "completions").glob("*.parquet"))).to_pylist()
    grpo = trained.recipe.grpo
    assert len(log) == grpo["per_device_train_batch_size"] * grpo["gradient_accumulation_steps"]
    assert set(Counter(row["id"] for row in log).values()) == {grpo["num_generations"]}
    for reward in reward_functions(trained)[0]:
        assert {row[reward.__name__] for row in log} == {0.0}  # eight tokens are no report


@pytest.mark.slow
def test_an_adapter_is_evaluated_on_its_base_model(trained: Experiment) -> None:
    from skinrl.cli.evaluate import run_evaluation

    comparison = run_evaluation(trained, ["sft", "grpo"])
    assert set(comparison["models"]) == {"sft", "grpo"}
    assert comparison["models"]["grpo"]["accuracy"]["n"] == 2


REWARD = """\
def distinct(completions, **kwargs):
    "A reward in which the completions of a random policy differ."
    return [len(set(completion[0]["content"])) / 20 for completion in completions]
"""


@pytest.mark.slow
@pytest.mark.parametrize("trained", WITH_REFERENCE, indirect=True, ids=lambda path: path.stem)
def test_grpo_goes_on_with_the_sft_adapter_and_its_reference_is_a_frozen_copy(
    trained: Experiment, photographs: Path, tmp_path: Path
) -> None:
    """With beta > 0 the KL term is measured against the SFT adapter, which must not move with the policy."""
    import torch

    from skinrl.cli.stages import run_grpo

    (tmp_path / "climbing_rewards.py").write_text(REWARD)
    start = trained.folder / "sft" / "final"
    experiment = on_a_cpu(
        trained.file,
        Path(str(trained.recipe.model.path)),
        photographs,
        tmp_path / "runs",
        f"grpo.init={start}",
        "rewards=[{fn: " + f"'{tmp_path}/climbing_rewards.py:distinct'" + "}]",
        "grpo.max_steps=3",
        "grpo.learning_rate=1e-2",
        "grpo.gradient_accumulation_steps=1",
    )
    run_grpo(experiment)

    folder = experiment.folder / "grpo"
    before, after, reference = adapter(start), adapter(folder / "final"), adapter(folder / "final" / "ref")
    assert before.keys() == after.keys() == reference.keys()
    assert all(torch.equal(reference[name], before[name]) for name in before)
    assert any(not torch.equal(after[name], before[name]) for name in before)
    divergence = logged(folder, "kl")
    assert divergence[0] == pytest.approx(0.0, abs=1e-7)  # the policy still is the reference
    assert divergence[-1] > 1e-6
    assert max(logged(folder, "rollout/logp_gap_mean")) <= 1e-5  # the policy that moved is the one that samples
