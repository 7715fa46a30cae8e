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
        ("either atopic or contact dermatitis", ("atopic_dermatitis", "contact_dermatitis")),
        ("hand and foot ringworm", ("tinea_manuum", "tinea_pedis")),
        ("vitiligo and foot ringworm", ("vitiligo", "tinea_pedis")),
        ("She has hand, foot and mouth disease.", ("hand_foot_and_mouth_disease",)),
        (
            "The cause of porokeratosis, disseminated superficial actinic",
            ("disseminated_superficial_actinic_porokeratosis",),
        ),
        ("This is dermatitis, contact.", ("contact_dermatitis",)),
        ("acne, scars", ("acne", "scar")),
        ("psoriasis, nails and scalp spared", ("psoriasis",)),
        ("Consider fungus", ("fungal_infection",)),
        ("Rash due to itchy skin", ("pruritus",)),
        ("a pseudocyst of the ear", ("pseudocyst_of_the_auricle",)),
        ("ring granuloma", ("granuloma_annulare",)),
        ("bites of mosquitoes, fleas, and bedbugs", ("mosquito_bite", "flea_bite", "bed_bug_bite")),
        ("No bites of mosquitoes or fleas", ()),
        ("psoriasis of the scalp and knees", ("scalp_psoriasis",)),
        ("Psoriasis 14, pustular", ("pustular_psoriasis",)),
        ("Is genetic testing available for neurofibromatosis?", ("neurofibromatosis",)),
        ("Pityriasis versicolor, a common yeast infection of the skin", ("tinea_versicolor",)),
        ("Psoriasis is more likely than rosacea", ("psoriasis", "rosacea")),
        ("Rosacea is a kind of acne", ("rosacea",)),
        ("It is a pimple, a small cyst, or a wart", ("acne_vulgaris", "cyst", "wart")),
        ("Ringworm is a tinea corporis here", ("tinea", "tinea_corporis")),
        ("Blisters?", ("blister",)),
        ("golden lichen", ("lichen_aureus",)),
        ("white pityriasis on a cheek", ("pityriasis_alba",)),
        ("Migratory necrolytic erythema with itching", ("necrolytic_migratory_erythema",)),
        ("Tinea pedis. It is actually a common form of tinea.", ("tinea_pedis",)),
        ("Rosacea, a kind of acne and seen in adults", ("rosacea",)),
        ("It is a tinea. It is a form of tinea pedis.", ("tinea", "tinea_pedis")),
        ("Urticaria, a rash due to a viral infection", ("urticaria", "viral_infection")),
        ('I suspect "psoriasis".', ("psoriasis",)),
        ("This is a scabies infestation.", ("scabies",)),
        ("Probably chicken pox", ("varicella",)),
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
        ("It cannot be, it is impossible for this to be scabies", ()),
        ("How could that be vitiligo?", ()),
        ("I doubt it is psoriasis", ()),
        ("If it were scabies, the mother would have it too", ()),
        ("The rash is quite different from psoriasis", ()),
        ("vitiligo as opposed to pityriasis alba", ("vitiligo",)),
        ("The age speaks against rosacea", ()),
        ("low likelihood of melanoma", ()),
        ("The chance of melanoma is slim", ()),
        ("This is not melanoma-like at all, hardly a melanoma", ()),
        ("must be distinguished clinically from psoriasis, scabies and rosacea", ()),
        ("scabies, often confused with urticaria", ("scabies",)),
        ("it mimics vitiligo", ()),
        ("Psoriasis does not usually look like this", ()),
        ("Rosacea does not seem to be the case", ()),
        ("was she vaccinated against chickenpox", ()),
        ("a lotion that soothes the psoriasis", ()),
        ("Any history of scabies?", ()),
        ("Is there a history of burns?", ()),
        ("Have you ever had urticaria?", ()),
        ("Were there any warts before? It is vitiligo.", ("vitiligo",)),
        ("No need to think of melanoma", ()),
        ("Keep the wound open until granulation tissue is seen; vitiligo", ("wound", "vitiligo")),
        ("It is vitiligo; pat the skin dry", ("vitiligo",)),
        ("keratosis of the pores, pore keratosis", ("keratinization_disorder",)),
        ("Lice feed on blood, head lice live on the scalp", ()),
        ("If blisters appear, stop", ()),
        ("The itching is worse at night", ()),
        ("itching and papules for a year", ()),
        ("Mucinous faciitis (MF)", ()),
        ("a rash without itching that may leave scars", ()),
        ("vitiligo, lacks any sign of psoriasis", ("vitiligo",)),
        ("gels dry the skin", ()),
        ("Scabies, eczema and psoriasis can be ruled out", ()),
        ("Psoriasis, scabies can be ruled out", ("psoriasis",)),
        ("scabies, small compared with warts", ("scabies",)),
        ("There is nothing to suggest psoriasis", ()),
        ("Evidence for psoriasis is lacking", ()),
        ("atypical for rosacea", ()),
        ("Cutibacterium acnes", ()),
        ("an NF1 mutation, the psoriasis foundation", ()),
        ("a varicella-zoster virus", ()),
        ("varicella-zoster", ()),
        ("uveal melanoma", ()),
        ("hepatic hemangioma and vitiligo", ("vitiligo",)),
        ("We saw papules, blisters and crusts", ()),
        ("acne-fighting creams", ()),
        ("His mother has psoriasis; he has vitiligo", ("vitiligo",)),
        ("caught from someone who has scabies", ()),
        ("We should know whether there was a wart", ()),
        ("a burn that burns easily when you burn it", ("burn",)),
        ("Please tell us any history of skin disease, particularly eczema.", ()),
        ("Any history of allergies, including contact dermatitis?", ()),
        ('The term "eczema" is an old one.', ()),
        ('It is one of the so-called "eczema" cases.', ()),
        ("A blister beetle sat on the arm.", ()),
        ("It can lead to cellulitis.", ()),
        ("Complications include cellulitis or sepsis.", ()),
        ("What is the difference between eczema and psoriasis?", ()),
        ("He is prone to keloids.", ()),
        ("She has small blisters on her lip, could somebody tell me more.", ()),
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
        ("There is no known cure for vitiligo", ("vitiligo",)),
        ("It is not unlikely that it is psoriasis", ("psoriasis",)),
        ("not impossible: scabies", ("scabies",)),
        ("no different from psoriasis", ("psoriasis",)),
        ("nothing but scabies", ("scabies",)),
        ("Do not forget scabies", ("scabies",)),
        ("I would not be surprised if it is scabies", ("scabies",)),
        ("Not all moles are round", ("melanocytic_nevus",)),
        ("It is hard to tell if this is or is not psoriasis", ("psoriasis",)),
        ("Psoriasis does not itch like that, only scabies does", ("scabies",)),
        ("Is there any possibility of psoriasis?", ("psoriasis",)),
        ("Need to think of syphilis", ("syphilis",)),
        ("Shouldn't we consider scabies?", ("scabies",)),
        ("Doesn't this look like scabies?", ("scabies",)),
        ("Why not vitiligo?", ("vitiligo",)),
        ("difficult to distinguish from psoriasis", ("psoriasis",)),
        ("none other than scabies", ("scabies",)),
        ("mycosis fungoides (MF)", ("mycosis_fungoides",)),
    ],
)
def test_a_negation_that_denies_nothing_leaves_the_disease_standing(text, nodes):
    assert TAXONOMY.asserted(text) == nodes


@pytest.mark.parametrize(
    ("text", "nodes"),
    [
        ("Psoriasis? How could it be psoriasis? Psoriasis is scaly.", ()),
        ("It is certainly not vitiligo, the edge of vitiligo is sharper.", ()),
        ("It is not tinea pedis. Tinea pedis is a fungal infection. Eczema.", ("eczema",)),
        ("It is not psoriasis. Later it may be psoriasis.", ("psoriasis",)),
        ("Psoriasis. There is no psoriasis on the knees.", ("psoriasis",)),
        ("Psoriasis or eczema? If it is not psoriasis, then eczema.", ("psoriasis", "eczema")),
    ],
)
def test_a_disease_that_the_text_refutes_is_not_read_from_what_it_explains_about_it(text, nodes):
    assert TAXONOMY.asserted(text) == nodes


@pytest.mark.parametrize(
    ("text", "nodes"),
    [
        ("it is seborhheic dermatitis", ("seborrheic_dermatitis",)),
        ("keratois pilaris on the arms", ("keratosis_pilaris",)),
        ("Psoraisis on both elbows", ("psoriasis",)),
        ("confusion after an injection into the infested section", ()),
        ("secreted by exocytosis", ()),
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
