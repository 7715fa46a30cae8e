"""docs/recipes.md says what recipes are: every section, key and default, and examples that load."""

from __future__ import annotations

import re
import shutil
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel
from recipe_models import RECIPES, REPOSITORY

from skinrl import recipe as recipes
from skinrl.cli.build import reward_functions
from skinrl.cli.common import open_experiment
from skinrl.report import DiagnosticReport

PAGE = (REPOSITORY / "docs" / "recipes.md").read_text()

SECTIONS: dict[str, type[BaseModel]] = {
    "Top level": recipes.Recipe,
    "`model`": recipes.ModelSection,
    "`model.lora`": recipes.LoraSection,
    "`model.image`": recipes.ImageSection,
    "`data`": recipes.DataSection,
    "`questions`": recipes.QuestionSection,
    "`rewards`": recipes.RewardSection,
    "`evaluation`": recipes.EvaluationSection,
    "`evaluation.suites`": recipes.SuiteSection,
    "`evaluation.judge`": recipes.JudgeSection,
    "Task metrics": recipes.TaskMetricsSection,
    "`privacy`": recipes.PrivacySection,
    "`launch`": recipes.LaunchSection,
}


def section(heading: str) -> str:
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None, f"docs/recipes.md has no section {heading}"
    return found[1]


def table(text: str, head: str) -> dict[str, str]:
    """Key -> second column of the table whose first column has the heading ``head``."""
    lines = text[text.index(f"| {head} |") :].splitlines()[2:]
    rows: dict[str, str] = {}
    for line in lines:
        if not line.startswith("|"):
            break
        key, second = (cell.strip() for cell in line.split("|")[1:3])
        assert key.strip("`") not in rows, f"{key} stands twice"
        rows[key.strip("`")] = second
    return rows


def written(default: Any) -> str:
    """A default as the page writes it."""
    if isinstance(default, BaseModel):
        return "(its defaults)"
    text = yaml.safe_dump(default, default_flow_style=True, width=1000).removesuffix("\n").removesuffix("\n...")
    return f"`{text}`"


@pytest.mark.parametrize("heading", SECTIONS)
def test_every_key_of_a_section_is_explained_with_its_default(heading: str) -> None:
    expected = {
        name: "(needed)" if field.is_required() else written(field.get_default(call_default_factory=True))
        for name, field in SECTIONS[heading].model_fields.items()
    }
    assert table(section(heading), "key") == expected


def test_no_section_of_a_recipe_is_left_out() -> None:
    classes = [value for value in vars(recipes).values() if isinstance(value, type) and issubclass(value, BaseModel)]
    documented = {*SECTIONS.values(), BaseModel, recipes._Section}
    assert [found.__name__ for found in classes if found not in documented] == []


def own_defaults(ours: type, theirs: type) -> dict[str, str]:
    """Fields that TRL's config lacks, and those with another default, as the page writes them."""
    before = {field.name: field.default for field in fields(theirs)}
    own = {}
    for field in fields(ours):
        default = field.default if field.default is not MISSING else None
        if field.name not in before or before[field.name] != field.default:
            own[field.name] = written(default)
    return own


def test_skinrls_own_training_settings_are_explained_with_their_defaults() -> None:
    from trl import GRPOConfig, SFTConfig

    from skinrl.grpo.config import SkinGRPOConfig
    from skinrl.sft.config import SkinSFTConfig

    text = section("`sft` and `grpo`")
    assert table(text, "key of `sft`") == own_defaults(SkinSFTConfig, SFTConfig)
    grpo = own_defaults(SkinGRPOConfig, GRPOConfig)
    owned = {"min_pixels", "max_pixels"}  # fields of the config that the model section sets
    assert table(text, "key of `grpo`") == {"init": "`sft`"} | {k: v for k, v in grpo.items() if k not in owned}


def test_settings_with_another_owner_are_listed() -> None:
    assert set(table(section("`sft` and `grpo`"), "refused in `sft` and `grpo`")) == set(recipes._OWNED)


def test_the_limits_of_the_gap_are_those_of_the_code() -> None:
    from skinrl.grpo.gap import LIMITS

    text = section("`sft` and `grpo`")
    for place, key in enumerate(("rollout_gap_warn", "rollout_gap_stop")):
        (line,) = (line for line in text.splitlines() if line.startswith(f"| `{key}`"))
        for dtype, limits in LIMITS.items():
            assert f"{dtype} {limits[place]:.10g}" in line, (key, dtype)


def test_the_examples_load_and_their_rewards_resolve(tmp_path: Path) -> None:
    for language, name, text in re.findall(r"^```(\w+) (\S+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL):
        assert language in ("yaml", "python")
        (tmp_path / name).write_text(text)
    shutil.copy(RECIPES / "phantom.yaml", tmp_path)
    experiment = open_experiment(tmp_path / "my_recipe.yaml", None, runs=tmp_path / "runs")
    assert "clinic_rash" in experiment.taxonomy
    rewards, weights = reward_functions(experiment)
    assert [reward.__name__ for reward in rewards][1] == "class_reward"
    assert weights == [1.0, 0.1]
    answers = [DiagnosticReport(name, "non-neoplastic").render() for name in ("psoriasis", "impetigo")]
    columns = {
        "gold_nodes": [["eczema"]] * 2,
        "gold_weights": [[1.0]] * 2,
        "options": [[]] * 2,
        "option_nodes": [[]] * 2,
    }
    assert rewards[1](completions=answers, **columns) == [1.0, 0.0]  # both inflammatory; an infection


def test_links_lead_somewhere() -> None:
    for page in (REPOSITORY / "docs" / "recipes.md", RECIPES / "README.md"):
        text = page.read_text()
        headings = {
            re.sub(r"[^a-z0-9 -]", "", h.lower()).replace(" ", "-") for h in re.findall(r"^#+ (.*)$", text, re.M)
        }
        for target in re.findall(r"\]\(([^)]+)\)", text):
            path, _, anchor = target.partition("#")
            assert (page.parent / path).exists() if path else anchor in headings, f"{page}: {target}"
