"""Names in a recipe become Python objects: ``package.module:name`` or ``./file.py:name``.

Our own rewards are named in the same way as a user's, so nothing is registered anywhere. A file is put on
the import path by its folder and imported by its stem: a function loaded in any other way could not be
pickled, and TRL's asynchronous workers are spawned processes.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import pkgutil
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from skinrl.errors import PluginError

# What TRL 1.16 passes to every reward by keyword, besides the columns of the dataset.
TRL_KEYWORDS = ("prompts", "completions", "completion_ids", "trainer_state", "log_extra", "log_metric")

# The columns that every GRPO row of skinrl carries, and `finished`, which SkinGRPOTrainer adds.
ROW_COLUMNS = (
    *("images", "id", "gold_nodes", "gold_weights", "options", "option_nodes", "prefilled", "concepts"),
    "finished",
)


def resolve(reference: str, base: Path | None = None) -> Any:
    """Return the object that ``reference`` names.

    Args:
        reference: ``package.module:name`` or ``path/to/file.py:name``; ``name`` may be dotted.
        base: The folder that a relative file path starts from: the recipe's. Default: the working directory.

    Raises:
        PluginError: If the text has another form, or the module, the file or the name is not there. An error
            that the module itself raises while it is imported passes through, unless it is an import that
            failed or a syntax error.
    """
    place, colon, name = reference.strip().rpartition(":")
    if not colon or not place or not name:
        guess = reference.strip().rpartition(".")
        hint = f"; did you mean {guess[0]}:{guess[2]}?" if guess[0] and not reference.endswith(".py") else ""
        raise PluginError(f"{reference!r} names no object: expected package.module:name or ./file.py:name{hint}")
    module = _import_file(place, base or Path.cwd()) if place.endswith(".py") else _import_module(place)
    return _attribute(module, name, reference)


def check_reward_signature(
    reward: object, name: str, columns: Collection[str] = ROW_COLUMNS
) -> Callable[..., list[float | None]]:
    """Return ``reward`` if TRL can call it, otherwise say what is wrong with its parameters.

    TRL calls a reward with keywords alone: its own (`TRL_KEYWORDS`) and every column of the dataset.

    Args:
        reward: The object that a recipe's ``fn`` names, or that its ``factory`` returned.
        name: How the recipe names it, for the message.
        columns: The columns that the rows will have.

    Raises:
        PluginError: If ``reward`` is not callable, is a class, takes no ``**kwargs``, cannot take
            ``completions`` by keyword, or requires something that nothing provides.
    """
    if inspect.isclass(reward):
        raise PluginError(f"reward {name}: this is a class, not a reward; name it under `factory:` instead of `fn:`")
    parameters = _parameters(reward, f"reward {name}")
    expected = "expected a function like f(completions, gold_nodes, **kwargs) -> list of float or None"
    positional = [p.name for p in parameters.values() if p.kind is p.POSITIONAL_ONLY and p.default is p.empty]
    if positional:
        raise PluginError(
            f"reward {name}: {_list(positional)} cannot be given by keyword, and TRL gives keywords only; {expected}"
        )
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    known = {*TRL_KEYWORDS, *columns}
    required = [
        p.name
        for p in parameters.values()
        if p.default is p.empty and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    ]
    unknown = [parameter for parameter in required if parameter not in known]
    if unknown:
        hint = (
            "; its arguments look like a factory's: name it under `factory:`" if "completions" not in required else ""
        )
        raise PluginError(
            f"reward {name}: requires {_list(unknown)}{_nearest(unknown[0], known)}, which no row has; "
            f"the rows have {_list(sorted(known))}{hint}"
        )
    if not open_ended:
        raise PluginError(
            f"reward {name}: takes ({', '.join(parameters)}) and no **kwargs; TRL passes every column of the "
            f"dataset and {_list(TRL_KEYWORDS)} as well: add **kwargs; {expected}"
        )
    if "completions" not in parameters:
        raise PluginError(f"reward {name}: has no parameter `completions`, so it cannot score anything; {expected}")
    return reward  # type: ignore[return-value]  # its parameters were just checked


def call_factory(factory: object, name: str, kwargs: Mapping[str, Any], provided: Mapping[str, Any]) -> Any:
    """Call a factory with the recipe's ``kwargs`` and those of ``provided`` that it names.

    Args:
        factory: What a recipe's ``factory`` names: a function or a class.
        name: How the recipe names it, for the message.
        kwargs: The recipe's own arguments.
        provided: What skinrl has to offer, such as ``{"taxonomy": taxonomy}``; never forced on a factory.

    Raises:
        PluginError: If an argument is unknown or missing, or if the recipe sets one that is provided.
    """
    parameters = _parameters(factory, f"factory {name}")
    given = {key: value for key, value in provided.items() if key in parameters}
    clash = sorted(set(kwargs) & set(given))
    if clash:
        raise PluginError(f"factory {name}: {_list(clash)} is set by skinrl itself; take it out of `kwargs`")
    accepted = [p.name for p in parameters.values() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    unknown = [key for key in kwargs if key not in accepted]
    if unknown and not open_ended:
        own = [parameter for parameter in accepted if parameter not in given]
        raise PluginError(
            f"factory {name}: unknown argument {_list(unknown)}{_nearest(unknown[0], own)}; it takes {_list(own)}"
        )
    missing = [
        parameter
        for parameter in accepted
        if parameters[parameter].default is inspect.Parameter.empty and parameter not in {*kwargs, *given}
    ]
    if missing:
        raise PluginError(f"factory {name}: needs {_list(missing)}; set it under `kwargs:`")
    if not callable(factory):  # never: _parameters refuses it; here for the type checker
        raise PluginError(f"factory {name}: not callable")
    return factory(**given, **kwargs)


def _import_module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or name
        if missing != name and not name.startswith(f"{missing}."):
            raise PluginError(f"module {name} was found, but it needs {missing}, which is not installed") from error
        parent, _, leaf = name.rpartition(".")
        beside = _submodules(parent)
        here = f"; {parent} has {_list(beside)}" if missing == name and parent else ""
        raise PluginError(
            f"no module {missing} (looked for {name} along the import path){_nearest(leaf, beside)}{here}. "
            "A file of your own is named ./file.py:name, relative to the recipe"
        ) from error
    except (ImportError, SyntaxError) as error:
        raise PluginError(f"module {name} was found, but importing it failed: {error}") from error


def _import_file(place: str, base: Path) -> ModuleType:
    path = (base / Path(place).expanduser()).resolve()
    if not path.is_file():
        beside = [file.name for file in sorted(path.parent.glob("*.py"))] if path.parent.is_dir() else []
        found = f"its folder has {_list(beside)}" if path.parent.is_dir() else "its folder does not exist either"
        raise PluginError(f"no file {path} (from {place!r}, relative to {base}){_nearest(path.name, beside)}; {found}")
    if not path.stem.isidentifier():
        raise PluginError(f"{path}: {path.stem!r} is no module name; rename the file (letters, digits, _)")
    folder = str(path.parent)
    if folder not in sys.path:
        # At the end: a user's file must not hide an installed module from everybody else.
        sys.path.append(folder)
        importlib.invalidate_caches()
    module = _import_module(path.stem)
    loaded = getattr(module, "__file__", None)
    if loaded is None or Path(loaded).resolve() != path:
        raise PluginError(
            f"{path}: another module is already called {path.stem} ({loaded or 'built in'}); rename your file"
        )
    return module


def _attribute(module: ModuleType, name: str, reference: str) -> Any:
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            names = [other for other in dir(found) if not other.startswith("_")]
            where = getattr(module, "__file__", None) or module.__name__
            raise PluginError(
                f"{reference!r}: {where} has no {part!r}{_nearest(part, names)}; it has {_list(names) or 'nothing'}"
            )
        found = getattr(found, part)
    return found


def _parameters(target: object, what: str) -> Mapping[str, inspect.Parameter]:
    if not callable(target):
        raise PluginError(f"{what}: expected something callable, found {type(target).__name__} {target!r:.80}")
    try:
        return inspect.signature(target).parameters
    except ValueError as error:
        raise PluginError(f"{what}: its parameters cannot be read ({error}); wrap it in a Python function") from error


def _submodules(package: str) -> list[str]:
    if not package:
        return []
    try:
        spec = importlib.util.find_spec(package)
    except ModuleNotFoundError:
        return []
    folders = spec.submodule_search_locations if spec else None
    return sorted(module.name for module in pkgutil.iter_modules(folders)) if folders else []


def _nearest(name: str, candidates: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(candidates), n=3, cutoff=0.6)
    return f" (nearest: {_list(near)})" if near else ""


def _list(names: Iterable[str]) -> str:
    items = list(names)
    return ", ".join(items[:20]) + (f" and {len(items) - 20} more" if len(items) > 20 else "")
