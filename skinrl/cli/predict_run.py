"""The answers of `skinrl predict`: resumable, with a progress bar, read by the same function as in rewards."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skinrl import files
from skinrl.cli.common import base_and_adapter, console
from skinrl.cli.predict_cases import Asked
from skinrl.errors import DataError

if TYPE_CHECKING:
    from skinrl.engine.base import Completion, Generator
    from skinrl.taxonomy import Taxonomy

NOTE = "Research tool, not a medical device: no diagnosis for a patient."
_THINK = "<think>"
_SEEDS = 1_000_003  # more than there are chunks, so that runs of neighbouring seeds share no chunk's numbers


@dataclass(frozen=True)
class Settings:
    """How to ask.

    Args:
        temperature: 0 for one greedy answer.
        prefill_think: whether the chat template writes `<think>` itself; None: look into the template.
    """

    model: str
    revision: str | None
    kind: str
    wording: str
    n: int
    temperature: float
    seed: int
    max_tokens: int
    batch_size: int
    prefill_think: bool | None
    backend: str = "transformers"


def answer(
    cases: Sequence[Asked],
    settings: Settings,
    taxonomy: Taxonomy,
    open_engine: Callable[[], Generator],
    out: Path | None,
) -> list[dict[str, Any]]:
    """One row a case, in order; what `out` already holds is not asked again.

    Args:
        open_engine: called only where something is left to ask.
        out: JSON Lines file that grows by a row a case.

    Raises:
        DataError: `out` holds answers of another model, to other questions or about other pixels.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    asked = [fingerprint(case, settings, taxonomy) for case in cases]
    done = _answered(out, cases, asked)
    each = max(1, settings.batch_size // settings.n)
    chunks = [range(start, min(start + each, len(cases))) for start in range(0, len(cases), each)]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    engine: Generator | None = None
    try:
        with Progress(*columns, console=console()) as bar:
            task = bar.add_task("predict", total=len(cases), completed=len(done))
            for place, chunk in enumerate(chunks):
                todo = [number for number in chunk if cases[number].id not in done]
                if not todo:
                    continue
                engine = engine or open_engine()
                prefilled = prefilled_by(engine, settings.prefill_think)
                answers = _generate(engine, [cases[number] for number in todo], settings, place)
                for number, written in zip(todo, answers, strict=True):
                    row = result(cases[number], written, settings, taxonomy, prefilled) | {"asked": asked[number]}
                    if out is not None:
                        files.append_jsonl(out, row)
                    done[cases[number].id] = row
                bar.advance(task, len(todo))
    finally:
        if engine is not None:
            engine.close()
    return [done[case.id] for case in cases]


def _generate(engine: Generator, cases: Sequence[Asked], settings: Settings, place: int) -> list[list[Completion]]:
    from skinrl.data.images import open_image
    from skinrl.engine.base import Request, Sampling

    sampled = settings.temperature > 0
    sampling = Sampling(
        settings.max_tokens,
        temperature=settings.temperature,
        n=settings.n,
        # An engine starts from the seed at every call: with one for all, each chunk would draw the same numbers
        seed=settings.seed * _SEEDS + place if sampled else None,
    )
    requests = [
        Request([{"role": "user", "content": question_of(case, settings)}], tuple(map(open_image, case.images)))
        for case in cases
    ]
    return engine.generate(requests, sampling)


def question_of(case: Asked, settings: Settings) -> str:
    """The question about a case."""
    from skinrl.data.prompts import question_text

    return question_text(settings.kind, case.options, wording=settings.wording)


def prefilled_by(engine: Any, wanted: bool | None) -> str:
    """What the chat template writes of the answer: `<think>`, where it is asked for or the template ends with it."""
    if wanted is not None:
        return f"{_THINK}\n" if wanted else ""
    from skinrl.engine.chat import generation_prompt

    processor = getattr(engine, "processor", None)
    prompt = "" if processor is None else generation_prompt(processor)
    return f"{_THINK}\n" if prompt.rstrip().endswith(_THINK) else ""


def result(
    case: Asked, written: Sequence[Completion], settings: Settings, taxonomy: Taxonomy, prefilled: str
) -> dict[str, Any]:
    """A row as docs/predict.md describes it: one answer, or with several samples the commonest and their agreement."""
    samples = [_read(one, case, taxonomy, prefilled) for one in written]
    head: dict[str, Any] = {"id": case.id, "images": list(case.images), "options": list(case.options)}
    if settings.n == 1:
        return {**head, **samples[0], "note": NOTE}
    from skinrl.evaluation.agreement import agreement

    found = agreement([one["answer_node"] for one in samples], taxonomy)
    shown = next((one for one in samples if one["answer_node"] == found.node), samples[0])
    levels = [{**asdict(level), "name": taxonomy.node(level.node).name} for level in found.levels]
    return {
        **head,
        **shown,
        "agreement": {**asdict(found), "levels": levels},
        "samples": samples,
        "note": NOTE,
    }


def _read(written: Completion, case: Asked, taxonomy: Taxonomy, prefilled: str) -> dict[str, Any]:
    from skinrl.taxonomy.answer import read_answer

    answer = read_answer(
        written.text,
        taxonomy,
        options=case.options,
        option_nodes=case.option_nodes,
        finished=written.finished,
        prefilled=prefilled,
    )
    path = taxonomy.path(answer.node) if answer.node else ()
    return {
        "outcome": answer.outcome,
        "reason": answer.reason,
        "answer_node": answer.node,
        "name": taxonomy.node(answer.node).name if answer.node else None,
        "path": list(path),
        "path_names": [taxonomy.node(node).name for node in path],
        "undetermined": answer.undetermined,
        "malignancy": answer.malignancy,
        "confidence": answer.confidence,
        "completion": written.text,
    }


def fingerprint(case: Asked, settings: Settings, taxonomy: Taxonomy) -> str:
    """A checksum over all that an answer depends on: weights, engine, question, sampling, taxonomy, pixels."""
    depends = asdict(settings)
    del depends["batch_size"]
    depends |= {
        "weights": _weights(settings.model),
        "taxonomy": taxonomy.checksum,
        "question": question_of(case, settings),
        "pixels": case.pixels,
        "option_nodes": case.option_nodes,
    }
    return hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()[:16]


def _weights(model: str) -> list[list[Any]]:
    """Name, size and time of change of each file of weights, of an adapter's base too; empty for an id of the hub."""
    folders = [Path(place) for place in dict.fromkeys([model, base_and_adapter(model)[0]]) if Path(place).is_dir()]
    found = [file for folder in folders for file in sorted(folder.glob("*.safetensors"))]
    return [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in found]


def _answered(out: Path | None, cases: Sequence[Asked], asked: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Case -> its row in `out`, for the cases that are asked about now."""
    if out is None or not out.is_file():
        return {}
    held: dict[str, dict[str, Any]] = {}
    for row in files.read_jsonl(out, grown=True):
        if not isinstance(row, dict) or not {"id", "asked", "completion"} <= row.keys():
            raise DataError(f"--out {out}: holds something else than answers of skinrl predict; name another file")
        held[row["id"]] = row
    now = dict(zip((case.id for case in cases), asked, strict=True))
    other = [name for name, row in held.items() if now.get(name, row["asked"]) != row["asked"]]
    if other:
        raise DataError(
            f"--out {out}: {len(other)} cases were answered with other weights, settings, taxonomy or images, the "
            f"first: {other[0]}. Give this run a file of its own, or remove that one"
        )
    return {name: row for name, row in held.items() if name in now}
