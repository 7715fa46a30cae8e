"""Records and trajectories as rows that TRL takes: `datasets.Dataset` with fixed columns.

Images are stored as paths and decoded when a row is read: upright, RGB, the same pixels as `images.open_image`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skinrl.data.columns import ConceptShares, group_values
from skinrl.data.questions import Pool, Question, QuestionSettings, ask, pools_of, random_for, user_messages
from skinrl.data.record import Record
from skinrl.errors import DataError
from skinrl.report import option_letter
from skinrl.taxonomy import Taxonomy

if TYPE_CHECKING:
    from datasets import Dataset

Row = dict[str, Any]


def question_rows(
    records: Iterable[Record],
    taxonomy: Taxonomy,
    questions: QuestionSettings,
    *,
    seed: int,
    pools: Mapping[str, Pool] | None = None,
) -> Iterator[Row]:
    """One plain row a record: `prompt`, `images` (paths), `id`, gold, options and recorded concepts.

    Args:
        records: cases, in the order of the rows; a case given twice makes two equal rows.
        taxonomy: names the options.
        questions: a `QuestionSpec` or a recipe's section.
        seed: of the experiment; chooses the options.
        pools: options by source, from `pools_of` over the whole dataset. Without them they come from `records`,
            and then a test split lacks the labels that it happens not to show.

    Raises:
        DataError: a question cannot be asked of a record.
    """
    listed = list(records)
    offered = pools if pools is not None else pools_of(listed, taxonomy)
    shares = ConceptShares(listed)
    for record in listed:
        pool = offered.get(record.source, Pool((), ()))
        question = ask(record, taxonomy, questions, random_for(record, seed), pool)
        yield {
            "prompt": user_messages(question),
            "images": list(record.images),
            "id": record.id,
            "gold_nodes": list(record.nodes),
            "gold_weights": list(record.weights),
            "options": list(question.options),
            "option_nodes": list(question.option_nodes),
            "prefilled": question.prefilled,
            "concepts": shares.column(record),
        }


def grpo_rows(
    records: Iterable[Record],
    taxonomy: Taxonomy,
    questions: QuestionSettings,
    *,
    seed: int,
    pools: Mapping[str, Pool] | None = None,
) -> Dataset:
    """The rows that `SkinGRPOTrainer` and the rewards take; see `question_rows`."""
    from datasets import Dataset  # a second, which the rest of this room does not need

    from skinrl.data.features import QUESTION_ROWS

    rows = list(question_rows(records, taxonomy, questions, seed=seed, pools=pools))
    return Dataset.from_dict({name: [row[name] for row in rows] for name in QUESTION_ROWS}, features=QUESTION_ROWS)


def with_groups(rows: Dataset, records: Sequence[Record], column: str, taxonomy: Taxonomy) -> Dataset:
    """GRPO rows with a text column ``column``, by which the trainer is fair to groups; prompts do not hold it.

    Args:
        rows: from `grpo_rows` of these records.
        column: see `group_values`.

    Raises:
        DataError: the records have no such groups, or the rows such a column already.
    """
    values = group_values(records, column, taxonomy)
    if column in rows.column_names:
        raise DataError(f"rows have a column {column!r} of their own; give the slice another name")
    return rows.add_column(column, values)


def eval_rows(
    records: Iterable[Record],
    taxonomy: Taxonomy,
    questions: QuestionSettings,
    *,
    seed: int,
    pools: Mapping[str, Pool] | None = None,
) -> Dataset:
    """The rows of an evaluation: the same columns and questions as in GRPO, every record once.

    Raises:
        DataError: a record stands there twice, so that it would count twice.
    """
    listed = list(records)
    if len({record.id for record in listed}) < len(listed):
        raise DataError("a record stands twice in the evaluation; use each split without repeats")
    return grpo_rows(listed, taxonomy, questions, seed=seed, pools=pools)


def sft_rows(trajectories: Iterable[Any], *, style: str = "report") -> Dataset:
    """The rows that the supervised stage takes: `prompt` and `completion` as messages, `images`, `id`.

    Args:
        trajectories: objects with `images`, `question` (a `Question`) and `report` (a `DiagnosticReport`, or the
            text of the answer), and optionally `record_id`; or mappings with `prompt` and `completion` (text or
            messages) and optionally `images` and `id`. Rows without images may stand among rows with them.
        style: in which a report is rendered.

    Raises:
        DataError: a row that has neither form.
    """
    from datasets import Dataset

    from skinrl.data.features import SFT_ROWS

    rows = [_sft_row(item, style) for item in trajectories]
    return Dataset.from_dict({name: [row[name] for row in rows] for name in SFT_ROWS}, features=SFT_ROWS)


def _sft_row(item: Any, style: str) -> Row:
    if isinstance(item, Mapping):
        if not {"prompt", "completion"} <= set(item):
            raise DataError(f"an SFT row has the keys {sorted(item)}; expected prompt, completion and images")
        prompt, completion = item["prompt"], item["completion"]
        images, name = item.get("images") or (), item.get("id", "")
    elif hasattr(item, "question") and hasattr(item, "report") and hasattr(item, "images"):
        question: Question = item.question
        prompt, completion = question.text, item.report
        if not isinstance(completion, str):
            letter = _letter(question, completion.diagnosis)
            completion = completion.render(style, option=letter)
        completion = completion.removeprefix(question.prefilled)
        images, name = item.images, getattr(item, "record_id", "") or ""
    else:
        raise DataError(f"an SFT row is a {type(item).__name__}; expected a trajectory or a mapping")
    return {
        "prompt": _as_messages(prompt, "user"),
        "completion": _as_messages(completion, "assistant"),
        "images": [str(path) if isinstance(path, Path) else path for path in images],
        "id": str(name),
    }


def _letter(question: Question, diagnosis: str) -> str:
    """Letter of the option that is the diagnosis, where the question shows letters.

    Raises:
        DataError: options are offered and the diagnosis is none of them: training on it would teach an answer that
            counts as invalid.
    """
    if not question.options:
        return ""
    if diagnosis not in question.options:
        raise DataError(
            f"an SFT row answers {diagnosis!r} to a question that offers {', '.join(question.options)}; "
            "answer with one of them, or ask openly"
        )
    index = question.options.index(diagnosis)
    return option_letter(index) if f"{option_letter(index)}. {diagnosis}" in question.text else ""


def _as_messages(value: str | Sequence[Mapping[str, str]], role: str) -> list[dict[str, str]]:
    if isinstance(value, str):
        return [{"role": role, "content": value}]
    return [{"role": message["role"], "content": message["content"]} for message in value]
