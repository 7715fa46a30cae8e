"""Columns of the rows, named once, so that a column of empty lists keeps its type. Imports `datasets`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from datasets import Features, Image, List, Value

if TYPE_CHECKING:
    import PIL.Image


class CleanImage(Image):
    """`datasets.Image` that hands out upright RGB pixels without EXIF, place or comments.

    The base class applies the orientation but keeps the rest, which a logger may then write out again.
    """

    def decode_example(
        self, value: dict[str, Any], token_per_repo_id: dict[str, Any] | None = None
    ) -> PIL.Image.Image:
        image = super().decode_example(value, token_per_repo_id)
        clean: PIL.Image.Image = image.copy()  # a plain image: the file's own class keeps its header
        clean.info = {}
        return clean


def _features(**others: Any) -> Features:
    return Features({**others, "images": List(CleanImage(mode="RGB"))})


MESSAGES = List({"role": Value("string"), "content": Value("string")})

QUESTION_ROWS = _features(
    prompt=MESSAGES,
    id=Value("string"),
    gold_nodes=List(Value("string")),
    gold_weights=List(Value("float64")),
    options=List(Value("string")),
    option_nodes=List(Value("string")),
    prefilled=Value("string"),
    concepts=List({"kind": Value("string"), "word": Value("string"), "share": Value("float64")}),
)

SFT_ROWS = _features(prompt=MESSAGES, completion=MESSAGES, id=Value("string"))
