"""Read a taxonomy file, with an overlay on top if asked, and say where it is wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

from skinrl.errors import TaxonomyError
from skinrl.taxonomy import cache
from skinrl.taxonomy.graph import BEHAVIOURS, MORPHOLOGY_KEYS, Differential, Node, Taxonomy
from skinrl.taxonomy.validate import Draft, behaviour_faults, draft_faults, raise_faults
from skinrl.yamlfile import Lines, read_yaml

_FOLDER = Path(__file__).parent
_FILE_KEYS = ("name", "version", "extends", "description", "default_source", "sources", "parts", "nodes")
_NODE_KEYS = (
    "name", "parents", "synonyms", "behaviour", "codes", "morphology", "differential", "source", "where", "note",
)  # fmt: skip
_PART_KEYS = ("nodes",)
_SOURCE_KEYS = ("title", "licence", "reviewed", "where", "place", "place_from")
_ID = re.compile(r"[a-z0-9]+(_[a-z0-9]+)*")
_At = tuple[str | int, ...]  # the way to a place in the file: ("nodes", "eczema", "parents", 0)
_CODE = re.compile(r"(?P<scheme>[A-Z]+):\S+")


def load_taxonomy(name_or_path: str | Path = "dermatology") -> Taxonomy:
    """Load a taxonomy that ships with skinrl by its name, or a user's own file by its path.

    A file that says ``extends: dermatology`` adds to that taxonomy: new nodes, and synonyms, parents, codes,
    morphology or differential neighbours of nodes that exist.

    Raises:
        TaxonomyError: everything that is wrong, at once, each with file and line: an unknown key, a wrong type, an
            unknown parent, a name that two nodes claim, a cycle, an orphan, a leaf without behaviour. (A file that is
            no YAML is reported alone.)

    What was loaded is kept (see :mod:`skinrl.taxonomy.cache`), and read again only where a file changed.
    """
    path = find_file(name_or_path, _FOLDER, "taxonomy")
    taxonomy = cache.load(path)
    if taxonomy is None:
        reader = _Reader()
        taxonomy = reader.load(path)
        cache.save(path, taxonomy, reader.read)
    return taxonomy


def load_with_places(name_or_path: str | Path = "dermatology") -> tuple[Taxonomy, dict[str, dict[str, str]]]:
    """The taxonomy, and for each node id the ``file:line`` of its facts (``""`` for the node itself)."""
    reader = _Reader()
    taxonomy = reader.load(find_file(name_or_path, _FOLDER, "taxonomy"))
    return taxonomy, {id: {"": draft.place, **draft.places} for id, draft in reader.drafts.items()}


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
        self.read: list[Path] = []
        self.faults: list[str] = []
        self.defined: dict[str, str] = {}  # node id -> the place that gives its parents, in the taxonomy being read
        self.spoilt: set[str] = set()  # nodes with one of these faults
        self.drafts: dict[str, Draft] = {}
        self.sources: dict[str, dict[str, Any]] = {}
        self.default = "editorial"
        self.file = Path()
        self.lines: Lines = {}

    # ------------------------------------------------------------------------------------------------- one file

    def load(self, path: Path) -> Taxonomy:
        name = self._read(path, ())
        raise_faults([*self.faults, *draft_faults(self.drafts, self.sources, self.spoilt)])
        nodes = [
            Node(
                draft.id, draft.name, draft.parents, draft.synonyms, draft.behaviour, draft.codes, draft.morphology,
                draft.differential, draft.sources, draft.locators, draft.note,
            )
            for draft in self.drafts.values()
        ]  # fmt: skip
        taxonomy = Taxonomy(name, nodes, self.sources)
        raise_faults(behaviour_faults(taxonomy, self.drafts))
        return taxonomy

    @contextmanager
    def _noting_faults(self) -> Iterator[None]:
        """What is wrong inside is noted, and reading goes on with the next item."""
        try:
            yield
        except TaxonomyError as problem:
            self.faults.append(str(problem))

    def _read(self, path: Path, seen: tuple[Path, ...]) -> str:
        data, lines = read_yaml(path, error=TaxonomyError)
        self.read.append(path)
        self.file, self.lines = path, lines
        top = self._mapping(data, (), None)
        with self._noting_faults():
            self._known_keys(top, (), _FILE_KEYS)
        base = top.get("extends")
        if base is not None:
            base_path = self._base(base, path, (*seen, path.resolve()))
            self._read(base_path, (*seen, path.resolve()))
            self.file, self.lines = path, lines
        self.defined = {}
        self._read_sources(top, extends=base is not None)
        self._read_nodes(top)
        name = self._text(top.get("name", path.stem), ("name",))
        for index, item in enumerate(self._list(top.get("parts", []), ("parts",))):
            self.file, self.lines = path, lines
            with self._noting_faults():
                self._read_part(path.parent / self._text(item, ("parts", index)), ("parts", index))
        return name

    def _read_part(self, path: Path, at: _At) -> None:
        """A file of nodes alone; what it leaves out (name, sources) is said by the file that lists it."""
        if not path.is_file():
            self._fail(at, f"no such file {path}; expected the path of a YAML file, from this one's folder")
        data, self.lines = read_yaml(path, error=TaxonomyError)
        self.read.append(path)
        self.file = path
        self._read_nodes(self._mapping(data, (), _PART_KEYS))

    def _read_nodes(self, top: Mapping[str, Any]) -> None:
        for id, body in self._mapping(top.get("nodes"), ("nodes",), None).items():
            before = len(self.faults)
            with self._noting_faults():
                self._read_node(id, body)
            if len(self.faults) > before:
                self.spoilt.add(id)

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
            with self._noting_faults():
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
        fields = self._mapping(body if body is not None else {}, at, None)
        if "parents" in fields and self.defined.setdefault(id, self._place(at)) != self._place(at):
            self._fail(at, f"node {id!r} is defined here and at {self.defined[id]}; expected one definition")
        draft = self.drafts.get(id)
        if draft is None:
            place = self._place(at)
            draft = Draft(id, place, id.replace("_", " "), (), (), None, {}, {}, (), {}, {}, {}, {}, "")
            self.drafts[id] = draft
        with self._noting_faults():
            self._known_keys(fields, at, _NODE_KEYS)
        for read in (
            self._read_words, self._read_where, self._read_codes, self._read_source, self._read_behaviour,
            self._read_parents, self._read_synonyms, self._read_morphology, self._read_differential,
        ):  # fmt: skip
            with self._noting_faults():
                read(draft, fields, at)

    def _read_words(self, draft: Draft, fields: Mapping[str, Any], at: _At) -> None:
        draft.places["name"] = self._place((*at, "name"))
        if "name" in fields:
            draft.name = self._text(fields["name"], (*at, "name"))
        if "note" in fields:
            draft.note = self._text(fields["note"], (*at, "note"))

    def _read_source(self, draft: Draft, fields: Mapping[str, Any], at: _At) -> None:
        if "source" in fields:
            marks = self._text(fields["source"], (*at, "source")).split()
            self._state(draft, "node", (*draft.marks("node"), *marks), (*at, "source"))

    def _read_parents(self, draft: Draft, fields: Mapping[str, Any], at: _At) -> None:
        draft.parents += self._facts(draft, fields, at, "parents", known=draft.parents)

    def _read_synonyms(self, draft: Draft, fields: Mapping[str, Any], at: _At) -> None:
        draft.synonyms += self._facts(draft, fields, at, "synonyms", known=draft.synonyms)

    def _read_behaviour(self, draft: Draft, fields: Mapping[str, Any], at: _At) -> None:
        if "behaviour" not in fields:
            return
        value, marks = self._marked(self._text(fields["behaviour"], (*at, "behaviour")))
        if value not in BEHAVIOURS:
            self._fail((*at, "behaviour"), f"unknown behaviour {value!r}; expected one of: {', '.join(BEHAVIOURS)}")
        draft.behaviour = value
        self._state(draft, "behaviour", marks, (*at, "behaviour"))

    def _facts(
        self, draft: Draft, fields: Mapping[str, Any], at: _At, kind: str, known: Sequence[str]
    ) -> tuple[str, ...]:
        """The marked values of a list; each one's sources and place go to the draft."""
        found: list[str] = []
        for index, item in enumerate(self._list(fields.get(kind, []), (*at, kind))):
            where: _At = (*at, kind, index)
            with self._noting_faults():
                value, marks = self._marked(self._text(item, where))
                if value in found or value in known:
                    self._fail(where, f"{value!r} stands twice among the {kind} of {draft.id!r}")
                found.append(value)
                self._state(draft, f"{kind}.{value}", marks, where)
        return tuple(found)

    def _read_codes(self, draft: Draft, fields: Mapping[str, Any], at: _At) -> None:
        for index, item in enumerate(self._list(fields.get("codes", []), (*at, "codes"))):
            where: _At = (*at, "codes", index)
            with self._noting_faults():
                code = self._text(item, where)
                match = _CODE.fullmatch(code)
                if match is None:
                    self._fail(where, f"{code!r} is no code; expected its scheme in front: 'DOID:8893'")
                draft.codes[match["scheme"]] = code
                draft.places[f"codes.{code}"] = self._place(where)

    def _read_morphology(self, draft: Draft, fields: Mapping[str, Any], at: _At) -> None:
        table = self._mapping(fields.get("morphology", {}), (*at, "morphology"), None)
        with self._noting_faults():
            self._known_keys(table, (*at, "morphology"), MORPHOLOGY_KEYS)
        for key, items in table.items():
            where = (*at, "morphology", key)
            values: list[str] = []
            for index, item in enumerate(self._list(items, where)):
                value, marks = self._marked(self._text(item, (*where, index)))
                values.append(value)
                self._state(draft, f"morphology.{key}.{value}", marks, (*where, index))
            draft.morphology[key] = (*draft.morphology.get(key, ()), *values)

    def _read_differential(self, draft: Draft, fields: Mapping[str, Any], at: _At) -> None:
        """A neighbour stated in two files is one neighbour: the marks add up, the words are those that were given."""
        where = (*at, "differential")
        known = {other.node: other for other in draft.differential}
        for id, why in self._mapping(fields.get("differential", {}), where, None).items():
            text, marks = self._marked(self._text(why, (*where, id)))
            fact = f"differential.{id}"
            if id in known:
                text = known[id].why or text
                marks = (*draft.marks(fact), *marks)
            self._state(draft, fact, marks, (*where, id))
            known[id] = Differential(id, text, " ".join(draft.sources[fact]))
        draft.differential = tuple(known.values())

    def _read_where(self, draft: Draft, fields: Mapping[str, Any], at: _At) -> None:
        for key, place in self._mapping(fields.get("where", {}), (*at, "where"), None).items():
            draft.where[key] = self._text(place, (*at, "where", key))

    def _state(self, draft: Draft, fact: str, marks: Sequence[str], at: _At) -> None:
        """Write down who states ``fact``, where in the source, and on which line of ours it stands."""
        keys = tuple(mark.partition(":")[0] for mark in marks)
        draft.sources[fact] = keys
        draft.locators[fact] = tuple(self._locator(draft, mark) for mark in marks)
        draft.places[fact] = self._place(at)

    def _locator(self, draft: Draft, mark: str) -> str:
        """The place inside the source: the mark's own, else the node's ``where:``, else its code of that scheme."""
        key, _, place = mark.partition(":")
        scheme = self.sources.get(key, {}).get("place_from", "")
        return place or draft.where.get(key) or draft.codes.get(scheme, "")

    def _marked(self, text: str) -> tuple[str, tuple[str, ...]]:
        """``"benign @do mesh:D1"`` -> ``("benign", ("do", "mesh:D1"))``; no mark means the file's default source."""
        value, _, marks = f" {text}".rpartition(" @") if " @" in f" {text}" else (text, "", "")
        return value.strip(), tuple(marks.split()) or (self.default,)

    # --------------------------------------------------------------------------------------------------- types

    def _place(self, at: _At) -> str:
        for length in range(len(at), -1, -1):
            line = self.lines.get(at[:length])
            if line is not None:
                return f"{self.file}:{line}"
        return str(self.file)

    def _fail(self, at: _At, message: str) -> NoReturn:
        raise TaxonomyError(f"{self._place(at)}: {message}")

    def _text(self, value: Any, at: _At) -> str:
        if not isinstance(value, str) or not value.strip():
            self._fail(at, f"expected a text, found {value!r} (put it in quotes if it is meant as text)")
        return value.strip()

    def _list(self, value: Any, at: _At) -> list[Any]:
        if not isinstance(value, list):
            self._fail(at, f"expected a list in [ ], found {value!r}")
        return value

    def _mapping(self, value: Any, at: _At, keys: Sequence[str] | None) -> dict[str, Any]:
        if not isinstance(value, dict):
            what = f"key {at[-1]!r}: " if at else ""
            self._fail(at, f"{what}expected a mapping (key: value), found {value!r:.80}")
        for key in value:
            if not isinstance(key, str):
                self._fail(at, f"expected text as a key, found {key!r} (put it in quotes)")
        if keys is not None:
            self._known_keys(value, at, keys)
        return value

    def _known_keys(self, value: Mapping[str, Any], at: _At, keys: Sequence[str]) -> None:
        unknown = [key for key in value if key not in keys]
        for key in unknown[:-1]:
            self.faults.append(self._unknown_key(at, key, keys))
        if unknown:
            raise TaxonomyError(self._unknown_key(at, unknown[-1], keys))

    def _unknown_key(self, at: _At, key: str, keys: Sequence[str]) -> str:
        near = get_close_matches(key, keys, 1, 0.0)
        return f"{self._place((*at, key))}: unknown key {key!r}; nearest: {near[0]!r}; all: {', '.join(keys)}"
