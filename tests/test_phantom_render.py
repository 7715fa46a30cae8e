"""The phantom's pictures: what is drawn is what is recorded, and the domains differ as they are said to."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from skinrl.phantom.diseases import DISEASES, Morphology
from skinrl.phantom.render import DOMAINS, TONES, draw_tone, render
from skinrl.phantom.vocabulary import VOCABULARY
from skinrl.taxonomy import load_taxonomy


def _one(leaf: str) -> Morphology:
    return Morphology(*((words[0],) for words in DISEASES[leaf].words().values()))


def _pixels(leaf: str, tone: int, domain: str, seed: int = 0, size: int = 84) -> np.ndarray:
    image = render(_one(leaf), tone, domain, np.random.default_rng(seed), size)
    assert image.mode == "RGB"
    assert image.size == (size, size)
    return np.asarray(image, dtype=float)


def _corners(pixels: np.ndarray) -> np.ndarray:
    return np.concatenate([pixels[:6, :6].reshape(-1, 3), pixels[-6:, -6:].reshape(-1, 3)]).mean(0)


def test_at_least_24_diseases_of_at_least_6_classes_none_above_another() -> None:
    taxonomy = load_taxonomy("dermatology")
    assert len(DISEASES) >= 24
    assert len({taxonomy.path(leaf)[0] for leaf in DISEASES}) >= 6
    for leaf in DISEASES:
        assert not (taxonomy.ancestors(leaf) - {leaf}) & set(DISEASES)


def test_no_two_diseases_have_the_same_typical_morphology() -> None:
    assert len({_one(leaf) for leaf in DISEASES}) == len(DISEASES)


def test_melanoma_and_naevus_differ_in_behaviour_but_share_a_class() -> None:
    taxonomy = load_taxonomy("dermatology")
    assert taxonomy.behaviour("melanoma") == "malignant"
    assert taxonomy.behaviour("melanocytic_nevus") == "benign"
    assert taxonomy.path("melanoma")[0] == taxonomy.path("melanocytic_nevus")[0]


def test_a_drawn_morphology_has_one_word_to_each_attribute_out_of_the_diseases_words() -> None:
    rng = np.random.default_rng(1)
    for leaf, allowed in DISEASES.items():
        for _ in range(20):
            drawn = allowed.draw(rng).words()
            assert all(len(words) == 1 for words in drawn.values())
            for attribute in set(VOCABULARY) - {"arrangement"}:
                assert drawn[attribute][0] in allowed.words()[attribute], leaf
            assert (drawn["number"] == ("single",)) == (drawn["arrangement"] == ("solitary",))


def test_an_unknown_word_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="purple"):
        Morphology(("purple",), ("plaque",), ("sharp",), ("smooth",), ("few",), ("scattered",))


def test_the_same_seed_draws_the_same_pixels_and_another_seed_others() -> None:
    assert np.array_equal(_pixels("psoriasis", 1, "clinical", seed=3), _pixels("psoriasis", 1, "clinical", seed=3))
    assert not np.array_equal(_pixels("psoriasis", 1, "clinical", seed=3), _pixels("psoriasis", 1, "clinical", seed=4))


def test_skin_gets_darker_from_tone_to_tone() -> None:
    brightness = [
        np.mean([_corners(_pixels("venous_lake", tone, "textbook", seed)).mean() for seed in range(8)])
        for tone in range(len(TONES))
    ]
    assert all(light > dark + 5 for light, dark in itertools.pairwise(brightness))


def test_the_clinical_domain_is_noisier_than_the_textbook() -> None:
    def noise(domain: str) -> float:
        patches = [_pixels("venous_lake", 1, domain, seed)[:8, :8] for seed in range(16)]
        return float(np.mean([np.diff(patch, axis=0).std() for patch in patches]))

    assert noise("clinical") > 1.4 * noise("textbook")


def test_textbook_skin_is_mostly_light_and_clinical_skin_of_every_tone() -> None:
    rng = np.random.default_rng(0)
    tones = {domain: np.array([draw_tone(rng, domain) for _ in range(600)]) for domain in DOMAINS}
    assert (tones["textbook"] <= 1).mean() > 0.7
    assert (np.bincount(tones["clinical"], minlength=6) > 60).all()


def test_colour_words_are_drawn_as_such() -> None:
    def middle(leaf: str) -> np.ndarray:
        return np.mean([_pixels(leaf, 0, "textbook", seed)[36:48, 36:48].mean((0, 1)) for seed in range(8)], axis=0)

    red, blue, dark = middle("bowen_disease"), middle("venous_lake"), middle("melanoma")
    assert red[0] > red[2] + 40
    assert blue[2] > blue[0]
    assert dark.mean() < 80


def test_many_lesions_cover_more_places_than_a_single_one() -> None:
    """Count dark connected spots against light skin, by rows and columns that hold any."""

    def spots(leaf: str) -> int:
        pixels = _pixels(leaf, 0, "textbook", seed=2, size=112)
        away = np.abs(pixels - np.median(pixels, (0, 1))).sum(-1) > 60
        seen, count = np.zeros_like(away), 0
        for start in zip(*np.nonzero(away), strict=True):
            if seen[start]:
                continue
            stack, area = [start], 0
            while stack:
                y, x = stack.pop()
                if 0 <= y < 112 and 0 <= x < 112 and away[y, x] and not seen[y, x]:
                    seen[y, x], area = True, area + 1
                    stack += [(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)]
            count += area > 12
        return count

    assert spots("venous_lake") == 1
    assert spots("urticaria") >= 6
