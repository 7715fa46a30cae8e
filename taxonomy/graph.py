"""The disease hierarchy as an immutable graph: nodes, ancestors, levels, behaviour.

Two parents are allowed. Every answer is the same in every process and under every PYTHONHASHSEED: whatever leaves
this class in an order is sorted, or in the order of the file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from skinrl.errors import TaxonomyError

if TYPE_CHECKING:
    import networkx

    from skinrl.taxonomy.resolve import Resolver

BEHAVIOURS = ("non-neoplastic", "benign", "uncertain", "precancerous or in situ", "malignant")
LISTED = ("name", "synonym", "abbreviation", "code")
READ = ("order", "remark", "slash", "joined", "fuzzy", "context")
MORPHOLOGY_KEYS = ("primary_lesion", "colour", "border", "scale", "shape", "number", "arrangement", "site")


@dataclass(frozen=True, slots=True)
class Match:
    """A node that a text was read as.

    ``how`` is one of ``LISTED``: the text is a name, synonym, abbreviation or code of the file, and ``score`` is 1.0;
    or one of ``READ``: it was read in another way, and ``score`` lies below 1 (see
    :class:`~skinrl.taxonomy.resolve.Resolver`). From :meth:`Taxonomy.nearest`, ``score`` is a similarity from 0 to 1.
    """

    node: str
    how: str
    score: float

    @property
    def listed(self) -> bool:
        """Whether the text stands in the file, up to spelling: what a gold label may be read from."""
        return self.how in LISTED


@dataclass(frozen=True, slots=True)
class Differential:
    """A disease that is mistaken for this one: its node id, what tells the two apart, and the source keys."""

    node: str
    why: str
    source: str


@dataclass(frozen=True)
class Node:
    """One disease or class of diseases.

    ``behaviour`` is what the file states, which every leaf does; ask :meth:`Taxonomy.behaviour` for inner nodes.
    ``codes`` maps a scheme to a code with its prefix (``{"DOID": "DOID:2513"}``), ``morphology`` one of
    ``MORPHOLOGY_KEYS`` to its typical values, and ``sources`` a fact (``"behaviour"``, ``"parents.eczema"``,
    ``"morphology.colour.red"``) to the keys of the sources that state it; ``locators`` maps the same facts to the
    place inside each of those sources (a document, a row, a code, a count), ``""`` where none is given.
    """

    id: str
    name: str
    parents: tuple[str, ...] = ()
    synonyms: tuple[str, ...] = ()
    behaviour: str | None = None
    codes: Mapping[str, str] = field(default_factory=dict)
    morphology: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    differential: tuple[Differential, ...] = ()
    sources: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    locators: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    note: str = ""

    def __post_init__(self) -> None:
        for key in ("codes", "morphology", "sources", "locators"):
            object.__setattr__(self, key, MappingProxyType(dict(getattr(self, key))))

    def __reduce__(self) -> tuple[Any, ...]:  # a mapping proxy does not pickle
        values = (getattr(self, key) for key in self.__dataclass_fields__)
        return Node, tuple(dict(value) if isinstance(value, MappingProxyType) else value for value in values)

    def facts(self) -> dict[str, Any]:
        """Everything but the sources, as plain JSON values."""
        return {
            "id": self.id,
            "name": self.name,
            "parents": list(self.parents),
            "synonyms": list(self.synonyms),
            "behaviour": self.behaviour,
            "codes": dict(self.codes),
            "morphology": {key: list(values) for key, values in self.morphology.items()},
            "differential": [[d.node, d.why, d.source] for d in self.differential],
            "note": self.note,
        }


class Taxonomy:
    """A disease hierarchy with one root. Make one with :func:`load_taxonomy`.

    Arguments:
        name: what the file calls itself.
        nodes: all nodes, the root among them (the one without parents).
        source_table: key of a source -> its title, licence and whether it is reviewed.

    Raises:
        TaxonomyError: no root or several, an unknown parent, a cycle, a name claimed twice. The loader finds the
            same faults earlier, with the line.
    """

    name: str
    root: str
    ids: tuple[str, ...]
    leaves: tuple[str, ...]
    classes: tuple[str, ...]
    sources: Mapping[str, Mapping[str, Any]]

    def __init__(
        self, name: str, nodes: Iterable[Node], source_table: Mapping[str, Mapping[str, Any]] | None = None
    ) -> None:
        by_id = {node.id: node for node in nodes}
        roots = [id for id, node in by_id.items() if not node.parents]
        if len(roots) != 1:
            raise TaxonomyError(f"taxonomy {name!r}: expected one node without parents, found {sorted(roots)}")
        children: dict[str, list[str]] = {id: [] for id in by_id}
        for node in by_id.values():
            for parent in node.parents:
                if parent not in by_id:
                    raise TaxonomyError(f"taxonomy {name!r}: node {node.id!r} has the unknown parent {parent!r}")
                children[parent].append(node.id)
        order = _topological(roots[0], by_id, children, name)
        state: dict[str, Any] = {
            "name": name,
            "root": roots[0],
            "ids": tuple(sorted(by_id)),
            "leaves": tuple(sorted(id for id in by_id if not children[id])),
            "classes": tuple(children[roots[0]]),
            "sources": MappingProxyType(dict(source_table or {})),
            "_nodes": by_id,
            "_order": tuple(by_id),
            "_children": {id: tuple(below) for id, below in children.items()},
            "_graph": None,
            "_resolver": None,
            "_checksum": None,
        }
        state |= _derive(roots[0], order, by_id, children)
        self.__dict__.update(state)
        self.__dict__["_resolver"] = _make_resolver(self)

    def __setattr__(self, key: str, value: object) -> None:
        raise AttributeError(f"a Taxonomy is immutable; write an overlay (extends: ...) to change {key!r}")

    def __delattr__(self, key: str) -> None:
        raise AttributeError(f"a Taxonomy is immutable; {key!r} stays")

    def __reduce__(self) -> tuple[Any, ...]:
        nodes = tuple(self._nodes[id] for id in self._order)
        return _rebuild, (self.name, nodes, {key: dict(row) for key, row in self.sources.items()})

    def __repr__(self) -> str:
        return f"Taxonomy({self.name!r}, {len(self.ids)} nodes, {len(self.leaves)} leaves)"

    def __contains__(self, id: object) -> bool:
        return id in self._nodes

    def __len__(self) -> int:
        return len(self.ids)

    # ------------------------------------------------------------------------------------------------ structure

    def node(self, id: str) -> Node:
        """The node of that id. Raises :class:`TaxonomyError` with the nearest ids when there is none."""
        found: Node | None = self._nodes.get(id)
        if found is None:
            near = ", ".join(match.node for match in self.nearest(id.replace("_", " "))) or "nothing like it"
            raise TaxonomyError(f"taxonomy {self.name!r} has no node {id!r}; nearest: {near}")
        return found

    def parents(self, id: str) -> tuple[str, ...]:
        """Parents in the order of the file; the first one is the main one."""
        return self.node(id).parents

    def children(self, id: str) -> tuple[str, ...]:
        """Children in the order of the file."""
        self.node(id)
        below: tuple[str, ...] = self._children[id]
        return below

    def ancestors(self, id: str) -> frozenset[str]:
        """A(id): the node and all its ancestors, without the root; empty for the root."""
        found: frozenset[str] | None = self._ancestors.get(id)
        return found if found is not None else frozenset({self.node(id).id})

    def descendants(self, id: str) -> frozenset[str]:
        """Every node below ``id``, without itself."""
        self.node(id)
        found: frozenset[str] = self._descendants[id]
        return found

    def is_ancestor(self, a: str, b: str) -> bool:
        """Whether ``a`` lies strictly above ``b``. The root lies above all others."""
        return b in self.descendants(a)

    def level(self, id: str) -> int:
        """Shortest distance from the root, in edges; 0 for the root."""
        self.node(id)
        found: int = self._levels[id]
        return found

    def path(self, id: str) -> tuple[str, ...]:
        """A shortest way from a child of the root down to ``id``; ``()`` for the root.

        Where several are equally short, the parent that the file lists first is taken.
        """
        self.node(id)
        found: tuple[str, ...] = self._paths[id]
        return found

    def common_ancestors(self, a: str, b: str) -> tuple[str, ...]:
        """A(a) and A(b) have these in common; sorted by level, then id."""
        return tuple(sorted(self.ancestors(a) & self.ancestors(b), key=lambda id: (self._levels[id], id)))

    def leaves_below(self, id: str) -> tuple[str, ...]:
        """The leaves at or below ``id``, sorted."""
        self.node(id)
        found: tuple[str, ...] = self._leaves_below[id]
        return found

    def behaviour(self, id: str) -> str | None:
        """The behaviour that all leaves at or below ``id`` share; ``None`` where they differ."""
        found = self.behaviours(id)
        return found[0] if len(found) == 1 else None

    def behaviours(self, id: str) -> tuple[str, ...]:
        """All behaviours of the leaves at or below ``id``, in the order of ``BEHAVIOURS``."""
        self.node(id)
        found: tuple[str, ...] = self._behaviours[id]
        return found

    @property
    def graph(self) -> networkx.DiGraph[str]:
        """Frozen graph, edges from parent to child, nodes in the order of the file. Built when first asked for."""
        if self._graph is None:
            import networkx  # a fifth of a second, and most callers need the ancestor sets alone

            graph: networkx.DiGraph[str] = networkx.DiGraph(name=self.name)
            graph.add_nodes_from(self._order)
            graph.add_edges_from((parent, id) for id in self._order for parent in self._nodes[id].parents)
            self.__dict__["_graph"] = networkx.freeze(graph)
        found: networkx.DiGraph[str] = self._graph
        return found

    @property
    def checksum(self) -> str:
        """SHA-256 of everything but the sources: two taxonomies with the same one score alike."""
        if self._checksum is None:
            facts = [self._nodes[id].facts() for id in self.ids]
            text = json.dumps([self.root, facts], sort_keys=True, ensure_ascii=False)
            self.__dict__["_checksum"] = hashlib.sha256(text.encode()).hexdigest()
        found: str = self._checksum
        return found

    # ------------------------------------------------------------------------------------------------- language

    def resolve(self, text: str) -> Match | None:
        """The one node that ``text`` names, or ``None``; see :class:`~skinrl.taxonomy.resolve.Resolver`."""
        resolver: Resolver = self._resolver
        return resolver.resolve(text)

    def resolve_many(self, texts: Sequence[str]) -> list[Match | None]:
        """:meth:`resolve` for many texts at once, in their order; far quicker where many are misspelt."""
        resolver: Resolver = self._resolver
        return resolver.resolve_many(texts)

    def mentions(self, text: str) -> tuple[str, ...]:
        """Distinct nodes named in a free line, in the order of the text, the longest name first at each place.

        ``"basal cell carcinoma"`` is not also a carcinoma. Negation is not looked at: ``"no melanoma"`` mentions
        melanoma.
        """
        resolver: Resolver = self._resolver
        return resolver.mentions(text)

    def asserted(self, text: str) -> tuple[str, ...]:
        """Distinct nodes that free text says or suspects, in its order; what it denies is left out.

        ``"No sign of melanoma; eczema, would not exclude tinea"`` asserts eczema and tinea. See
        :mod:`skinrl.taxonomy.assertion`.
        """
        resolver: Resolver = self._resolver
        return resolver.asserted(text)

    def nearest(self, text: str, n: int = 3) -> list[Match]:
        """The ``n`` nodes with the most similar names, best first: a suggestion for a person, never an answer."""
        resolver: Resolver = self._resolver
        return resolver.nearest(text, n)

    if TYPE_CHECKING:
        _nodes: dict[str, Node]
        _order: tuple[str, ...]
        _children: dict[str, tuple[str, ...]]
        _ancestors: dict[str, frozenset[str]]
        _descendants: dict[str, frozenset[str]]
        _levels: dict[str, int]
        _paths: dict[str, tuple[str, ...]]
        _leaves_below: dict[str, tuple[str, ...]]
        _behaviours: dict[str, tuple[str, ...]]
        _graph: Any
        _resolver: Any
        _checksum: Any


def _rebuild(name: str, nodes: tuple[Node, ...], source_table: dict[str, dict[str, Any]]) -> Taxonomy:
    return Taxonomy(name, nodes, source_table)


def _make_resolver(taxonomy: Taxonomy) -> Resolver:
    from skinrl.taxonomy.resolve import Resolver  # it needs Match and Node from here

    return Resolver(taxonomy.name, [taxonomy._nodes[id] for id in taxonomy._order])


def _topological(
    root: str, nodes: Mapping[str, Node], children: Mapping[str, Sequence[str]], name: str
) -> tuple[str, ...]:
    """Every node after all its parents, in a fixed order."""
    missing = {id: len(node.parents) for id, node in nodes.items()}
    order = [root]
    for id in order:
        for child in children[id]:
            missing[child] -= 1
            if not missing[child]:
                order.append(child)
    if len(order) != len(nodes):
        stuck = sorted(set(nodes) - set(order))
        raise TaxonomyError(f"taxonomy {name!r}: these nodes lie on a cycle or hang from one: {', '.join(stuck[:8])}")
    return tuple(order)


def _derive(
    root: str, order: Sequence[str], nodes: Mapping[str, Node], children: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    """All that can be asked of the structure, computed once."""
    ancestors: dict[str, frozenset[str]] = {root: frozenset()}
    levels: dict[str, int] = {root: 0}
    paths: dict[str, tuple[str, ...]] = {root: ()}
    for id in order[1:]:
        parents = nodes[id].parents
        nearest = min(parents, key=levels.__getitem__)  # the first listed of the nearest
        levels[id] = levels[nearest] + 1
        paths[id] = (*paths[nearest], id)
        ancestors[id] = frozenset({id}).union(*(ancestors[parent] for parent in parents))
    below: dict[str, set[str]] = {}
    for id in reversed(order):
        below[id] = set(children[id]).union(*(below[child] for child in children[id]))
    leaves = {id: tuple(sorted(x for x in (below[id] or {id}) if not children[x])) for id in order}
    return {
        "_ancestors": ancestors,
        "_levels": levels,
        "_paths": paths,
        "_descendants": {id: frozenset(found) for id, found in below.items()},
        "_leaves_below": leaves,
        "_behaviours": {id: _behaviours_of(leaves[id], nodes) for id in order},
    }


def _behaviours_of(leaves: Sequence[str], nodes: Mapping[str, Node]) -> tuple[str, ...]:
    present = {nodes[leaf].behaviour for leaf in leaves}
    return tuple(behaviour for behaviour in BEHAVIOURS if behaviour in present)
