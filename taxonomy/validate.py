"""What is wrong with a taxonomy as a whole: every fault, each with the file and line where it was stated."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
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


def raise_faults(faults: Sequence[str]) -> None:
    """One fault is said as it is, several in a list; nothing happens where there is none."""
    if len(faults) == 1:
        raise TaxonomyError(faults[0])
    if faults:
        raise TaxonomyError("\n  ".join([f"{len(faults)} faults:", *faults]))


def draft_faults(drafts: Mapping[str, Draft], sources: Mapping[str, Any], spoilt: Collection[str] = ()) -> list[str]:
    """Unknown parents, names and codes claimed twice, cycles, orphans, unknown neighbours and sources.

    Of ``spoilt`` nodes, in which the reader found a fault, it is not said that what may stand there is missing.
    """
    if not drafts:
        return ["the taxonomy has no nodes; expected 'nodes:' with one node without parents, the root"]
    cycles = list(_cycles(drafts))
    return [
        *_unknown_parents(drafts),
        *_names_claimed_twice(drafts),
        *_codes_claimed_twice(drafts),
        *cycles,
        *([] if cycles else _orphans(drafts, spoilt)),
        *_unknown_neighbours(drafts),
        *_unknown_sources(drafts, sources),
        *_leaves_without_behaviour(drafts, spoilt),
    ]


def _unknown_parents(drafts: Mapping[str, Draft]) -> Iterator[str]:
    for draft in drafts.values():
        for parent in draft.parents:
            if parent not in drafts:
                near = ", ".join(get_close_matches(parent, drafts, 3, 0.0))
                place = draft.places[f"parents.{parent}"]
                yield f"{place}: node {draft.id!r} has the unknown parent {parent!r}; nearest: {near}"


def _orphans(drafts: Mapping[str, Draft], spoilt: Collection[str]) -> Iterator[str]:
    root, *orphans = [draft for draft in drafts.values() if not draft.parents]
    for orphan in orphans:
        if orphan.id in spoilt:
            continue
        near = ", ".join(get_close_matches(orphan.id, [id for id in drafts if id != orphan.id], 3, 0.0))
        yield (
            f"{orphan.place}: node {orphan.id!r} is an orphan: it has no parents, and only the root "
            f"({root.id!r}) may have none; give it 'parents:', or if a node of ours was meant, nearest: {near}"
        )


def _names_claimed_twice(drafts: Mapping[str, Draft]) -> Iterator[str]:
    claimed: dict[str, tuple[str, str, str]] = {}
    for draft in drafts.values():
        for name in (draft.name, *draft.synonyms):
            place = draft.places.get(f"synonyms.{name}", draft.places["name"])
            key = normalise(name)
            if not key:
                yield f"{place}: {name!r} of {draft.id!r} holds no word"
                continue
            other = claimed.setdefault(key, (draft.id, name, place))
            if other[0] != draft.id:
                yield (
                    f"{place}: {name!r} names both {draft.id!r} and {other[0]!r} (as {other[1]!r}, {other[2]}); "
                    "one name must lead to one node"
                )


def _codes_claimed_twice(drafts: Mapping[str, Draft]) -> Iterator[str]:
    codes: dict[str, str] = {}
    for draft in drafts.values():
        for code in draft.codes.values():
            owner = codes.setdefault(code.casefold(), draft.id)
            if owner != draft.id:
                yield f"{draft.places[f'codes.{code}']}: code {code} stands at {owner!r} and {draft.id!r}"


def _cycles(drafts: Mapping[str, Draft]) -> Iterator[str]:
    """Ways up that lead back to where they began; parents that do not exist are another fault."""
    done: set[str] = set()
    for start in drafts:
        yield from _climb(start, drafts, done, [])


def _climb(id: str, drafts: Mapping[str, Draft], done: set[str], trail: list[str]) -> Iterator[str]:
    if id in trail:
        circle = [*trail[trail.index(id) :], id]
        draft = drafts[circle[0]]
        place = draft.places.get(f"parents.{circle[1]}", draft.place)
        yield f"{place}: cycle: {' -> '.join(circle)} (each is listed as a parent of the one before)"
        return
    if id in done or id not in drafts:
        return
    for parent in drafts[id].parents:
        yield from _climb(parent, drafts, done, [*trail, id])
    done.add(id)


def _unknown_neighbours(drafts: Mapping[str, Draft]) -> Iterator[str]:
    for draft in drafts.values():
        for other in draft.differential:
            if other.node not in drafts or other.node == draft.id:
                near = ", ".join(get_close_matches(other.node, drafts, 3, 0.0))
                place = draft.places[f"differential.{other.node}"]
                reason = "itself" if other.node == draft.id else f"the unknown node {other.node!r}; nearest: {near}"
                yield f"{place}: the differential of {draft.id!r} names {reason}"


def _unknown_sources(drafts: Mapping[str, Draft], sources: Mapping[str, Any]) -> Iterator[str]:
    for draft in drafts.values():
        for key in draft.where:
            if key not in sources:
                near = get_close_matches(key, sources, 1, 0.0)[0]
                yield f"{draft.place}: 'where' of {draft.id!r}: unknown source {key!r}; nearest: {near!r}"
        for fact, keys in draft.sources.items():
            place = draft.places[fact]
            for key in keys:
                if key not in sources:
                    near = get_close_matches(key, sources, 1, 0.0)[0]
                    yield f"{place}: {fact} of {draft.id!r}: unknown source {key!r}; nearest: {near!r}"


def _leaves_without_behaviour(drafts: Mapping[str, Draft], spoilt: Collection[str]) -> Iterator[str]:
    inner = {parent for draft in drafts.values() for parent in draft.parents} | set(spoilt)
    for draft in drafts.values():
        if draft.id not in inner and draft.behaviour is None and draft.parents:
            yield (
                f"{draft.place}: leaf without behaviour: {draft.id!r}; expected 'behaviour:' and one of: "
                + ", ".join(BEHAVIOURS)
            )


def behaviour_faults(taxonomy: Taxonomy, drafts: Mapping[str, Draft]) -> list[str]:
    """Inner nodes that state a behaviour which a leaf below them contradicts."""
    faults = []
    for draft in drafts.values():
        if draft.behaviour is not None and taxonomy.behaviours(draft.id) != (draft.behaviour,):
            below = next(x for x in taxonomy.leaves_below(draft.id) if drafts[x].behaviour != draft.behaviour)
            faults.append(
                f"{draft.places['behaviour']}: {draft.id!r} says {draft.behaviour!r}, but {below!r} below it is "
                f"{drafts[below].behaviour!r}; take the line away (inner nodes follow their leaves) or move the leaf"
            )
    return faults
