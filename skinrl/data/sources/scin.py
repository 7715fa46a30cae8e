"""SCIN, Skin Condition Image Network: 5,033 cases from the public with up to three photographs (Ward et al. 2024).

`scin_cases.csv`, `scin_labels.csv` and the images (bucket `dx-scin-public-data`, folder `dataset/images`). The label
is a weighted differential by up to three dermatologists; 3,061 cases have one. Skin tone is given on two scales and by
four kinds of raters, never merged: Fitzpatrick by the dermatologists (what counts here: the middle one of three, the
common one of two, none where two differ) and by the person, Monk by lay raters in the US and in India. No split: cases
are dealt out; whether two are of one person is not known.
"""

from __future__ import annotations

from collections.abc import Callable

from skinrl.data.record import SkinTone
from skinrl.data.sources.cells import literal, lower, tone
from skinrl.data.sources.files import Row, is_blank
from skinrl.data.sources.rows import Join
from skinrl.data.sources.table import SourceTable

_IMAGES = tuple(f"image_{n}_path" for n in (1, 2, 3))
_RATERS = tuple(f"dermatologist_fitzpatrick_skin_type_label_{n}" for n in (1, 2, 3))
_SITES = "head_or_neck arm palm back_of_hand torso_front torso_back genitalia_or_groin buttocks leg foot_top_or_side "
_PLACES = tuple(f"body_parts_{name}" for name in (_SITES + "foot_sole other").split())
_FST = {f"FST{n}": str(n) for n in range(1, 7)} | {"NONE_IDENTIFIED": "", "NONE_SELECTED": ""}


def images(row: Row) -> list[str]:
    """File names without the folder of the bucket."""
    return [str(row[name]).rsplit("/", 1)[-1] for name in _IMAGES if not is_blank(row.get(name))]


def dermatologists(row: Row) -> SkinTone | None:
    """Fitzpatrick type by the dermatologists who rated it: the middle one of three; of two, only where they agree."""
    given = sorted(filter(None, (_FST.get(said, said) for name in _RATERS if (said := str(row.get(name) or "")))))
    if not given or (len(given) == 2 and given[0] != given[1]):
        return None
    return SkinTone("fitzpatrick", given[len(given) // 2], "dermatologists")


def age(row: Row) -> str:
    """`AGE_18_TO_29` becomes `18-29`, `AGE_80_OR_ABOVE` `80+`."""
    text = str(row.get("age_group") or "").removeprefix("AGE_")
    return text.replace("_TO_", "-").replace("_OR_ABOVE", "+").replace("UNKNOWN", "")


def site(row: Row) -> str:
    """The part of the body, `several`, or empty."""
    marked = [name.removeprefix("body_parts_").replace("_", " ") for name in _PLACES if row.get(name) == "YES"]
    return "several" if len(marked) > 1 else "".join(marked)


def _reads(function: Callable[[Row], object], *columns: str) -> None:
    function.columns = columns  # type: ignore[attr-defined]  # so that a missing column is an error, not a blank


_reads(images, *_IMAGES)
_reads(dermatologists, *_RATERS)
_reads(age, "age_group")
_reads(site, *_PLACES)

SOURCE = SourceTable(
    name="scin",
    table=("scin_cases.csv", "dataset/scin_cases.csv"),
    joins=(Join(table=("scin_labels.csv", "dataset/scin_labels.csv"), on="case_id"),),
    image=images,
    label=literal("weighted_skin_condition_label"),
    labels="scin",
    folders=("images", "dataset/images", "."),
    id="case_id",
    lesion="case_id",
    skin_tone=dermatologists,
    further_tones=(
        tone("fitzpatrick", "fitzpatrick_skin_type", "self-reported", _FST),
        tone("monk", "monk_skin_tone_label_us", "raters in the US"),
        tone("monk", "monk_skin_tone_label_india", "raters in India"),
    ),
    slices={"age": age, "sex": lower("sex_at_birth"), "site": site},
    unknown=("", "other_or_unspecified"),
    layout="published files",
    layout_from="release 1.0.0, doi 10.5281/zenodo.10819503; its dataset_schema.md",
    published={"rows": 5033},
)
