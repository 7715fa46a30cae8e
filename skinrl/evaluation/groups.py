"""The parts of a set: by skin tone on each scale, modality, source and slice."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from skinrl.evaluation.bootstrap import Indices
from skinrl.evaluation.bounds import FEW_GROUPS
from skinrl.evaluation.cases import Case

UNKNOWN = "unknown"
MOST_VALUES = 40  # a slice with more values than this is an identifier or a raw number, not a slice
_BANDS = {"light": ("1", "2", "1-2"), "medium": ("3", "4", "3-4"), "dark": ("5", "6", "5-6")}  # some know two at once
FITZPATRICK_BANDS = {value: band for band, values in _BANDS.items() for value in values}
BANDS = "fitzpatrick_bands"
AGE, AGE_BAND = "age", "age_band"
_SENSITIVE = (AGE, AGE_BAND, "sex", "gender")  # slices whose values are compared with one another
_YEARS = 20


@dataclass(frozen=True, eq=False)
class Split:
    """One way to part a set.

    Args:
        where: path of keys in `metrics.json`, such as `("by_skin_tone", "fitzpatrick")`.
        parts: value -> numbers of its cases, sorted by value; cases without a value under `unknown`.
        compared: whether its values are compared with one another (`skinrl.evaluation.fairness`).
    """

    where: tuple[str, ...]
    parts: Mapping[str, Indices]
    compared: bool

    @property
    def axis(self) -> str:
        """Its name among the axes of fairness: `skin_tone/fitzpatrick`, `modality`, `sex`."""
        top, *rest = self.where
        return "/".join(rest) if top == "by_slice" else "/".join([top.removeprefix("by_"), *rest])


def splits_of(cases: Sequence[Case]) -> tuple[list[Split], list[str]]:
    """All splits of a set, and the slices left out for their many values.

    The scales of skin tone are never merged, nor are the raters of one. Beside Fitzpatrick's six types stand three
    bands of them: light (I, II), medium (III, IV) and dark (V, VI), as small sets have few cases of each type.
    """

    def split(where: tuple[str, ...], read: Callable[[Case], str | None], compared: bool) -> Split:
        numbers: dict[str, list[int]] = {}
        for number, case in enumerate(cases):
            numbers.setdefault(read(case) or UNKNOWN, []).append(number)
        return Split(where, {value: np.array(numbers[value], dtype=np.intp) for value in sorted(numbers)}, compared)

    found = []
    for scale in sorted({case.skin_tone[0] for case in cases if case.skin_tone}) or [UNKNOWN]:
        found.append(split(("by_skin_tone", scale), _tone_on(scale), True))
        if scale == "fitzpatrick":
            found.append(split(("by_skin_tone", BANDS), _band, True))
    for scale in sorted({scale for case in cases for scale, _ in case.further_tones}):
        found.append(split(("by_skin_tone", scale), _further_tone_on(scale), True))
    found.append(split(("by_modality",), lambda case: case.modality, True))
    found.append(split(("by_source",), lambda case: case.source, True))
    left_out = []
    for name in sorted({name for case in cases for name in case.slices}):
        values = {case.slices[name] for case in cases if name in case.slices}
        if name == AGE and all(map(_is_number, values)):
            found.append(split(("by_slice", AGE_BAND), _age_band, True))
        if len(values) > MOST_VALUES:
            left_out.append(name)
        else:
            found.append(split(("by_slice", name), _value_of(name), name in _SENSITIVE))
    return found, left_out


def _tone_on(scale: str) -> Callable[[Case], str | None]:
    return lambda case: case.skin_tone[1] if case.skin_tone and case.skin_tone[0] == scale else None


def _further_tone_on(scale: str) -> Callable[[Case], str | None]:
    return lambda case: dict(case.further_tones).get(scale)


def _band(case: Case) -> str | None:
    tone = case.skin_tone
    return FITZPATRICK_BANDS.get(tone[1]) if tone and tone[0] == "fitzpatrick" else None


def _value_of(name: str) -> Callable[[Case], str | None]:
    return lambda case: case.slices.get(name)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _age_band(case: Case) -> str | None:
    """Twenty years at a time, 80 and more together."""
    if AGE not in case.slices:
        return None
    age = float(case.slices[AGE])
    if not 0 <= age < 150:
        return None
    low = int(age // _YEARS) * _YEARS
    return "80+" if age >= 80 else f"{low}-{low + _YEARS - 1}"


def small_parts(splits: Sequence[Split], cases: Sequence[Case]) -> list[dict[str, Any]]:
    """Parts of fewer than `FEW_GROUPS` patients: `where`, `groups`, `cases`. Their numbers say little."""
    small = []
    for split in splits:
        for value, part in split.parts.items():
            patients = len({cases[number].group for number in part})
            if patients < FEW_GROUPS:
                small.append({"where": [*split.where, value], "groups": patients, "cases": len(part)})
    return small
