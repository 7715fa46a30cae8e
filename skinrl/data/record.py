"""The record: one case as every later stage sees it.

A record says what the images show (`labels`, nodes of the taxonomy at any depth) and keeps what must never
reach a prompt (`skin_tone`, `slices`): patient details were often written down for biopsied lesions only,
so that their mere presence tells malignant from benign. They slice results and do nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from skinrl.errors import DataError

TWO_MODALITIES = "clinical and dermoscopy"  # a case with images of both, as in derm7pt and MILK10k
MODALITIES = ("clinical", "dermoscopy", "other", TWO_MODALITIES)
SPLITS = ("train", "validation", "test")
GROUP_KINDS = ("patient", "lesion", "image")
_TONE_VALUES = {
    # The pairs are for datasets that tell no finer (DDI).
    "fitzpatrick": (*(str(n) for n in range(1, 7)), "1-2", "3-4", "5-6"),
    "monk": tuple(str(n) for n in range(1, 11)),
    "apparent": None,  # words of the dataset's own
}
SKIN_TONE_SCALES = tuple(_TONE_VALUES)


@dataclass(frozen=True, slots=True)
class SkinTone:
    """A skin tone on one scale; the scales are never merged.

    Args:
        scale: `"fitzpatrick"` (value `"1"` to `"6"`, or a pair: `"1-2"`, `"3-4"`, `"5-6"`), `"monk"` (`"1"` to
            `"10"`) or `"apparent"` (any word).
        value: the value, as text.
        source: who says so, for instance `"recorded"`, `"rated"`, `"estimated"`, `"rendered"`.
    """

    scale: str
    value: str
    source: str = "recorded"

    def __post_init__(self) -> None:
        if self.scale not in _TONE_VALUES:
            raise DataError(f"skin tone scale {self.scale!r} is not one of {', '.join(SKIN_TONE_SCALES)}")
        allowed = _TONE_VALUES[self.scale]
        if not isinstance(self.value, str) or not self.value or (allowed is not None and self.value not in allowed):
            expected = f"one of {', '.join(allowed)}" if allowed else "a non-empty word"
            raise DataError(f"skin tone value {self.value!r} on the {self.scale} scale; expected {expected}")
        if not self.source:
            raise DataError(f"skin tone {self.scale} {self.value} without a source; name one, such as 'recorded'")


@dataclass(frozen=True, slots=True)
class Record:
    """One case: its images, its gold label or labels, and what results are sliced by.

    Args:
        id: unique within its source, the same at every load.
        images: paths of the case's images, one or several; empty only with `text_only=True`.
        modality: one of `MODALITIES`; `"other"` where it is none of these or not known.
        source: name of the dataset.
        labels: `(node id, weight)`, weights positive and summing to 1. Empty: the label has no node, and
            such a case cannot be scored.
        concepts: recorded morphology of this very lesion, kind to words; often empty.
        skin_tone: or `None` where it is not known. Never reaches a prompt.
        further_tones: the same skin on other scales, or by other raters; no two of one scale and rater.
        slices: age band, sex, site and the like. Never reach a prompt, nor does their absence.
        group: what must not be torn apart by a split.
        group_kind: what `group` is: `"patient"`, else `"lesion"`, else `"image"` (nothing better is known).
        split: `"train"`, `"validation"`, `"test"`, or `None` where the dataset gives none.
        raw_label: the label as the dataset writes it.
        text_only: a case that has no image at all.
        options: the options that the dataset itself offers for this case, in its order; usually empty.
        option_nodes: their nodes, empty text where an option names none.

    Raises:
        DataError: where the parts contradict each other; the message names the record.
    """

    id: str
    images: tuple[str, ...]
    modality: str
    source: str
    labels: tuple[tuple[str, float], ...]
    concepts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    skin_tone: SkinTone | None = None
    slices: Mapping[str, str] = field(default_factory=dict)
    group: str = ""
    group_kind: str = "image"
    split: str | None = None
    raw_label: str = ""
    text_only: bool = False
    further_tones: tuple[SkinTone, ...] = ()
    options: tuple[str, ...] = ()
    option_nodes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        put = object.__setattr__
        if not isinstance(self.id, str) or not self.id:
            raise DataError(f"a record of {self.source or 'an unnamed source'} has id {self.id!r}; expected text")
        images: object = self.images  # a caller without types may well pass one string
        if isinstance(images, str):
            raise DataError(f"record {self.id}: images is one string; expected a tuple of paths")
        put(self, "images", tuple(str(path) for path in self.images))
        put(self, "labels", tuple((str(node), float(weight)) for node, weight in self.labels))
        put(self, "concepts", {kind: tuple(words) for kind, words in self.concepts.items()})
        put(self, "slices", dict(self.slices))
        for name in ("further_tones", "options", "option_nodes"):
            put(self, name, tuple(getattr(self, name)))
        if not self.group:
            if self.group_kind != "image":
                raise DataError(f"record {self.id}: group_kind is {self.group_kind!r} but no group is given")
            put(self, "group", self.id)
        self._check()

    def _check(self) -> None:
        if not self.images and not self.text_only:
            raise DataError(f"record {self.id} has no image; give at least one, or text_only=True")
        if self.images and self.text_only:
            raise DataError(f"record {self.id} is text_only but has {len(self.images)} image(s)")
        for name, value, allowed in (
            ("modality", self.modality, MODALITIES),
            ("group_kind", self.group_kind, GROUP_KINDS),
            ("split", self.split, (None, *SPLITS)),
        ):
            if value not in allowed:
                raise DataError(f"record {self.id}: {name} {value!r} is not one of {', '.join(map(str, allowed))}")
        if not self.source:
            raise DataError(f"record {self.id} has no source")
        if self.labels:
            self._check_weights()
        raters = [(tone.scale, tone.source) for tone in self.tones]
        if len(set(raters)) < len(raters):
            raise DataError(f"record {self.id}: one scale of skin tone and one rater twice among {raters}")
        if len(self.options) != len(self.option_nodes):
            raise DataError(
                f"record {self.id}: {len(self.options)} options and {len(self.option_nodes)} nodes; expected one each"
            )

    def _check_weights(self) -> None:
        nodes = [node for node, _ in self.labels]
        if len(set(nodes)) != len(nodes):
            raise DataError(f"record {self.id}: a node stands twice in its labels: {', '.join(nodes)}")
        weights = [weight for _, weight in self.labels]
        if not all(math.isfinite(w) and w > 0 for w in weights) or abs(math.fsum(weights) - 1) > 1e-6:
            raise DataError(f"record {self.id}: label weights {weights}; expected positive ones that sum to 1")

    @property
    def tones(self) -> tuple[SkinTone, ...]:
        """Skin tone on every scale and by every rater, `skin_tone` first. Never to be merged."""
        return (*((self.skin_tone,) if self.skin_tone else ()), *self.further_tones)

    @property
    def nodes(self) -> tuple[str, ...]:
        """Gold nodes, in the order of `labels`."""
        return tuple(node for node, _ in self.labels)

    @property
    def weights(self) -> tuple[float, ...]:
        """Weights of the gold nodes, in the order of `labels`."""
        return tuple(weight for _, weight in self.labels)

    @property
    def top_node(self) -> str | None:
        """The gold node of the largest weight; the first of them by name at a tie; `None` without a label."""
        return min(self.labels, key=lambda label: (-label[1], label[0]))[0] if self.labels else None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `from_dict` reads them back."""
        values: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        values["skin_tone"] = asdict(self.skin_tone) if self.skin_tone else None
        values["further_tones"] = [asdict(tone) for tone in self.further_tones]
        values["options"], values["option_nodes"] = list(self.options), list(self.option_nodes)
        values["images"] = list(self.images)
        values["labels"] = [list(label) for label in self.labels]
        values["concepts"] = {kind: list(words) for kind, words in self.concepts.items()}
        values["slices"] = dict(self.slices)
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Record:
        """The record that `to_dict` wrote.

        Raises:
            DataError: a key that a record does not have, or one that is missing.
        """
        known = {f.name for f in fields(cls)}
        unknown = sorted(set(values) - known)
        missing = sorted({"id", "images", "modality", "source", "labels"} - set(values))
        if unknown or missing:
            raise DataError(f"record {values.get('id', '?')}: unknown keys {unknown}, missing keys {missing}")
        parts = dict(values)
        parts["images"] = tuple(parts["images"])
        parts["labels"] = tuple((node, weight) for node, weight in parts["labels"])
        if parts.get("skin_tone") is not None:
            parts["skin_tone"] = SkinTone(**parts["skin_tone"])
        parts["further_tones"] = tuple(SkinTone(**tone) for tone in parts.get("further_tones", ()))
        return cls(**parts)
