"""A case: what an evaluation knows about one question besides the model's answers."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from skinrl import files
from skinrl.errors import DataError

if TYPE_CHECKING:
    from skinrl.data.questions import Question
    from skinrl.data.record import Record

KINDS = ("open", "closed", "options")


@dataclass(frozen=True)
class Case:
    """One question about one record.

    Args:
        id: unique in the set.
        gold: `(node id, weight)`; empty where the label has no node, and then the case is not scored.
        group: patient, else lesion, else the image itself: the unit that the bootstrap draws.
        group_kind: what `group` is.
        skin_tone: `(scale, value)`, or None where it is not known.
        further_tones: `(scale, value)` on other scales, or by other raters; each is a scale of its own.
        kind: `open`, `closed` (a list of diseases) or `options` (lettered, at several depths of the gold path).
        options, option_nodes: as offered, in order.
        prefilled: what the chat template already wrote of the answer.
    """

    id: str
    gold: tuple[tuple[str, float], ...]
    group: str
    group_kind: str = "patient"
    modality: str = "clinical"
    source: str = "unknown"
    skin_tone: tuple[str, str] | None = None
    slices: Mapping[str, str] = field(default_factory=dict)
    kind: str = "open"
    options: tuple[str, ...] = ()
    option_nodes: tuple[str, ...] = ()
    prefilled: str = ""
    further_tones: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise DataError(f"case {self.id}: kind {self.kind!r} is not one of {', '.join(KINDS)}")
        if len(self.options) != len(self.option_nodes):
            raise DataError(f"case {self.id}: {len(self.options)} options but {len(self.option_nodes)} option nodes")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `from_dict` reads them back."""
        values = {name: getattr(self, name) for name in _FIELDS}
        values["slices"] = dict(self.slices)
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Case:
        """The case that `to_dict` wrote.

        Raises:
            DataError: keys that a case does not have, or missing ones.
        """
        parts = dict(values)
        try:
            parts["gold"] = tuple((str(node), float(weight)) for node, weight in parts["gold"])
            for name in ("options", "option_nodes"):
                parts[name] = tuple(parts.get(name, ()))
            parts["further_tones"] = tuple((str(scale), str(value)) for scale, value in parts.get("further_tones", ()))
            if parts.get("skin_tone") is not None:
                scale, value = parts["skin_tone"]
                parts["skin_tone"] = (str(scale), str(value))
            return cls(**parts)
        except (KeyError, TypeError, ValueError) as problem:
            raise DataError(f"case {values.get('id', '?')}: is not a case of an evaluation ({problem})") from problem


_FIELDS = tuple(one.name for one in fields(Case))


def cases_checksum(cases: Sequence[Case]) -> str:
    """`sha256:` and the digest of all that the cases say, in their order: the version of what was asked."""
    digest = hashlib.sha256()
    for case in cases:
        digest.update(files.json_line(case.to_dict()).encode() + b"\n")
    return f"sha256:{digest.hexdigest()}"


def case_of(record: Record, question: Question) -> Case:
    """The case that asks `question` about `record`."""
    tone = record.skin_tone
    return Case(
        id=record.id,
        gold=record.labels,
        group=f"{record.source}/{record.group}",  # patient 1 of one data set is not patient 1 of another
        group_kind=record.group_kind,
        modality=record.modality,
        source=record.source,
        skin_tone=(tone.scale, tone.value) if tone else None,
        slices=dict(record.slices),
        kind=question.kind,
        options=tuple(question.options),
        option_nodes=tuple(question.option_nodes),
        prefilled=question.prefilled,
        further_tones=tuple((f"{one.scale} ({one.source})", one.value) for one in record.further_tones),
    )
