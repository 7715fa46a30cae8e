"""What `skinrl predict` is asked about: cases from files, folders and JSON Lines, all faults found before any work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skinrl.errors import DataError, InputError

if TYPE_CHECKING:
    from skinrl.taxonomy import Taxonomy

_KEYS = ("id", "image", "images", "options")
_MOST_NAMED = 50  # faults in one message


@dataclass(frozen=True)
class Asked:
    """A case to write a report for.

    Args:
        id: unique: what the row says, else the path as it was given.
        images: of the case, one or several.
        options, option_nodes: names offered and their nodes; empty for an open question.
        pixels: checksum of each image's upright pixels, in order; empty until they were looked at.
    """

    id: str
    images: tuple[str, ...]
    options: tuple[str, ...] = ()
    option_nodes: tuple[str, ...] = ()
    pixels: tuple[str, ...] = ()


def gather(paths: Sequence[Path], *, together: bool = False) -> list[Asked]:
    """The cases that some paths name, in their order.

    Args:
        paths: images, folders (every image below them, sorted) and `.jsonl` files (one case a line: `image` or
            `images`, relative to the file, and where wanted `id` and `options`).
        together: the images that lie in one folder are one case, and so are those that are named one by one.

    Raises:
        DataError: all that is missing or wrong, at once.
    """
    faults: list[str] = []
    cases: list[Asked] = []
    named = [path for path in paths if not path.is_dir() and path.suffix.lower() != ".jsonl"]
    if together and named:
        cases.append(Asked(str(named[0]), tuple(map(str, named))))
    for path in paths:
        if path.is_dir():
            cases += _of_folder(path, together, faults)
        elif path.suffix.lower() == ".jsonl":
            cases += _of_rows(path, faults)
        elif not together:
            cases.append(Asked(str(path), (str(path),)))
    faults += [f"{image}: no such file" for case in cases for image in case.images if not Path(image).is_file()]
    twice = [name for name, count in Counter(case.id for case in cases).items() if count > 1]
    faults += [f"{name}: stands {dict(Counter(case.id for case in cases))[name]} times" for name in twice]
    _refuse(faults, "expected image files, folders of images, or .jsonl files")
    return cases


def look(cases: Sequence[Asked]) -> list[Asked]:
    """The cases with the checksums of their images' pixels: every image is decoded once.

    Raises:
        DataError: images that cannot be read, all at once.
    """
    from dataclasses import replace

    from skinrl.data.images import check_images

    facts = check_images(image for case in cases for image in case.images)
    broken = [f"{fact.path}: {fact.error}" for fact in facts.values() if fact.error]
    _refuse(broken, f"{len(broken)} of {len(facts)} images cannot be read; mend or leave them out")
    return [replace(case, pixels=tuple(facts[image].pixels for image in case.images)) for case in cases]


def with_options(cases: Sequence[Asked], options: Sequence[str], taxonomy: Taxonomy) -> list[Asked]:
    """The cases with the options that all are offered, or that their rows name, read as nodes of the taxonomy.

    Raises:
        DataError: names that the taxonomy does not list, all at once with the nearest nodes; fewer than two.
    """
    from dataclasses import replace

    asked = [replace(case, options=case.options or tuple(options)) for case in cases]
    names = sorted({name for case in asked for name in case.options})
    matches = dict(zip(names, taxonomy.resolve_many(names), strict=True))
    nodes = {name: match.node for name, match in matches.items() if match is not None and match.listed}
    unknown = [
        f"option {name!r} is not in the taxonomy {taxonomy.name!r}; nearest: "
        + ", ".join(near.node for near in taxonomy.nearest(name))
        for name in names
        if name not in nodes
    ]
    few = [f"case {case.id}: one option alone; give at least two" for case in asked if len(case.options) == 1]
    double = [f"case {case.id}: an option twice" for case in asked if len(set(case.options)) < len(case.options)]
    _refuse([*unknown, *few, *double], "expected names or synonyms of diseases")
    return [replace(case, option_nodes=tuple(nodes[name] for name in case.options)) for case in asked]


def read_options(file: Path) -> list[str]:
    """One name a line; empty lines and what follows a `#` are left out.

    Raises:
        InputError: the file cannot be read or names nothing.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as problem:
        raise InputError(f"--option-file {file}: cannot be read ({problem}); expected one name a line") from problem
    names = [line.partition("#")[0].strip() for line in lines]
    if not any(names):
        raise InputError(f"--option-file {file}: names nothing; expected one name a line")
    return [name for name in names if name]


def _of_folder(folder: Path, together: bool, faults: list[str]) -> list[Asked]:
    from skinrl.data.images import SUFFIXES

    images = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in SUFFIXES and path.is_file()]
    images = [path for path in images if not any(part.startswith(".") for part in path.relative_to(folder).parts)]
    if not images:
        faults.append(f"{folder}: no image below this folder (known: {', '.join(SUFFIXES)})")
    if not together:
        return [Asked(str(path), (str(path),)) for path in images]
    parents = dict.fromkeys(path.parent for path in images)
    return [Asked(str(one), tuple(str(path) for path in images if path.parent == one)) for one in parents]


def _of_rows(file: Path, faults: list[str]) -> list[Asked]:
    from skinrl import files

    cases = []
    for number, row in enumerate(files.read_jsonl(file, error=DataError), start=1):
        fault = _fault_of(row)
        if fault:
            faults.append(f"{file}: row {number}: {fault}")
            continue
        images = row.get("images", [row["image"]] if "image" in row else [])
        shown = tuple(str(file.parent / image) for image in images)
        cases.append(Asked(str(row.get("id", shown[0])), shown, tuple(row.get("options", ()))))
    return cases


def _fault_of(row: Any) -> str:
    if not isinstance(row, Mapping):
        return f"is {type(row).__name__}; expected an object with {', '.join(_KEYS)}"
    unknown = [key for key in row if key not in _KEYS]
    if unknown:
        return f"unknown key {unknown[0]!r}; expected {', '.join(_KEYS)} (nothing else reaches the model)"
    if ("image" in row) == ("images" in row):
        return "give exactly one of image (a path) and images (a list of paths)"
    listed = row.get("images", [row.get("image")])
    if not isinstance(listed, list) or not listed or not all(isinstance(path, str) and path for path in listed):
        return f"images are {listed!r}; expected paths"
    options = row.get("options", [])
    if not isinstance(options, list) or not all(isinstance(name, str) and name for name in options):
        return f"options are {options!r}; expected a list of names"
    return ""


def _refuse(faults: Sequence[str], expected: str) -> None:
    if not faults:
        return
    more = [f"and {len(faults) - _MOST_NAMED} more"] if len(faults) > _MOST_NAMED else []
    raise DataError("\n".join([expected, *(f"  {fault}" for fault in faults[:_MOST_NAMED]), *more]))
