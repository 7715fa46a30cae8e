"""The benchmark of the rewards: the two ways score alike, and its rows have the promised form."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from skinrl.report import parse_report
from skinrl.taxonomy import Taxonomy

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    spec = importlib.util.spec_from_file_location("benchmark_rewards", BENCHMARKS / "rewards.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.modules.pop("rivals.naive_rewards", None)


def test_the_straightforward_way_scores_what_we_score(benchmark: Any, taxonomy: Taxonomy) -> None:
    for kind in benchmark.COMPARABLE:
        benchmark.assert_equal(kind, taxonomy, 160)
    columns = benchmark.columns_of("names", taxonomy, 400, seed=3)
    naive = benchmark.Naive(taxonomy).rewards()
    for name, reward in benchmark.rewards_of(taxonomy).items():
        ours = reward(**columns)
        assert ours == pytest.approx(naive[name](**columns)), name
        assert len(set(ours)) > 1  # a comparison of zeros would say nothing


def test_completions_are_reports_of_a_kilobyte_some_of_them_spoilt(benchmark: Any, taxonomy: Taxonomy) -> None:
    columns = benchmark.columns_of("options", taxonomy, 320, seed=1)
    texts = [completion[0]["content"] for completion in columns["completions"]]
    assert all(960 <= len(text) <= 1010 for text in texts)
    assert len(set(texts)) == len(texts)
    options = columns["options"]
    read = [parse_report(text, options=names) for text, names in zip(texts, options, strict=True)]
    assert 0.01 < sum(one.outcome == "invalid" for one in read) / len(read) < 0.12
    same = benchmark.columns_of("one text per group", taxonomy, 32, seed=1)["completions"]
    assert len({completion[0]["content"] for completion in same}) == 4


def test_the_rows_have_settings_both_ways_and_their_ratio(
    benchmark: Any, taxonomy: Taxonomy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark, "load_taxonomy", lambda: taxonomy)  # loaded once: the rows' form is looked at here
    file = tmp_path / "rows.json"
    few = ["--completions", "64", "--repeats", "2", "--batch", "32", "--clock", "cpu"]
    monkeypatch.setattr(sys, "argv", ["rewards.py", *few, "--json", str(file)])
    benchmark.main()
    rows = json.loads(file.read_text())
    assert [row["diagnoses"] for row in rows if row["rewards"] == "all four"] == list(benchmark.KINDS)
    assert [row["rewards"] for row in rows[len(benchmark.KINDS) :]] == list(benchmark.PARTS)
    for row in rows:
        comparable = row["diagnoses"] in benchmark.COMPARABLE
        for key in ("stock", "skinrl", "ratio") if comparable else ("skinrl",):
            assert set(row[key]) == {"median", "low", "high"}
            assert 0 < row[key]["low"] <= row[key]["median"] <= row[key]["high"]
        assert comparable or row["stock"] is row["ratio"] is None
        assert (row["completions"], row["batch"], row["repeats"]) == (64, 32, 2)
