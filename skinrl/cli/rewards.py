"""``skinrl rewards``: list the built-in ones, test any, score saved completions."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from skinrl.cli.common import JsonOption, Overrides, RecipeArgument, print_json
from skinrl.errors import InputError

Reward = Callable[..., list[float | None]]

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
def check(
    target: Annotated[
        str, typer.Argument(help="A recipe, or one reward or factory: package.module:name, ./file.py:name.")
    ],
    settings: Annotated[
        list[str] | None,
        typer.Argument(
            help="Of a recipe: settings to replace. Of a factory: its arguments.", metavar="[KEY=VALUE]..."
        ),
    ] = None,
    taxonomy: Annotated[str, typer.Option("--taxonomy", help="For a single reward: name or file.")] = "dermatology",
    json: JsonOption = False,
) -> None:
    """Try rewards as the trainer would, and say what to mend; a failure ends with exit code 2.

    Tried: name, pickling, signature, length, type, range, None per whole prompt, gold scores the maximum, garbage,
    extra columns, the same call again, another order, other hash seeds in fresh processes, and completions that cheat.

    Examples: skinrl rewards check recipes/phantom.yaml

    skinrl rewards check ./my_rewards.py:get_class_reward

    skinrl rewards check skinrl.rewards:get_hierarchy_reward measure=wu_palmer
    """
    from skinrl.rewards import check_reward

    if target.endswith((".yaml", ".yml")):
        named, known = _of_recipe(Path(target), settings)
    else:
        named, known = _of_reference(target, settings or [], taxonomy)
    found: list[dict[str, Any]] = []
    for name, reward in named:
        found += [{"reward": name, **vars(finding)} for finding in check_reward(reward, known)]
    if json:
        print_json({"findings": found})
    else:
        _print_findings(found)
    if any(row["status"] == "fail" for row in found):
        raise typer.Exit(2)


@app.command()
def score(
    recipe: RecipeArgument,
    completions: Annotated[
        Path,
        typer.Argument(help="A Parquet file or folder that GRPO logs, or JSONL with `completion` and `gold_nodes`."),
    ],
    overrides: Overrides = None,
    worst: Annotated[int, typer.Option("--worst", help="Show the N lowest rows, and why.", min=0)] = 0,
    json: JsonOption = False,
) -> None:
    """Score saved completions with a recipe's rewards, without a model: a table per reward.

    Examples: skinrl rewards score recipes/phantom.yaml runs/phantom/default/grpo/completions --worst 3

    skinrl rewards score recipes/phantom.yaml runs/phantom/default/eval_grpo/final/predictions.jsonl
    """
    from skinrl.cli import saved_completions as saved
    from skinrl.cli.build import reward_functions
    from skinrl.cli.common import open_experiment

    experiment = open_experiment(recipe, overrides)
    rewards, weights = reward_functions(experiment)
    if not rewards:
        raise InputError(f"{recipe}: names no rewards; add entries under `rewards`")
    rows = saved.read_rows(completions)
    saved.refuse_without_gold(rows, rewards, completions)
    scores, why = saved.score_and_explain(rows, rewards)
    table = saved.summaries(rows, scores)
    by_name = dict(zip(scores[0], weights, strict=True))
    lowest = saved.worst_rows(rows, scores, why, by_name, worst)
    if json:
        listed = [{"id": row.get("id"), **values} for row, values in zip(rows, scores, strict=True)]
        print_json({"rewards": table, "worst": lowest, "rows": listed})
        return
    _print_table(table)
    for row in lowest:
        _print_row(row)


# --- what is checked -----------------------------------------------------------------------------------------------


def _of_recipe(file: Path, overrides: list[str] | None) -> tuple[list[tuple[str, Reward]], Any]:
    from skinrl.cli.build import reward_functions
    from skinrl.cli.common import open_experiment

    experiment = open_experiment(file, overrides)
    functions, _ = reward_functions(experiment)
    if not functions:
        raise InputError(f"{file}: names no rewards; add entries under `rewards`")
    names = [entry.fn or entry.factory or "" for entry in experiment.recipe.rewards]
    return list(zip(names, functions, strict=True)), experiment.taxonomy


def _of_reference(reference: str, settings: Sequence[str], name: str) -> tuple[list[tuple[str, Reward]], Any]:
    """One reward by its import path; what does not take ``completions`` is a factory."""
    from skinrl.plugins import call_factory, check_reward_signature, resolve
    from skinrl.taxonomy import load_taxonomy

    taxonomy = load_taxonomy(name)
    found = resolve(reference)
    if _is_factory(found):
        found = call_factory(found, reference, _arguments(settings), {"taxonomy": taxonomy})
    elif settings:
        raise InputError(f"{reference} is a reward, not a factory, and takes no settings; found {settings[0]!r}")
    return [(reference, check_reward_signature(found, reference))], taxonomy


def _is_factory(found: Any) -> bool:
    return inspect.isclass(found) or (callable(found) and "completions" not in inspect.signature(found).parameters)


def _arguments(settings: Sequence[str]) -> Mapping[str, Any]:
    from skinrl.yamlfile import parse_scalar

    given = {}
    for text in settings:
        key, equals, value = text.partition("=")
        if not equals or not key.isidentifier():
            raise InputError(f"{text!r}: expected name=value, an argument of the factory")
        given[key] = parse_scalar(value)
    return given


# --- for people ----------------------------------------------------------------------------------------------------


def _print_findings(found: Sequence[Mapping[str, Any]]) -> None:
    for row in found:
        typer.echo(f"{row['status']:<7} {row['reward']}: {row['check']}: {row['what'] or 'as it should be'}")
        for key in ("why", "mend"):
            if row[key]:
                typer.echo(f"        {key}: {row[key]}")
    counts = {status: sum(row["status"] == status for row in found) for status in ("fail", "warn", "skipped", "ok")}
    typer.echo(", ".join(f"{count} {status}" for status, count in counts.items() if count))


def _print_table(table: Sequence[Mapping[str, Any]]) -> None:
    width = max(len(row["reward"]) for row in table)
    typer.echo(f"{'':{width}} {'n':>7} {'mean':>8} {'sd':>8} {'zeros':>7} {'None':>7} {'flat groups':>14}")
    for row in table:
        flat = "-" if row["flat_groups"] is None else f"{row['flat_groups']:.1%} of {row['groups']}"
        numbers = (
            f"{_number(row['mean']):>8} {_number(row['sd']):>8} {_share(row['zeros']):>7} {_share(row['none']):>7}"
        )
        typer.echo(f"{row['reward']:{width}} {row['completions']:7d} {numbers} {flat:>14}")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _print_row(row: Mapping[str, Any]) -> None:
    step = "" if row["step"] is None else f", step {row['step']}"
    typer.echo(f"\n{row['id']}{step}: {row['total']:.4f}, gold {', '.join(row['gold'] or ()) or '-'}")
    for name, value in row["scores"].items():
        told = {key.removeprefix(f"{name}/"): said for key, said in row["why"].items() if key.startswith(f"{name}/")}
        because = "; ".join(f"{key} {said}" for key, said in told.items())
        typer.echo(f"    {name} {'None' if value is None else f'{value:.4f}'}{f': {because}' if because else ''}")
    lines = row["completion"].strip().splitlines() or ["(empty)"]
    typer.echo("\n".join(f"    | {line[:160]}" for line in lines[:12]))
    if len(lines) > 12:
        typer.echo(f"    | ({len(lines) - 12} lines more)")
