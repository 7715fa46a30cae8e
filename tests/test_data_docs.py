"""The examples of docs/data.md do what the page says."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from skinrl.data.dataset import grpo_rows
from skinrl.data.loading import load_records
from skinrl.data.questions import QuestionSpec
from skinrl.recipe import load_recipe
from skinrl.taxonomy import Taxonomy

Draw = Callable[..., str]
PAGE = (Path(__file__).resolve().parents[1] / "docs" / "data.md").read_text(encoding="utf-8")


def block(kind: str, name: str) -> str:
    """The code block of docs/data.md that is marked with a language and a name."""
    found = re.search(rf"^```{kind} {re.escape(name)}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert found, f"docs/data.md has no block {kind} {name}"
    return found[1]


def test_the_folder_of_ones_own(
    tmp_path: Path, draw: Draw, taxonomy: Taxonomy, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, kind in (("our_clinic_labels.yaml", "yaml"), ("our_clinic/cases.csv", "csv")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(block(kind, name))
    for n, image in enumerate(["a.jpg", "b.jpg", "c.png", "d.jpg", "e.jpg", "f.jpg"]):
        draw(tmp_path / "our_clinic" / "images" / image, n)
    recipe = tmp_path / "recipe.yaml"
    model = {"name": "docs", "model": {"path": "nowhere"}}
    recipe.write_text(yaml.safe_dump(model) + block("yaml", "recipe"))
    monkeypatch.chdir("/")  # paths are relative to the recipe, not to where one stands
    entries = load_recipe(recipe).data
    data = load_records(entries, taxonomy, seed=0, fractions={"train": 0.5, "validation": 0.25, "test": 0.25})
    by_id = {record.id: record for record in data.records}
    assert sorted(by_id) == ["v1", "v2", "v3", "v4"]
    assert [len(by_id[name].images) for name in sorted(by_id)] == [2, 1, 1, 1]
    assert by_id["v3"].labels == (("basal_cell_carcinoma", 0.5), ("squamous_cell_carcinoma", 0.5))
    assert by_id["v4"].nodes == ("melanocytic_neoplasm",)
    assert by_id["v2"].slices == {"age": "31"}
    assert data.counts["our_clinic"]["not a disease"] == data.counts["our_clinic"]["image missing"] == 1
    rows = grpo_rows(data.split("train"), taxonomy, QuestionSpec("options"), seed=0, pools=data.pools)
    assert len(rows) == 2


def test_the_table_of_a_new_dataset(tmp_path: Path, draw: Draw, taxonomy: Taxonomy) -> None:
    source = tmp_path / "example_source_for_a_test.py"
    source.write_text(block("python", "example_source.py"))
    assert len(source.read_text().splitlines()) <= 20
    for split, rows in (
        ("train", "x1,1.0,0.0,l1,2,51,male\nx2,0.0,1.0,l2,,,"),
        ("test", "x3,0.0,1.0,l3,6.0,85,female"),
    ):
        (tmp_path / f"{split}.csv").write_text(f"isic_id,MEL,NV,lesion_id,fst,age,sex\n{rows}\n")
    for n in (1, 2, 3):
        draw(tmp_path / "ISIC_images" / f"x{n}.jpg", n)
    entry = {
        "source": "./example_source_for_a_test.py:SOURCE",
        "path": str(tmp_path),
        "labels": {"MEL": "melanoma", "NV": "melanocytic_nevus"},
    }
    data = load_records([entry], taxonomy, seed=0, base=tmp_path)
    one, two, three = data.records
    assert [r.split for r in data.records] == ["train", "train", "test"]
    assert (one.top_node, two.top_node) == ("melanoma", "melanocytic_nevus")
    assert (one.group, one.group_kind, one.modality) == ("l1", "lesion", "dermoscopy")
    assert [r.skin_tone.value if r.skin_tone else None for r in (one, two, three)] == ["2", None, "6"]
    assert three.slices == {"age": "80+", "sex": "female"}


def test_the_page_names_every_key_of_an_entry_and_of_a_folder() -> None:
    from skinrl.data.entries import DataSpec
    from skinrl.data.sources.folder import COLUMNS

    for key in (*COLUMNS, *(set(DataSpec.__dataclass_fields__) - {"source", "path", "kwargs"})):
        assert f"`{key}`" in PAGE, key
