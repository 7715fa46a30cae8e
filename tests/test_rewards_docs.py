"""docs/rewards.md is executed: its worked cases, its tables of rewards and measures, its example."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from skinrl.plugins import call_factory, resolve
from skinrl.rewards import builtin_rewards, check_reward
from skinrl.taxonomy import Taxonomy
from skinrl.taxonomy.measures import MEASURES, relation
from skinrl.taxonomy.similarity import expected_credit

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
    for measure in set(MEASURES) & set(row):
        assert MEASURES[measure].credit(taxonomy, answer, gold, ()) == pytest.approx(float(row[measure]), abs=6e-4), (
            measure
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
    assert set(CASES[0]) & set(MEASURES) == set(MEASURES) - {"information_content", "skin_r1_code"}


def test_every_built_in_reward_and_every_measure_is_described() -> None:
    listed = {row["import path"].strip("`") for row in table_after("## What there is")}
    assert listed == set(builtin_rewards())
    measures = table_after("### The measures")
    assert {row["measure"].strip("`") for row in measures} == set(MEASURES)
    assert all(cell for row in (*table_after("## What there is"), *measures) for cell in row.values())
    for row in measures:  # what the page says of range and maximum is what the code does
        maximum = MEASURES[row["measure"].strip("`")].maximum
        assert row["is 1 the maximum"] == ("yes" if maximum == 1.0 else f"no: {maximum:g}")
        assert row["range"].endswith(f" {maximum:g}")


def test_the_example_of_ones_own_reward_keeps_the_contract(taxonomy: Taxonomy, tmp_path: Path) -> None:
    code = re.search(r"```python\n(.*?)```", PAGE[PAGE.index("## Your own, in five minutes") :], re.DOTALL)
    assert code is not None
    (tmp_path / "my_rewards.py").write_text(code[1], encoding="utf-8")
    factory = resolve("./my_rewards.py:get_class_reward", base=tmp_path)  # as a recipe names it
    reward = call_factory(factory, "my_rewards", {}, {"taxonomy": taxonomy})
    findings = check_reward(reward, taxonomy)
    assert [finding for finding in findings if finding.status != "ok"] == []
    columns: dict[str, list[Any]] = {}
    text = "<think>\n</think>\n<answer>\nDiagnosis: melanoma\nMalignancy: malignant\n</answer>"
    assert reward([text, ""], [["melanoma"], ["melanoma"]], log_extra=columns.__setitem__) == [1.0, 0.0]
    assert columns["class_reward/class"] == [taxonomy.path("melanoma")[0], None]
