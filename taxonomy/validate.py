"""What is wrong with a taxonomy as a whole: each fault raises with the file and line where it was stated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from skinrl.errors import TaxonomyError
from skinrl.taxonomy.graph import BEHAVIOURS, Differential, Taxonomy
from skinrl.taxonomy.text import normalise


@dataclass
class Draft:
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
    sources: dict[str, tuple[str, ...]]  # "parents.eczema", "synonyms.wart" -> keys of the sources that state it
    locators: dict[str, tuple[str, ...]]  # the place inside each of those sources, "" where none is given
    places: dict[str, str]  # "parents.eczema" -> "file:line" of ours
    where: dict[str, str]  # source key -> the place that its marks on this node mean
    note: str

    def marks(self, fact: str) -> tuple[str, ...]:
        """The marks of a fact as a file writes them: ``("do:DOID:37", "mesh")``."""
        pairs = zip(self.sources.get(fact, ()), self.locators.get(fact, ()), strict=True)
        return tuple(f"{key}:{place}" if place else key for key, place in pairs)


def validate_drafts(drafts: Mapping[str, Draft], sources: Mapping[str, Any]) -> None:
    """Parents exist, names and codes are claimed once, no cycle, one root, neighbours and sources exist."""
    _check_parents(drafts)
    _check_names(drafts)
    _check_codes(drafts)
    _check_shape(drafts)
    _check_root(drafts)
    _check_neighbours(drafts)
    _check_sources(drafts, sources)


def _check_parents(drafts: Mapping[str, Draft]) -> None:
    for draft in drafts.values():
        for parent in draft.parents:
            if parent not in drafts:
                near = ", ".join(get_close_matches(parent, drafts, 3, 0.0))
                place = draft.places[f"parents.{parent}"]
                raise TaxonomyError(f"{place}: node {draft.id!r} has the unknown parent {parent!r}; nearest: {near}")


def _check_root(drafts: Mapping[str, Draft]) -> None:
    roots = [draft for draft in drafts.values() if not draft.parents]
    if not roots:  # no cycle either, so there is no node at all
        raise TaxonomyError("the taxonomy has no nodes; expected 'nodes:' with one node without parents, the root")
    if len(roots) > 1:
        orphan = roots[1]
        near = ", ".join(get_close_matches(orphan.id, [id for id in drafts if id != orphan.id], 3, 0.0))
        raise TaxonomyError(
            f"{orphan.place}: node {orphan.id!r} is an orphan: it has no parents, and only the root "
            f"({roots[0].id!r}) may have none; give it 'parents:', or if a node of ours was meant, nearest: {near}"
        )


def _check_names(drafts: Mapping[str, Draft]) -> None:
    claimed: dict[str, tuple[str, str, str]] = {}
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


def _check_codes(drafts: Mapping[str, Draft]) -> None:
    codes: dict[str, str] = {}
    for draft in drafts.values():
        for code in draft.codes.values():
            owner = codes.setdefault(code.casefold(), draft.id)
            if owner != draft.id:
                raise TaxonomyError(
                    f"{draft.places[f'codes.{code}']}: code {code} stands at {owner!r} and {draft.id!r}"
                )


def _check_shape(drafts: Mapping[str, Draft]) -> None:
    """No way up leads back to where it began."""
    done: set[str] = set()
    for start in drafts:
        trail: list[str] = []
        _climb(start, drafts, done, trail, set())


def _climb(id: str, drafts: Mapping[str, Draft], done: set[str], trail: list[str], open_: set[str]) -> None:
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


def _check_neighbours(drafts: Mapping[str, Draft]) -> None:
    for draft in drafts.values():
        for other in draft.differential:
            if other.node not in drafts or other.node == draft.id:
                near = ", ".join(get_close_matches(other.node, drafts, 3, 0.0))
                place = draft.places[f"differential.{other.node}"]
                reason = "itself" if other.node == draft.id else f"the unknown node {other.node!r}; nearest: {near}"
                raise TaxonomyError(f"{place}: the differential of {draft.id!r} names {reason}")


def _check_sources(drafts: Mapping[str, Draft], sources: Mapping[str, Any]) -> None:
    for draft in drafts.values():
        for fact, keys in draft.sources.items():
            for key in keys:
                if key not in sources:
                    near = get_close_matches(key, sources, 1, 0.0)[0]
                    place = draft.places.get(fact, draft.place)
                    raise TaxonomyError(f"{place}: {fact} of {draft.id!r}: unknown source {key!r}; nearest: {near!r}")


def validate_behaviour(taxonomy: Taxonomy, drafts: Mapping[str, Draft]) -> None:
    """Every leaf has a behaviour, and no inner node states one that its leaves contradict."""
    missing = [drafts[id] for id in taxonomy.leaves if drafts[id].behaviour is None and id != taxonomy.root]
    if missing:
        names = ", ".join(repr(draft.id) for draft in missing[:5])
        raise TaxonomyError(
            f"{missing[0].place}: leaf without behaviour: {names}; expected 'behaviour:' and one of: "
            f"{', '.join(BEHAVIOURS)}"
        )
    for draft in drafts.values():
        if draft.behaviour is not None and taxonomy.behaviours(draft.id) != (draft.behaviour,):
            below = next(x for x in taxonomy.leaves_below(draft.id) if drafts[x].behaviour != draft.behaviour)
            raise TaxonomyError(
                f"{draft.places['behaviour']}: {draft.id!r} says {draft.behaviour!r}, but {below!r} below it is "
                f"{drafts[below].behaviour!r}; take the line away (inner nodes follow their leaves) or move the leaf"
            )
