"""DDI, Diverse Dermatology Images: 656 photographs with a diagnosis by biopsy (Daneshjou et al. 2022).

From the Stanford AIMI Center: `ddi_metadata.csv` and PNG images. Skin types are given in pairs, I-II, III-IV and V-VI.
570 patients, but the table does not say which. Made for testing; under a research use agreement.
"""

from __future__ import annotations

from skinrl.data.sources.cells import tone
from skinrl.data.sources.table import SourceTable

SOURCE = SourceTable(
    name="ddi",
    table="ddi_metadata.csv",
    image="DDI_file",
    label="disease",
    labels="ddi",
    folders=("images", "."),
    skin_tone=tone("fitzpatrick", "skin_tone", "chart and dermatologists", {"12": "1-2", "34": "3-4", "56": "5-6"}),
    layout="published files",
    layout_from="ddi_metadata.csv as published, in parts; Daneshjou et al. 2022, doi 10.1126/sciadv.abq6147",
    published={"rows": 656},
)
