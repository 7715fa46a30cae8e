"""``skinrl view``: the rollouts of a training run, in a browser or as one file."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from skinrl import files
from skinrl.cli.common import JsonOption, console, print_json
from skinrl.errors import DataError, InputError

if TYPE_CHECKING:
    from skinrl.cli.rollout_log import RolloutLog
    from skinrl.pages.rollouts_given import Found, Group, Suspect

PORT = 8750  # as long as it is free: a tunnel to another machine likes a port that stays
_EMBEDDED = 384  # longest side in pixels of an image in a file
_SUSPECTS = 5  # whose steps a file shows when nobody chose any
_SPAN = re.compile(r"(\d+)(?:-(\d+))?")


def view(
    run: Annotated[Path, typer.Argument(help="Folder of a run, such as runs/phantom/default.", metavar="RUN")],
    port: Annotated[
        int | None, typer.Option("--port", min=0, max=65535, help=f"Port; default {PORT}, or any free one.")
    ] = None,
    open_browser: Annotated[bool, typer.Option("--open", help="Open the browser.")] = False,
    images: Annotated[bool, typer.Option("--images/--no-images", help="Show the photographs.")] = True,
    out: Annotated[Path | None, typer.Option("--out", help="Write one HTML file that opens offline instead.")] = None,
    steps: Annotated[
        str, typer.Option("--steps", help="Steps of that file: 1,50,100-110,first,last. Default: what stands out.")
    ] = "",
    most_images: Annotated[int, typer.Option("--most-images", min=0, help="Images in that file at most.")] = 200,
    json: JsonOption = False,
) -> None:
    """Look at the rollouts of a GRPO run: images, completions, each reward and why, and a search for cheating.

    Works while the run is training. The pages are for this computer alone, and show photographs of patients.

    Example: skinrl view runs/phantom/default --open
    """
    from skinrl.cli.rollout_log import RolloutLog, find_stage
    from skinrl.cli.rollout_search import RolloutSearch

    if steps and out is None:
        raise InputError("--steps chooses the steps of a file; name it with --out FILE.html")
    log = RolloutLog(find_stage(run))
    if out is None and not json:
        _serve(log, port, open_browser, images)
        return
    if not log.files():
        raise InputError(f"{log.stage}: no step has been logged yet; completions come with the first step")
    chosen = chosen_steps(steps, list(log.files())) if steps else None
    search = RolloutSearch(log)
    search.scan()
    found = search.found()
    if json:
        print_json(
            {"rollouts": found.rollouts, "partings": found.partings, "suspects": list(map(_plain, found.suspects))}
        )
    if out is not None:
        chosen = chosen or outstanding_steps(found, list(log.files()))
        written = write_offline(log, found, chosen, out, most_images if images else None)
        typer.echo(written, err=json)


def _serve(log: RolloutLog, port: int | None, open_browser: bool, images: bool) -> None:
    from skinrl.cli.rollout_server import RolloutServer

    server = _open_server(RolloutServer, log, port, images)
    server.start_search()
    console().print(f"{log.name}: {len(log.files())} steps with completions")
    typer.echo(server.url)
    console().print(
        "For this computer alone, and for whoever has this address: it shows data of patients. "
        f"From another one: ssh -L {server.server_port}:127.0.0.1:{server.server_port} HOST. Ctrl-C ends it."
    )
    if open_browser:
        import webbrowser

        webbrowser.open(server.url)
    try:
        server.serve_forever(poll_interval=0.2)
    except KeyboardInterrupt:
        pass
    finally:
        server.close()


def _open_server(kind: Any, log: RolloutLog, port: int | None, images: bool) -> Any:
    if port is not None:
        return kind(log, port=port, images=images)
    try:
        return kind(log, port=PORT, images=images)
    except InputError:  # another view holds it
        return kind(log, port=0, images=images)


def chosen_steps(text: str, logged: Sequence[int]) -> list[int]:
    """The steps that ``1,50,100-110,first,last`` names, rising.

    Raises:
        InputError: it is written otherwise, or names a step or a span without any logged step.
    """
    chosen: set[int] = set()
    for part in text.split(","):
        part = part.strip()
        named = {"first": str(logged[0]), "last": str(logged[-1])}.get(part, part)
        span = _SPAN.fullmatch(named)
        if span is None:
            raise InputError(f"--steps {text}: {part!r} is neither a step, a span such as 10-20, first nor last")
        low, high = int(span[1]), int(span[2] or span[1])
        within = [step for step in logged if low <= step <= high]
        if not within:
            raise InputError(f"--steps {text}: {part} names no logged step; there are {logged[0]} to {logged[-1]}")
        chosen.update(within)
    return sorted(chosen)


def outstanding_steps(found: Found, logged: Sequence[int]) -> list[int]:
    """The last step, and those of the first suspects."""
    return sorted({logged[-1], *(one.step for one in found.suspects[:_SUSPECTS])})


def write_offline(log: RolloutLog, found: Found, steps: Sequence[int], out: Path, most_images: int | None) -> str:
    """Write the file of some steps; returns a line that says what it holds.

    Args:
        most_images: embedded at most; None for none at all.

    Raises:
        UnreadableStepError: a step cannot be read.
    """
    from skinrl.cli.rollout_server import run_of
    from skinrl.pages.rollouts import offline_page
    from skinrl.pages.rollouts_html import plural

    embedding = _Embedding(most_images)
    pages: dict[int, list[Group]] = {}
    for step in steps:
        pages[step] = [embedding.shown(log, group) for group in log.groups(step)]
    text = offline_page(run_of(log), found, pages, images=embedding.count, left_out=embedding.left_out)
    files.write_text(out, text)
    rollouts = sum(len(group.rollouts) for groups in pages.values() for group in groups)
    size = f"{plural(embedding.count, 'image')}, {out.stat().st_size / 2**20:.1f} MiB"
    return f"{out}: {rollouts:,} rollouts of {plural(len(pages), 'step')}, {size}"


class _Embedding:
    """Images as addresses that hold them, up to a number of them; an image that comes again counts again."""

    def __init__(self, most: int | None) -> None:
        self.most, self.count, self.left_out = most, 0, 0

    def shown(self, log: RolloutLog, group: Group) -> Group:
        from skinrl.cli.rollout_server import with_images

        return with_images(log, group, None if self.most is None else self._address)

    def _address(self, _place: int, path: Path) -> str:
        from skinrl.cli.rollout_server import jpeg

        if self.count >= (self.most or 0):
            self.left_out += 1
            return ""
        try:
            picture = jpeg(path, _EMBEDDED)
        except DataError:
            return ""
        self.count += 1
        return f"data:image/jpeg;base64,{base64.b64encode(picture).decode()}"


def _plain(one: Suspect) -> dict[str, Any]:
    return {
        "step": one.step, "row": one.row, "id": one.id, "score": round(one.score, 4),
        "signs": {name: round(value, 4) for name, value in one.signs.items()}, "because": list(one.because),
        "alike": one.alike, "total": one.total, "completion": one.text,
    }  # fmt: skip
