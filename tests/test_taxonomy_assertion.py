"""Free text: what it says or suspects is read, what it denies is not."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skinrl.taxonomy import load_taxonomy

TAXONOMY = load_taxonomy()


@pytest.mark.parametrize(
    ("text", "nodes"),
    [
        ("", ()),
        ("a red scaly rash", ()),
        ("Psoriasis", ("psoriasis",)),
        ("Psoriasis? Lichen planus?", ("psoriasis", "lichen_planus")),
        ("psoriasis or lichen planus or psoriasis", ("psoriasis", "lichen_planus")),
        ("Scabies, urticaria and vitiligo", ("scabies", "urticaria", "vitiligo")),
        ("melanoma/vitiligo", ("melanoma", "vitiligo")),
        ("psoriasis vs. scabies", ("psoriasis", "scabies")),
        ("It looks like a melanoma; get it checked.", ("melanoma",)),
        ("Most probably it is a case of rosacea, a chronic inflammatory condition.", ("rosacea",)),
        ("It's vitiligo.", ("vitiligo",)),
        ("eczematous plaques", ("eczema",)),
        ("urticarial rash", ("urticaria",)),
        ("skin horn", ("cutaneous_horn",)),
        ("Ota's nevus", ("nevus_of_ota",)),
        ("multiform erythema", ("erythema_multiforme",)),
        ("looks like exzema", ("eczema",)),
        ("follicular keratosis", ("darier_disease",)),
        ("tinea manuum (hand ringworm)", ("tinea_manuum",)),
    ],
)
def test_what_is_said_or_suspected_is_read_in_its_order(text, nodes):
    assert TAXONOMY.asserted(text) == nodes


@pytest.mark.parametrize(
    ("text", "nodes"),
    [
        ("no melanoma", ()),
        ("not psoriasis", ()),
        ("No sign of melanoma.", ()),
        ("No signs of psoriasis or scabies", ()),
        ("no evidence of melanoma, scabies or vitiligo", ()),
        ("without psoriasis", ()),
        ("This is neither psoriasis nor scabies.", ()),
        ("It does not look like melanoma at all.", ()),
        ("It doesn't look like melanoma", ()),
        ("This isn’t psoriasis", ()),
        ("negative for scabies", ()),
        ("unlikely to be melanoma", ()),
        ("Melanoma is unlikely.", ()),
        ("Melanoma was excluded", ()),
        ("melanoma and vitiligo have been ruled out", ()),
        ("scabies can be excluded", ()),
        ("to rule out melanoma", ()),
        ("psoriasis, not melanoma", ("psoriasis",)),
        ("psoriasis rather than scabies", ("psoriasis",)),
        ("rosacea instead of scabies", ("rosacea",)),
        ("Not psoriasis but scabies", ("scabies",)),
        ("It's not pityriasis rosea, it's psoriasis.", ("psoriasis",)),
        ("It is not psoriasis. It is scabies.", ("scabies",)),
        ("This looks like a nevus or mole only. It does not look like melanoma.", ("melanocytic_nevus",)),
        ("scabies is excluded, consider psoriasis", ("psoriasis",)),
        ("No psoriasis, however scabies is possible", ("scabies",)),
        ("Psoriasis; scabies is less likely", ("psoriasis",)),
        ("psoriasis, scabies unlikely", ("psoriasis",)),
        ("use a burn ointment", ()),
        ("a psoriasis-like rash", ()),
        ("avoid sunburn", ()),
        ("anti-dandruff shampoo", ()),
        ("Psoriasis should not itch like this", ()),
        ("Psoriasis has no relation to this rash", ()),
        ("Rule psoriasis out first", ()),
        ("It was misdiagnosed as psoriasis", ()),
        ("If it is not psoriasis, then scabies", ("scabies",)),
        ("I don't think it is psoriasis", ()),
        ("We do not consider psoriasis", ()),
        ("Chronic eczema (scabies to be ruled out)", ("eczema",)),
        ("Consider eczema. Scabies should be ruled out", ("eczema",)),
        ("The possibility of psoriasis is low, consider eczema", ("eczema",)),
        ("Check for scabies first; psoriasis", ("psoriasis",)),
        ("Consider eczema Secondary scabies should be ruled out", ("eczema",)),
        ("antihistamines to control the itching", ()),
        ("burn it off with a laser", ()),
        ("Does it itch? It is scabies.", ("scabies",)),
        ("scabies with itching and blisters", ("scabies",)),
        ("actinic keratosis, which may turn into squamous cell carcinoma", ("actinic_keratosis",)),
        ("Are you worried about melanoma? It is a dermatofibroma.", ("dermatofibroma",)),
    ],
)
def test_what_is_denied_is_not_read(text, nodes):
    assert TAXONOMY.asserted(text) == nodes


@pytest.mark.parametrize(
    ("text", "nodes"),
    [
        ("would not exclude scabies", ("scabies",)),
        ("Psoriasis, I would not exclude scabies.", ("psoriasis", "scabies")),
        ("cannot rule out melanoma", ("melanoma",)),
        ("can't exclude melanoma", ("melanoma",)),
        ("melanoma cannot be excluded", ("melanoma",)),
        ("scabies cannot be completely ruled out", ("scabies",)),
        ("scabies has not been ruled out", ("scabies",)),
        ("No melanoma, would not exclude scabies; psoriasis", ("scabies", "psoriasis")),
        ("No doubt psoriasis", ("psoriasis",)),
        ("psoriasis without doubt", ("psoriasis",)),
        ("not only psoriasis but scabies", ("psoriasis", "scabies")),
        ("I am not sure, psoriasis?", ("psoriasis",)),
        ("No, it is psoriasis", ("psoriasis",)),
        ("It is hard to say whether it is psoriasis", ("psoriasis",)),
        ("I cannot tell psoriasis", ("psoriasis",)),
        ("Isn't it psoriasis?", ("psoriasis",)),
        ("Is it not psoriasis on the elbow?", ("psoriasis",)),
        ("There is no rash yet, it should be psoriasis", ("psoriasis",)),
        ("Don't worry, it is vitiligo", ("vitiligo",)),
        ("Although it is not infectious, vitiligo upsets people", ("vitiligo",)),
        ("Without treatment, psoriasis may persist", ("psoriasis",)),
        ("No treatment is needed for vitiligo, which is what you have", ("vitiligo",)),
    ],
)
def test_a_negation_that_denies_nothing_leaves_the_disease_standing(text, nodes):
    assert TAXONOMY.asserted(text) == nodes


@pytest.mark.parametrize(
    ("text", "nodes"),
    [
        ("it is seborhheic dermatitis", ("seborrheic_dermatitis",)),
        ("keratois pilaris on the arms", ("keratosis_pilaris",)),
        ("Psoraisis on both elbows", ("psoriasis",)),
        ("confusion after an injection into the infested section", ()),
        ("dress the wound", ("wound",)),
        ("What skin disease is this?", ()),
    ],
)
def test_typing_errors_in_free_text_are_mended_only_where_a_disease_is_sure(text, nodes):
    assert set(TAXONOMY.asserted(text)) <= set(nodes) | {"wound", "traumatic_wound"}
    assert set(nodes) - {"wound"} <= set(TAXONOMY.asserted(text))


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(sorted(TAXONOMY.leaves)),
    st.sampled_from(
        ["no {}", "not {}", "no sign of {}", "No evidence of {}.", "without {}", "ruled out: it is no {}"]
    ),
)
def test_no_leaf_is_asserted_by_its_denial(id, frame):
    assert id not in TAXONOMY.asserted(frame.format(TAXONOMY.node(id).name))


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([id for id in TAXONOMY.leaves if "," not in TAXONOMY.node(id).name]),  # a comma ends a name
    st.sampled_from(["{}", "It is {}.", "would not exclude {}", "{}?"]),
)
def test_every_leaf_is_asserted_by_its_name(id, frame):
    assert id in TAXONOMY.asserted(frame.format(TAXONOMY.node(id).name))


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=80))
def test_any_text_is_read_without_an_exception(text):
    assert all(id in TAXONOMY for id in TAXONOMY.asserted(text))
    assert TAXONOMY.asserted(text) == TAXONOMY.asserted(text)
