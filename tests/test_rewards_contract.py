"""The contract test of rewards: built-ins pass it, and every kind of fault is named."""

from __future__ import annotations

import asyncio
import functools
import importlib
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from reward_setup import OPEN_CASES, TREE, said

import skinrl.rewards
from skinrl.plugins import call_factory, resolve
from skinrl.rewards import (
    Finding,
    builtin_rewards,
    check_reward,
    get_hierarchy_reward,
    get_malignancy_reward,
    get_report_format_reward,
    get_skin_r1_reward,
    report_format_reward,
    sample_rows,
    score_rows,
)
from skinrl.rewards.base import Reward
from skinrl.rewards.processes import HASH_SEEDS, scores_elsewhere
from skinrl.rewards.samples import answers_to, call, gold_completion
from skinrl.taxonomy import Taxonomy
from skinrl.taxonomy.measures import MEASURES


def listed(taxonomy: Taxonomy) -> list[Any]:
    """Every reward that `skinrl rewards list` names, with its own defaults."""
    rewards = []
    for path, line in builtin_rewards().items():
        reward = resolve(path)
        rewards.append(
            call_factory(reward, path, {}, {"taxonomy": taxonomy}) if line.startswith("factory:") else reward
        )
    return rewards


def built_in(taxonomy: Taxonomy) -> list[Any]:
    return [
        *listed(taxonomy),
        get_report_format_reward("skingpt_r1"),
        *(get_hierarchy_reward(taxonomy, measure) for measure in MEASURES),
        get_hierarchy_reward(taxonomy, style="skin_r1"),
        get_hierarchy_reward(taxonomy, undetermined=0.2),
        get_malignancy_reward(taxonomy),
        *(get_skin_r1_reward(taxonomy, form) for form in ("paper", "code", "standard")),
        get_skin_r1_reward(taxonomy, style="skin_r1"),
    ]


def test_every_built_in_reward_keeps_the_contract(taxonomy: Taxonomy) -> None:
    for graph in (TREE, taxonomy):
        for reward in built_in(graph):
            findings = {finding.check: finding for finding in check_reward(reward, graph, hash_seeds=())}
            assert findings.pop("hash seeds").status == "skipped"  # all of them at once: the next test
            assert [finding for finding in findings.values() if finding.status != "ok"] == [], reward.__name__
            assert len(findings) == 13


def test_every_built_in_reward_scores_the_same_under_every_hash_seed(taxonomy: Taxonomy) -> None:
    rewards = built_in(taxonomy)
    rows = sample_rows(taxonomy)
    probes = [(row, text) for row in rows for text in answers_to(taxonomy, row, "report")]
    here = [call(reward, probes) for reward in rewards]
    for seed, there in zip(HASH_SEEDS, scores_elsewhere(rewards, probes), strict=True):
        for reward, ours, theirs in zip(rewards, here, there, strict=True):
            assert ours == theirs, (reward.__name__, seed)


def test_the_sample_rows_hold_every_kind_of_question(taxonomy: Taxonomy) -> None:
    rows = sample_rows(taxonomy)
    assert {bool(row["options"]) for row in rows} == {True, False}
    assert {len(row["gold_nodes"]) for row in rows} == {0, 1, 2}
    assert {row["prefilled"] for row in rows} == {"", "<think>\n"}
    assert any(taxonomy.children(node) for row in rows for node in row["gold_nodes"])
    assert rows == sample_rows(taxonomy)


def test_a_gold_completion_earns_the_maximum(taxonomy: Taxonomy) -> None:
    rows = [row for row in sample_rows(taxonomy) if len(row["gold_nodes"]) == 1]
    scored = score_rows(
        [row | {"completion": gold_completion(taxonomy, row)} for row in rows], [get_hierarchy_reward(taxonomy)]
    )
    assert {row["hierarchy_reward"] for row in scored} == {1.0}


# --- rewards with one fault each -----------------------------------------------------------------------------------

GOOD = get_hierarchy_reward(TREE)


def needs_a_column(completions, solution, **kwargs):
    return [1.0] * len(completions)


def takes_no_kwargs(completions, gold_nodes):
    return [1.0] * len(completions)


def too_short(completions, **kwargs):
    return [1.0]


def one_number(completions, **kwargs):
    return 1.0


def words(completions, **kwargs):
    return ["good"] * len(completions)


def not_a_number(completions, **kwargs):
    return [float("nan")] * len(completions)


def up_to_five(completions, **kwargs):
    return [5.0 * score if score is not None else None for score in GOOD(completions, **kwargs)]


def none_for_a_wrong_answer(completions, **kwargs):
    return [score or None for score in GOOD(completions, **kwargs)]


def pays_the_wrong(completions, **kwargs):
    return [1 - score if score is not None else None for score in GOOD(completions, **kwargs)]


def pays_for_length(completions, **kwargs):
    return [min(len(completion[0]["content"]) / 1000, 1.0) for completion in completions]


def raises_on_what_it_cannot_read(completions, **kwargs):
    for completion in completions:
        if completion[0]["content"].count("<think>") > 1:
            raise IndexError("no answer")
    return GOOD(completions, **kwargs)


def raises_always(completions, **kwargs):
    return [completion["text"] for completion in completions]


def trips_over_new_columns(completions, **kwargs):
    return [0.0] * len(completions) if "a_column_of_next_year" in kwargs else GOOD(completions, **kwargs)


def draws(completions, **kwargs):
    return [None if score is None else score * random.random() for score in GOOD(completions, **kwargs)]


def follows_the_hash_seed(completions, **kwargs):
    scores = GOOD(completions, **kwargs)
    return [None if score is None else score * (1 + hash(str(score)) % 7) / 7 for score in scores]


def pays_for_the_name(completions, gold_nodes, **kwargs):
    """As reward by substring does it: the gold's name anywhere in the text."""
    golds = [TREE.node(nodes[0]).name if nodes else None for nodes in gold_nodes]
    texts = [completion[0]["content"] for completion in completions]
    return [None if gold is None else float(gold in text) for gold, text in zip(golds, texts, strict=True)]


def looks_at_its_neighbours(completions, **kwargs):
    scores = GOOD(completions, **kwargs)
    first = completions[0][0]["content"]
    return [None if score is None else score * (0.5 if first == "" else 1.0) for score in scores]


@pytest.mark.parametrize(
    ("reward", "check", "status", "what"),
    [
        (needs_a_column, "signature", "fail", "nothing is given for: solution"),
        (takes_no_kwargs, "signature", "fail", "takes (completions, gold_nodes)"),
        (too_short, "length", "fail", "1 scores for"),
        (one_number, "length", "fail", "returned float"),
        (words, "type", "fail", "returned 'good'"),
        (not_a_number, "range", "fail", "returned nan or an infinity"),
        (up_to_five, "range", "warn", "0 to 5, expected 0 to 1"),
        (none_for_a_wrong_answer, "None", "fail", "None for some completions and a number for others"),
        (pays_the_wrong, "gold scores the maximum", "fail", "the gold scores 0, another answer"),
        (pays_for_length, "garbage", "warn", "pays for"),
        (pays_for_length, "adversarial corpus", "warn", "completions earn more than they may"),
        (pays_for_the_name, "adversarial corpus", "fail", "completions earn more than they may"),
        (draws, "deterministic", "fail", "the scores changed"),
        (raises_on_what_it_cannot_read, "garbage", "fail", "raised IndexError: no answer"),
        (raises_always, "call", "fail", "raised TypeError"),
        (trips_over_new_columns, "extra arguments", "fail", "the scores changed"),
        (looks_at_its_neighbours, "repeatable", "fail", "the scores changed"),
        (lambda completions, **kwargs: GOOD(completions, **kwargs), "name", "warn", "its name is '<lambda>'"),
        (lambda completions, **kwargs: GOOD(completions, **kwargs), "pickles", "fail", "<lambda>"),
        (7, "signature", "fail", "not a callable"),
    ],
)
def test_each_fault_is_found(reward: Any, check: str, status: str, what: str) -> None:
    found = {finding.check: finding for finding in check_reward(reward, TREE, hash_seeds=())}
    assert found[check].status == status
    assert what in found[check].what
    assert found[check].mend
    assert found[check].why


def test_a_score_that_follows_the_hash_seed_is_found_in_other_processes() -> None:
    found = {finding.check: finding for finding in check_reward(follows_the_hash_seed, TREE)}
    assert found["hash seeds"].status == "fail"
    assert "PYTHONHASHSEED=" in found["hash seeds"].what
    assert "sort" in found["hash seeds"].mend
    assert found["deterministic"].status == found["repeatable"].status == "ok"


def unknown_elsewhere(completions, **kwargs):
    return GOOD(completions, **kwargs)


def test_a_reward_that_no_other_process_can_import_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unknown_elsewhere, "__module__", "__main__")
    monkeypatch.setattr(sys.modules["__main__"], "unknown_elsewhere", unknown_elsewhere, raising=False)
    found = {finding.check: finding for finding in check_reward(unknown_elsewhere, TREE)}
    assert found["pickles"].status == "ok"
    assert found["hash seeds"].status == "fail"
    assert "unknown_elsewhere" in found["hash seeds"].what


async def waits(completions, **kwargs):
    await asyncio.sleep(0)
    return GOOD(completions, **kwargs)


@pytest.mark.parametrize("reward", [waits, functools.partial(GOOD, finished=None)])
def test_the_other_forms_that_trl_takes_are_taken(reward: Any) -> None:
    assert [finding for finding in check_reward(reward, TREE, hash_seeds=(7,)) if finding.status == "fail"] == []


def test_a_reward_that_scores_nothing_is_said_to() -> None:
    rows = [row | {"gold_nodes": [], "gold_weights": []} for row in sample_rows(TREE)]
    found = {finding.check: finding for finding in check_reward(GOOD, TREE, rows, hash_seeds=())}
    assert found["range"] == Finding("range", "warn", "every score is None", "no row can be scored")
    assert found["gold scores the maximum"].status == "skipped"


# --- the list, and offline scoring ---------------------------------------------------------------------------------


def test_every_listed_reward_can_be_imported() -> None:
    for path, line in builtin_rewards().items():
        module, _, name = path.partition(":")
        assert callable(getattr(importlib.import_module(module), name))
        assert line.startswith("fn: " if name.endswith("_reward") and not name.startswith("get_") else "factory: ")


def test_all_names_exist_and_the_export_list_is_complete() -> None:
    for name in skinrl.rewards.__all__:
        assert hasattr(skinrl.rewards, name)
    assert skinrl.rewards.__all__ == sorted(skinrl.rewards.__all__)


def test_saved_completions_are_scored_offline() -> None:
    rows = [
        {"completion": text, "gold_nodes": ["nodular_melanoma"], "gold_weights": [1.0], "id": case}
        for case, text in OPEN_CASES.items()
    ]
    rows.append({"completion": [{"role": "assistant", "content": said("melanoma")}], "id": "no gold at all"})
    rewards: list[Reward] = [report_format_reward, get_hierarchy_reward(TREE)]
    scored = score_rows(rows, rewards)
    assert len(scored) == len(rows)
    assert scored[0] == {"report_format_reward": 1.0, "hierarchy_reward": 1.0}
    assert scored[-1] == {"report_format_reward": 1.0, "hierarchy_reward": None}
    assert score_rows([], rewards) == []
    assert score_rows(rows[:2], []) == [{}, {}]
    with pytest.raises(ValueError, match="distinct names"):
        score_rows(rows, [GOOD, get_hierarchy_reward(TREE, undetermined=0.1)])


def test_rewards_load_no_torch() -> None:
    heavy = ("torch", "trl", "transformers", "datasets")
    script = f"import sys, skinrl.rewards; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- in stock TRL --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_all_rewards_work_in_stock_grpo_trainer_unchanged(tmp_path: Path) -> None:
    from datasets import Dataset
    from tiny_model import build_tiny_text
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import GRPOConfig, GRPOTrainer

    path = build_tiny_text(tmp_path / "model")
    rows = sample_rows(TREE, count=4)
    rewards = [report_format_reward, GOOD, get_malignancy_reward(TREE), get_skin_r1_reward(TREE)]
    trainer = GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(path),
        processing_class=AutoTokenizer.from_pretrained(path),
        reward_funcs=rewards,
        args=GRPOConfig(
            output_dir=str(tmp_path / "out"),
            max_steps=1,
            per_device_train_batch_size=4,
            num_generations=2,
            max_completion_length=8,
            log_completions=True,
            logging_steps=1,
            report_to=[],
            use_cpu=True,
            bf16=False,
            save_strategy="no",
        ),
        train_dataset=Dataset.from_list(rows).remove_columns("images"),
    )
    trainer.train()
    logged = [entry for entry in trainer.state.log_history if "reward" in entry]
    assert len(logged) == 1
    for reward in rewards:
        assert f"rewards/{reward.__name__}/mean" in logged[0]
    assert logged[0]["answer/ok"] == 0.0
    extra = trainer._logs["extra"]
    assert {len(values) for values in extra.values()} == {len(trainer._logs["prompt"])}
    assert set(extra["hierarchy_reward/relation"]) == {"none"}
