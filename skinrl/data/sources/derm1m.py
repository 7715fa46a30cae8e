"""Derm1M: images with captions from forums, textbooks, articles, videos and datasets (Yan et al. 2025).

The paper counts 403,563 images in 1,029,761 pairs; the release "differs slightly", and nothing says how many rows each
table has, so that rows are not counted here.

From Hugging Face (redlessone/Derm1M, behind an agreement): `Derm1M_v2_pretrain.csv`, `Derm1M_v2_validation.csv` and
images in `public/`, `pubmed/`, `edu/`, `note/`, `IIYI/`, `youtube/`. Read here: the image and `disease_label`. The
captions are not used, and the concepts, drawn from the captions by a program, are no observation of the image. Labels
are noisy: those of DermNet's images are the names of its folders (a dermatofibroma is "seborrheic keratoses"). It
contains images of SCIN, DermNet and the ISIC sets (`public/`): look for duplicates before testing on those. Two images
of one case or video may stand in both parts; nothing says which belong together.
"""

from __future__ import annotations

from skinrl.data.sources.cells import age_band, first_of, lower
from skinrl.data.sources.table import SourceTable

SOURCE = SourceTable(
    name="derm1m",
    table={"train": "Derm1M_v2_pretrain.csv", "validation": "Derm1M_v2_validation.csv"},
    image="filename",
    label=first_of("disease_label", "label"),
    labels="derm1m",
    names_too=True,  # the label map knows 365 of 390
    separator=", ",  # "candidiasis, tinea"
    folders=(".", "images", "validation_data"),
    id="filename",
    modality="other",  # clinical, dermoscopic and other pictures, and no column says which
    slices={"age": age_band("age"), "sex": lower("gender"), "origin": lower("source_type")},
    unknown=("", "no age information", "no gender information", "no body location information"),
    layout="unverified",
    layout_from="100 rows of the first table that others publish, and public code; the second table was not seen",
)
