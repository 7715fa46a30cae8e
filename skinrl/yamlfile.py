"""YAML with line numbers and with the floats of YAML 1.2.

PyYAML follows YAML 1.1, which reads ``1e-6`` as a string; a learning rate would silently become text.
Line numbers come from the node marks, so that an error can point at the place.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from skinrl.errors import InputError

try:
    from yaml import CSafeLoader as _BaseLoader
except ImportError:  # a PyYAML without libyaml
    from yaml import SafeLoader as _BaseLoader

Key = str | int
Lines = dict[tuple[Key, ...], int]

_FLOAT = re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$|^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$")


class _Loader(_BaseLoader):
    """The safe loader, without sharing the resolver table with other users of PyYAML."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:float"]
    for first, resolvers in _BaseLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))


def _lines_of(node: yaml.Node, path: tuple[Key, ...], lines: Lines, error: type[InputError], file: str) -> None:
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        for key_node, value_node in node.value:
            child = (*path, key_node.value)
            if child in lines:
                line = key_node.start_mark.line + 1
                raise error(f"{file}:{line}: key {key_node.value!r} stands twice (first on line {lines[child]})")
            lines[child] = key_node.start_mark.line + 1
            _lines_of(value_node, child, lines, error, file)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _lines_of(item, (*path, index), lines, error, file)


def parse_scalar(text: str) -> Any:
    """The value of ``text`` as YAML reads it: ``"1e-6"`` gives a float, ``"[1, 2]"`` a list."""
    return yaml.load(text, Loader=_Loader)


def read_yaml(path: Path, *, error: type[InputError] = InputError) -> tuple[Any, Lines]:
    """Read ``path``; return its data and the line number (from 1) of every key path.

    Raises:
        error: the file is missing, unreadable, not YAML, or a mapping has one key twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise error(f"{path}: cannot be read ({problem}); expected a YAML file in UTF-8") from problem
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            raise error(f"{path}: is empty; expected a YAML mapping")
        lines: Lines = {}
        _lines_of(node, (), lines, error, str(path))
        data = loader.construct_document(node)
    except yaml.YAMLError as problem:
        mark = getattr(problem, "problem_mark", None)
        place = f":{mark.line + 1}" if mark else ""
        reason = getattr(problem, "problem", None) or str(problem)
        raise error(f"{path}{place}: is not valid YAML ({reason})") from problem
    finally:
        loader.dispose()
    return data, lines
