"""Reading recipes: places and nearest keys in errors, overrides, extends, owned settings, paths."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from skinrl.errors import RecipeError
from skinrl.recipe import load_recipe, training_arguments

MINIMAL = """\
name: one
model:
  path: ./tiny
data:
  - {source: folder, path: images}
grpo:
  learning_rate: 1e-6
"""


def write(folder: Path, text: str, name: str = "one.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_a_float_in_scientific_notation_is_a_float(tmp_path: Path) -> None:
    assert load_recipe(write(tmp_path, MINIMAL)).grpo["learning_rate"] == 1e-6


def test_paths_are_relative_to_the_recipe(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, MINIMAL))
    assert recipe.model.path == str(tmp_path / "tiny")
    assert recipe.data[0].path == str(tmp_path / "images")


def test_a_hub_id_and_an_import_path_stay_as_they_are(tmp_path: Path) -> None:
    text = MINIMAL.replace("./tiny", "Qwen/Qwen2.5-VL-7B-Instruct") + "rewards:\n  - fn: package.module:reward\n"
    recipe = load_recipe(write(tmp_path, text))
    assert recipe.model.path == "Qwen/Qwen2.5-VL-7B-Instruct"
    assert recipe.rewards[0].fn == "package.module:reward"


def test_an_unknown_key_is_named_with_its_line_and_the_nearest_valid_key(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL.replace("path: images", "pth: images"))
    with pytest.raises(RecipeError, match=rf"{path}:5: unknown key 'data\.0\.pth'; did you mean 'path'\?"):
        load_recipe(path)


def test_a_wrong_type_is_named_with_its_line(tmp_path: Path) -> None:
    path = write(tmp_path, "seed: many\n" + MINIMAL)
    with pytest.raises(RecipeError, match=rf"{path}:1: seed: found 'many'"):
        load_recipe(path)


def test_all_faults_are_reported_at_once(tmp_path: Path) -> None:
    path = write(tmp_path, "seed: many\ncolour: red\n" + MINIMAL)
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert "seed" in str(caught.value)
    assert "colour" in str(caught.value)


def test_a_key_twice_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="stands twice"):
        load_recipe(write(tmp_path, MINIMAL + "name: two\n"))


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cannot be read"):
        load_recipe(tmp_path / "absent.yaml")


@pytest.mark.parametrize("text", ["", "- a\n", "name: [\n"])
def test_a_file_that_is_no_mapping_is_an_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(RecipeError, match=r"one\.yaml"):
        load_recipe(write(tmp_path, text))


def test_model_needs_exactly_one_origin(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="exactly one of path"):
        load_recipe(write(tmp_path, MINIMAL.replace("path: ./tiny", "factory: a:b\n  path: ./tiny")))


@pytest.mark.parametrize(
    ("key", "owner"), [("reward_weights", "rewards"), ("output_dir", "run directory"), ("seed", "top-level seed")]
)
def test_a_setting_with_another_owner_is_refused(tmp_path: Path, key: str, owner: str) -> None:
    with pytest.raises(RecipeError, match=rf":8: grpo\.{key} is owned by .*{owner}"):
        load_recipe(write(tmp_path, MINIMAL + f"  {key}: 1\n"))


@pytest.mark.parametrize(
    ("setting", "place", "host"),
    [
        ("report_to: wandb", "report_to", "api.wandb.ai"),
        ("report_to: [tensorboard, comet_ml]", "report_to", "www.comet.com"),
        ("push_to_hub: true", "push_to_hub", "huggingface.co"),
    ],
)
def test_nothing_leaves_the_machine_for_a_host_that_is_not_allowed(
    tmp_path: Path, setting: str, place: str, host: str
) -> None:
    path = write(tmp_path, MINIMAL + f"  {setting}\n")
    with pytest.raises(RecipeError, match=rf":8: grpo\.{place} would send .* privacy\.allow_remote"):
        load_recipe(path)
    assert load_recipe(path, [f"privacy.allow_remote=[{host}]"]).privacy.allow_remote == [host]


def test_what_stays_on_the_machine_needs_no_leave(tmp_path: Path) -> None:
    load_recipe(write(tmp_path, MINIMAL + "  report_to: [tensorboard]\n  push_to_hub: false\n"))


def test_init_is_a_setting_of_grpo_alone(tmp_path: Path) -> None:
    @dataclass
    class Config:
        learning_rate: float = 0.0

    path = write(tmp_path, MINIMAL + "  init: base\nsft:\n  init: base\n")
    recipe = load_recipe(path)
    assert training_arguments(recipe, "grpo", Config, path) == {"learning_rate": 1e-6}
    with pytest.raises(RecipeError, match=r"unknown key 'sft\.init'"):
        training_arguments(recipe, "sft", Config, path)


def test_overrides_replace_values_and_read_yaml(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL)
    recipe = load_recipe(path, ["grpo.learning_rate=5e-5", "data.0.cap_per_class=7", "sft.max_steps=3"])
    assert recipe.grpo["learning_rate"] == 5e-5
    assert recipe.data[0].cap_per_class == 7
    assert recipe.sft == {"max_steps": 3}


@pytest.mark.parametrize("text", ["grpo", "data.9.path=x", "name.more=1"])
def test_an_override_that_leads_nowhere_is_an_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(RecipeError, match="override"):
        load_recipe(write(tmp_path, MINIMAL), [text])


def test_data_path_replaces_every_entry(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, MINIMAL), data_path=tmp_path / "elsewhere")
    assert recipe.data[0].path == str(tmp_path / "elsewhere")


def test_extends_merges_sections_and_keeps_each_files_folder(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    write(tmp_path / "base", MINIMAL, "base.yaml")
    recipe = load_recipe(write(tmp_path, "extends: base/base.yaml\nname: two\ngrpo: {max_steps: 4}\n"))
    assert recipe.name == "two"
    assert recipe.grpo == {"learning_rate": 1e-6, "max_steps": 4}
    assert recipe.data[0].path == str(tmp_path / "base" / "images")


def test_extends_has_one_level(tmp_path: Path) -> None:
    write(tmp_path, MINIMAL, "a.yaml")
    write(tmp_path, "extends: a.yaml\n", "b.yaml")
    with pytest.raises(RecipeError, match="one level"):
        load_recipe(write(tmp_path, "extends: b.yaml\n", "c.yaml"))


@dataclass
class _Config:
    learning_rate: float = 1e-6
    beta: float = 0.0
    max_steps: int = -1
    save_strategy: str = "steps"


def test_training_fields_are_checked_against_the_config_class(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL)
    assert training_arguments(load_recipe(path), "grpo", _Config, path) == {"learning_rate": 1e-6}
    misspelt = write(tmp_path, MINIMAL + "  learning_rte: 1\n", "two.yaml")
    with pytest.raises(RecipeError, match=r"two\.yaml:8: unknown key 'grpo\.learning_rte'; did you mean 'learn"):
        training_arguments(load_recipe(misspelt), "grpo", _Config, misspelt)
    wrong = write(tmp_path, MINIMAL + "  max_steps: many\n", "three.yaml")
    with pytest.raises(RecipeError, match=r"three.yaml:8: grpo.max_steps: found 'many'; expected int"):
        training_arguments(load_recipe(wrong), "grpo", _Config, wrong)
    unquoted = write(tmp_path, MINIMAL + "  save_strategy: no\n", "four.yaml")
    with pytest.raises(RecipeError, match=r'found False; YAML reads no, off.* write "no" in quotes'):
        training_arguments(load_recipe(unquoted), "grpo", _Config, unquoted)


def test_grpo_starts_from_sft_unless_told_otherwise(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL)
    assert load_recipe(path).grpo_init == "sft"
    assert load_recipe(path, ["grpo.init=base"]).grpo_init == "base"
    assert load_recipe(path, ["grpo.init=./folder"]).grpo_init == str(tmp_path / "folder")
