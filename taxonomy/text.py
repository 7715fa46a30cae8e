"""Names of diseases in one normal form, so that spelling variants need not be listed as synonyms."""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

_POSSESSIVE = re.compile(r"(?<=\w)['’`´]s\b")
_JOINED = re.compile(r"['’`´]")
_WORD = re.compile(r"[A-Za-z0-9]+")
_ARTICLES = frozenset({"a", "an", "the"})
# One pass over the text in C: letters in lower case, digits as they are, everything else a space.
_PLAIN = str.maketrans(
    {chr(code): " " for code in range(128) if not chr(code).isalnum()}
    | dict(zip(string.ascii_uppercase, string.ascii_lowercase, strict=True))
)

# Plurals that no rule below gets right.
_IRREGULAR = {
    "nevi": "nevus",
    "mosquitoes": "mosquito",
    "comedones": "comedo",
    "lentigines": "lentigo",
    "fungi": "fungus",
    "acuminata": "acuminatum",
    "feet": "foot",
    "lice": "louse",
    "bruises": "bruize",
    "diseases": "disease",
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
# Greek and Latin plurals, longest first: dermatitides, carcinomata, keratoses, verrucae, calluses.
_PLURALS = (
    ("itides", "itis"),
    ("omata", "oma"),
    ("oses", "osis"),
    ("ases", "asis"),
    ("ises", "isis"),
    ("sses", "ss"),
    ("shes", "sh"),
    ("ches", "ch"),
    ("uses", "us"),
    ("xes", "x"),
    ("ae", "a"),
)
_UNCHANGED_ENDING = ("ss", "us", "is")


def _singular(token: str) -> str:
    if token in _IRREGULAR:
        return _IRREGULAR[token]
    if len(token) < 4 or token[-1] not in "sea":
        return token
    for plural, singular in _PLURALS:
        if token.endswith(plural):
            return token[: -len(plural)] + singular
    if token[-1] != "s" or token.endswith(_UNCHANGED_ENDING):
        return token
    if token.endswith("ies") and len(token) > 5:
        return token[:-3] + "y"
    return token[:-1]  # also the possessive that lost its apostrophe: "Dariers disease"


@lru_cache(maxsize=16384)
def normal_token(token: str) -> str:
    """One lower-case ASCII word in American spelling and in the singular."""
    if not token.isalpha():
        return token
    for pattern, replacement in _SPELLING:
        token = pattern.sub(replacement, token)
    return _singular(token)


# Words whose Latin and English forms share no stem.
_LATIN = {"manuum": "manu", "manus": "manu", "unguium": "ungu", "nodosum": "nodul", "nodosa": "nodul"}
_LATIN |= {"skin": "cutane", "flat": "plan", "auricle": "ear", "auricular": "ear"}
_LATIN |= {"alba": "white", "albus": "white", "album": "white", "nigra": "black", "rubra": "red", "ruber": "red"}
_LATIN |= {"ring": "annul", "golden": "aure", "glossy": "nitid", "shiny": "nitid"}
_LATIN |= {"pedis": "foot", "capitis": "scalp", "corporis": "body", "cruris": "groin", "barbae": "beard"}
_LATIN |= {"hand": "manu", "nail": "ungu", "faciei": "face", "facial": "face", "facialis": "face"}
_LATIN |= {"sole": "plant", "lip": "labi", "mouth": "oral", "oralis": "oral", "tongue": "lingu", "inguinal": "groin"}
_LATIN |= {"armpit": "axill", "underarm": "axill", "palpebral": "eyelid", "palpebrarum": "eyelid"}
_LATIN |= {"yellow": "aure", "pink": "rose", "nigrican": "black", "ringed": "annul", "circular": "annul"}
_LATIN |= {"sun": "solar", "actinic": "solar", "simplex": "simpl", "simple": "simpl", "deep": "profund"}
_LATIN |= {"conglomerate": "conglob", "striated": "stri", "pointed": "acumin", "artificial": "factiti"}
_LATIN |= {"infectious": "contagi", "infectiosum": "contagi", "malignant": "malign"}
_LATIN |= {"multiforme": "multiform", "polymorphous": "multiform", "polymorphic": "multiform"}
_LATIN |= {"migran": "migr", "migratory": "migr", "migrating": "migr", "indurated": "indur", "hardened": "indur"}
_LATIN |= {"sclerosing": "scler", "sclerotic": "scler", "vegetan": "veget", "vegetating": "veget"}
_LATIN |= {"perforan": "perfor", "perforating": "perfor", "elevated": "elev", "raized": "elev"}
_LATIN |= {"dissecan": "dissect", "dissecting": "dissect", "fulminant": "fulminan", "excoriated": "excorie"}
_LATIN |= {"gravidarum": "pregnancy", "gestationis": "pregnancy", "gestational": "pregnancy"}
_LATIN |= {"neonatorum": "neonat", "newborn": "neonat", "neonate": "neonat", "pigmenti": "pigment"}
_LATIN |= {"ab": "from", "igne": "fire", "heat": "fire"}
_LATIN |= {"mole": "nevus", "hive": "urtic", "wart": "verruc", "baldness": "alopeci", "rash": "eruption"}
_LATIN |= {"rosy": "rose", "purulent": "pyogen"}
_LATIN |= {"multicolored": "versicolor", "variegated": "versicolor", "colored": "versicolor"}
_ADJECTIVE = re.compile(
    r"(?<=.{4})(?:[ou]s(?:um|us|a|e)|[eo]us|(?<=oid)es|ar(?:is|e|ia|y)?|al(?:is|e)?|ic(?:um|us|a)?|iv(?:um|us|a|e)"
    r"|at(?:um|us|a|e)|um|us|a|e|is)$"
)
_UNSTEMMED = frozenset({"gland", "of", "the"})  # "sebaceous gland nevus" is nevus sebaceus


@lru_cache(maxsize=16384)
def stem(word: str) -> str:
    """A normal word without the ending of a Latin or English adjective: ``"congenita"`` and ``"congenital"`` agree."""
    return _LATIN.get(word) or _ADJECTIVE.sub("", word)


def stems(words: Iterable[str]) -> tuple[str, ...]:
    """Sorted stems of normal words: equal for ``"keratosis follicularis"`` and ``"follicular keratosis"``.

    Two words of one stem count once ("golden yellow"), one word twice ("Hailey-Hailey") twice.
    """
    first: dict[str, str] = {}
    found = ((stem(word), word) for word in words if word not in _UNSTEMMED)
    return tuple(sorted(one for one, word in found if first.setdefault(one, word) == word))


def plain(text: str) -> str:
    """``text`` in ASCII as far as accents allow, without possessives and apostrophes; length may change."""
    if not text.isascii():
        decomposed = unicodedata.normalize("NFKD", text.replace("ß", "ss"))
        text = "".join(c for c in decomposed if not unicodedata.combining(c))
        return _JOINED.sub("", _POSSESSIVE.sub("", text))
    if "'" in text or "`" in text:
        return _JOINED.sub("", _POSSESSIVE.sub("", text))
    return text


def raw_tokens(text: str) -> list[str]:
    """Words of ``text`` without accents, apostrophes and punctuation, in the letters' own case."""
    return _WORD.findall(plain(text))


def tokens(text: str) -> tuple[str, ...]:
    """Normal words of ``text``: ``"Bowen's Disease"`` and ``"bowen disease"`` give ``("bowen", "disease")``."""
    text = plain(text)
    if text.isascii():
        words = list(map(normal_token, text.translate(_PLAIN).split()))
    else:
        words = [normal_token(word.lower()) for word in _WORD.findall(text)]
    while len(words) > 1 and words[0] in _ARTICLES:
        words.pop(0)
    return tuple(words)


def normalise(text: str) -> str:
    """The normal words of ``text``, joined by single spaces; empty when it holds no word.

    Case, accents, apostrophes, possessives, hyphens, punctuation, plurals, leading articles and British spelling
    make no difference: ``"Naevi"``, ``"nevus"`` and ``"the Nevus."`` all give ``"nevus"``.
    """
    return " ".join(tokens(text))
