"""Sources of clinical photographs, of concepts and of questions: what their published files become."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import dataset_folders as folders
import pytest

from skinrl.data.entries import find_loader
from skinrl.data.questions import Pool, QuestionSpec, ask, random_for
from skinrl.data.record import Record, SkinTone
from skinrl.data.sources import skincon
from skinrl.errors import DataError
from skinrl.report import DiagnosticReport
from skinrl.taxonomy import Taxonomy
from skinrl.taxonomy.answer import read_answer

Draw = Callable[..., str]


def test_derm7pt_has_two_images_a_case_the_checklist_and_the_official_split(
    tmp_path: Path, draw: Draw, taxonomy: Taxonomy
) -> None:
    load = find_loader("derm7pt")
    bcc, naevus, in_situ = load(folders.derm7pt(tmp_path, draw), taxonomy)
    assert [Path(path).name for path in bcc.images] == ["NEL025.JPG", "Nel026.jpg"]
    assert [r.split for r in (bcc, naevus, in_situ)] == ["train", "test", "validation"]
    assert [r.top_node for r in (bcc, naevus, in_situ)] == [
        "basal_cell_carcinoma",
        "dysplastic_nevus",
        "melanoma_in_situ",
    ]
    assert (bcc.modality, bcc.group_kind) == ("clinical and dermoscopy", "lesion")
    assert bcc.concepts["vascular_structures"] == ("arborizing",)
    assert in_situ.concepts["blue_whitish_veil"] == ("present",)
    assert naevus.slices == {"sex": "female", "site": "back", "elevation": "palpable"}
    (clinical, *_) = load(tmp_path / "release_v0", taxonomy, view="clinical")  # the inner folder will do as well
    assert ([Path(path).name for path in clinical.images], clinical.modality) == (["NEL025.JPG"], "clinical")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("test_indexes.csv", "indexes\n0\n", r"test_indexes.csv:2: row 0 of meta.csv also stands in train"),
        ("test_indexes.csv", "indexes\n9\n", r"test_indexes.csv:2: index '9'; expected 0 to 2"),
        ("test_indexes.csv", "row\n1\n", r"test_indexes.csv: no column 'indexes'; the columns are row"),
        (
            "valid_indexes.csv",
            "indexes\n",
            r"1 rows of meta.csv stand in none of train_indexes.csv, valid_indexes.csv",
        ),
        ("meta.csv", "case_num,diagnosis\n1,melanoma\n", r"meta.csv: no column 'pigment_network', 'streaks'"),
    ],
)
def test_a_split_of_derm7pt_that_leaks_or_misses_a_case_is_refused(
    tmp_path: Path, draw: Draw, taxonomy: Taxonomy, name: str, text: str, message: str
) -> None:
    folders.derm7pt(tmp_path, draw)
    (tmp_path / "release_v0" / "meta" / name).write_text(text)
    with pytest.raises(DataError, match=message):
        find_loader("derm7pt")(tmp_path, taxonomy)


def test_ddi_gives_skin_types_in_pairs(tmp_path: Path, draw: Draw, taxonomy: Taxonomy) -> None:
    records = find_loader("ddi")(folders.ddi(tmp_path, draw), taxonomy)
    assert [r.skin_tone.value if r.skin_tone else None for r in records] == ["5-6", "1-2", "3-4"]
    assert [r.top_node for r in records] == ["melanoma_in_situ", "melanocytic_nevus", "irritated_seborrheic_keratosis"]
    assert {r.group_kind for r in records} == {"image"}  # which images are of one patient is not published


def test_fitzpatrick17k_keeps_its_two_raters_apart_and_drops_what_it_calls_wrongly_labelled(
    tmp_path: Path, draw: Draw, taxonomy: Taxonomy
) -> None:
    records = find_loader("fitzpatrick17k")(folders.fitzpatrick17k(tmp_path, draw), taxonomy)
    assert [r.top_node for r in records] == ["drug_induced_pigmentation", "dermatofibroma", "melanoma"]
    assert records[1].skin_tone == SkinTone("fitzpatrick", "2", "Scale AI")
    assert records[1].further_tones == (SkinTone("fitzpatrick", "3", "Centaur Labs"),)
    assert records[2].skin_tone is None  # unrated by the one does not become the other's rating
    assert records[2].tones == (SkinTone("fitzpatrick", "1", "Centaur Labs"),)
    assert records.left_out == {"left out by the source's table": 1}  # type: ignore[attr-defined]
    assert Record.from_dict(json.loads(json.dumps(records[1].to_dict()))) == records[1]


def test_skincon_gives_concepts_to_the_images_of_both_datasets(tmp_path: Path, draw: Draw, taxonomy: Taxonomy) -> None:
    load = find_loader("skincon")
    records = load(folders.skincon(tmp_path, draw), taxonomy)
    assert [(r.top_node, r.concepts) for r in records] == [
        ("dermatofibroma", {"skincon": ("papule", "dome-shaped", "brown")}),
        ("melanoma", {"skincon": ("plaque", "black")}),
        ("melanoma_in_situ", {"skincon": ("plaque", "purpura")}),
        ("melanocytic_nevus", {"skincon": ("macule",)}),
    ]
    assert {r.source for r in records} == {"skincon"}
    assert [r.skin_tone.value for r in records if r.skin_tone] == ["2", "5-6", "1-2"]
    assert records.left_out == {"left out by the source's table": 1}  # type: ignore[attr-defined]
    assert [r.top_node for r in load(tmp_path, taxonomy, of=["ddi"])] == ["melanoma_in_situ", "melanocytic_nevus"]
    assert len(skincon.WORDS) == len(set(skincon.WORDS)) == 48
    (tmp_path / "annotations_ddi.csv").unlink()
    (tmp_path / "annotations_fitzpatrick17k.csv").unlink()
    with pytest.raises(DataError, match=r"has neither annotations_fitzpatrick17k.csv nor annotations_ddi.csv"):
        load(tmp_path, taxonomy)


def test_dermnet_is_labelled_by_its_folders_or_by_the_names_of_its_files(
    tmp_path: Path, draw: Draw, taxonomy: Taxonomy
) -> None:
    load = find_loader("dermnet")
    records = load(folders.dermnet(tmp_path, draw), taxonomy)
    assert {(r.top_node, r.split) for r in records} == {("acneiform", "train"), ("acneiform", "test")}
    assert records.left_out == {"not a disease": 1}  # type: ignore[attr-defined]  # the folder "Systemic Disease"
    named = load(tmp_path, taxonomy, names="files")
    assert {Path(r.id).name: r.top_node for r in named} == {
        "acne-cystic-12.jpg": "nodulocystic_acne",
        "07RosaceaFulFAce.jpg": "rosacea",
        "milia-2.jpg": "milia",
        "vitiligo-8.jpg": "vitiligo",
    }
    with pytest.raises(DataError, match="names is 'file'; expected folders or files"):
        load(tmp_path, taxonomy, names="file")


def scin_with_images(shared_data: Path, root: Path, draw: Draw, cases: int) -> Path:
    """The real tables, and drawn images for the first cases that have a label."""
    for name in ("scin_cases.csv", "scin_labels.csv"):
        (root / name).symlink_to(shared_data / "scin" / name)
    with (root / "scin_cases.csv").open() as of_cases, (root / "scin_labels.csv").open() as of_labels:
        labels = {row["case_id"]: row for row in csv.DictReader(of_labels)}
        for row in csv.DictReader(of_cases):
            if labels[row["case_id"]]["weighted_skin_condition_label"] != "{}" and cases:
                cases -= 1
                for name in ("image_1_path", "image_2_path", "image_3_path"):
                    if row[name]:
                        draw(root / row[name], cases)
    return root


def test_scin_from_its_real_tables_has_weighted_differentials_and_tones_that_are_never_merged(
    tmp_path: Path, draw: Draw, shared_data: Path, taxonomy: Taxonomy
) -> None:
    root = scin_with_images(shared_data, tmp_path, draw, 2)
    first, second = records = find_loader("scin")(root, taxonomy, on_missing_image="skip")
    # {'Inflicted skin lesions': 0.41, 'Eczema': 0.41, 'Irritant Contact Dermatitis': 0.18}; the first is two nodes
    assert first.id == "-1000600354148496558"
    assert dict(first.labels) == pytest.approx(
        {
            "excoriation_disorder": 0.205,
            "factitial_dermatitis": 0.205,
            "eczema": 0.41,
            "irritant_contact_dermatitis": 0.18,
        }
    )
    assert first.tones == (
        SkinTone("fitzpatrick", "2", "dermatologists"),
        SkinTone("monk", "1", "raters in the US"),
        SkinTone("monk", "2", "raters in India"),
    )
    assert first.slices == {"site": "foot top or side"}
    assert dict(second.labels) == pytest.approx(
        {
            "prurigo_nodularis": 0.41,
            "squamous_cell_carcinoma": 0.205,
            "squamous_cell_carcinoma_in_situ": 0.205,
            "actinic_keratosis": 0.18,
        }
    )
    # 5,033 cases: 1,972 have no label, 3 name nothing but what is no disease, and the images of the others are absent.
    assert sum(records.left_out.values()) == 5031  # type: ignore[attr-defined]
    assert records.warnings == ("scin: 2 of the 10,407 images that its table names are there",)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("ratings", "tone"),
    [
        ("FST2", "2"),
        ("FST2 FST3", None),
        ("FST4 FST4", "4"),
        ("FST2 FST5 FST4", "4"),
        ("FST2 FST2 FST5", "2"),
        ("NONE_IDENTIFIED FST3 FST3", "3"),
        ("NONE_IDENTIFIED FST3 FST5", None),  # two gave a type, and they differ
        ("", None),
    ],
)
def test_what_several_dermatologists_say_of_a_skin_type_is_the_middle_one_and_of_two_the_common_one(
    ratings: str, tone: str | None
) -> None:
    from skinrl.data.sources.scin import dermatologists

    given = ratings.split() + [""] * 3
    row = {f"dermatologist_fitzpatrick_skin_type_label_{n}": given[n - 1] for n in (1, 2, 3)}
    found = dermatologists(row)
    assert (found.value if found else None) == tone


def test_a_case_of_scin_may_have_three_images_and_a_self_reported_tone(
    tmp_path: Path, draw: Draw, shared_data: Path, taxonomy: Taxonomy
) -> None:
    root = scin_with_images(shared_data, tmp_path, draw, 60)
    records = find_loader("scin")(root, taxonomy, on_missing_image="skip")
    assert Counter(len(r.images) for r in records)[3] > 5
    sources = Counter((t.scale, t.source) for r in records for t in r.further_tones)
    assert sources["fitzpatrick", "self-reported"] > 5
    assert {r.skin_tone.source for r in records if r.skin_tone} == {"dermatologists"}
    assert {"18-29", "30-39"} <= {r.slices.get("age") for r in records}
    assert {r.slices["sex"] for r in records if "sex" in r.slices} == {"male", "female"}


@pytest.mark.parametrize("name", ["derm7pt", "dermnet"])
def test_an_official_split_can_be_left_aside(name: str, tmp_path: Path, draw: Draw, taxonomy: Taxonomy) -> None:
    root = getattr(folders, name)(tmp_path, draw)
    assert all(record.split for record in find_loader(name)(root, taxonomy))
    assert {record.split for record in find_loader(name)(root, taxonomy, official_split=False)} == {None}


def test_derm1m_reads_the_label_alone_and_warns_that_its_layout_is_unverified(
    tmp_path: Path, draw: Draw, taxonomy: Taxonomy
) -> None:
    records = find_loader("derm1m")(folders.derm1m(tmp_path, draw), taxonomy, parts=["train"])
    assert [(r.id, r.top_node) for r in records] == [
        ("IIYI/66_1.png", "psoriasis"),
        ("youtube/x_1.jpg", "irritated_seborrheic_keratosis"),
        ("public/tinea-groin-120.jpg", "candidiasis"),
    ]
    assert dict(records[2].labels) == {"candidiasis": 0.5, "tinea": 0.5}  # two labels in one cell
    assert records.left_out == {"not a disease": 1}  # type: ignore[attr-defined]
    assert records[0].slices == {"age": "80+", "sex": "female", "origin": "forum"}
    assert records[1].slices == {"origin": "edu"}
    (unverified,) = records.warnings  # type: ignore[attr-defined]
    assert "derm1m: the layout of this dataset is unverified" in unverified


def test_omnimedvqa_keeps_the_options_of_the_dataset_without_the_full_stop_that_tells_the_answer(
    tmp_path: Path, draw: Draw, taxonomy: Taxonomy
) -> None:
    load = find_loader("omnimedvqa")
    keratosis, naevus, again = records = load(folders.omnimedvqa(tmp_path, draw), taxonomy)
    assert keratosis.options == ("Eczema", "Rash", "Actinic Keratosis", "Psoriasis")
    assert keratosis.option_nodes == ("eczema", "", "actinic_keratosis", "psoriasis")  # a rash is no disease
    assert naevus.option_nodes == ("melanocytic_nevus", "urticaria", "acne", "rosacea")
    assert (naevus.id, again.id) == ("ISIC2019_00001", "ISIC2019_00004")  # two questions about one image
    assert (naevus.group, naevus.split) == (again.group, "test")
    assert records.left_out == {"not a disease": 1, "left out by the source's table": 1}  # type: ignore[attr-defined]
    question = ask(keratosis, taxonomy, QuestionSpec("options"), random_for(keratosis, 0), Pool((), ()))
    assert question.options == keratosis.options
    assert "C. Actinic Keratosis" in question.text
    report = DiagnosticReport("Actinic Keratosis", reasoning="scale").render(option="C")
    answer = read_answer(report, taxonomy, options=question.options, option_nodes=question.option_nodes)
    assert (answer.outcome, answer.node) == ("ok", "actinic_keratosis")


def test_a_set_of_omnimedvqa_that_is_absent_or_broken_is_told(tmp_path: Path, draw: Draw, taxonomy: Taxonomy) -> None:
    load = find_loader("omnimedvqa")
    with pytest.raises(DataError, match=r"found no set. Expected the folder that holds QA_information and Images"):
        load(tmp_path, taxonomy)
    folders.omnimedvqa(tmp_path, draw)
    with pytest.raises(DataError, match=r"no ISIC2018.json under .* found ISIC2019"):
        load(tmp_path, taxonomy, sets=["ISIC2019", "ISIC2018"])
    with pytest.raises(DataError, match="no set 'ISIC2017'; expected Fitzpatrick 17k, ISBI2016"):
        load(tmp_path, taxonomy, sets=["ISIC2017"])
    file = tmp_path / "QA_information" / "Open-access" / "ISIC2019.json"
    questions = json.loads(file.read_text())
    questions[1]["gt_answer"], questions[4]["gt_answer"] = "Melanocitic nevus", "Harmless spot"
    file.write_text(json.dumps(questions))
    with pytest.raises(
        DataError, match=r"2 labels are not known(.|\n)*'Harmless spot' \(1\)(.|\n)*'Melanocitic nevus' \(1\)"
    ):
        load(tmp_path, taxonomy)
    file.write_text('[{"question_id": 1}]')
    with pytest.raises(DataError, match="question 0 has no question_type, gt_answer, image_path"):
        load(tmp_path, taxonomy)
    file.write_text('{"a": 1}')
    with pytest.raises(DataError, match="is dict; expected a list of questions"):
        load(tmp_path, taxonomy)
