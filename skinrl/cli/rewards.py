"""``skinrl rewards``: list the built-in ones, test any, score saved completions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from skinrl.cli.common import JsonOption, Overrides, RecipeArgument, print_json
from skinrl.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

app = typer.Typer(help="Rewards: list, test, score offline.", no_args_is_help=True)


@app.command("list")
def list_rewards(json: JsonOption = False) -> None:
    """Name the built-in rewards, as a recipe names them.

    Example: skinrl rewards list
    """
    from skinrl.rewards import builtin_rewards

    known = builtin_rewards()
    if json:
        print_json(known)
        return
    for name, line in known.items():
        typer.echo(f"{name}\n    {line}")


@app.command()
def check(recipe: RecipeArgument, overrides: Overrides = None, json: JsonOption = False) -> None:
    """Try every reward of a recipe as the trainer would: signature, range, gold scores the maximum, garbage.

    Example: skinrl rewards check recipes/phantom.yaml
    """
    from skinrl.cli.common import open_experiment
    from skinrl.rewards import check_reward

    experiment = open_experiment(recipe, overrides)
    found: list[dict[str, Any]] = []
    for name, reward in _rewards_of(experiment):
        findings = check_reward(reward, experiment.taxonomy)
        found += [{"reward": name, **vars(finding)} for finding in findings]
    if json:
        print_json({"findings": found})
    else:
        for row in found:
            mend = f" -> {row['mend']}" if row["mend"] else ""
            typer.echo(f"{row['status']:<7} {row['reward']}: {row['check']}: {row['what'] or 'as it should be'}{mend}")
    if any(row["status"] == "fail" for row in found):
        raise typer.Exit(2)


@app.command()
def score(
    recipe: RecipeArgument,
    completions: Annotated[
        Path, typer.Argument(help="Predictions or completions: JSONL with `completion` and `gold` or `gold_nodes`.")
    ],
    overrides: Overrides = None,
    json: JsonOption = False,
) -> None:
    """Score saved completions with a recipe's rewards, without a model.

    Example: skinrl rewards score recipes/phantom.yaml runs/phantom/default/eval_grpo/final/predictions.jsonl
    """
    from skinrl import files
    from skinrl.cli.common import open_experiment
    from skinrl.rewards import score_rows

    experiment = open_experiment(recipe, overrides)
    offered = _offered(completions.with_name("cases.jsonl"))
    rows = [_with_gold(row, completions) for row in files.read_jsonl(completions)]
    rows = [offered.get(row.get("id"), {}) | row for row in rows]
    if not rows:
        raise InputError(f"{completions}: holds no rows; expected one JSON object a line")
    named = _rewards_of(experiment)
    scores = score_rows(rows, [reward for _, reward in named])
    if json:
        print_json([{"id": row.get("id"), **values} for row, values in zip(rows, scores, strict=True)])
        return
    for name in scores[0]:
        known = [values[name] for values in scores if values[name] is not None]
        mean = sum(known) / len(known) if known else float("nan")  # type: ignore[arg-type]
        typer.echo(f"{name}: mean {mean:.4f} over {len(known)} completions, {len(scores) - len(known)} not scorable")


def _rewards_of(experiment: Any) -> list[tuple[str, Callable[..., list[float | None]]]]:
    from skinrl.cli.build import reward_functions

    functions, _ = reward_functions(experiment)
    if not functions:
        raise InputError(f"{experiment.file}: names no rewards; add entries under `rewards`")
    names = [entry.fn or entry.factory or "" for entry in experiment.recipe.rewards]
    return list(zip(names, functions, strict=True))


def _offered(cases: Path) -> dict[Any, dict[str, Any]]:
    """What was offered in each case, from the ``cases.jsonl`` that an evaluation leaves beside its predictions."""
    from skinrl import files

    keys = ("options", "option_nodes", "prefilled")
    rows = files.read_jsonl(cases) if cases.is_file() else []
    return {row["id"]: {key: row[key] for key in keys} for row in rows}


def _with_gold(row: Any, file: Path) -> dict[str, Any]:
    """A row with ``gold_nodes`` and ``gold_weights``; predictions carry ``gold`` as a node or as weights by node."""
    if not isinstance(row, dict) or "completion" not in row:
        raise InputError(f"{file}: a row has no `completion`; expected predictions.jsonl or rows like it")
    if "gold_nodes" in row or "gold" not in row:
        return row
    gold = row["gold"]
    weights = {gold: 1.0} if isinstance(gold, str) else dict(gold)
    return {**row, "gold_nodes": list(weights), "gold_weights": list(weights.values())}
