"""What the rival of GRPO learns from: the labels, and nothing else, of the images that GRPO saw."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skinrl.cli.common import Experiment
from skinrl.errors import InputError, RecipeError

if TYPE_CHECKING:
    from skinrl.data.loading import LoadedData
    from skinrl.data.record import Record


def check_log(experiment: Experiment) -> None:
    """Refuse settings under which GRPO's log does not name every image that it saw.

    Raises:
        RecipeError: completions are not logged, or not at every step (TRL then keeps those of the last one alone).
    """
    grpo = experiment.recipe.grpo
    if not grpo.get("log_completions") or grpo.get("logging_steps") != 1 or "logging_strategy" in grpo:
        raise RecipeError(
            f"{experiment.file}: SFT continued, the rival of GRPO, learns from the images that GRPO saw, so they "
            "must all be logged: set grpo.log_completions: true and grpo.logging_steps: 1, or "
            "evaluation.continued_sft: false"
        )


def rival_arguments(arguments: Mapping[str, Any], *, seconds: float, sft_steps: int) -> dict[str, Any]:
    """SFT's settings for a run that the clock ends: as many epochs as fit, the rate falling to 0 over the seconds.

    A warm-up given as a share is one of SFT's own steps: of the epochs asked for here it would never end.
    """
    warmup = arguments.get("warmup_steps") or 0
    return {
        **arguments,
        "max_seconds": seconds,
        "num_train_epochs": 10_000,
        "max_steps": -1,
        "cosine_over_seconds": True,
        "lr_scheduler_type": "constant_with_warmup",
        "lr_scheduler_kwargs": None,
        "warmup_steps": math.ceil(warmup * sft_steps) if warmup < 1 else warmup,
        "eval_strategy": "no",
        "load_best_model_at_end": False,
        "flat_patience": None,
    }


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
    """SFT rows whose report is the label alone: an empty thinking block, diagnosis at the label's own depth.

    The questions are those of GRPO. Where options are offered, the answer is the most specific that is right, with
    its letter.
    """
    from skinrl.data.dataset import sft_rows
    from skinrl.data.questions import Pool, ask, random_for
    from skinrl.report import DiagnosticReport
    from skinrl.textbook.trajectory import Trajectory

    recipe, taxonomy = experiment.recipe, experiment.taxonomy
    made = []
    for record in records:
        node = record.top_node
        if node is None:
            continue
        question = ask(
            record,
            taxonomy,
            recipe.questions,
            random_for(record, recipe.seed),
            data.pools.get(record.source, Pool((), ())),
        )
        right = [option for option in question.option_nodes if option == node or taxonomy.is_ancestor(option, node)]
        answer = max(right, key=taxonomy.level, default=node)
        report = DiagnosticReport(taxonomy.node(answer).name, taxonomy.behaviour(node))
        made.append(Trajectory(images=record.images, question=question, report=report, record_id=record.id))
    return sft_rows(made)
