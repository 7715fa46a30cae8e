"""Atomic writers and plain readers of the files that stages hand to one another.

A file appears under its name whole or not at all: it is written beside its place under a name of its own,
flushed to the disk, then renamed. So a reader, another process or a crash never meets half a file. The one
exception is ``append_jsonl``, whose file grows; its reader forgives a last line that a crash cut short.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import IO, TYPE_CHECKING, Any

import yaml

from skinrl.errors import InputError

if TYPE_CHECKING:
    import sqlite3

_CHUNK = 1 << 20  # bytes read at a time when hashing


@contextmanager
def atomic_open(path: Path | str) -> Iterator[IO[bytes]]:
    """Open a file for binary writing that takes the name ``path`` only when the block ends without an error.

    Parent folders are made. Two processes may write the same path at once: the later rename wins, whole.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.part")
    try:
        with part.open("xb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make the rename itself survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: Path | str, content: bytes) -> None:
    """Write ``content`` to ``path``, atomically."""
    with atomic_open(path) as stream:
        stream.write(content)


def write_text(path: Path | str, text: str) -> None:
    """Write ``text`` in UTF-8 to ``path``, atomically."""
    write_bytes(path, text.encode("utf-8"))


def plain(value: Any) -> Any:
    """``value`` in the types of JSON: paths become text, tuples and sets lists, numpy scalars and arrays Python's.

    A number that is not finite becomes None, because JSON has no word for it.

    Raises:
        TypeError: a type that has no obvious plain form.
    """
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return [plain(item) for item in sorted(value)]
    if isinstance(value, PurePath):
        return str(value)
    if hasattr(value, "tolist"):  # numpy, without importing it
        return plain(value.tolist())
    raise TypeError(f"a {type(value).__name__} ({value!r:.80}) cannot be written to a file as it is")


_LINE = json.JSONEncoder(ensure_ascii=False, allow_nan=False)


def json_line(value: Any) -> str:
    """``value`` as one line of strict JSON, without the line's end."""
    try:
        return _LINE.encode(value)  # almost every row is plain already, and 100,000 of them are written at a time
    except (TypeError, ValueError):  # another type, or a number that is not finite
        return _LINE.encode(plain(value))


def write_json(path: Path | str, value: Any) -> None:
    """Write ``value`` as indented strict JSON, atomically; keys keep their order."""
    write_text(path, json.dumps(plain(value), ensure_ascii=False, allow_nan=False, indent=2) + "\n")


def read_json(path: Path | str, *, error: type[InputError] = InputError) -> Any:
    """Read a JSON file.

    Raises:
        error: the file is missing, unreadable or not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as problem:
        raise error(f"{path}: cannot be read ({problem}); expected a JSON file in UTF-8") from problem
    except json.JSONDecodeError as problem:
        raise error(f"{path}:{problem.lineno}: is not valid JSON ({problem.msg})") from problem


def write_jsonl(path: Path | str, rows: Iterable[Any]) -> None:
    """Write ``rows`` as JSON Lines, atomically; ``rows`` may be a generator longer than memory."""
    with atomic_open(path) as stream:
        for row in rows:
            stream.write(json_line(row).encode("utf-8") + b"\n")


def append_jsonl(path: Path | str, row: Any) -> None:
    """Add one row to a growing JSON Lines file, in a single write, on a line of its own.

    Where a crash cut the last line short, that line is ended first, so that it spoils no later row.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    line = json_line(row).encode("utf-8") + b"\n"
    with path.open("ab+") as stream:
        end = stream.seek(0, os.SEEK_END)
        if end:
            stream.seek(end - 1)
            if stream.read(1) != b"\n":
                line = b"\n" + line
        stream.write(line)


def read_jsonl(path: Path | str, *, error: type[InputError] = InputError, grown: bool = False) -> list[Any]:
    """Read all rows of a JSON Lines file.

    Args:
        grown: the file was written by ``append_jsonl``: lines that a crash cut short are left out.

    Raises:
        error: the file is missing or unreadable, or (unless ``grown``) a line is not JSON.
    """
    try:
        lines = Path(path).read_bytes().split(b"\n")
    except OSError as problem:
        raise error(f"{path}: cannot be read ({problem}); expected a JSON Lines file in UTF-8") from problem
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            rows.append(json.loads(line.decode("utf-8")))
        except (json.JSONDecodeError, UnicodeDecodeError) as problem:
            if not grown:
                raise error(f"{path}:{number}: is not a line of JSON ({problem})") from problem
    return rows


class _Dumper(yaml.SafeDumper):
    """The safe dumper, with quotes around text that YAML 1.2 would read as a number (``1e-6``)."""


_LIKE_A_NUMBER = re.compile(r"[-+]?[.0-9][0-9.eE+_:-]*")


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    return dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style="'" if _LIKE_A_NUMBER.fullmatch(text) else ("|" if "\n" in text else None)
    )


_Dumper.add_representer(str, _represent_text)


def yaml_text(value: Any, *, sort_keys: bool = False) -> str:
    """``value`` as YAML that reads back equal through ``skinrl.yamlfile``."""
    return yaml.dump(plain(value), Dumper=_Dumper, sort_keys=sort_keys, allow_unicode=True, width=110)


def write_yaml(path: Path | str, value: Any) -> None:
    """Write ``value`` as YAML, atomically; keys keep their order."""
    write_text(path, yaml_text(value))


def checksum(paths: Path | str | Iterable[Path | str]) -> str:
    """``sha256:`` and the digest of one file, or of several in the order of their sorted names.

    Names count as well as contents, except for a single file. Folders stand for all files below them, named
    relative to the folder, so that a moved data set keeps its checksum.

    Raises:
        InputError: a path does not exist.
    """
    if isinstance(paths, (str, Path)) and Path(paths).is_file():
        return f"sha256:{_file_digest(Path(paths))}"
    named: dict[str, Path] = {}
    for path in (Path(paths),) if isinstance(paths, (str, Path)) else map(Path, paths):
        if path.is_dir():
            named |= {str(file.relative_to(path)): file for file in path.rglob("*") if file.is_file()}
        elif path.is_file():
            named[str(path)] = path
        else:
            raise InputError(f"{path}: does not exist; expected a file or a folder to take the checksum of")
    total = hashlib.sha256()
    for name in sorted(named):
        total.update(f"{_file_digest(named[name])}  {name}\n".encode())
    return f"sha256:{total.hexdigest()}"


def open_cache(path: Path, table: str) -> sqlite3.Connection:
    """An SQLite file that several processes may share, made with its folder where it is absent; the caller closes it.

    Args:
        table: name and columns, as ``CREATE TABLE`` takes them.
    """
    import sqlite3

    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, timeout=60)
    connection.execute(f"CREATE TABLE IF NOT EXISTS {table}")
    return connection


def _file_digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
