"""The controlled words for what a phantom lesion shows.

One list per visible attribute. A renderer that draws a word, a report that states it and a vision warm-up
that learns it all read it here, so that they cannot drift apart.
"""

from __future__ import annotations

COLOURS = ("red", "pink", "violet", "brown", "black", "tan", "white", "yellow", "pearly", "blue")
LESIONS = ("plaque", "patch", "papule", "nodule", "ring", "vesicle", "pustule", "ulcer")
BORDERS = ("sharp", "blurred", "irregular")
SCALES = ("smooth", "silvery scale", "fine scale", "crust", "rough")
NUMBERS = ("single", "few", "many")
ARRANGEMENTS = ("solitary", "scattered", "grouped", "linear")

#: Attribute -> the words it may take, in the order in which a report states them.
VOCABULARY: dict[str, tuple[str, ...]] = {
    "colour": COLOURS,
    "primary_lesion": LESIONS,
    "border": BORDERS,
    "scale": SCALES,
    "number": NUMBERS,
    "arrangement": ARRANGEMENTS,
}
