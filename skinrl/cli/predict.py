"""``skinrl predict``: a report for each image."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from skinrl.cli.common import JsonOption, base_and_adapter, console, print_json
from skinrl.errors import DataError, InputError


def predict(
    images: Annotated[list[Path], typer.Argument(help="Photographs, one case each.", metavar="IMAGE...")],
    model: Annotated[
        Path, typer.Option("--model", help="Checkpoint folder, such as runs/phantom/default/grpo/final.")
    ],
    taxonomy: Annotated[str, typer.Option("--taxonomy", help="Name or file of the taxonomy.")] = "dermatology",
    wording: Annotated[str, typer.Option("--wording", help="full, or short for the tiny model.")] = "full",
    backend: Annotated[str, typer.Option("--backend", help="vllm, transformers or auto.")] = "transformers",
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=1, help="Longest report in tokens.")] = 512,
    json: JsonOption = False,
) -> None:
    """Write a diagnostic report for each image. Research only: not a medical device.

    Example: skinrl predict --model runs/phantom/default/grpo/final --wording short lesion.png
    """
    from skinrl.data.images import open_image
    from skinrl.engine.base import Request, Sampling, open_generator
    from skinrl.taxonomy import load_taxonomy

    nodes = load_taxonomy(taxonomy)
    if not (model / "config.json").is_file() and not (model / "adapter_config.json").is_file():
        raise InputError(f"--model {model}: holds no config.json; expected the folder of a checkpoint")
    pictures = [open_image(path) for path in _existing(images)]
    messages = _question(wording)
    base, adapter = base_and_adapter(str(model))
    low, high = _image_limits(model) if adapter is not None else (None, None)
    engine = open_generator(base, backend=backend, adapter=adapter, min_pixels=low, max_pixels=high)
    try:
        answers = engine.generate(
            [Request(messages, (picture,)) for picture in pictures], Sampling(max_tokens, temperature=0.0)
        )
    finally:
        engine.close()
    results = [_result(path, one.text, one.finished, nodes) for path, (one,) in zip(images, answers, strict=True)]
    if json:
        print_json(results)
        return
    for result in results:
        found = result["answer_node"] or f"no answer ({result['outcome']}: {result['reason']})"
        typer.echo(f"{result['image']}: {found}\n{result['completion']}\n")
    console().print("Research tool, not a medical device: no diagnosis for a patient.")


def _image_limits(adapter: Path) -> tuple[int | None, int | None]:
    """Least and most pixels of the processor saved with an adapter; the engine reads the base model's."""
    from skinrl.engine.chat import load_processor
    from skinrl.engine.prompts import image_size

    if not (adapter / "processor_config.json").is_file():
        return None, None
    processor = load_processor(str(adapter))
    return (image_size(processor.image_processor) if hasattr(processor, "image_processor") else None) or (None, None)


def _existing(images: list[Path]) -> list[Path]:
    missing = [str(path) for path in images if not path.is_file()]
    if missing:
        raise DataError(f"no such file: {', '.join(missing)}; expected image files")
    return images


def _question(wording: str) -> list[dict[str, Any]]:
    from skinrl.data.prompts import WORDINGS, question_text

    if wording not in WORDINGS:
        raise InputError(f"--wording {wording}: expected one of {', '.join(WORDINGS)}")
    return [{"role": "user", "content": question_text("open", (), wording=wording)}]


def _result(path: Path, text: str, finished: bool, taxonomy: Any) -> dict[str, Any]:
    from skinrl.taxonomy.answer import read_answer

    answer = read_answer(text, taxonomy, finished=finished)
    return {
        "image": str(path),
        "outcome": answer.outcome,
        "reason": answer.reason,
        "answer_node": answer.node,
        "path": list(taxonomy.path(answer.node)) if answer.node else [],
        "malignancy": answer.malignancy,
        "confidence": answer.confidence,
        "completion": text,
    }
