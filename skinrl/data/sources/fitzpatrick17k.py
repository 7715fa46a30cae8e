"""Fitzpatrick17k: 16,577 clinical photographs of two atlases, 114 labels (Groh et al. 2021).

`fitzpatrick17k.csv` from github.com/mattgroh/fitzpatrick17k; the images come from the addresses in it or from the
authors, as `<md5hash>.jpg`. Fitzpatrick type was rated twice, by Scale AI and by Centaur Labs, who agree on about half
of the images: the two are kept apart. Rows that its quality check calls wrongly labelled are left out. Patients are
unknown, and some photographs stand there more than once.
"""

from __future__ import annotations

from skinrl.data.sources.cells import tone
from skinrl.data.sources.table import SourceTable

WRONG = "3 Wrongly labelled"

SOURCE = SourceTable(
    name="fitzpatrick17k",
    table="fitzpatrick17k.csv",
    image="{md5hash}.jpg",
    label="label",
    labels="fitzpatrick17k",
    folders=("images", "data/finalfitz17k", "finalfitz17k", "."),
    skin_tone=tone("fitzpatrick", "fitzpatrick_scale", "Scale AI"),
    further_tones=(tone("fitzpatrick", "fitzpatrick_centaur", "Centaur Labs"),),
    keep=lambda row: str(row.get("qc") or "").strip() != WRONG,
    layout="published files",
    layout_from="fitzpatrick17k.csv as published, github.com/mattgroh/fitzpatrick17k",
    published={"rows": 16577},
)
