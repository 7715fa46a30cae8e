"""``skinrl predict``: a report for each case. Research only."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from skinrl.cli.common import JsonOption, base_and_adapter, console
from skinrl.errors import InputError

if TYPE_CHECKING:
    from skinrl.cli.predict_run import Settings
    from skinrl.engine.base import Generator

KINDS = ("open", "closed", "options")


def predict(
    paths: Annotated[
        list[Path], typer.Argument(help="Images, folders of images, or .jsonl files.", metavar="PATH...")
    ],
    model: Annotated[
        str,
        typer.Option(
            "--model", help="Checkpoint folder, such as runs/phantom/default/grpo/final, or an id of the hub."
        ),
    ],
    revision: Annotated[str | None, typer.Option("--revision", help="Commit, tag or branch of a hub id.")] = None,
    n: Annotated[int, typer.Option("--n", min=1, help="Answers a case; above 1 sampled, with their agreement.")] = 1,
    temperature: Annotated[float, typer.Option("--temperature", min=0.01, help="Of the samples.")] = 1.0,
    seed: Annotated[int, typer.Option("--seed", help="Of the samples.")] = 0,
    together: Annotated[
        bool, typer.Option("--together", help="The images of a folder, and those named one by one, are one case.")
    ] = False,
    option: Annotated[
        list[str] | None, typer.Option("--option", help="A diagnosis to choose from; give it several times.")
    ] = None,
    option_file: Annotated[
        Path | None, typer.Option("--option-file", help="Diagnoses to choose from, one a line.")
    ] = None,
    kind: Annotated[
        str | None, typer.Option("--kind", help="open, closed (a list of diagnoses) or options (nodes of any depth).")
    ] = None,
    wording: Annotated[str, typer.Option("--wording", help="full, or short for the tiny model.")] = "full",
    prefill_think: Annotated[
        bool | None,
        typer.Option(
            "--prefill-think/--no-prefill-think",
            help="The model's chat template writes <think> itself. Default: look into the template.",
        ),
    ] = None,
    taxonomy: Annotated[str, typer.Option("--taxonomy", help="Name or file of the taxonomy.")] = "dermatology",
    backend: Annotated[str, typer.Option("--backend", help="vllm, transformers or auto.")] = "transformers",
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=1, help="Longest report in tokens.")] = 512,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Reports written at once.")] = 8,
    out: Annotated[
        Path | None, typer.Option("--out", help="JSON Lines file that grows by a case; the same command goes on.")
    ] = None,
    page: Annotated[Path | None, typer.Option("--page", help="Write one HTML file that opens offline.")] = None,
    thumbnails: Annotated[bool, typer.Option("--thumbnails/--no-thumbnails", help="Images on the page.")] = True,
    json: JsonOption = False,
) -> None:
    """Write a diagnostic report for each case. Research only: not a medical device, no diagnosis for a patient.

    Example: skinrl predict --model runs/phantom/default/grpo/final --wording short lesion.png
    """
    from skinrl.cli import predict_cases, predict_output
    from skinrl.cli.predict_run import Settings, answer
    from skinrl.taxonomy import load_taxonomy

    _check_model(model, revision)
    _check_targets(out, page)
    options = [*(option or ()), *(predict_cases.read_options(option_file) if option_file else ())]
    nodes = load_taxonomy(taxonomy)
    cases = predict_cases.gather(paths, together=together)
    cases = predict_cases.with_options(cases, options, nodes)
    settings = Settings(
        model=model,
        revision=revision,
        kind=_kind(kind, any(case.options for case in cases), all(case.options for case in cases)),
        wording=_wording(wording),
        n=n,
        temperature=temperature if n > 1 else 0.0,
        seed=seed,
        max_tokens=max_tokens,
        batch_size=batch_size,
        prefill_think=prefill_think,
        backend=backend,
    )
    cases = predict_cases.look(cases)
    rows = answer(cases, settings, nodes, lambda: _open(settings), out)
    if page is not None:
        predict_output.write_page(page, rows, cases, model=model, taxonomy=nodes.name, thumbnails=thumbnails)
        console().print(f"predict: -> {page}")
    if json:
        predict_output.print_lines(rows)
    elif page is None and out is None:
        predict_output.print_text(rows)
    else:
        console().print(predict_output.NOTE)


def _check_model(model: str, revision: str | None) -> None:
    folder = Path(model)
    if folder.is_dir():
        if not (folder / "config.json").is_file() and not (folder / "adapter_config.json").is_file():
            raise InputError(f"--model {model}: holds no config.json; expected the folder of a checkpoint")
        if revision is not None and not (folder / "adapter_config.json").is_file():
            raise InputError(f"--revision {revision}: {model} is a folder, which has none; leave it out")
    elif model.count("/") != 1 or model.startswith((".", "/", "~")):
        raise InputError(f"--model {model}: no such folder; expected the folder of a checkpoint, or an id of the hub")


def _check_targets(out: Path | None, page: Path | None) -> None:
    for name, file in (("--out", out), ("--page", page)):
        if file is not None and file.is_dir():
            raise InputError(f"{name} {file}: is a folder; expected a file")
    if out is not None and page is not None and out.resolve() == page.resolve():
        raise InputError(f"--out and --page are both {out}; expected two files")


def _kind(kind: str | None, some: bool, every: bool) -> str:
    """The kind of question, which must fit whether options are offered."""
    if kind is not None and kind not in KINDS:
        raise InputError(f"--kind {kind}: expected one of {', '.join(KINDS)}")
    if some and not every:
        raise InputError("some cases have options and others have none; give options to all (--option), or to none")
    found = kind or ("options" if every else "open")
    if (found != "open") != every:
        what = "needs options: --option, --option-file, or `options` in the rows" if not every else "takes no options"
        raise InputError(f"--kind {found}: {what}")
    return found


def _wording(wording: str) -> str:
    from skinrl.data.prompts import WORDINGS

    if wording not in WORDINGS:
        raise InputError(f"--wording {wording}: expected one of {', '.join(WORDINGS)}")
    return wording


def _open(settings: Settings) -> Generator:
    from skinrl.engine.base import open_generator

    base, adapter = base_and_adapter(settings.model)
    low, high = _image_limits(Path(settings.model)) if adapter is not None else (None, None)
    return open_generator(
        base,
        backend=settings.backend,
        adapter=adapter,
        min_pixels=low,
        max_pixels=high,
        max_batch=settings.batch_size,
        revision=settings.revision,
    )


def _image_limits(adapter: Path) -> tuple[int | None, int | None]:
    """Least and most pixels of the processor saved with an adapter; the engine reads the base model's."""
    from skinrl.engine.chat import load_processor
    from skinrl.engine.prompts import image_size

    if not (adapter / "processor_config.json").is_file():
        return None, None
    processor: Any = load_processor(str(adapter))
    return (image_size(processor.image_processor) if hasattr(processor, "image_processor") else None) or (None, None)
