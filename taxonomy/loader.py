"""Read a taxonomy file, with an overlay on top if asked, and say where it is wrong."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

from skinrl.errors import TaxonomyError
from skinrl.taxonomy.graph import BEHAVIOURS, MORPHOLOGY_KEYS, Differential, Node, Taxonomy
from skinrl.taxonomy.text import normalise
from skinrl.yamlfile import Lines, read_yaml

_FOLDER = Path(__file__).parent
_FILE_KEYS = ("name", "version", "extends", "description", "default_source", "sources", "nodes")
_NODE_KEYS = ("name", "parents", "synonyms", "behaviour", "codes", "morphology", "differential", "source", "note")
_SOURCE_KEYS = ("title", "licence", "reviewed", "where")
_ID = re.compile(r"[a-z0-9]+(_[a-z0-9]+)*")
_CODE = re.compile(r"(?P<scheme>[A-Z]+):\S+")


@dataclass
class _Draft:
    """A node while files are being merged: its fields and the place that each was last stated."""

    id: str
    place: str
    name: str
    parents: tuple[str, ...]
    synonyms: tuple[str, ...]
    behaviour: str | None
    codes: dict[str, str]
    morphology: dict[str, tuple[str, ...]]
    differential: tuple[Differential, ...]
    sources: dict[str, tuple[str, ...]]
    places: dict[str, str]  # "parents.eczema", "synonyms.wart" -> "file:line"
    note: str


def load_taxonomy(name_or_path: str | Path = "dermatology") -> Taxonomy:
    """Load a taxonomy that ships with skinrl by its name, or a user's own file by its path.

    A file that says ``extends: dermatology`` adds to that taxonomy: new nodes, and synonyms, parents, codes,
    morphology or differential neighbours of nodes that exist.

    Raises:
        TaxonomyError: file and line of what is wrong: an unknown key, a wrong type, an unknown parent, a name that
            two nodes claim, a cycle, an orphan, a leaf without behaviour.
    """
    return _Reader().load(find_file(name_or_path, _FOLDER, "taxonomy"))


def find_file(name_or_path: str | Path, folder: Path, kind: str) -> Path:
    """The file of a shipped name or of a path; :class:`TaxonomyError` with what there is otherwise."""
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise TaxonomyError(f"{path}: no such {kind} file")
        return path
    shipped = folder / f"{name_or_path}.yaml"
    if len(path.parts) == 1 and shipped.is_file():
        return shipped
    known = ", ".join(sorted(file.stem for file in folder.glob("*.yaml")))
    raise TaxonomyError(
        f"no {kind} is called {str(name_or_path)!r}; shipped: {known}; or give the path of a .yaml file"
    )


class _Reader:
    def __init__(self) -> None:
        self.drafts: dict[str, _Draft] = {}
        self.sources: dict[str, dict[str, Any]] = {}
        self.default = "editorial"
        self.file = Path()
        self.lines: Lines = {}

    # ------------------------------------------------------------------------------------------------- one file

    def load(self, path: Path) -> Taxonomy:
        name = self._read(path, ())
        _check_parents(self.drafts)
        _check_names(self.drafts)
        _check_shape(self.drafts)
        _check_root(self.drafts)
        self._check_sources()
        nodes = [
            Node(
                draft.id, draft.name, draft.parents, draft.synonyms, draft.behaviour, draft.codes, draft.morphology,
                draft.differential, draft.sources, draft.note,
            )
            for draft in self.drafts.values()
        ]  # fmt: skip
        _check_neighbours(self.drafts)
        taxonomy = Taxonomy(name, nodes, self.sources)
        _check_behaviour(taxonomy, self.drafts)
        return taxonomy

    def _read(self, path: Path, seen: tuple[Path, ...]) -> str:
        data, lines = read_yaml(path, error=TaxonomyError)
        self.file, self.lines = path, lines
        top = self._mapping(data, (), _FILE_KEYS)
        base = top.get("extends")
        if base is not None:
            base_path = self._base(base, path, (*seen, path.resolve()))
            self._read(base_path, (*seen, path.resolve()))
            self.file, self.lines = path, lines
        self._read_sources(top, extends=base is not None)
        for id, body in self._mapping(top.get("nodes"), ("nodes",), None).items():
            self._read_node(id, body)
        return self._text(top.get("name", path.stem), ("name",))

    def _base(self, base: Any, path: Path, seen: Sequence[Path]) -> Path:
        text = self._text(base, ("extends",))
        beside = path.parent / text
        found = beside if beside.suffix in (".yaml", ".yml") and beside.is_file() else None
        if found is None:
            try:
                found = find_file(text, _FOLDER, "taxonomy")
            except TaxonomyError as problem:
                self._fail(("extends",), str(problem))
        if found.resolve() in seen:
            self._fail(("extends",), f"{text!r} extends itself through {', '.join(p.name for p in seen)}")
        return found

    def _read_sources(self, top: Mapping[str, Any], *, extends: bool) -> None:
        table = self._mapping(top.get("sources", {}), ("sources",), None)
        for key, row in table.items():
            fields = self._mapping(row, ("sources", key), _SOURCE_KEYS)
            if not isinstance(fields.get("reviewed", False), bool):
                self._fail(("sources", key, "reviewed"), "expected true or false")
            self.sources[key] = {"reviewed": False} | fields
        fallback = "user" if extends else "editorial"
        self.default = self._text(top.get("default_source", fallback), ("default_source",))
        self.sources.setdefault(self.default, {"title": f"stated by {self.file.name}", "reviewed": False})

    def _read_node(self, id: str, body: Any) -> None:
        at = ("nodes", id)
        if not _ID.fullmatch(id):
            self._fail(at, f"{id!r} is no node id; expected lower-case words joined by '_', as in 'lichen_planus'")
        fields = self._mapping(body if body is not None else {}, at, _NODE_KEYS)
        draft = self.drafts.get(id)
        if draft is None:
            place = self._place(at)
            draft = _Draft(id, place, id.replace("_", " "), (), (), None, {}, {}, (), {}, {}, "")
            self.drafts[id] = draft
        if "name" in fields:
            draft.name = self._text(fields["name"], (*at, "name"))
        draft.places["name"] = self._place((*at, "name"))
        if "note" in fields:
            draft.note = self._text(fields["note"], (*at, "note"))
        if "source" in fields:
            draft.sources["node"] = tuple(self._text(fields["source"], (*at, "source")).split())
        self._read_behaviour(draft, fields, at)
        draft.parents += self._facts(draft, fields, at, "parents", known=draft.parents)
        draft.synonyms += self._facts(draft, fields, at, "synonyms", known=draft.synonyms)
        self._read_codes(draft, fields, at)
        self._read_morphology(draft, fields, at)
        self._read_differential(draft, fields, at)

    def _read_behaviour(self, draft: _Draft, fields: Mapping[str, Any], at: tuple[str, ...]) -> None:
        if "behaviour" not in fields:
            return
        value, keys = self._marked(self._text(fields["behaviour"], (*at, "behaviour")))
        if value not in BEHAVIOURS:
            self._fail((*at, "behaviour"), f"unknown behaviour {value!r}; expected one of: {', '.join(BEHAVIOURS)}")
        draft.behaviour = value
        draft.sources["behaviour"] = keys
        draft.places["behaviour"] = self._place((*at, "behaviour"))

    def _facts(
        self, draft: _Draft, fields: Mapping[str, Any], at: tuple[str, ...], kind: str, known: Sequence[str]
    ) -> tuple[str, ...]:
        """The marked values of a list; each one's sources and place go to the draft."""
        found: list[str] = []
        for index, item in enumerate(self._list(fields.get(kind, []), (*at, kind))):
            where = (*at, kind, index)
            value, keys = self._marked(self._text(item, where))
            if value in found or value in known:
                self._fail(where, f"{value!r} stands twice among the {kind} of {draft.id!r}")
            found.append(value)
            draft.sources[f"{kind}.{value}"] = keys
            draft.places[f"{kind}.{value}"] = self._place(where)
        return tuple(found)

    def _read_codes(self, draft: _Draft, fields: Mapping[str, Any], at: tuple[str, ...]) -> None:
        for index, item in enumerate(self._list(fields.get("codes", []), (*at, "codes"))):
            code = self._text(item, (*at, "codes", index))
            match = _CODE.fullmatch(code)
            if match is None:
                self._fail((*at, "codes", index), f"{code!r} is no code; expected its scheme in front: 'DOID:8893'")
            draft.codes[match["scheme"]] = code
            draft.places[f"codes.{code}"] = self._place((*at, "codes", index))

    def _read_morphology(self, draft: _Draft, fields: Mapping[str, Any], at: tuple[str, ...]) -> None:
        table = self._mapping(fields.get("morphology", {}), (*at, "morphology"), MORPHOLOGY_KEYS)
        for key, items in table.items():
            where = (*at, "morphology", key)
            values, keys = [], dict.fromkeys(())
            for index, item in enumerate(self._list(items, where)):
                value, marks = self._marked(self._text(item, (*where, index)))
                values.append(value)
                keys |= dict.fromkeys(marks)
            draft.morphology[key] = tuple(values)
            draft.sources[f"morphology.{key}"] = tuple(keys)

    def _read_differential(self, draft: _Draft, fields: Mapping[str, Any], at: tuple[str, ...]) -> None:
        where = (*at, "differential")
        for id, why in self._mapping(fields.get("differential", {}), where, None).items():
            text, keys = self._marked(self._text(why, (*where, id)))
            draft.differential += (Differential(id, text, " ".join(keys)),)
            draft.sources[f"differential.{id}"] = keys
            draft.places[f"differential.{id}"] = self._place((*where, id))

    def _marked(self, text: str) -> tuple[str, tuple[str, ...]]:
        """``"benign @do mesh"`` -> ``("benign", ("do", "mesh"))``; no mark means the file's default source."""
        value, _, marks = text.rpartition(" @") if " @" in text else (text, "", "")
        return value.strip(), tuple(marks.split()) or (self.default,)

    # --------------------------------------------------------------------------------------------------- types

    def _place(self, at: Sequence[str | int]) -> str:
        for length in range(len(at), -1, -1):
            line = self.lines.get(tuple(at[:length]))
            if line is not None:
                return f"{self.file}:{line}"
        return str(self.file)

    def _fail(self, at: Sequence[str | int], message: str) -> NoReturn:
        raise TaxonomyError(f"{self._place(at)}: {message}")

    def _text(self, value: Any, at: Sequence[str | int]) -> str:
        if not isinstance(value, str) or not value.strip():
            self._fail(at, f"expected a text, found {value!r} (put it in quotes if it is meant as text)")
        return value.strip()

    def _list(self, value: Any, at: Sequence[str | int]) -> list[Any]:
        if not isinstance(value, list):
            self._fail(at, f"expected a list in [ ], found {value!r}")
        return value

    def _mapping(self, value: Any, at: Sequence[str | int], keys: Sequence[str] | None) -> dict[str, Any]:
        if not isinstance(value, dict):
            what = f"key {at[-1]!r}: " if at else ""
            self._fail(at, f"{what}expected a mapping (key: value), found {value!r:.80}")
        for key in value:
            if not isinstance(key, str):
                self._fail(at, f"expected text as a key, found {key!r} (put it in quotes)")
            if keys is not None and key not in keys:
                near = get_close_matches(key, keys, 1, 0.0)
                self._fail((*at, key), f"unknown key {key!r}; nearest: {near[0]!r}; all: {', '.join(keys)}")
        return value

    def _check_sources(self) -> None:
        for draft in self.drafts.values():
            for fact, keys in draft.sources.items():
                for key in keys:
                    if key not in self.sources:
                        near = get_close_matches(key, self.sources, 1, 0.0)[0]
                        place = draft.places.get(fact, draft.place)
                        raise TaxonomyError(
                            f"{place}: {fact} of {draft.id!r} names the unknown source {key!r}; nearest: {near!r}"
                        )


# ----------------------------------------------------------------------------------------- checks over all files


def _check_parents(drafts: Mapping[str, _Draft]) -> None:
    for draft in drafts.values():
        for parent in draft.parents:
            if parent not in drafts:
                near = ", ".join(get_close_matches(parent, drafts, 3, 0.0))
                place = draft.places[f"parents.{parent}"]
                raise TaxonomyError(f"{place}: node {draft.id!r} has the unknown parent {parent!r}; nearest: {near}")


def _check_root(drafts: Mapping[str, _Draft]) -> None:
    roots = [draft for draft in drafts.values() if not draft.parents]
    if not roots:  # no cycle either, so there is no node at all
        raise TaxonomyError("the taxonomy has no nodes; expected 'nodes:' with one node without parents, the root")
    if len(roots) > 1:
        orphan = roots[1]
        raise TaxonomyError(
            f"{orphan.place}: node {orphan.id!r} is an orphan: it has no parents, and only the root "
            f"({roots[0].id!r}) may have none"
        )


def _check_names(drafts: Mapping[str, _Draft]) -> None:
    claimed: dict[str, tuple[str, str, str]] = {}
    codes: dict[str, str] = {}
    for draft in drafts.values():
        for name in (draft.name, *draft.synonyms):
            place = draft.places.get(f"synonyms.{name}", draft.places["name"])
            key = normalise(name)
            if not key:
                raise TaxonomyError(f"{place}: {name!r} of {draft.id!r} holds no word")
            other = claimed.setdefault(key, (draft.id, name, place))
            if other[0] != draft.id:
                raise TaxonomyError(
                    f"{place}: {name!r} names both {draft.id!r} and {other[0]!r} (as {other[1]!r}, {other[2]}); "
                    "one name must lead to one node"
                )
        for code in draft.codes.values():
            owner = codes.setdefault(code.casefold(), draft.id)
            if owner != draft.id:
                raise TaxonomyError(
                    f"{draft.places[f'codes.{code}']}: code {code} stands at {owner!r} and {draft.id!r}"
                )


def _check_shape(drafts: Mapping[str, _Draft]) -> None:
    """No way up leads back to where it began."""
    done: set[str] = set()
    for start in drafts:
        trail: list[str] = []
        _climb(start, drafts, done, trail, set())


def _climb(id: str, drafts: Mapping[str, _Draft], done: set[str], trail: list[str], open_: set[str]) -> None:
    if id in done:
        return
    if id in open_:
        circle = [*trail[trail.index(id) :], id]
        draft = drafts[circle[0]]
        place = draft.places.get(f"parents.{circle[1]}", draft.place)
        raise TaxonomyError(f"{place}: cycle: {' -> '.join(circle)} (each is listed as a parent of the one before)")
    trail.append(id)
    open_.add(id)
    for parent in drafts[id].parents:
        _climb(parent, drafts, done, trail, open_)
    trail.pop()
    open_.discard(id)
    done.add(id)


def _check_neighbours(drafts: Mapping[str, _Draft]) -> None:
    for draft in drafts.values():
        for other in draft.differential:
            if other.node not in drafts or other.node == draft.id:
                near = ", ".join(get_close_matches(other.node, drafts, 3, 0.0))
                place = draft.places[f"differential.{other.node}"]
                reason = "itself" if other.node == draft.id else f"the unknown node {other.node!r}; nearest: {near}"
                raise TaxonomyError(f"{place}: the differential of {draft.id!r} names {reason}")


def _check_behaviour(taxonomy: Taxonomy, drafts: Mapping[str, _Draft]) -> None:
    missing = [drafts[id] for id in taxonomy.leaves if drafts[id].behaviour is None and id != taxonomy.root]
    if missing:
        names = ", ".join(repr(draft.id) for draft in missing[:5])
        raise TaxonomyError(
            f"{missing[0].place}: leaf without behaviour: {names}; expected 'behaviour:' and one of: "
            f"{', '.join(BEHAVIOURS)}"
        )
    for draft in _inner_with_behaviour(taxonomy, drafts.values()):
        if taxonomy.behaviours(draft.id) != (draft.behaviour,):
            below = next(x for x in taxonomy.leaves_below(draft.id) if drafts[x].behaviour != draft.behaviour)
            raise TaxonomyError(
                f"{draft.places['behaviour']}: {draft.id!r} says {draft.behaviour!r}, but {below!r} below it is "
                f"{drafts[below].behaviour!r}; take the line away (inner nodes follow their leaves) or move the leaf"
            )


def _inner_with_behaviour(taxonomy: Taxonomy, drafts: Iterable[_Draft]) -> list[_Draft]:
    return [draft for draft in drafts if draft.behaviour is not None and taxonomy.children(draft.id)]
