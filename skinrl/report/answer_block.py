"""What stands between the answer tags, in each style, and every variant of it that is accepted."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import NamedTuple

from skinrl.report.render import BEHAVIOURS, UNDETERMINED, option_letter

# --- accepted variants: everything the parser takes beside the form that `render` writes ---------------------------

_FIELDS = ("Diagnosis", "Malignancy", "Confidence")
FIELD_VARIANTS = ("{}:", "**{}:**", "**{}**:")  # Markdown bold around the name of a field
OPTION_VARIANTS = (  # a letter alone, or a letter and the name that the question gives it
    r"(?P<a>[A-Z]{1,2})",  # B
    r"(?P<b>[A-Z]{1,2})[.):](?:\s+(?P<b_name>.+))?",  # B.  B)  B:  B. name  B) name  B: name
    r"\((?P<c>[A-Z]{1,2})\)\.?(?:\s+(?P<c_name>.+))?",  # (B)  (B).  (B) name
)
BEHAVIOUR_VARIANTS: Mapping[str, str] = {
    **{behaviour: behaviour for behaviour in BEHAVIOURS},
    "non neoplastic": "non-neoplastic",
    "precancerous": "precancerous or in situ",
    "precancerous in situ": "precancerous or in situ",
    "precancerous (in situ)": "precancerous or in situ",
    "in situ": "precancerous or in situ",
}
# Beside these: letter case and spaces within a name, one full stop at its end, a percent sign after the confidence,
# the order of the fields, blank lines, and white space around blocks.

# What stands before and with the first colon of a line -> what must follow it, and the field.
_HEADS = {
    head + colon: (rest, field)
    for field in _FIELDS
    for head, colon, rest in (variant.format(field).partition(":") for variant in FIELD_VARIANTS)
}
_OPTION = re.compile("|".join(OPTION_VARIANTS))
_CONFIDENCE = re.compile(r"(\d{1,3}) ?%?", re.ASCII)


class InvalidError(Exception):
    """Carries the reason out of the parser's helpers; never leaves the package."""


class Written(NamedTuple):
    """What the answer block says, before options are looked at."""

    diagnosis: str
    malignancy: str | None = None
    confidence: int | None = None


# --- the diagnosis, with and without options -----------------------------------------------------------------------


def _plain(name: str) -> str:
    return " ".join(name.split()).removesuffix(".").rstrip().casefold()


@lru_cache(maxsize=4096)
def _option_table(options: tuple[str, ...]) -> tuple[Mapping[str, int], Mapping[str, tuple[int, ...]]]:
    """Index of an option by its letter, and indices by its plain name."""
    names: dict[str, tuple[int, ...]] = {}
    for index, name in enumerate(options):
        names[_plain(name)] = (*names.get(_plain(name), ()), index)
    return {option_letter(index): index for index in range(len(options))}, names


def read_diagnosis(value: str, options: tuple[str, ...]) -> tuple[str, str | None]:
    """Name and option letter of a Diagnosis line's value."""
    value = value.strip()
    if not value:
        raise InvalidError("diagnosis empty")
    if value[0] in "uU" and _plain(value) == UNDETERMINED:
        return UNDETERMINED, None
    if not options:
        return value.removesuffix(".").rstrip() or value, None
    return _choose(value, options)


@lru_cache(maxsize=4096)  # the completions of a group choose among the same few
def _choose(value: str, options: tuple[str, ...]) -> tuple[str, str]:
    letters, names = _option_table(options)
    by_name = names.get(_plain(value), ())
    match = _OPTION.fullmatch(value)
    letter = (match["a"] or match["b"] or match["c"]) if match else ""
    if match and letter in letters:
        index = letters[letter]
        name = match["b_name"] or match["c_name"]
        if by_name and by_name != (index,):
            raise InvalidError("letter and name disagree")
        if name is not None and index not in names.get(_plain(name), ()):
            raise InvalidError("letter and name disagree")
    elif len(by_name) == 1:
        index = by_name[0]
    else:
        raise InvalidError("several options have this name" if by_name else "option not offered")
    return " ".join(options[index].split()) or option_letter(index), option_letter(index)


# --- the styles ----------------------------------------------------------------------------------------------------


def _behaviour(value: str) -> str | None:
    plain = value.strip()
    if plain not in BEHAVIOUR_VARIANTS:  # as it should be written
        plain = _plain(value)
    if plain == UNDETERMINED:
        return None
    if plain not in BEHAVIOUR_VARIANTS:
        raise InvalidError("malignancy is not a class")
    return BEHAVIOUR_VARIANTS[plain]


# The form that `render` writes, in plain characters: read in one step, as almost all are.
_AS_WRITTEN = re.compile(r"\nDiagnosis: ([ -~]+)\nMalignancy: ([a-z -]+)(?:\nConfidence: (\d{1,2}|100))?\n", re.ASCII)


def _read_report(body: str) -> Written:
    match = _AS_WRITTEN.fullmatch(body)
    if match is not None:
        return Written(match[1], _behaviour(match[2]), int(match[3]) if match[3] else None)
    fields: dict[str, str] = {}
    for line in map(str.strip, body.splitlines()):
        if not line:
            continue
        colon = line.find(":") + 1
        rest, field = _HEADS.get(line[:colon], ("", ""))
        if not field or not line.startswith(rest, colon):
            raise InvalidError("unknown line in the answer")
        if field in fields:
            raise InvalidError(f"two {field} lines")
        fields[field] = line[colon + len(rest) :]
    for field in ("Diagnosis", "Malignancy"):
        if field not in fields:
            raise InvalidError(f"{field} line missing")
    confidence = None
    if "Confidence" in fields:
        match = _CONFIDENCE.fullmatch(fields["Confidence"].strip())
        if match is None or int(match[1]) > 100:
            raise InvalidError("confidence is not a number from 0 to 100")
        confidence = int(match[1])
    return Written(fields["Diagnosis"], _behaviour(fields["Malignancy"]), confidence)


# `B (malignant)`, `B. melanoma, malignant`, or the two on two lines
_SKIN_R1 = re.compile(
    r"(?P<diagnosis>.*?)[ \t]*(?:[,;(]|\n)\s*(?P<behaviour>"
    + "|".join(sorted(map(re.escape, BEHAVIOUR_VARIANTS), key=len, reverse=True))
    + r")\)?\.?",
    re.IGNORECASE | re.DOTALL,
)


def _read_skin_r1(body: str) -> Written:
    body = body.strip()
    # The class stands at the end, so only the end is matched: the pattern never walks through a long text.
    start = max(0, len(body) - 40)
    match = _SKIN_R1.fullmatch(body, start)
    if match is None:
        diagnosis, behaviour = body, None
    else:
        diagnosis, behaviour = body[:start] + match["diagnosis"], _behaviour(match["behaviour"])
    if len(diagnosis.splitlines()) > 1:
        raise InvalidError("unknown line in the answer")
    return Written(diagnosis, behaviour)


_SENTENCE = re.compile(
    r"(?:subtype of [^.]*?)?(?:, )?(?:generally classified as (?P<behaviour>[^.]+))?", re.IGNORECASE
)


def _read_skin_r1_sft(body: str) -> Written:
    text = " ".join(body.split()).removesuffix(".")
    diagnosis, _, sentence = text.rpartition(". ")
    match = _SENTENCE.fullmatch(sentence) if diagnosis and sentence else None
    if match is None:  # no taxonomy sentence; the full stop of `B. melanoma` ends none
        return Written(text)
    behaviour = match["behaviour"]
    return Written(diagnosis, _behaviour(behaviour) if behaviour else None)


def _read_skingpt_r1(body: str) -> Written:
    lines = [line.strip() for line in body.splitlines() if line.strip()]
    marked = [line for line in lines if line.startswith("Final Answer:")]
    if len(marked) > 1:
        raise InvalidError("two Final Answer lines")
    if not marked or lines[-1] != marked[0]:
        raise InvalidError("Final Answer line missing" if not marked else "text after the Final Answer line")
    return Written(marked[0].removeprefix("Final Answer:"))


READERS: Mapping[str, Callable[[str], Written]] = {
    "report": _read_report,
    "skin_r1": _read_skin_r1,
    "skin_r1_sft": _read_skin_r1_sft,
    "skingpt_r1": _read_skingpt_r1,
}
