"""What all sources share: joined tables, other names of a file, published counts, where a layout is known from."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import dataset_folders as folders
import pytest
from typer.testing import CliRunner

from skinrl.cli.app import app
from skinrl.data.entries import ELSEWHERE, source_names
from skinrl.data.inspect import inspect_data
from skinrl.data.loading import load_records
from skinrl.data.record import Record, SkinTone
from skinrl.data.sources.cells import first_of, if_there, literal, one_hot, tone
from skinrl.data.sources.rows import Join, by_split, main_files, names_of
from skinrl.data.sources.table import LAYOUTS, SourceTable, load_table
from skinrl.errors import DataError
from skinrl.taxonomy import Taxonomy, load_label_map

Draw = Callable[..., str]
PUBLISHED = [name for name in source_names() if name not in ("folder", *ELSEWHERE)]
NAMED = (
    "HAM10000 ISIC2018 ISIC2019 ISIC_UDA1 BCN20000 MILK10k DERM12345 derm7pt DDI Fitzpatrick17k DermNet SCIN Derm1M "
    "OmniMedVQA SkinCon PAD_UFES_20"
)


def described(name: str) -> SourceTable:
    found = importlib.import_module(f"skinrl.data.sources.{name}").SOURCE
    assert isinstance(found, SourceTable)
    return found


# --- all of them -----------------------------------------------------------------------------------------------


def test_every_dataset_has_a_source() -> None:
    assert set(PUBLISHED) == set(NAMED.lower().split())


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_source_says_where_its_layout_was_taken_from_and_has_a_label_map(name: str, taxonomy: Taxonomy) -> None:
    source = described(name)
    assert source.layout in LAYOUTS
    assert len(source.layout_from) > 20
    assert load_label_map(str(source.labels), taxonomy)


@pytest.mark.parametrize("name", [name for name in PUBLISHED if name not in ("scin", "pad_ufes_20")])
def test_every_source_loads_the_folder_that_its_documentation_describes_and_inspect_takes_its_name(
    name: str, tmp_path: Path, draw: Draw, taxonomy: Taxonomy
) -> None:
    root = getattr(folders, name)(tmp_path, draw)
    kwargs = {"parts": ["train"]} if name == "derm1m" else {}
    # The rows of a fixture are few: every class stays in one split, and an official one is kept.
    data = load_records(
        [{"source": name, "path": str(root), "kwargs": kwargs}], taxonomy, seed=0, fractions={"train": 1}
    )
    assert data.records
    assert data.counts[name]["records"] == len(data.records)
    found = inspect_data(root, taxonomy, source=name)
    assert found.source == name
    assert found.layout.startswith(described(name).layout)
    assert (found.missing, found.broken) == ((), ())
    assert found.unknown_labels == ()


@pytest.mark.parametrize(
    "name",
    ["ham10000", "isic2018", "isic2019", "bcn20000", "milk10k", "derm12345", "ddi", "fitzpatrick17k", "skincon"],
)
def test_inspect_recognises_a_published_dataset_by_its_tables(
    name: str, tmp_path: Path, draw: Draw, taxonomy: Taxonomy
) -> None:
    assert inspect_data(getattr(folders, name)(tmp_path, draw), taxonomy).source == name


def test_an_export_of_the_archive_is_not_taken_for_the_one_collection_that_has_a_name(
    tmp_path: Path, draw: Draw, taxonomy: Taxonomy
) -> None:
    assert inspect_data(folders.isic_uda1(tmp_path, draw), taxonomy).source == "folder"


def test_the_real_tables_are_recognised_with_all_their_rows(shared_data: Path, taxonomy: Taxonomy) -> None:
    found = inspect_data(shared_data / "scin", taxonomy)
    assert (found.source, found.rows, len(found.missing), found.unknown_labels) == ("scin", 5033, 10407, ())
    assert len(found.labels) == 370
    assert found.warnings == ()
    assert found.tables == ("scin_cases.csv", "scin_labels.csv")


def test_the_command_takes_the_name_of_a_source(tmp_path: Path, draw: Draw) -> None:
    folders.derm1m(tmp_path, draw)
    done = CliRunner().invoke(app, ["data", "inspect", str(tmp_path), "--source", "derm1m"])
    assert done.exit_code == 0, done.output
    assert "layout    unverified: 100 rows" in done.output
    assert "warning   derm1m: the layout of this dataset is unverified" in done.output
    wrong = CliRunner().invoke(app, ["data", "inspect", str(tmp_path), "--source", "derm1n"])
    assert isinstance(wrong.exception, DataError)  # exit code 2
    assert "did you mean derm1m" in str(wrong.exception)


def test_a_named_source_whose_table_was_renamed_is_refused(tmp_path: Path, draw: Draw, taxonomy: Taxonomy) -> None:
    folders.ddi(tmp_path, draw)
    (tmp_path / "ddi_metadata.csv").rename(tmp_path / "ddi.csv")
    with pytest.raises(DataError, match=r"ddi_metadata.csv is missing; its folder has ddi.csv"):
        inspect_data(tmp_path, taxonomy, source="ddi")
    (tmp_path / "ddi.csv").rename(tmp_path / "ddi_metadata.csv")
    file = tmp_path / "ddi_metadata.csv"
    file.write_text(file.read_text().replace("disease", "diagnosis"))
    with pytest.raises(DataError, match=r"no column 'disease'; the columns are , DDI_ID, DDI_file, skin_tone"):
        load_table(described("ddi"), tmp_path, taxonomy)


# --- warnings --------------------------------------------------------------------------------------------------


def test_a_warning_of_a_source_reaches_the_lines_that_a_stage_prints(
    tmp_path: Path, draw: Draw, taxonomy: Taxonomy
) -> None:
    folders.ddi(tmp_path, draw)
    (tmp_path / "000036.png").unlink()
    entry = {"source": "ddi", "path": str(tmp_path), "on_missing_image": "skip"}
    data = load_records([entry], taxonomy, seed=0, fractions={"train": 1})
    assert data.lines()[-2:] == [
        "warning: ddi: 3 rows, but 656 are published: a part of the dataset, or another version",
        "warning: ddi: 2 of the 3 images that its table names are there",
    ]


def test_a_table_of_ones_own_warns_of_nothing(tmp_path: Path, draw: Draw, taxonomy: Taxonomy) -> None:
    draw(tmp_path / "a.png")
    (tmp_path / "t.csv").write_text("image,label\na.png,melanoma\n")
    data = load_records([{"source": "folder", "path": str(tmp_path)}], taxonomy, seed=0, fractions={"train": 1})
    assert data.warnings == ()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layout": "seen"}, "layout 'seen'; expected one of published files"),
        ({"layout": "unverified"}, "layout_from"),
    ],
)
def test_a_source_must_say_how_its_layout_is_known(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        SourceTable(name="x", table="t.csv", image="image", label="label", **changes)


# --- joined tables and cells -----------------------------------------------------------------------------------


def test_a_joined_table_adds_columns_and_the_main_one_wins(tmp_path: Path, draw: Draw, taxonomy: Taxonomy) -> None:
    folders.table(tmp_path / "a.csv", "image,number,sex\nx.png,1,f\ny.png,2,m")
    folders.table(tmp_path / "b.csv", "case,label,sex\n2,psoriasis,?\n1,melanoma,?")
    draw(tmp_path / "x.png", 1), draw(tmp_path / "y.png", 2)
    join = Join(table=("other.csv", "b.csv"), on="case", to="number")
    source = SourceTable(name="x", table="a.csv", joins=(join,), image="image", label="label", slices={"sex": "sex"})
    records = load_table(source, tmp_path, taxonomy)
    assert [(r.top_node, r.slices) for r in records] == [("melanoma", {"sex": "f"}), ("psoriasis", {"sex": "m"})]
    with pytest.raises(DataError, match=r"c.csv is missing; its folder has a.csv, b.csv"):
        load_table(replace(source, joins=(replace(join, table="c.csv"),)), tmp_path, taxonomy)
    with pytest.raises(DataError, match=r"b.csv: no column 'key'; the columns are case, label, sex"):
        load_table(replace(source, joins=(replace(join, on="key"),)), tmp_path, taxonomy)


def test_the_folder_of_an_image_may_be_named_by_a_column(tmp_path: Path, draw: Draw, taxonomy: Taxonomy) -> None:
    folders.table(tmp_path / "a.csv", "image,label\n1,melanoma\n1b,psoriasis")
    draw(tmp_path / "train" / "melanoma" / "1.png"), draw(tmp_path / "flat" / "1b.png")
    source = SourceTable(name="x", table="a.csv", image="image", label="label", folders=("train/{label}", "flat"))
    found = [Path(r.images[0]).relative_to(tmp_path) for r in load_table(source, tmp_path, taxonomy)]
    assert found == [Path("train/melanoma/1.png"), Path("flat/1b.png")]


def test_cells_read_what_they_say() -> None:
    row = {"a": "", "b": " x ", "NV": "0.0", "MEL": "1.0", "d": "{'Eczema': 0.4}", "fst": "12", "mst": "3.0"}
    assert first_of("a", "b", "c")(row) == "x"
    assert if_there("z")(row) is None
    assert one_hot("NV", "MEL")(row) == "MEL"
    assert literal("d")(row) == {"Eczema": 0.4}
    assert literal("a")(row) == {}
    assert tone("fitzpatrick", "fst", "chart", {"12": "1-2"})(row) == SkinTone("fitzpatrick", "1-2", "chart")
    assert tone("monk", "mst")(row) == SkinTone("monk", "3")
    with pytest.raises(DataError, match=r"found NV 0\.0"):
        one_hot("NV")(row)
    with pytest.raises(DataError, match="column b: 'x' is no list or mapping"):
        literal("b")(row)


# --- what a record keeps ---------------------------------------------------------------------------------------


def test_a_record_keeps_every_tone_apart_and_refuses_one_rater_twice() -> None:
    tones = (SkinTone("monk", "3", "raters in the US"), SkinTone("monk", "4", "raters in India"))
    parts: dict[str, Any] = {
        "id": "a", "images": ("a.png",), "modality": "clinical", "source": "x", "labels": (("melanoma", 1.0),),
        "skin_tone": SkinTone("fitzpatrick", "2", "dermatologists"),
    }  # fmt: skip
    record = Record(**parts, further_tones=tones, options=("A", "B"), option_nodes=("melanoma", ""))
    assert record.tones == (parts["skin_tone"], *tones)
    assert Record.from_dict(record.to_dict()) == record
    old = {key: value for key, value in record.to_dict().items() if not key.startswith(("further", "option"))}
    assert Record.from_dict(old).further_tones == ()
    with pytest.raises(DataError, match="one scale of skin tone and one rater twice"):
        Record(**parts, further_tones=(tones[0], tones[0]))
    with pytest.raises(DataError, match="2 options and 1 nodes; expected one each"):
        Record(**parts, options=("A", "B"), option_nodes=("melanoma",))


# --- docs/datasets.md ------------------------------------------------------------------------------------------

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "datasets.md").read_text(encoding="utf-8")


def test_the_page_has_a_row_and_a_section_for_every_source() -> None:
    rows = {
        cells[0].strip("`"): cells
        for line in PAGE.splitlines()
        if line.startswith("| `") and (cells := [cell.strip() for cell in line.split("|")[1:-1]])
    }
    assert set(rows) == set(PUBLISHED)
    for name, cells in rows.items():
        assert cells[-1] == described(name).layout, name
    sections = {_plain(line.removeprefix("## ")) for line in PAGE.splitlines() if line.startswith("## ")}
    assert sections == {name.replace("_", "") for name in PUBLISHED}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_page_names_every_file_that_a_source_reads(name: str, tmp_path: Path) -> None:
    source = described(name)
    title = next(
        t for t in re.split(r"^## ", PAGE, flags=re.MULTILINE) if _plain(t.split("\n")[0]) == name.replace("_", "")
    )
    for file in [*main_files(source).values(), *(f for join in source.joins for f in by_split(join.table).values())]:
        usual = Path(names_of(file)[0]).name
        part = re.sub("Training|Validation|Test", "Training", usual)  # the page says "likewise Validation, Test"
        assert usual in title or part in title, usual


def _plain(title: str) -> str:
    return re.sub(r"task 3|[^a-z0-9]", "", title.lower())
