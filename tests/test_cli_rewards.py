"""`skinrl rewards check` of a user's module, and `skinrl rewards score` of what a run has logged."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from reward_setup import said
from typer.testing import CliRunner

from skinrl.cli.app import app
from skinrl.cli.saved_completions import read_rows, summaries, worst_rows
from skinrl.errors import InputError, PluginError

RECIPE = """\
name: clinic
model: {path: none}
data:
  - {source: folder, path: .}
rewards:
  - {factory: "skinrl.rewards:get_hierarchy_reward", weight: 2.0}
  - {fn: "skinrl.rewards:report_format_reward"}
"""
MODULE = '''\
from skinrl.rewards.base import read_answers


def careless(completions, gold_nodes, **kwargs):
    """Pays for the name of the gold anywhere."""
    names = [gold[0].replace("_", " ") if gold else None for gold in gold_nodes]
    return [name and float(name in one[0]["content"]) for one, name in zip(completions, names)]


class Careful:
    __name__ = "careful"

    def __init__(self, taxonomy, share):
        self.taxonomy, self.share = taxonomy, share

    def __call__(self, completions, gold_nodes, options, option_nodes, prefilled, finished=None, **kwargs):
        answers = read_answers(self.taxonomy, completions, options, option_nodes, finished, prefilled)
        return [self.share * (answer.node in gold) if gold else None for answer, gold in zip(answers, gold_nodes)]


def get_careful(taxonomy, share=1.0):
    return Careful(taxonomy, share)
'''


def skinrl(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["rewards", *arguments])


@pytest.fixture
def clinic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    (tmp_path / "clinic_checked_rewards.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    sys.modules.pop("clinic_checked_rewards", None)  # the next test has a file of that name elsewhere


def by_check(result: Any) -> dict[str, dict[str, Any]]:
    return {row["check"]: row for row in json.loads(result.stdout)["findings"]}


def test_a_reward_of_a_users_module_is_checked_and_a_failure_ends_with_2(clinic: Path) -> None:
    result = skinrl("check", "./clinic_checked_rewards.py:careless", "--json")
    assert result.exit_code == 2
    found = by_check(result)
    assert found["hash seeds"]["status"] == "ok"
    cheat = found["adversarial corpus"]
    assert cheat["status"] == "fail"
    assert set(cheat) == {"reward", "check", "status", "what", "why", "mend"}
    assert "earn more than they may" in cheat["what"]
    assert "read_answer" in cheat["mend"]
    text = skinrl("check", "./clinic_checked_rewards.py:careless").stdout
    assert "mend: " in text
    assert "why: " in text


def test_a_factory_is_called_with_its_arguments(clinic: Path) -> None:
    result = skinrl("check", "./clinic_checked_rewards.py:get_careful", "share=0.5", "--json")
    assert result.exit_code == 0, result.output
    found = by_check(result)
    assert {row["status"] for row in found.values()} == {"ok"}
    assert found["range"]["what"] == "0 to 0.5"
    assert len(found) == 14


def test_a_recipe_is_checked_reward_by_reward(clinic: Path) -> None:
    result = skinrl("check", "recipe.yaml", "--json")
    assert result.exit_code == 0, result.output
    names = [row["reward"] for row in json.loads(result.stdout)["findings"]]
    assert set(names) == {"skinrl.rewards:get_hierarchy_reward", "skinrl.rewards:report_format_reward"}


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        (["./clinic_checked_rewards.py:carless"], PluginError, "careless"),
        (["./clinic_checked_rewards.py:get_careful", "shar=1"], PluginError, "nearest: share"),
        (["./clinic_checked_rewards.py:careless", "share=1"], InputError, "takes no settings"),
        (["./clinic_checked_rewards.py:get_careful", "share"], InputError, "expected name=value"),
        (["skinrl.rewards.get_skin_r1_reward"], PluginError, "did you mean skinrl.rewards:get_skin_r1_reward"),
    ],
)
def test_what_is_no_reward_is_named(clinic: Path, arguments: list[str], error: type[Exception], said: str) -> None:
    result = skinrl("check", *arguments)
    assert isinstance(result.exception, error)
    assert said in str(result.exception)


# --- score ---------------------------------------------------------------------------------------------------------


def log_row(step: int, id: str, text: str, gold: str, **more: Any) -> dict[str, Any]:
    columns = {"id": id, "gold_nodes": [gold] if gold else [], "gold_weights": [1.0] if gold else [], **more}
    columns |= {"options": [], "option_nodes": [], "prefilled": "", "finished": True}
    message = [{"role": "assistant", "content": text}]
    prompt = [{"role": "user", "content": "Which disease?"}]
    return {
        "step": step,
        "prompt": prompt,
        "completion": message,
        "id": id,
        "row": json.dumps(columns),
        "advantage": 0.0,
    }


ROWS = [
    log_row(1, "a", said("melanoma"), "melanoma"),
    log_row(1, "a", said("psoriasis", "non-neoplastic"), "melanoma"),
    log_row(1, "b", said("psoriasis", "non-neoplastic"), "psoriasis"),
    log_row(1, "b", said("psoriasis", "non-neoplastic"), "psoriasis"),
    log_row(2, "c", "It is a melanoma.", ""),
    log_row(2, "c", said("melanoma"), ""),
]


@pytest.fixture
def log(clinic: Path) -> Path:
    import pyarrow
    from pyarrow import parquet

    folder = clinic / "completions"
    folder.mkdir()
    for step in (1, 2):
        rows = [row for row in ROWS if row["step"] == step]
        parquet.write_table(pyarrow.Table.from_pylist(rows), folder / f"completions_{step:05d}.parquet")
    return folder


def test_a_log_of_grpo_is_scored_again_with_a_table_per_reward(log: Path) -> None:
    result = skinrl("score", "recipe.yaml", str(log), "--json", "--worst", "1")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    hierarchy, form = found["rewards"]
    assert [row["hierarchy_reward"] for row in found["rows"]] == [1.0, 0.0, 1.0, 1.0, None, None]
    assert [row["report_format_reward"] for row in found["rows"]] == [1.0, 1.0, 1.0, 1.0, 0.0, 1.0]
    # by hand: 1, 0, 1, 1 have mean 3/4 and variance 3/16; of the two groups that are scored, b is flat
    assert hierarchy == {
        "reward": "hierarchy_reward",
        "completions": 6,
        "mean": 0.75,
        "sd": pytest.approx(0.4330127),
        "zeros": 0.25,
        "none": pytest.approx(1 / 3),
        "groups": 2,
        "flat_groups": 0.5,
    }
    assert (form["groups"], form["flat_groups"]) == (3, pytest.approx(2 / 3))
    (worst,) = found["worst"]
    assert (worst["id"], worst["total"], worst["step"]) == ("c", 0.0, 2)
    assert worst["why"]["report_format_reward/fault"] == "answer missing"


def test_the_worst_rows_are_shown_with_scores_answer_and_gold(log: Path) -> None:
    shown = skinrl("score", "recipe.yaml", str(log / "completions_00001.parquet"), "--worst", "1").stdout
    assert "hierarchy_reward" in shown
    assert "50.0% of 2" in shown  # flat groups
    assert "a, step 1: 1.0000, gold melanoma" in shown
    assert "relation opposite" in shown
    assert "| Diagnosis: psoriasis" in shown


def test_predictions_are_scored_with_the_options_of_their_cases(clinic: Path) -> None:
    offered = {"options": ["melanoma", "psoriasis"], "option_nodes": ["melanoma", "psoriasis"], "prefilled": ""}
    (clinic / "cases.jsonl").write_text(json.dumps({"id": "x", **offered}) + "\n")
    rows = [{"id": "x", "gold": "melanoma", "completion": said("A")}, {"id": "y", "gold": "wart", "completion": ""}]
    (clinic / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = skinrl("score", "recipe.yaml", "predictions.jsonl", "--json")
    assert result.exit_code == 0, result.output
    assert [row["hierarchy_reward"] for row in json.loads(result.stdout)["rows"]] == [1.0, 0.0]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("none.jsonl", None, "no such file or folder"),
        ("empty.jsonl", "", "holds no rows"),
        ("bare.jsonl", '{"text": "x"}\n', "no `completion`"),
        ("list.jsonl", "[1]\n", "no JSON object"),
        ("ungraded.jsonl", '{"completion": "x"}\n', "no row has `gold_nodes`"),
        ("broken.parquet", "PAR0", "is no Parquet file"),
    ],
)
def test_what_cannot_be_scored_is_refused_in_one_line(clinic: Path, name: str, content: str | None, said: str) -> None:
    if content is not None:
        (clinic / name).write_text(content)
    result = skinrl("score", "recipe.yaml", name)
    assert isinstance(result.exception, InputError)
    assert said in str(result.exception)
    assert name in str(result.exception)


def test_an_empty_folder_is_refused(clinic: Path) -> None:
    with pytest.raises(InputError, match=r"holds no \*\.parquet"):
        read_rows(clinic)


def test_a_table_without_groups_and_without_scores_says_so() -> None:
    (row,) = summaries([{"completion": "x"}, {"completion": "y"}], [{"r": None}, {"r": None}])
    assert (row["mean"], row["sd"], row["zeros"], row["none"], row["groups"], row["flat_groups"]) == (
        *(None, None, None),
        *(1.0, 0, None),
    )
    assert worst_rows([{"completion": "x"}], [{"r": None}], [{}], {"r": 1.0}, 3) == []
