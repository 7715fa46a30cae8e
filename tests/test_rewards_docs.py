"""docs/rewards.md is executed: its worked cases, its tables of rewards and schemes, its example."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

from skinrl.rewards import builtin_rewards, check_reward
from skinrl.taxonomy import Taxonomy
from skinrl.taxonomy.similarity import SCHEMES, expected_credit, relation

PAGE = (Path(__file__).parents[1] / "docs" / "rewards.md").read_text(encoding="utf-8")


def table_after(marker: str) -> list[dict[str, str]]:
    """Rows of the first Markdown table after a text, by the names of its columns."""
    lines = PAGE[PAGE.index(marker) :].splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith("|"))
    rows = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return [dict(zip(rows[0], row, strict=True)) for row in rows[2:]]


def node_of(taxonomy: Taxonomy, name: str) -> str:
    match = taxonomy.resolve(name)
    assert match is not None, f"no node {name!r}"
    return match.node


CASES = table_after("<!-- worked cases: one gold -->")


@pytest.mark.parametrize("row", CASES, ids=lambda row: f"{row['gold']} <- {row['answer']}")
def test_the_worked_cases_for_one_gold(taxonomy: Taxonomy, row: dict[str, str]) -> None:
    gold, answer = node_of(taxonomy, row["gold"]), node_of(taxonomy, row["answer"])
    above_answer, above_gold = taxonomy.ancestors(answer), taxonomy.ancestors(gold)
    shared, of_answer, of_gold = (int(count) for count in row["counts"].split(","))
    assert (len(above_answer & above_gold), len(above_answer), len(above_gold)) == (shared, of_answer, of_gold)
    assert relation(taxonomy, answer, gold) == row["relation"]
    # the default once more from the counts that are printed, not from the code
    by_hand = {"opposite": 0.0, "exact": 1.0, "below": 1.0}.get(row["relation"], 2 * shared / (of_answer + of_gold))
    assert float(row["default"]) == pytest.approx(by_hand, abs=5e-4)
    for scheme in set(SCHEMES) & set(row):
        assert SCHEMES[scheme].credit(taxonomy, answer, gold, ()) == pytest.approx(float(row[scheme]), abs=6e-4), (
            scheme
        )


@pytest.mark.parametrize("row", table_after("<!-- worked cases: several golds and options -->"), ids=str)
def test_the_worked_cases_for_several_golds_and_options(taxonomy: Taxonomy, row: dict[str, str]) -> None:
    golds = [part.strip().rsplit(" ", 1) for part in row["golds"].split(",") if part.strip()]
    match = taxonomy.resolve(row["answer"])
    found = expected_credit(
        taxonomy,
        match.node if match else None,
        [(node_of(taxonomy, name), float(weight)) for name, weight in golds],
        option_nodes=[node_of(taxonomy, name) for name in row["options"].split(",") if name.strip()],
    )
    if row["credit"] == "none":
        assert found is None
    else:
        assert found == pytest.approx(float(row["credit"]), abs=5e-4)


def test_the_worked_cases_show_every_relation_and_enough_diseases() -> None:
    assert {row["relation"] for row in CASES} >= {"exact", "below", "ancestor", "related", "opposite", "unrelated"}
    assert len({row["gold"] for row in CASES}) >= 8
    assert set(CASES[0]) & set(SCHEMES) == set(SCHEMES) - {"information_content", "skin_r1_code"}


def test_every_built_in_reward_and_every_scheme_is_described() -> None:
    listed = {row["import path"].strip("`") for row in table_after("## What there is")}
    assert listed == set(builtin_rewards())
    assert {row["scheme"].strip("`") for row in table_after("### The schemes")} == set(SCHEMES)


def test_the_example_of_ones_own_reward_keeps_the_contract(taxonomy: Taxonomy, tmp_path: Path) -> None:
    code = re.search(r"```python\n(.*?)```", PAGE[PAGE.index("## Your own") :], re.DOTALL)
    assert code is not None
    path = tmp_path / "my_rewards.py"
    path.write_text(code[1], encoding="utf-8")
    module = load(path)
    findings = check_reward(module.get_class_reward(taxonomy), taxonomy)
    assert [finding for finding in findings if finding.status != "ok"] == []


def load(path: Path) -> Any:
    """Import a file by its stem, so that what it defines can be pickled."""
    import sys

    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module
