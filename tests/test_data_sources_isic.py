"""Sources of the ISIC Archive and of hospitals that give to it: what their published files become."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import dataset_folders as folders
import pytest

from skinrl.data.entries import find_loader
from skinrl.data.record import SkinTone
from skinrl.errors import DataError
from skinrl.taxonomy import Taxonomy

Draw = Callable[..., str]


@pytest.mark.parametrize(
    ("name", "delimiter"),
    [
        ("HAM10000_metadata", ","),
        ("HAM10000_metadata", "\t"),
        ("HAM10000_metadata.csv", ","),
        ("HAM10000_metadata.tab", "\t"),
    ],
)
def test_ham10000_keeps_the_images_of_a_lesion_together_under_any_name_of_its_table(
    tmp_path: Path, draw: Draw, taxonomy: Taxonomy, name: str, delimiter: str
) -> None:
    records = find_loader("ham10000")(folders.ham10000(tmp_path, draw, name=name, delimiter=delimiter), taxonomy)
    assert [(r.id, r.group, r.group_kind) for r in records[:2]] == [
        ("ISIC_0027419", "HAM_0000118", "lesion"),
        ("ISIC_0025030", "HAM_0000118", "lesion"),
    ]
    assert [r.top_node for r in records] == ["benign_keratosis", "benign_keratosis", "melanoma", "melanocytic_nevus"]
    assert {r.modality for r in records} == {"dermoscopy"}
    assert records[2].slices == {"site": "ear", "confirmed_by": "histo"}  # its age is blank, its sex "unknown"
    assert records[3].slices["age"] == "40-59"


def test_isic2018_has_the_challenges_three_parts_and_the_lesions_of_the_first(
    tmp_path: Path, draw: Draw, taxonomy: Taxonomy
) -> None:
    records = find_loader("isic2018")(folders.isic2018(tmp_path, draw), taxonomy)
    assert Counter(r.split for r in records) == {"train": 3, "validation": 1, "test": 1}
    assert [r.group for r in records] == ["HAM_0000550", "HAM_0000550", "HAM_0003521", "ISIC_0034321", "ISIC_0034524"]
    assert [r.group_kind for r in records] == ["lesion"] * 3 + ["image"] * 2
    assert [r.raw_label for r in records] == ["NV", "NV", "MEL", "DF", "AKIEC"]
    assert records[-1].top_node == "precancerous_keratinocytic"


def test_a_part_that_is_absent_is_told_with_how_to_leave_it_out_and_one_part_alone_has_no_split(
    tmp_path: Path, draw: Draw, taxonomy: Taxonomy
) -> None:
    folders.isic2018(tmp_path, draw, parts=["Training"])
    load = find_loader("isic2018")
    with pytest.raises(DataError, match=r"ISIC2018_Task3_Validation_GroundTruth.csv is missing .*parts: \[train\]"):
        load(tmp_path, taxonomy)
    assert [r.split for r in load(tmp_path, taxonomy, parts=["train"])] == [None, None, None]
    with pytest.raises(DataError, match=r"isic2018: no part 'dev'; expected train, validation, test"):
        load(tmp_path, taxonomy, parts=["dev"])
    with pytest.raises(DataError, match="not published in parts"):
        find_loader("ham10000")(folders.ham10000(tmp_path / "ham", draw), taxonomy, parts=["train"])


def test_isic2019_takes_age_and_lesion_from_its_other_table_and_leaves_out_what_is_none_of_the_classes(
    tmp_path: Path, draw: Draw, taxonomy: Taxonomy
) -> None:
    records = find_loader("isic2019")(folders.isic2019(tmp_path, draw), taxonomy)
    assert [(r.id, r.top_node, r.split) for r in records] == [
        ("ISIC_0000017_downsampled", "melanocytic_nevus", "train"),
        ("ISIC_0053463", "squamous_cell_carcinoma", "train"),
        ("ISIC_0034321", "basal_cell_carcinoma", "test"),
    ]
    assert [(r.group, r.group_kind) for r in records[:2]] == [
        ("ISIC_0000017_downsampled", "image"),
        ("BCN_0001728", "lesion"),
    ]
    assert records[1].slices == {"age": "80+", "sex": "male", "site": "head/neck"}
    assert records.left_out == {"not a disease": 1}  # type: ignore[attr-defined]


def test_a_row_with_two_classes_or_without_its_metadata_is_told_with_its_place(
    tmp_path: Path, draw: Draw, taxonomy: Taxonomy
) -> None:
    truth = folders.isic2019(tmp_path, draw) / "ISIC_2019_Test_GroundTruth.csv"
    text = truth.read_text()
    truth.write_text(text.replace("ISIC_0034321,0.0", "ISIC_0034321,1.0"))
    with pytest.raises(DataError, match=r"Test_GroundTruth.csv:2: expected one 1 among .* found MEL 1.0"):
        find_loader("isic2019")(tmp_path, taxonomy)
    truth.write_text(text.replace("ISIC_0034321", "ISIC_9"))
    with pytest.raises(DataError, match=r"Test_Metadata.csv: has no row for 1 rows of .*: image ISIC_9"):
        find_loader("isic2019")(tmp_path, taxonomy, on_missing_image="skip")


def test_the_sixty_real_images_of_uda1(shared_data: Path, taxonomy: Taxonomy) -> None:
    records = find_loader("isic_uda1")(shared_data / "isic_uda1", taxonomy)
    assert Counter(r.top_node for r in records) == {"melanoma": 30, "melanocytic_nevus": 30}
    assert {r.group_kind for r in records} == {"image"}  # patients are unknown
    assert {r.slices["confirmed_by"] for r in records if r.top_node == "melanoma"} == {"histopathology"}
    assert {r.modality for r in records} == {"dermoscopy"}


def test_uda1_is_read_under_the_archives_present_names_too(tmp_path: Path, draw: Draw, taxonomy: Taxonomy) -> None:
    naevus, melanoma = find_loader("isic_uda1")(folders.isic_uda1(tmp_path, draw), taxonomy)
    assert (naevus.id, naevus.top_node, naevus.slices["site"]) == (
        "ISIC_0000017",
        "melanocytic_nevus",
        "posterior torso",
    )
    assert (melanoma.top_node, melanoma.slices["confirmed_by"]) == ("melanoma", "histopathology")
    (tmp_path / "metadata.csv").write_text("isic_id,age_approx,sex\nISIC_0000017,5,male\n")
    with pytest.raises(DataError, match=r"'diagnosis or diagnosis_3'; the columns are isic_id, age_approx, sex"):
        find_loader("isic_uda1")(tmp_path, taxonomy)


def test_bcn20000_is_dealt_out_by_lesion(tmp_path: Path, draw: Draw, taxonomy: Taxonomy) -> None:
    records = find_loader("bcn20000")(folders.bcn20000(tmp_path, draw), taxonomy)
    assert [(r.top_node, r.group, r.split) for r in records] == [
        ("melanoma", "BCN_0003884", None),
        ("melanoma", "BCN_0003884", None),
        ("melanocytic_nevus", "BCN_0000019", None),
    ]
    assert records[2].slices == {"sex": "female"}


def test_milk10k_makes_one_case_of_both_images_of_a_lesion(tmp_path: Path, draw: Draw, taxonomy: Taxonomy) -> None:
    load = find_loader("milk10k")
    bowen, melanoma = load(folders.milk10k(tmp_path, draw), taxonomy)
    assert [Path(path).stem for path in bowen.images] == ["ISIC_8149219", "ISIC_4671410"]  # clinical first
    assert (bowen.id, bowen.modality, bowen.group_kind) == ("IL_0000652", "clinical and dermoscopy", "lesion")
    assert (bowen.top_node, melanoma.top_node) == ("bowen_disease", "melanoma")
    assert bowen.skin_tone == SkinTone("apparent", "MILK10k 1", "the dataset's own class")
    assert melanoma.skin_tone is None
    assert bowen.slices == {"age": "60-79", "sex": "male", "site": "head_neck_face", "confirmed_by": "histopathology"}
    (clinical, _) = load(tmp_path, taxonomy, view="clinical")
    assert (clinical.modality, len(clinical.images)) == ("clinical", 1)
    with pytest.raises(DataError, match="view is 'derm'; expected both, clinical or dermoscopy"):
        load(tmp_path, taxonomy, view="derm")


def test_two_images_of_a_lesion_with_two_diagnoses_are_refused(tmp_path: Path, draw: Draw, taxonomy: Taxonomy) -> None:
    file = folders.milk10k(tmp_path, draw) / "MILK10k_Training_Supplement.csv"
    file.write_text(file.read_text().replace("ISIC_5371928,Melanoma Invasive", "ISIC_5371928,Nevus"))
    with pytest.raises(DataError, match=r"Metadata.csv:5: the rows of case 'IL_0003176' disagree in label"):
        find_loader("milk10k")(tmp_path, taxonomy)
    file.write_text(file.read_text().replace("ISIC_5371928", "ISIC_3904045"))
    with pytest.raises(DataError, match=r"Supplement.csv:3: isic_id 'ISIC_3904045' is empty or stands twice"):
        find_loader("milk10k")(tmp_path, taxonomy)


def test_derm12345_keeps_its_split_and_refuses_a_patient_in_both_parts(
    tmp_path: Path, draw: Draw, taxonomy: Taxonomy
) -> None:
    from skinrl.data.loading import load_records

    records = find_loader("derm12345")(folders.derm12345(tmp_path / "a", draw), taxonomy)
    assert [(r.top_node, r.split, r.group_kind) for r in records] == [
        ("acral_compound_nevus", "train", "image"),
        ("lentigo_maligna", "train", "image"),
        ("acral_compound_nevus", "test", "image"),
    ]
    leaking = folders.derm12345(tmp_path / "b", draw, patients=("p1", "p2", "p1"))
    with pytest.raises(
        DataError, match=r"1 patients or lesions stand in two splits: patient p1 of derm12345 \(test and"
    ):
        load_records([{"source": "derm12345", "path": str(leaking)}], taxonomy, seed=0)
    anew = find_loader("derm12345")(leaking, taxonomy, official_split=False)
    assert [(r.split, r.group) for r in anew] == [(None, "p1"), (None, "p2"), (None, "p1")]
