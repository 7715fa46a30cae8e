"""Names of diseases in one normal form, so that spelling variants need not be listed as synonyms."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_POSSESSIVE = re.compile(r"(?<=\w)['’`´]s\b")
_JOINED = re.compile(r"['’`´]")
_TOKEN = re.compile(r"[a-z0-9]+")
_ARTICLES = frozenset({"a", "an", "the"})

# Plurals that no rule below gets right.
_IRREGULAR = {
    "nevi": "nevus",
    "comedones": "comedo",
    "lentigines": "lentigo",
    "fungi": "fungus",
    "carcinomata": "carcinoma",
    "condylomata": "condyloma",
    "acuminata": "acuminatum",
    "feet": "foot",
    "lice": "louse",
    "scabies": "scabies",
    "herpes": "herpes",
    "species": "species",
    "series": "series",
    "tabes": "tabes",
}
# British to American. Applied inside words; both sides of every comparison pass through it.
_SPELLING = (
    (re.compile(r"[ao]e(?!s?$)"), "e"),
    (re.compile(r"our(?=$|s$|ed$|less$)"), "or"),
    (re.compile(r"leuc(?=o)"), "leuk"),
    (re.compile(r"is(?=e$|ed$|ation$|ing$)"), "iz"),
    (re.compile(r"^grey"), "gray"),
)
_UNCHANGED_ENDING = ("ss", "us", "is")


def _singular(token: str) -> str:
    if token in _IRREGULAR:
        return _IRREGULAR[token]
    if len(token) < 4 or not token.endswith(("s", "ae")):
        return token
    if token.endswith(("oses", "ases", "ises")):  # keratoses, telangiectases
        return token[:-2] + "is"
    if token.endswith("ae"):  # verrucae, striae
        return token[:-1]
    if token.endswith("ies") and len(token) > 5:
        return token[:-3] + "y"
    if token.endswith(_UNCHANGED_ENDING):
        return token
    return token[:-1]  # also the possessive that lost its apostrophe: "Dariers disease"


@lru_cache(maxsize=16384)
def normal_token(token: str) -> str:
    """One lower-case ASCII word in American spelling and in the singular."""
    if not token.isalpha():
        return token
    for pattern, replacement in _SPELLING:
        token = pattern.sub(replacement, token)
    return _singular(token)


def raw_tokens(text: str) -> list[str]:
    """Words of ``text`` without accents, apostrophes and punctuation, in the letters' own case."""
    if not text.isascii():
        decomposed = unicodedata.normalize("NFKD", text.replace("ß", "ss"))
        text = "".join(c for c in decomposed if not unicodedata.combining(c))
    text = _JOINED.sub("", _POSSESSIVE.sub("", text))
    return re.findall(r"[A-Za-z0-9]+", text)


def tokens(text: str) -> tuple[str, ...]:
    """Normal words of ``text``: ``"Bowen's Disease"`` and ``"bowen disease"`` give ``("bowen", "disease")``."""
    words = [normal_token(word) for word in _TOKEN.findall(" ".join(raw_tokens(text)).lower())]
    while len(words) > 1 and words[0] in _ARTICLES:
        words.pop(0)
    return tuple(words)


def normalise(text: str) -> str:
    """The normal words of ``text``, joined by single spaces; empty when it holds no word.

    Case, accents, apostrophes, possessives, hyphens, punctuation, plurals, leading articles and British spelling
    make no difference: ``"Naevi"``, ``"nevus"`` and ``"the Nevus."`` all give ``"nevus"``.
    """
    return " ".join(tokens(text))
