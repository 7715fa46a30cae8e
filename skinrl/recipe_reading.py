"""Reading a recipe file: one level of ``extends``, overrides, absolute paths, and errors that point at a line."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from skinrl.errors import RecipeError
from skinrl.yamlfile import Lines, parse_scalar, read_yaml


def nearest(key: str, valid: Sequence[str]) -> str:
    close = difflib.get_close_matches(key, valid, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; expected one of {', '.join(sorted(valid))}"


def place(file: Path, lines: Lines, path: tuple[Any, ...]) -> str:
    """``file:line`` of the deepest part of ``path`` that the file holds."""
    for end in range(len(path), 0, -1):
        if path[:end] in lines:
            return f"{file}:{lines[path[:end]]}"
    return str(file)


def _valid_keys(root: type[BaseModel], path: tuple[Any, ...]) -> list[str]:
    """The keys that the section at ``path`` knows."""
    section: Any = root
    for part in path:
        if isinstance(part, int):
            continue
        field = section.model_fields.get(part) if hasattr(section, "model_fields") else None
        if field is None:
            return []
        section = field.annotation
        candidates = [section, *typing.get_args(section)]
        candidates += [inner for outer in candidates for inner in typing.get_args(outer)]
        section = next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), section)
    return list(getattr(section, "model_fields", {}))


def explain(
    root: type[BaseModel], problem: ValidationError, file: Path, lines: Lines, below: tuple[str, ...] = ()
) -> str:
    """One line per fault: place, key, what was found, what was expected. ``below``: where ``root`` stands."""
    messages = []
    for fault in problem.errors():
        inside = tuple(fault["loc"])
        path = (*below, *inside)
        where, dotted = place(file, lines, path), ".".join(map(str, path))
        if fault["type"] == "extra_forbidden":
            messages.append(f"{where}: unknown key {dotted!r}{nearest(str(path[-1]), _valid_keys(root, inside[:-1]))}")
        elif fault["type"] == "missing":
            messages.append(f"{where}: key {dotted!r} is missing")
        elif fault["type"] == "value_error":
            messages.append(f"{where}: {dotted}: {fault['msg'].removeprefix('Value error, ')}")
        else:
            messages.append(f"{where}: {dotted}: found {fault['input']!r}; {fault['msg'].lower()}")
    return "\n".join(dict.fromkeys(messages))


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``over`` on top of ``base``: mappings merge key by key, everything else is replaced."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def override(data: dict[str, Any], text: str) -> None:
    """Apply one ``key=value``; list entries are addressed by number, ``data.0.path=...``."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise RecipeError(f"override {text!r}: expected key=value, for example grpo.learning_rate=1e-6")
    parts: list[Any] = [int(part) if part.isdigit() else part for part in key.strip().split(".")]
    target: Any = data
    for part in parts[:-1]:
        if isinstance(target, list) and isinstance(part, int) and part < len(target):
            target = target[part]
        elif isinstance(target, dict) and isinstance(part, str):
            target = target.setdefault(part, {})
        else:
            raise RecipeError(f"override {text!r}: there is no {part!r} to set in the recipe")
    last = parts[-1]
    if isinstance(target, dict) or (isinstance(target, list) and isinstance(last, int) and last < len(target)):
        target[last] = parse_scalar(value)
    else:
        raise RecipeError(f"override {text!r}: there is no {last!r} to set in the recipe")


def _is_file_reference(text: str) -> bool:
    return text.startswith((".", "/", "~"))


def _absolute(text: str, folder: Path) -> str:
    return str((folder / Path(text).expanduser()).resolve())


def resolve_paths(data: dict[str, Any], folder: Path) -> None:
    """Make the paths of a recipe absolute; they are written relative to the recipe's folder."""

    def fix(section: Any, key: str, *, always: bool = False) -> None:
        value = section.get(key) if isinstance(section, dict) else None
        if isinstance(value, str) and (always or _is_file_reference(value) or value.endswith((".yaml", ".yml"))):
            section[key] = _absolute(value, folder)

    fix(data, "taxonomy")
    fix(data.get("model"), "path")
    fix(data.get("model"), "factory")
    fix(data.get("grpo"), "init")
    for entry in data.get("data") or []:
        fix(entry, "path", always=True)
        fix(entry, "labels")
        fix(entry, "source")
    for entry in data.get("rewards") or []:
        fix(entry, "fn")
        fix(entry, "factory")
    evaluation = data.get("evaluation")
    suites: Any = evaluation.get("suites") if isinstance(evaluation, dict) else None
    for number, entry in enumerate(suites if isinstance(suites, list) else []):
        if isinstance(entry, str) and _is_file_reference(entry):
            suites[number] = _absolute(entry, folder)
        fix(entry, "name")


def read_with_base(path: Path, lines: Lines) -> dict[str, Any]:
    """The recipe's data with its base below it. Line numbers are those of ``path`` itself."""
    data, own_lines = read_yaml(path, error=RecipeError)
    if not isinstance(data, dict):
        raise RecipeError(f"{path}:1: expected a mapping of sections, found {type(data).__name__}")
    lines.update(own_lines)
    base_name = data.pop("extends", None)
    resolve_paths(data, path.parent)
    if base_name is None:
        return data
    base_path = Path(_absolute(str(base_name), path.parent))
    base, _ = read_yaml(base_path, error=RecipeError)
    if not isinstance(base, dict) or "extends" in base:
        raise RecipeError(
            f"{path}:{own_lines[('extends',)]}: {base_path} extends another recipe; one level is allowed"
        )
    resolve_paths(base, base_path.parent)
    return _merge(base, data)
