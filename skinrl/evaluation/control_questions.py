"""The questions of the controls: the same cases, with one thing taken away or exchanged.

Pure functions over cases and their prompts; whoever holds the images and the engine asks them. Everything is drawn by
the seed and the names of patients and cases, never by their order.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from skinrl.data.splits import rank
from skinrl.errors import InputError
from skinrl.evaluation.cases import Case
from skinrl.evaluation.controls import ANSWERED_CONTROLS, CONTROL_CASES
from skinrl.evaluation.wrong_images import other_images
from skinrl.taxonomy.graph import Taxonomy

Messages = Sequence[Mapping[str, Any]]

# What the control "metadata only" tells of a patient: these and nothing else that a table may hold ("biopsied").
DETAILS = ("age", "sex", "site")
_TONE = "skin tone"
_LONGEST_HEAD = 8  # characters before an option: "A. ", "(AB) ", "- "


@dataclass(frozen=True)
class ControlQuestion:
    """What a control asks about one case.

    Args:
        number: position of the case among all cases.
        case: the case, its options in the order in which the control offers them.
        prompt: messages, without images.
        shows: position of the case whose images are shown; None: no image.
    """

    number: int
    case: Case
    prompt: list[dict[str, Any]]
    shows: int | None


def control_sample(cases: Sequence[Case], *, limit: int | None = CONTROL_CASES, seed: int) -> tuple[int, ...]:
    """Positions of the cases that the controls are asked about, ascending.

    Whole patients are drawn by the seed while they fit, so that the intervals stay those of patients. Every control
    and the model that it stands beside use these same cases. Cases without a gold are left out.

    Args:
        limit: most cases; None: all (`controls: full`).
    """
    patients: dict[str, list[int]] = defaultdict(list)
    for number, case in enumerate(cases):
        if case.gold:
            patients[case.group].append(number)
    chosen: list[int] = []
    for group in sorted(patients, key=lambda name: rank(seed, "controls", name)):
        if limit is None or len(chosen) + len(patients[group]) <= limit:
            chosen += patients[group]
    return tuple(sorted(chosen))


def control_questions(
    control: str,
    cases: Sequence[Case],
    prompts: Sequence[Messages],
    taxonomy: Taxonomy,
    *,
    chosen: Sequence[int],
    seed: int,
    remote: bool = False,
) -> tuple[ControlQuestion, ...]:
    """The questions of one control.

    Args:
        control: one of `ANSWERED_CONTROLS`.
        cases: all cases of the evaluation.
        prompts: the messages of each case, in the same order.
        taxonomy: says which diagnoses exclude each other.
        chosen: positions of the cases to ask about (`control_sample`).
        seed: of the experiment.
        remote: whether the engine is on another machine.

    Returns:
        One question a case, in the order of `chosen`. Cases that the control cannot be asked about are left out:
        those without options (`shuffled_options`), those for which the set has no other image (`wrong_image`). Empty
        where it can be asked about none.

    Raises:
        InputError: an unknown control; `metadata_only` with a remote engine.
    """
    makers: dict[str, Callable[[], list[ControlQuestion]]] = {
        "no_image": lambda: [ControlQuestion(n, cases[n], _blind(prompts[n]), None) for n in chosen],
        "shuffled_options": lambda: _shuffled(cases, prompts, chosen, seed),
        "wrong_image": lambda: [
            ControlQuestion(n, cases[n], _copy(prompts[n]), shows)
            for n, shows in other_images(cases, chosen, taxonomy, seed=seed).items()
        ],
        "metadata_only": lambda: _metadata_only(cases, prompts, chosen),
    }
    if control not in makers:
        raise InputError(f"unknown control {control!r}; expected some of {', '.join(ANSWERED_CONTROLS)}")
    if control == "metadata_only" and remote:
        raise InputError(
            "the control metadata_only puts age, sex, site and skin tone of patients into prompts, and the engine is "
            "on another machine; use an engine of this machine, or leave the control out"
        )
    return tuple(makers[control]())


# --- options in another order --------------------------------------------------------------------------------------


def _shuffled(
    cases: Sequence[Case], prompts: Sequence[Messages], chosen: Sequence[int], seed: int
) -> list[ControlQuestion]:
    made = []
    for number in chosen:
        case = cases[number]
        if len(case.options) < 2:
            continue
        order = new_order(len(case.options), random.Random(f"{seed}/shuffled/{case.source}/{case.id}"))
        options = tuple(case.options[place] for place in order)
        prompt = _with_options(prompts[number], case, options)
        nodes = tuple(case.option_nodes[place] for place in order)
        made.append(ControlQuestion(number, replace(case, options=options, option_nodes=nodes), prompt, number))
    return made


def new_order(count: int, rng: random.Random) -> list[int]:
    """A random order in which nothing stays in its place (a derangement); each is equally likely.

    Args:
        count: at least 2.
    """
    order = list(range(count))
    while any(place == at for at, place in enumerate(order)):  # one shuffle in e is a derangement
        rng.shuffle(order)
    return order


def _with_options(prompt: Messages, case: Case, options: Sequence[str]) -> list[dict[str, Any]]:
    """The prompt with the options rewritten; what stands before each in its line ("A. ") stays in its place."""
    made = _copy(prompt)
    for message, part, text in _texts(made):
        lines = text.split("\n")
        at = _where(lines, case.options)
        if at is None:
            continue
        for place, (old, new) in enumerate(zip(case.options, options, strict=True)):
            lines[at + place] = lines[at + place].removesuffix(old) + new
        _put(message, part, "\n".join(lines))
        return made
    raise InputError(
        f"case {case.id}: its prompt has no lines that end in its options ({', '.join(case.options[:3])}, ...); "
        "the control shuffled_options needs one option a line"
    )


def _where(lines: Sequence[str], options: Sequence[str]) -> int | None:
    """The first line of the block that lists the options, the last such block."""
    for at in range(len(lines) - len(options), -1, -1):
        block = lines[at : at + len(options)]
        if all(
            line.endswith(option) and len(line) - len(option) <= _LONGEST_HEAD
            for line, option in zip(block, options, strict=True)
        ):
            return at
    return None


# --- the patient's details as text ---------------------------------------------------------------------------------


def _metadata_only(cases: Sequence[Case], prompts: Sequence[Messages], chosen: Sequence[int]) -> list[ControlQuestion]:
    recorded: dict[str, set[str]] = defaultdict(set)  # by source: what it records of anybody
    for case in cases:
        recorded[case.source].update(name for name in DETAILS if name in case.slices)
        if case.skin_tone is not None:
            recorded[case.source].add(_TONE)
    return [
        ControlQuestion(n, cases[n], _with_details(prompts[n], _details(cases[n], recorded[cases[n].source])), None)
        for n in chosen
        if recorded[cases[n].source]  # else it would be the control without an image
    ]


def _details(case: Case, recorded: set[str]) -> str:
    """What is known of the patient; "not recorded" where the dataset records it of others: absence tells as well."""
    known = {**case.slices, _TONE: " ".join(case.skin_tone)} if case.skin_tone else dict(case.slices)
    told = [f"{name} {known.get(name, 'not recorded')}" for name in (*DETAILS, _TONE) if name in recorded]
    return f"Patient: {'; '.join(told)}" if told else ""


def _with_details(prompt: Messages, details: str) -> list[dict[str, Any]]:
    """The prompt without images, the details in front of the first text of the user."""
    made = _blind(prompt)
    for message, part, text in _texts(made):
        if message["role"] == "user" and details:
            _put(message, part, f"{details}\n{text}")
            break
    return made


# --- messages ------------------------------------------------------------------------------------------------------


def _copy(prompt: Messages) -> list[dict[str, Any]]:
    """The messages, free to be changed."""
    return [
        {**message, "content": content if isinstance(content, str) else [dict(part) for part in content]}
        for message in prompt
        for content in (message["content"],)
    ]


def _blind(prompt: Messages) -> list[dict[str, Any]]:
    """The messages without places for images."""
    made = _copy(prompt)
    for message in made:
        if not isinstance(message["content"], str):
            message["content"] = [part for part in message["content"] if part.get("type") != "image"]
    return made


def _texts(messages: Sequence[dict[str, Any]]) -> list[tuple[dict[str, Any], int | None, str]]:
    """Every text in order: its message, the number of its part (None: the message is one text), the text."""
    found: list[tuple[dict[str, Any], int | None, str]] = []
    for message in messages:
        if isinstance(message["content"], str):
            found.append((message, None, message["content"]))
        else:
            found += [(message, n, part["text"]) for n, part in enumerate(message["content"]) if "text" in part]
    return found


def _put(message: dict[str, Any], part: int | None, text: str) -> None:
    if part is None:
        message["content"] = text
    else:
        message["content"][part]["text"] = text
