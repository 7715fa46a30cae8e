"""Phantom diseases: real leaves of the dermatology taxonomy with a simplified visible morphology.

The morphology is a caricature made for a demonstration, not a diagnostic table: each disease gets the word that a
textbook uses first, and a second one where textbooks give two. Siblings in the taxonomy share most words, and the
dangerous look-alikes (melanoma and naevus, Bowen's disease and psoriasis) differ in one or two.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skinrl.phantom.vocabulary import VOCABULARY

#: Share of the images that show the first word where an attribute has two.
TYPICAL_SHARE = 0.75


@dataclass(frozen=True)
class Morphology:
    """What one image shows, or (with several words to an attribute) what a disease may show."""

    colour: tuple[str, ...]
    primary_lesion: tuple[str, ...]
    border: tuple[str, ...]
    scale: tuple[str, ...]
    number: tuple[str, ...]
    arrangement: tuple[str, ...]

    def __post_init__(self) -> None:
        for attribute, words in VOCABULARY.items():
            unknown = [word for word in getattr(self, attribute) if word not in words]
            if unknown or not getattr(self, attribute):
                raise ValueError(f"{attribute}: {unknown or 'no word'}; expected one or more of {list(words)}")

    def words(self) -> dict[str, tuple[str, ...]]:
        """Attribute -> words, in the order of the vocabulary."""
        return {attribute: getattr(self, attribute) for attribute in VOCABULARY}

    def draw(self, rng: np.random.Generator) -> Morphology:
        """One image's morphology: one word to each attribute, the first being the most frequent."""
        chosen = {}
        for attribute, words in self.words().items():
            typical = len(words) == 1 or rng.random() < TYPICAL_SHARE
            chosen[attribute] = (words[0] if typical else words[int(rng.integers(1, len(words)))],)
        if chosen["number"] == ("single",):
            chosen["arrangement"] = ("solitary",)
        elif chosen["arrangement"] == ("solitary",):
            chosen["arrangement"] = ("scattered",)
        return Morphology(**chosen)


def _morphology(colour: str, lesion: str, border: str, scale: str, number: str, arrangement: str) -> Morphology:
    return Morphology(*(tuple(text.split("/")) for text in (colour, lesion, border, scale, number, arrangement)))


#: Taxonomy leaf -> morphology, most frequent disease of the clinical domain first (dermatitis clinics, roughly).
DISEASES: dict[str, Morphology] = {
    "atopic_dermatitis": _morphology("red", "patch", "blurred", "crust", "few", "grouped"),
    "melanocytic_nevus": _morphology("brown", "papule", "sharp", "smooth", "single", "solitary"),
    "acne_vulgaris": _morphology("red", "pustule", "sharp", "smooth", "many", "scattered"),
    "psoriasis": _morphology("red", "plaque", "sharp", "silvery scale", "few", "scattered"),
    "basal_cell_carcinoma": _morphology("pearly", "nodule/ulcer", "sharp", "smooth", "single", "solitary"),
    "seborrheic_keratosis": _morphology("brown", "plaque", "sharp", "rough", "single/few", "scattered"),
    "tinea_corporis": _morphology("red", "ring", "sharp", "fine scale", "single/few", "scattered"),
    "actinic_keratosis": _morphology("pink", "patch", "blurred", "rough", "few", "scattered"),
    "verruca_vulgaris": _morphology("tan", "papule", "sharp", "rough", "few/many", "grouped"),
    "urticaria": _morphology("pink", "plaque", "sharp", "smooth", "many", "scattered"),
    "seborrheic_dermatitis": _morphology("pink", "patch", "blurred", "fine scale", "few", "grouped"),
    "allergic_contact_dermatitis": _morphology("red", "patch", "blurred", "smooth", "few", "linear"),
    "vitiligo": _morphology("white", "patch", "sharp", "smooth", "few", "scattered"),
    "melanoma": _morphology("black/brown", "plaque", "irregular", "smooth", "single", "solitary"),
    "rosacea": _morphology("red", "papule", "blurred", "smooth", "many", "grouped"),
    "squamous_cell_carcinoma": _morphology("red", "nodule/ulcer", "irregular", "crust", "single", "solitary"),
    "folliculitis": _morphology("pink", "pustule", "sharp", "smooth", "few", "scattered"),
    "herpes_zoster": _morphology("red", "vesicle", "sharp", "smooth", "many", "linear"),
    "lichen_planus": _morphology("violet", "papule", "sharp", "fine scale", "many", "grouped"),
    "molluscum_contagiosum": _morphology("pearly", "papule", "sharp", "smooth", "many/few", "grouped"),
    "solar_lentigo": _morphology("tan", "patch", "sharp", "smooth", "few", "scattered"),
    "impetigo": _morphology("yellow", "plaque", "irregular", "crust", "few", "grouped"),
    "pityriasis_rosea": _morphology("pink", "ring", "sharp", "fine scale", "many", "scattered"),
    "tinea_versicolor": _morphology("tan/white", "patch", "sharp", "fine scale", "many", "scattered"),
    "dermatofibroma": _morphology("tan", "nodule", "blurred", "smooth", "single", "solitary"),
    "bowen_disease": _morphology("red", "plaque", "irregular", "fine scale", "single", "solitary"),
    "cherry_angioma": _morphology("red", "papule", "sharp", "smooth", "few", "scattered"),
    "granuloma_annulare": _morphology("pink", "ring", "sharp", "smooth", "single/few", "scattered"),
    "venous_lake": _morphology("blue", "papule", "sharp", "smooth", "single", "solitary"),
    "kaposi_sarcoma": _morphology("violet", "nodule", "irregular", "smooth", "few", "grouped"),
}
