"""A small server for the rollouts of a run: on this computer alone, behind an address that nobody can guess.

On a shared machine every user reaches 127.0.0.1, so all addresses start with a secret. Requests that name another host
are refused, so that no web page can ask through a name of its own. What can be had: pages, and the images that the
table of a step names; no address holds a path of a file.
"""

from __future__ import annotations

import io
import json
import secrets
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from skinrl.cli.rollout_log import RolloutLog, UnreadableStepError, version
from skinrl.cli.rollout_search import RolloutSearch
from skinrl.errors import InputError
from skinrl.pages.rollouts import SORTS, message_page, overview_page, step_page
from skinrl.pages.rollouts_given import Group, Run
from skinrl.pages.rollouts_parts import ORDERS

ADDRESS = "127.0.0.1"
GROUPS_PER_PAGE = 16
THUMBNAIL, LARGE = 512, 1600  # longest side in pixels
_HOSTS = {"127.0.0.1", "localhost", "[::1]"}  # other ports may stand behind them: a tunnel has a port of its own
_LOOK_AGAIN = 3.0  # seconds between two looks for new steps
_HEADERS = {
    "Cache-Control": "no-store",  # photographs of patients stay out of the browser's cache
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class RolloutServer(ThreadingHTTPServer):
    """Serves one run until `close`; a thread searches it for cheating meanwhile.

    Args:
        port: 0 takes any that is free.
        images: whether photographs may be seen.

    Raises:
        InputError: the port is taken.
    """

    daemon_threads = True

    def __init__(self, log: RolloutLog, *, port: int = 0, images: bool = True) -> None:
        self.log, self.search, self.images = log, RolloutSearch(log), images
        self.secret = secrets.token_urlsafe(12)
        try:
            super().__init__((ADDRESS, port), _Handler)
        except OSError as problem:
            raise InputError(
                f"--port {port}: cannot be used ({problem}); leave it out to take any free one"
            ) from problem
        self._ending = threading.Event()
        self._searching = threading.Thread(target=self._keep_searching, daemon=True)

    @property
    def url(self) -> str:
        """Where the first page is."""
        return f"http://{ADDRESS}:{self.server_port}/{self.secret}/"

    def start_search(self) -> None:
        """Begin to search, in a thread of its own."""
        self._searching.start()

    def close(self) -> None:
        """End the search and give the port back."""
        self._ending.set()
        if self._searching.is_alive():
            self._searching.join()
        self.server_close()

    def _keep_searching(self) -> None:
        while not self._ending.is_set():
            with suppress(FileNotFoundError):  # the run was taken away, perhaps to be begun anew
                self.search.scan(self._ending.is_set)
            self._ending.wait(_LOOK_AGAIN)

    # What can be had

    def answer(self, path: str, query: dict[str, str]) -> tuple[HTTPStatus, str, bytes]:
        """Status, content type and body of an address, without its secret."""
        match path.split("/"):
            case [""]:
                by = query.get("by", "score")
                return _page(self._overview(by if by in ORDERS else "score"))
            case ["state.json"]:
                return HTTPStatus.OK, "application/json", self._state().encode()
            case ["step", step] if _is_number(step):
                return _page(self._step(int(step), query))
            case ["image", step, group, place] if all(map(_is_number, (step, group, place))) and self.images:
                side = LARGE if query.get("large") else THUMBNAIL
                return HTTPStatus.OK, "image/jpeg", self._image(int(step), int(group), int(place), side)
        raise InputError("there is no such page")

    def _overview(self, by: str) -> str:
        found = self.search.found(by=by)
        if self.images:
            shown = [
                replace(one, image=f"image/{one.step}/{one.group}/0") if self.log.image_paths(one.id) else one
                for one in found.suspects
            ]
            found = replace(found, suspects=shown)
        return overview_page(run_of(self.log), found, by, self._state())

    def _state(self) -> str:
        """Changes whenever the first page would say something new."""
        steps = list(self.log.files())
        last = steps[-1] if steps else None
        return json.dumps(
            {"steps": len(steps), "last": last, "searched": self.search.searched, "state": self.log.state}
        )

    def _step(self, step: int, query: dict[str, str]) -> str:
        sort = query.get("sort", "drawn")
        sort = sort if sort in SORTS else "drawn"
        every = self.log.groups(step)
        spread_only = query.get("spread") == "1"
        groups = sorted_groups([one for one in every if one.spread > 0 or not spread_only], sort)
        pages = max(1, -(-len(groups) // GROUPS_PER_PAGE))
        page = min(int(query["page"]), pages - 1) if _is_number(query.get("page", "")) else 0
        if _is_number(query.get("row", "")):
            page = _page_of(groups, int(query["row"]))
        shown = groups[page * GROUPS_PER_PAGE : (page + 1) * GROUPS_PER_PAGE]
        shown = [with_images(self.log, one, self._address(step, one) if self.images else None) for one in shown]
        run = run_of(self.log, curves=False)
        return step_page(run, step, shown, of=len(every), page=page, pages=pages, sort=sort, spread_only=spread_only)

    def _address(self, step: int, group: Group) -> Callable[[int, Path], str]:
        return lambda place, _: f"../image/{step}/{group.number}/{place}"

    def _image(self, step: int, group: int, place: int, side: int) -> bytes:
        named = [one for one in self.log.groups(step) if one.number == group]
        paths = self.log.image_paths(named[0].id) if named else []
        if place >= len(paths) or not paths[place].is_file():
            raise InputError("there is no such image")
        return _cached_jpeg(paths[place], version(paths[place]), side)


class _Handler(BaseHTTPRequestHandler):
    server: RolloutServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "skinrl", ""

    def do_GET(self) -> None:
        if self._host() not in _HOSTS:
            return self._send(
                HTTPStatus.FORBIDDEN, "text/plain", b"This server answers to 127.0.0.1 and localhost alone."
            )
        try:
            address = urlsplit(self.path)
            _, secret, path = address.path.split("/", 2)
            if not secrets.compare_digest(secret.encode(), self.server.secret.encode()):
                raise ValueError("another secret")
        except ValueError:
            words = b"Open the whole address that skinrl view printed: it holds a secret."
            return self._send(HTTPStatus.NOT_FOUND, "text/plain", words)
        query = {name: values[-1] for name, values in parse_qs(address.query).items()}
        try:
            status, kind, body = self.server.answer(path, query)
        except UnreadableStepError as problem:
            status, kind, body = _page(
                message_page("Not to be read just now", str(problem)), HTTPStatus.SERVICE_UNAVAILABLE
            )
        except (InputError, FileNotFoundError) as problem:
            status, kind, body = _page(message_page("Not here", str(problem)), HTTPStatus.NOT_FOUND)
        self._send(status, kind, body)

    def do_HEAD(self) -> None:
        self.do_GET()

    def _host(self) -> str:
        host = self.headers.get("Host", "")
        name, colon, port = host.rpartition(":")
        return name if colon and port.isdigit() else host

    def _send(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind if kind.startswith("image/") else f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            try:
                self.wfile.write(body)
            except (BrokenPipeError, ConnectionResetError):  # the browser went on to another page
                self.close_connection = True

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing: addresses name steps, and the secret."""


# --- what the server and the offline file both need ----------------------------------------------------------------


def run_of(log: RolloutLog, *, curves: bool = True) -> Run:
    """The run as a whole, as it stands now."""
    weights = log.weights()
    drawn = log.curves() if curves else []
    return Run(log.name, weights, log.weights_known, tuple(log.files()), log.state, drawn)


def sorted_groups(groups: Sequence[Group], sort: str) -> list[Group]:
    """Groups in one of the orders of `SORTS`; those without a reward come last."""
    if sort == "spread":
        return sorted(groups, key=lambda one: -one.spread)
    if sort in ("high", "low"):
        sign = -1 if sort == "high" else 1
        return sorted(groups, key=lambda one: (one.mean is None, sign * (one.mean or 0.0)))
    return list(groups)


def with_images(log: RolloutLog, group: Group, address: Callable[[int, Path], str] | None) -> Group:
    """The group with an address for each of its images, or with the reason why there are none.

    Args:
        address: from the place of an image (from 0) and its file; "" where it cannot be shown. None: no images are
            wanted.
    """
    if address is None:
        return replace(group, reason="Images were left out (--no-images).")
    if not log.has_images:
        return replace(group, reason="This run did not write where its images lie (images.json).")
    paths = log.image_paths(group.id)
    found = [address(place, path) if path.is_file() else "" for place, path in enumerate(paths)]
    gone = sum(not path.is_file() for path in paths)
    reason = f"{gone} of {len(found)} images: the file is gone." if gone else ""
    return replace(group, images=tuple(found), reason=reason if found else "This record has no image.")


def jpeg(path: Path, side: int) -> bytes:
    """The image, upright and without metadata, its longest side at most ``side`` pixels.

    Raises:
        DataError: the file is missing or no image.
    """
    from skinrl.data.images import open_image

    image = open_image(path)
    image.thumbnail((side, side))
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=88)
    return stream.getvalue()


@lru_cache(maxsize=128)
def _cached_jpeg(path: Path, _version: tuple[int, int], side: int) -> bytes:
    return jpeg(path, side)


def _page(text: str, status: HTTPStatus = HTTPStatus.OK) -> tuple[HTTPStatus, str, bytes]:
    return status, "text/html", text.encode("utf-8", "replace")


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10


def _page_of(groups: Sequence[Group], row: int) -> int:
    place = next((at for at, one in enumerate(groups) if any(r.row == row for r in one.rollouts)), 0)
    return place // GROUPS_PER_PAGE
