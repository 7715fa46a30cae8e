"""A loaded taxonomy kept on disk, keyed by the content of every file that it was made of, and of this package."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from skinrl import files
from skinrl.taxonomy.graph import Taxonomy

_FORM = b"skinrl taxonomy 1\n"


def folder() -> Path | None:
    """Where taxonomies are kept: ``$SKINRL_CACHE``, else ``skinrl`` in the user's cache; None if it is set empty."""
    named = os.environ.get("SKINRL_CACHE")
    if named == "":
        return None
    if named:
        return Path(named)
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "skinrl"


def load(path: Path) -> Taxonomy | None:
    """What :func:`save` kept for this file, if neither it, its parts, what it extends, nor this package changed."""
    entry = _entry(path)
    if entry is None or not entry.is_file() or not _ours(entry):
        return None
    content = entry.read_bytes()
    head, _, rest = content.removeprefix(_FORM).partition(b"\n")
    if not content.startswith(_FORM) or not rest:
        return None
    key = json.loads(head)
    if key["code"] != _code() or key["payload"] != hashlib.sha256(rest).hexdigest():
        return None
    if any(_digest(Path(file)) != digest for file, digest in key["files"].items()):
        return None
    found: Taxonomy = pickle.loads(rest)  # written by us, whole (its digest), and no one else may write it
    return found


def save(path: Path, taxonomy: Taxonomy, read: Iterable[Path]) -> None:
    """Keep ``taxonomy``, which was made of the files ``read``. Does nothing where the folder cannot be written."""
    entry = _entry(path)
    if entry is None:
        return
    payload = pickle.dumps(taxonomy, protocol=pickle.HIGHEST_PROTOCOL)
    digests = {str(file.resolve()): _digest(file) for file in read}
    key = {"code": _code(), "payload": hashlib.sha256(payload).hexdigest(), "files": digests}
    try:
        entry.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        files.write_bytes(entry, _FORM + json.dumps(key).encode() + b"\n" + payload)
        entry.chmod(0o600)
    except OSError:  # a read-only home: the next load takes half a second longer
        return


def _entry(path: Path) -> Path | None:
    root = folder()
    name = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:24]
    return None if root is None else root / "taxonomy" / f"{name}.pickle"


def _ours(entry: Path) -> bool:
    """Whether nobody but this user may have written the file: to unpickle is to run it."""
    status = entry.stat()
    return status.st_uid == os.getuid() and not status.st_mode & 0o022


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""


@cache
def _code() -> str:
    """Digest of this package and of the interpreter's version: another one may keep another form."""
    whole = hashlib.sha256(sys.version.encode())
    for file in sorted(Path(__file__).parent.glob("*.py")):
        whole.update(file.read_bytes())
    return whole.hexdigest()
