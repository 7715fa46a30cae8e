"""OmniMedVQA: the questions about skin diseases, with the options that the dataset gives (Hu et al. 2024, CVPR).

From Hugging Face (foreverbeliever/OmniMedVQA): `QA_information/Open-access/<set>.json`, a list of questions each, and
`Images/`. Read are the questions of the type "Disease Diagnosis" of the sets in `SETS`. A record keeps the options in
their order; the question's own words are replaced by skinrl's, so that all models are asked for one form.

Two things to know. Published options give answers away: some right ones alone end in a full stop, which is removed
here, and many wrong ones ("hives" beside a dermoscopic naevus) can be told without the image, so look at the control
without it. And the images are those of ISIC, PAD-UFES-20 and Fitzpatrick17k: they are out of distribution only for a
model that was not trained on these. Questions for "benign or malignant" name no disease and are counted, not asked.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from skinrl.data.sources.cells import if_there
from skinrl.data.sources.files import Row
from skinrl.data.sources.table import LoadedRecords, SourceTable, load_table
from skinrl.errors import DataError
from skinrl.taxonomy import Taxonomy

SETS = (
    "Fitzpatrick 17k",
    "ISBI2016",
    "ISIC2018",
    "ISIC2019",
    "ISIC2020",
    "Monkeypox Skin Image 2022",
    "PAD-UFES-20",
)
KIND = "Disease Diagnosis"
_PLACES = ("QA_information/Open-access", "QA_information/Restricted-access")
_LETTERS = "ABCD"
_NEEDED = ("question_id", "question_type", "gt_answer", "image_path")
_CLINICAL = ("Fitzpatrick 17k", "Monkeypox Skin Image 2022", "PAD-UFES-20")


def questions(root: Path, sets: Sequence[str] = SETS, *, all_wanted: bool = False) -> Iterator[tuple[str, Row]]:
    """(place, question) of the sets that are there; the answer and the options without a closing full stop.

    Raises:
        DataError: none of the sets is there, one that was asked for is not, or a file is no list of questions.
    """
    root = root / "OmniMedVQA" if (root / "OmniMedVQA" / "QA_information").is_dir() else root
    files = {name: [root / place / f"{name}.json" for place in _PLACES] for name in sets}
    found = {name: next((file for file in places if file.is_file()), None) for name, places in files.items()}
    absent = [name for name, file in found.items() if file is None]
    if len(absent) == len(found) or (all_wanted and absent):
        have = sorted(file.stem for place in _PLACES for file in (root / place).glob("*.json"))
        raise DataError(
            f"omnimedvqa: no {', '.join(f'{name}.json' for name in absent)} under {root / _PLACES[0]}; "
            f"found {', '.join(have) or 'no set'}. Expected the folder that holds QA_information and Images"
        )
    for name, file in found.items():
        if file is not None:
            yield from _read(file, name)


def _read(file: Path, name: str) -> Iterator[tuple[str, Row]]:
    try:
        listed = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as problem:
        raise DataError(f"{file}: is not JSON ({problem})") from problem
    if not isinstance(listed, list):
        raise DataError(f"{file}: is {type(listed).__name__}; expected a list of questions")
    for number, item in enumerate(listed):
        lacking = [key for key in _NEEDED if key not in item] if isinstance(item, dict) else list(_NEEDED)
        if lacking:
            raise DataError(f"{file}: question {number} has no {', '.join(lacking)}; expected {', '.join(_NEEDED)}")
        options = {f"option_{letter}": _tidy(item.get(f"option_{letter}")) for letter in _LETTERS}
        yield f"{file}, question {number}", {**item, **options, "gt_answer": _tidy(item["gt_answer"]), "set": name}


def _tidy(text: Any) -> str:
    return str(text or "").strip().removesuffix(".").strip()


def _modality(row: Row) -> str:
    return "clinical" if row["set"] in _CLINICAL else "dermoscopy"


SOURCE = SourceTable(
    name="omnimedvqa",
    table=questions,
    image="image_path",
    label="gt_answer",
    labels="omnimedvqa",
    names_too=True,
    folders=(".", "OmniMedVQA"),
    id="question_id",
    split=lambda row: "test",  # made for testing, and nothing else
    modality=_modality,
    options=tuple(f"option_{letter}" for letter in _LETTERS),
    slices={"set": if_there("set")},
    keep=lambda row: row["question_type"] == KIND,
    layout="documentation",
    layout_from="Hu et al. 2024, arXiv 2402.09181; code that reads it, github.com/l593191569/Skin-R1",
)


def load(
    path: Path | str,
    taxonomy: Taxonomy,
    *,
    sets: Sequence[str] | None = None,
    labels: Any = None,
    on_missing_image: str = "error",
) -> LoadedRecords:
    """The records. `sets`: some of `SETS`, which must then be there; default: those that are. Else as `load_table`."""
    unknown = [name for name in sets or () if name not in SETS]
    if unknown:
        raise DataError(f"omnimedvqa: no set {unknown[0]!r}; expected {', '.join(SETS)}")
    table = partial(questions, sets=sets, all_wanted=True) if sets else questions
    source = replace(SOURCE, table=table)
    return load_table(source, path, taxonomy, labels=labels, on_missing_image=on_missing_image)
