"""A completion that can be nothing but one of some texts, and how likely each of them is. Knows tokens alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from skinrl.engine.base import Request
from skinrl.errors import InputError

_Trie = dict[int, Any]


@dataclass(frozen=True)
class Encoded:
    """Choices as tokens.

    Args:
        whole: tokens of each choice and its ending.
        shared: how many tokens all of them begin with.
        counted: of each, the tokens up to the first one that reaches into the ending (all, without an ending).
    """

    whole: tuple[tuple[int, ...], ...]
    shared: int
    counted: tuple[int, ...]


class Choices:
    """The choices of requests as tokens of one tokenizer; a set of choices is worked out once."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.encoded = lru_cache(maxsize=256)(self._encode)
        self.trie = lru_cache(maxsize=256)(self._grow)

    def ids(self, text: str) -> list[int]:
        """Tokens of a text that stands in the middle of a conversation."""
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"]) if text else []

    def _encode(self, choices: tuple[str, ...], ending: str) -> Encoded:
        if len(set(choices)) < len(choices) or "" in choices:
            raise InputError("the choices of a request must differ and none may be empty")
        whole, counted = [], []
        for choice in choices:
            text = self._tokenizer(choice + ending, add_special_tokens=False, return_offsets_mapping=True)
            whole.append(tuple(text["input_ids"]))
            reach = next((n for n, (_, end) in enumerate(text["offset_mapping"], 1) if end > len(choice)), None)
            counted.append(reach or len(whole[-1]))
        shared = 0
        if len(whole) > 1:
            shortest = min(map(len, whole))
            shared = next((n for n in range(shortest) if len({ids[n] for ids in whole}) > 1), shortest)
        return Encoded(tuple(whole), shared, tuple(counted))

    def _grow(self, choices: tuple[str, ...], ending: str) -> _Trie:
        trie: _Trie = {}
        for ids in self.encoded(choices, ending).whole:
            here = trie
            for token in ids:
                here = here.setdefault(token, {})
        return trie

    def longest(self, requests: Sequence[Request]) -> int:
        """Tokens of the longest choice of all requests with its ending, and one for the end."""
        return 1 + max(len(ids) for one in requests for ids in self.encoded(one.choices, one.ending).whole)


def check_choices(requests: Sequence[Request]) -> bool:
    """Whether these requests have choices.

    Raises:
        InputError: some have and some have not.
    """
    having = {bool(request.choices) for request in requests}
    if len(having) > 1:
        raise InputError("some requests of one call have choices and some have none; ask for them in two calls")
    return having == {True}


def allowed_after(trie: _Trie, written: Sequence[int], ends: Sequence[int]) -> list[int]:
    """The tokens that may follow what was written: on to one of the choices, or an end token after a whole one."""
    here = trie
    for token in written:
        if token not in here:
            return list(ends)  # past the end: padding of a row that is done
        here = here[token]
    return list(here) or list(ends)
