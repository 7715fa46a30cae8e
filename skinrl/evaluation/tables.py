"""A comparison as tables for a terminal of 80 columns or more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

TITLES = {"base": "base", "sft": "SFT", "sft_continued": "SFT continued", "grpo": "SFT + GRPO"}
METRIC_TITLES = {  # short: four models with intervals fit into 80 columns
    "accuracy_sampled": "sampled",
    "accuracy": "greedy",
    "no_image": "no image",
    "shuffled_options": "shuffled",
    "wrong_image": "wrong image",
    "metadata_only": "metadata",
    "accuracy_top_3": "top 3",
    "accuracy_top_5": "top 5",
    "self_consistency": "majority",
    "balanced_accuracy": "balanced",
    "macro_f1": "macro F1",
    "hierarchical_f1": "hier. F1",
    "mistake_severity": "severity *",
    "malignancy_sensitivity": "sensitivity",
    "malignancy_specificity": "specificity",
    "malignancy_ppv": "malign. PPV",
    "ece_stated": "ECE",
    "aurc_stated": "AURC",
    "invalid_share": "invalid",
    "truncated_share": "truncated",
    "unresolved_share": "unresolved",
    "abstained_share": "abstained",
}
_CONTROLS = ("no_image", "shuffled_options", "wrong_image", "metadata_only")
_DIFFERENCES = ("accuracy_sampled", "accuracy", "hierarchical_f1")
_SCALES = {"fitzpatrick": "types", "fitzpatrick_bands": "bands"}
_OF_SEEDS = ("accuracy_sampled", "accuracy", "hierarchical_f1", "malignancy_sensitivity")


def model_title(name: str) -> str:
    return TITLES.get(name, name)


def metric_title(name: str) -> str:
    return METRIC_TITLES.get(name, name.removeprefix("accuracy_").replace("_", " "))


def shown(name: str, metric: Mapping[str, Any] | None, *, signed: bool = False) -> str:
    """`54.2 50.1…58.3` in percent, severity in levels; `-` where not measured, `?` for bounds that do not exist."""
    if metric is None or metric["value"] is None:
        return "-"
    scale, digits = (1, 2) if name == "mistake_severity" else (100, 1)
    value, low, high = (
        None if part is None else f"{part * scale:{'+' if signed else ''}.{digits}f}".replace("100.0", "100")
        for part in (metric["value"], metric["low"], metric["high"])
    )
    return f"{value} [dim]?[/dim]" if low is None else f"{value} [dim]{low}…{high}[/dim]"


def _rows(comparison: Mapping[str, Any]) -> list[str]:
    models = comparison["models"].values()
    levels = sorted({name for metrics in models for name in metrics if name.startswith("accuracy_level_")})
    listed = ["accuracy_sampled", "accuracy", *_CONTROLS, *levels]
    listed += [name for name in METRIC_TITLES if name not in listed]
    return [name for name in listed if any(_metric(metrics, name) is not None for metrics in models)]


def _metric(metrics: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    found = metrics["controls"].get(name) if name in _CONTROLS else metrics.get(name)
    return found if found is not None and found["value"] is not None else None


def comparison_tables(comparison: Mapping[str, Any]) -> list[Table]:
    """Models side by side, with the control without image under the accuracy; paired differences; skin tones."""
    from rich import box
    from rich.table import Table

    models = comparison["models"]
    one = next(iter(models.values()))
    prior = comparison["controls"].get("label_prior")
    title = f"Accuracy and other metrics, % with 95 % interval; {one['cases']} cases of {_groups(one)}"
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, title=title, title_justify="left")
    table.add_column("", no_wrap=True)
    for name in models:
        table.add_column(model_title(name), no_wrap=True)
    for row in _rows(comparison):
        cells = [shown(row, _metric(metrics, row)) for metrics in models.values()]
        table.add_row(metric_title(row), *cells, style="bold" if row in ("accuracy", "accuracy_sampled") else None)
    notes = ["* of wrong answers: edges from the right node up to one that covers both"]
    if prior is not None and prior["value"] is not None:
        notes.insert(0, f"Best guess without an image or a model: {shown('accuracy', prior)}")
    for name, metrics in comparison.get("baselines", {}).items():
        notes.insert(-1, f"{metric_title(name)}, a linear classifier: {shown('accuracy', metrics['accuracy'])}")
    if one["small_groups"]:
        notes.append(f"{len(one['small_groups'])} slices of fewer than 5 patients say little; metrics.json lists them")
    table.caption = "\n".join(notes)
    table.caption_justify = "left"
    further = [_differences(comparison)] if comparison["difference"] else []
    return [table, *further, *_skin_tones(comparison)]


def _groups(metrics: Mapping[str, Any]) -> str:
    """What the bootstrap draws, in words."""
    kinds = list(metrics["group_kinds"])
    return f"{metrics['groups']} {kinds[0] if len(kinds) == 1 else 'group'}s"


def _differences(comparison: Mapping[str, Any]) -> Table:
    from rich import box
    from rich.table import Table

    title = "Paired differences, points with 95 % interval"
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, title=title, title_justify="left")
    table.add_column("", no_wrap=True)
    names = [name for name in _DIFFERENCES if any(name in pair for pair in comparison["difference"].values())]
    for name in names:
        table.add_column(metric_title(name), no_wrap=True)
    for pair, metrics in comparison["difference"].items():
        cells = [shown(name, metrics.get(name), signed=True) for name in names]
        table.add_row(pair.replace("-", " − "), *cells)
    return table


def _skin_tones(comparison: Mapping[str, Any]) -> list[Table]:
    """Best and worst skin tone of each model on each scale, and the gap beside the one that chance gives."""
    from rich import box
    from rich.table import Table

    title = "Accuracy by skin tone, %; chance: the gap of groups dealt at random"
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, title=title, title_justify="left")
    for name in ("", "scale", "mean", "best", "worst", "gap", "chance", "p"):
        table.add_column(name, no_wrap=name != "scale", overflow="fold")
    for model, metrics in comparison["models"].items():
        for axis, block in metrics.get("fairness", {}).items():
            found = block["metrics"].get("accuracy")
            if axis.startswith("skin_tone/") and found is not None:
                best, worst = (f"{found[end]['group']}: {_percent(found[end])}" for end in ("best", "worst"))
                null = found["null"]
                by_chance = "-" if null["mean"] is None else f"{100 * null['mean']:.1f}"
                p = "-" if null["p"] is None else f"{null['p']:.3f}"
                scale = axis.removeprefix("skin_tone/")
                scale = _SCALES.get(scale, scale)
                cells = [_percent(found["mean"]), best, worst, _percent(found["gap"]), by_chance, p]
                table.add_row(model_title(model), scale, *cells)
    return [table] if table.row_count else []


def _percent(metric: Mapping[str, Any]) -> str:
    return f"{100 * metric['value']:.1f}"


def seeds_table_of(table: Mapping[str, Any]) -> Table:
    """Means over runs with their intervals, and the value of each run below."""
    from rich import box
    from rich.table import Table

    title = f"Mean of {len(table['runs'])} runs, % with 95 % interval over runs and patients"
    shown_table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, title=title, title_justify="left")
    shown_table.add_column("", no_wrap=True)
    names = [name for name in _OF_SEEDS if any(name in found for found in table["models"].values())]
    for name in names:
        shown_table.add_column(metric_title(name))
    rows = [(model_title(model), found, False) for model, found in table["models"].items()]
    rows += [(pair.replace("-", " − "), found, True) for pair, found in table["difference"].items()]
    for title, found, signed in rows:
        cells = [_of_runs(name, found.get(name), signed=signed) for name in names]
        shown_table.add_row(title, *cells)
    if not table["same_cases"]:
        shown_table.caption = "The runs were asked about different cases"
    return shown_table


def _of_runs(name: str, metric: Mapping[str, Any] | None, *, signed: bool) -> str:
    if metric is None:
        return "-"
    each = [shown(name, {"value": value, "low": None, "high": None}).split(" ")[0] for value in metric["runs"]]
    return f"{shown(name, metric, signed=signed)}\n[dim]{' '.join(each)}[/dim]"


def print_seeds(table: Mapping[str, Any], console: Console | None = None) -> None:
    """Print what `skinrl.evaluation.seeds.seeds_table` gives."""
    from rich.console import Console

    (console or Console()).print(seeds_table_of(table))


def print_comparison(comparison: Mapping[str, Any], console: Console | None = None) -> None:
    """Print the tables, and the seconds of each stage."""
    from rich.console import Console

    console = console or Console()
    for table in comparison_tables(comparison):
        console.print(table)
    if comparison["seconds"]:
        console.print(
            "Seconds: " + ", ".join(f"{stage} {value:.0f}" for stage, value in comparison["seconds"].items())
        )
