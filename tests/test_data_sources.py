"""Sources: the published table of PAD-UFES-20, and folders of one's own."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from skinrl.data.entries import find_loader, source_names
from skinrl.data.record import Record, SkinTone
from skinrl.data.sources import folder
from skinrl.data.sources.cells import age_band, tone
from skinrl.data.sources.table import SourceTable, load_table
from skinrl.errors import DataError, PluginError, TaxonomyError
from skinrl.taxonomy import Taxonomy

Draw = Callable[..., str]
LABELS = {"MEL": "melanoma", "NEV": "melanocytic_nevus", "BCC": "basal_cell_carcinoma"}


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


# --- PAD-UFES-20 -----------------------------------------------------------------------------------------------


def test_the_published_table_gives_the_175_photographs_that_are_there(shared_data: Path, taxonomy: Taxonomy) -> None:
    load = find_loader("pad_ufes_20")
    records = load(shared_data / "pad_ufes_20", taxonomy, on_missing_image="skip")
    assert Counter(r.raw_label for r in records) == {"ACK": 30, "BCC": 30, "NEV": 30, "SCC": 30, "SEK": 30, "MEL": 25}
    assert len({r.group for r in records}) == 164
    assert {r.group_kind for r in records} == {"patient"}
    assert records.left_out == {"image missing": 2298 - 175}  # type: ignore[attr-defined]
    assert {r.nodes for r in records if r.raw_label == "SEK"} == {("seborrheic_keratosis",)}
    assert all(Path(r.images[0]).is_file() for r in records)


def test_skin_tone_is_known_for_every_biopsied_cancer_and_for_few_naevi(shared_data: Path, taxonomy: Taxonomy) -> None:
    # Why these fields may never reach a prompt: their absence tells the diagnosis.
    records = find_loader("pad_ufes_20")(shared_data / "pad_ufes_20", taxonomy, on_missing_image="skip")
    unknown = Counter(r.raw_label for r in records if r.skin_tone is None)
    assert unknown["BCC"] == unknown["SCC"] == unknown["MEL"] == 0
    assert unknown["NEV"] > 15
    assert {r.skin_tone.scale for r in records if r.skin_tone} == {"fitzpatrick"}
    one = next(r for r in records if r.id == "PAT_230_1007_645")
    assert one.skin_tone == SkinTone("fitzpatrick", "2", "recorded")
    assert one.slices == {"age": "60-79", "sex": "female", "site": "forearm", "biopsied": "false"}


def test_absent_photographs_stop_the_run_unless_the_recipe_allows_it(shared_data: Path, taxonomy: Taxonomy) -> None:
    with pytest.raises(DataError, match=r"2123 images that the table names are missing .* on_missing_image: skip"):
        find_loader("pad_ufes_20")(shared_data / "pad_ufes_20", taxonomy)


@pytest.mark.parametrize("place", ["images", "imgs_part_1", "imgs_part_2/imgs_part_2", "images/imgs_part_3", "."])
def test_the_images_are_found_wherever_the_archive_unpacked_them(
    tmp_path: Path, draw: Draw, taxonomy: Taxonomy, place: str
) -> None:
    columns = ("patient_id", "lesion_id", "fitspatrick", "age", "gender", "region", "biopsed")
    row = dict.fromkeys(columns, "") | {"patient_id": "PAT_8", "diagnostic": "MEL", "img_id": "PAT_8_15_820.png"}
    write_csv(tmp_path / "metadata.csv", [row])
    path = draw(tmp_path / place / "PAT_8_15_820.jpg")
    (record,) = find_loader("pad_ufes_20")(tmp_path, taxonomy)
    assert Path(record.images[0]).resolve() == Path(path)
    assert (record.skin_tone, record.slices) == (None, {})


# --- a table of one's own --------------------------------------------------------------------------------------


def clinic(root: Path, draw: Draw) -> list[dict[str, str]]:
    rows = [
        {"photo": "a.jpg", "dx": "MEL", "patient_no": "1", "fold": "train", "skin": "2.0", "site": "arm"},
        {"photo": "b.png", "dx": "NEV", "patient_no": "2", "fold": "val", "skin": "", "site": "UNK"},
        {"photo": "sub/c", "dx": "BCC", "patient_no": "", "fold": "test", "skin": "6", "site": "leg"},
    ]
    draw(root / "images" / "a.jpg", 1)
    draw(root / "images" / "b.png", 2)
    draw(root / "images" / "sub" / "c.webp", 3)
    write_csv(root / "cases.csv", rows)
    return rows


COLUMNS = {"image": "photo", "label": "dx", "patient": "patient_no", "split": "fold", "skin_tone": "skin"}


def test_a_table_with_columns_named_by_the_recipe(tmp_path: Path, draw: Draw, taxonomy: Taxonomy) -> None:
    clinic(tmp_path / "clinic", draw)
    records = folder.load(tmp_path / "clinic", taxonomy, labels=LABELS, columns=COLUMNS, slices=["site"])
    assert [(r.id, r.top_node, r.split, r.source) for r in records] == [
        ("a", "melanoma", "train", "clinic"),
        ("b", "melanocytic_nevus", "validation", "clinic"),
        ("sub/c", "basal_cell_carcinoma", "test", "clinic"),
    ]
    assert [(r.group, r.group_kind) for r in records] == [("1", "patient"), ("2", "patient"), ("sub/c", "image")]
    assert [r.skin_tone.value if r.skin_tone else None for r in records] == ["2", None, "6"]
    assert [r.slices for r in records] == [{"site": "arm"}, {}, {"site": "leg"}]


def test_a_label_map_of_ones_own_from_a_file(tmp_path: Path, draw: Draw, taxonomy: Taxonomy) -> None:
    clinic(tmp_path, draw)
    own = tmp_path / "labels.yaml"
    own.write_text(
        "labels:\n  MEL: melanoma\n  BCC: {basal_cell_carcinoma: 0.8, melanoma: 0.2}\nnot_a_disease: [NEV]\n"
    )
    records = folder.load(tmp_path, taxonomy, labels=own, columns=COLUMNS)
    assert [r.labels for r in records] == [
        (("melanoma", 1.0),),
        (("basal_cell_carcinoma", 0.8), ("melanoma", 0.2)),
    ]
    assert records.left_out == {"not a disease": 1}


def test_labels_that_no_map_knows_are_told_all_at_once_with_the_nearest_nodes(
    tmp_path: Path, draw: Draw, taxonomy: Taxonomy
) -> None:
    rows = [{"image": f"{n}.png", "label": label} for n, label in enumerate(["MEL", "melanom", "baso", "melanom", ""])]
    for row in rows:
        draw(tmp_path / row["image"])
    write_csv(tmp_path / "t.csv", rows)
    with pytest.raises(DataError) as caught:
        folder.load(tmp_path, taxonomy, labels={"MEL": "melanoma"})
    text = str(caught.value)
    assert "3 labels are not known" in text
    assert "'melanom' (2): nearest melanoma" in text
    assert "'baso' (1)" in text
    assert "'' (1)" in text


def test_without_a_map_exact_names_are_read_and_near_misses_are_not(
    tmp_path: Path, draw: Draw, taxonomy: Taxonomy
) -> None:
    draw(tmp_path / "a.png")
    write_csv(tmp_path / "t.csv", [{"image": "a.png", "label": "Basal Cell Carcinoma"}])
    assert folder.load(tmp_path, taxonomy)[0].top_node == "basal_cell_carcinoma"
    write_csv(tmp_path / "t.csv", [{"image": "a.png", "label": "basal cell carcinomma"}])
    with pytest.raises(DataError, match="nearest basal_cell_carcinoma"):
        folder.load(tmp_path, taxonomy)


def test_a_label_map_that_names_no_node_is_refused(tmp_path: Path, draw: Draw, taxonomy: Taxonomy) -> None:
    clinic(tmp_path, draw)
    with pytest.raises(DataError, match=r"'MEL' names the unknown node 'melanom'; nearest: melanoma"):
        folder.load(tmp_path, taxonomy, labels={"MEL": "melanom"}, columns=COLUMNS)
    with pytest.raises(DataError, match=r"sum to 0\.9"):
        folder.load(tmp_path, taxonomy, labels={"MEL": {"melanoma": 0.9}}, columns=COLUMNS)
    with pytest.raises((TaxonomyError, DataError), match="nowhere"):
        folder.load(tmp_path, taxonomy, labels="nowhere.yaml", columns=COLUMNS)


def test_several_images_and_a_weighted_differential_from_jsonl(tmp_path: Path, draw: Draw, taxonomy: Taxonomy) -> None:
    draw(tmp_path / "a1.png", 1), draw(tmp_path / "a2.png", 2), draw(tmp_path / "b.png", 3)
    rows = [
        {"image": ["a1.png", "a2.png"], "label": {"MEL": 2, "NEV": 1, "nothing": 1}, "words": ["brown", "black"]},
        {"image": "b.png", "label": ["MEL", "NEV"]},
    ]
    (tmp_path / "t.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    labels = {"labels": LABELS, "not_a_disease": ["nothing"]}
    first, second = folder.load(tmp_path, taxonomy, labels=labels, concepts={"colour": "words"})
    assert [Path(p).name for p in first.images] == ["a1.png", "a2.png"]
    assert dict(first.labels) == pytest.approx({"melanoma": 2 / 3, "melanocytic_nevus": 1 / 3})
    assert dict(second.labels) == {"melanoma": 0.5, "melanocytic_nevus": 0.5}
    assert (first.concepts, second.concepts) == ({"colour": ("brown", "black")}, {})


def test_rows_of_one_case_become_one_record(tmp_path: Path, draw: Draw, taxonomy: Taxonomy) -> None:
    rows = [{"image": f"{n}.png", "label": "MEL" if n < 2 else "NEV", "case": f"c{n // 2}"} for n in range(4)]
    for n in range(3):
        draw(tmp_path / f"{n}.png", n)
    write_csv(tmp_path / "t.csv", rows)
    options: dict[str, Any] = {"labels": LABELS, "columns": {"case": "case"}}
    records = folder.load(tmp_path, taxonomy, on_missing_image="skip", **options)
    assert [(r.id, len(r.images)) for r in records] == [("c0", 2), ("c1", 1)]
    write_csv(tmp_path / "t.csv", [rows[0], {**rows[1], "label": "NEV"}])
    with pytest.raises(DataError, match=r"t.csv:3: the rows of case 'c0' disagree"):
        folder.load(tmp_path, taxonomy, **options)


def test_a_table_for_every_split(tmp_path: Path, draw: Draw, taxonomy: Taxonomy) -> None:
    for split in ("train", "test"):
        draw(tmp_path / f"{split}.png")
        write_csv(tmp_path / f"{split}.csv", [{"image": f"{split}.png", "label": "MEL"}])
    records = folder.load(tmp_path, taxonomy, labels=LABELS, table={"train": "train.csv", "test": "test.csv"})
    assert [(r.id, r.split) for r in records] == [("train", "train"), ("test", "test")]


@pytest.mark.parametrize("by_split", [False, True])
def test_one_folder_per_class(tmp_path: Path, draw: Draw, taxonomy: Taxonomy, by_split: bool) -> None:
    for n, name in enumerate(["MEL", "NEV"]):
        for m in range(2):
            split = ("train", "valid")[m] if by_split else ""
            draw(tmp_path / split / name / f"{m}.png", 10 * n + m)
    records = folder.load(tmp_path, taxonomy, labels=LABELS)
    assert Counter(r.top_node for r in records) == {"melanoma": 2, "melanocytic_nevus": 2}
    assert {r.split for r in records} == ({"train", "validation"} if by_split else {None})
    assert {r.group_kind for r in records} == {"image"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"columns": {"image": "phto", "label": "dx"}},
            r"no column 'phto' \(did you mean 'photo'\?\); the columns are",
        ),
        ({"columns": {"img": "photo"}}, r"unknown key columns.img; expected image, label.*did you mean image"),
        ({"table": "casse.csv"}, r"casse.csv is missing; its folder has cases.csv"),
        ({"table": "cases.xlsx"}, r"expected a table that ends in"),
        ({"modality": "xray"}, r"modality 'xray'; expected one of clinical"),
        ({"on_missing_image": "ignore"}, r"'ignore'; expected error or skip"),
    ],
)
def test_a_wrong_setting_is_told_with_what_was_expected(
    tmp_path: Path, draw: Draw, taxonomy: Taxonomy, change: dict[str, Any], message: str
) -> None:
    clinic(tmp_path, draw)
    with pytest.raises(DataError, match=message):
        folder.load(tmp_path, taxonomy, **{"labels": LABELS, "columns": COLUMNS, **change})


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("t.csv", "image,label\na.png\n", r"t.csv:2: 1 cells; expected 2"),
        ("t.csv", "image,image\na,b\n", r"t.csv:1: a column stands twice"),
        ("t.csv", "", r"is empty"),
        ("t.csv", "image,label\n", r"its table has no row"),
        ("t.csv", "image,label\n,MEL\n", r"t.csv:2: names no image"),
        ("t.jsonl", '{"image": "a.png"\n', r"t.jsonl:1: is not JSON"),
        ("t.jsonl", "[1]\n", r"t.jsonl:1: is list; expected one JSON object"),
        ("t.csv", "image,label\na.png,MEL\na.png,MEL\n", r"t.csv:3: id 'a' stands twice"),
    ],
)
def test_a_broken_table_is_told_with_its_line(
    tmp_path: Path, draw: Draw, taxonomy: Taxonomy, name: str, text: str, message: str
) -> None:
    draw(tmp_path / "a.png")
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        folder.load(tmp_path, taxonomy, labels=LABELS)


def test_a_table_from_a_spreadsheet_with_its_byte_order_mark(tmp_path: Path, draw: Draw, taxonomy: Taxonomy) -> None:
    draw(tmp_path / "a.png")
    (tmp_path / "t.csv").write_text("image,label\na.png,MEL\n", encoding="utf-8-sig")
    assert len(folder.load(tmp_path, taxonomy, labels=LABELS)) == 1


def test_a_missing_folder_and_two_tables_are_told(tmp_path: Path, draw: Draw, taxonomy: Taxonomy) -> None:
    with pytest.raises(DataError, match="no folder"):
        folder.load(tmp_path / "gone", taxonomy)
    clinic(tmp_path, draw)
    write_csv(tmp_path / "more.csv", [{"a": 1}])
    with pytest.raises(DataError, match=r"several tables \(cases.csv, more.csv\)"):
        folder.load(tmp_path, taxonomy)


# --- a new dataset is a small table ----------------------------------------------------------------------------


def test_what_a_table_cannot_say_a_function_of_the_row_does(tmp_path: Path, draw: Draw, taxonomy: Taxonomy) -> None:
    def one_hot(row: Mapping[str, Any]) -> str:
        return next(name for name in LABELS if float(row[name]) == 1)

    source = SourceTable(
        name="isic_like",
        table="truth.csv",
        image="{image}.jpg",
        label=one_hot,
        lesion="lesion",
        modality=lambda row: "dermoscopy" if row["kind"] == "d" else "clinical",
        skin_tone=tone("monk", "mst"),
        slices={"age": age_band("age")},
        keep=lambda row: row["kind"] != "h",
    )
    rows = [
        {
            "image": "x1",
            "MEL": "1.0",
            "NEV": "0.0",
            "BCC": "0.0",
            "lesion": "l1",
            "kind": "d",
            "mst": "9",
            "age": "81",
        },
        {"image": "x2", "MEL": "0.0", "NEV": "1.0", "BCC": "0.0", "lesion": "", "kind": "c", "mst": "", "age": "40.0"},
        {"image": "x3", "MEL": "0.0", "NEV": "1.0", "BCC": "0.0", "lesion": "", "kind": "h", "mst": "", "age": "nan"},
    ]
    write_csv(tmp_path / "truth.csv", rows)
    draw(tmp_path / "images" / "x1.jpg"), draw(tmp_path / "images" / "x2.jpg")
    first, second = records = load_table(source, tmp_path, taxonomy, labels=LABELS)
    assert (first.modality, second.modality) == ("dermoscopy", "clinical")
    assert (first.group, first.group_kind, first.skin_tone) == ("l1", "lesion", SkinTone("monk", "9"))
    assert [r.slices for r in records] == [{"age": "80+"}, {"age": "40-59"}]
    assert records.left_out == {"left out by the source's table": 1}


def test_a_skin_tone_off_the_scale_is_told_with_its_line(tmp_path: Path, draw: Draw, taxonomy: Taxonomy) -> None:
    draw(tmp_path / "a.png")
    write_csv(tmp_path / "t.csv", [{"image": "a.png", "label": "MEL", "fst": "9"}])
    with pytest.raises(DataError, match=r"t.csv:2: skin tone value '9' on the fitzpatrick scale"):
        folder.load(tmp_path, taxonomy, labels=LABELS, columns={"skin_tone": "fst"})


def test_sources_are_named_and_a_misspelt_one_is_told_the_nearest() -> None:
    assert {"pad_ufes_20", "folder", "phantom"} <= set(source_names())
    with pytest.raises(DataError, match=r"unknown source 'pad_ufes20'; did you mean pad_ufes_20"):
        find_loader("pad_ufes20")
    with pytest.raises(PluginError):
        find_loader("no.such.module:load")


def test_a_loader_of_ones_own_by_its_file(tmp_path: Path) -> None:
    (tmp_path / "own_source_for_a_test.py").write_text(
        "from skinrl.data.record import Record\n"
        "def load(path, taxonomy):\n"
        "    return [Record('x', ('x.png',), 'clinical', 'own', (('melanoma', 1.0),))]\n"
    )
    (record,) = find_loader("./own_source_for_a_test.py:load", tmp_path)(tmp_path, None)
    assert isinstance(record, Record)
