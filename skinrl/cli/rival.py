"""What the rival of GRPO learns from: the labels, and nothing else, of the images that GRPO saw."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skinrl.cli.common import Experiment
from skinrl.errors import InputError

if TYPE_CHECKING:
    from skinrl.data.loading import LoadedData
    from skinrl.data.record import Record


def seen_ids(grpo_folder: Path) -> set[str]:
    """The ids of the records of which GRPO scored completions, from its completions log.

    Raises:
        InputError: the log is missing or has no ``id`` column.
    """
    import pyarrow.parquet as parquet

    files = sorted((grpo_folder / "completions").glob("*.parquet"))
    if not files:
        raise InputError(f"{grpo_folder}/completions: no log of completions; set grpo.log_completions: true")
    seen: set[str] = set()
    for file in files:
        table = parquet.read_table(file)
        if "id" not in table.column_names:
            raise InputError(f"{file}: has no column 'id'; found {', '.join(table.column_names)}")
        seen.update(table.column("id").to_pylist())
    return seen


def answer_rows(experiment: Experiment, data: LoadedData, records: Sequence[Record]) -> Any:
    """SFT rows whose report is the label alone: an empty thinking block, diagnosis at the label's own depth."""
    from skinrl.data.dataset import grpo_rows, sft_rows
    from skinrl.report import DiagnosticReport

    taxonomy = experiment.taxonomy
    rows = grpo_rows(records, taxonomy, experiment.recipe.questions, seed=experiment.recipe.seed, pools=data.pools)
    made = []
    for record, row in zip(records, rows.remove_columns("images"), strict=True):
        node = record.top_node
        if node is not None:
            report = DiagnosticReport(taxonomy.node(node).name, taxonomy.behaviour(node)).render()
            made.append(
                {"prompt": row["prompt"], "completion": report, "images": list(record.images), "id": record.id}
            )
    return sft_rows(made)
