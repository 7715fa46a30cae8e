"""A data list: real photographs, mixtures, splits, and what is refused before any model is loaded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from skinrl.data.entries import DataSpec
from skinrl.data.loading import LoadedData, load_records
from skinrl.errors import DataError, PluginError
from skinrl.taxonomy import Taxonomy

Draw = Callable[..., str]
CLASSES = ("melanoma", "melanocytic_nevus", "basal_cell_carcinoma")


def clinic(root: Path, draw: Draw, per_class: int = 10, start: int = 0, split: str = "") -> Path:
    """A table with `per_class` patients of one image for each of three classes."""
    lines = ["image,label,patient" + (",split" if split else "")]
    for n in range(3 * per_class):
        draw(root / f"{n}.png", start + n, size=(8, 8))
        lines.append(f"{n}.png,{CLASSES[n % 3].replace('_', ' ')},p{n}" + (f",{split}" if split else ""))
    (root / "t.csv").write_text("\n".join(lines))
    return root


def load(taxonomy: Taxonomy, *specs: dict[str, Any], seed: int = 0, **options: Any) -> LoadedData:
    columns = {"columns": {"patient": "patient"}}
    entries = [{"source": "folder", "kwargs": columns, **spec} for spec in specs]
    return load_records(entries, taxonomy, seed=seed, **options)


# --- real photographs ------------------------------------------------------------------------------------------


def test_the_real_photographs_load_split_by_patient_with_every_class_everywhere(
    shared_data: Path, taxonomy: Taxonomy, tmp_path: Path
) -> None:
    entry = {"source": "pad_ufes_20", "path": str(shared_data / "pad_ufes_20"), "on_missing_image": "skip"}
    data = load_records([entry], taxonomy, seed=0, cache=tmp_path / "cache.sqlite")
    assert len(data.records) == 175
    counts = data.counts["pad_ufes_20"]
    assert counts["image missing"] == 2123
    assert counts["train"] + counts["validation"] + counts["test"] == 175
    assert abs(counts["train"] - 0.7 * 175) <= 3
    splits_of: dict[str, set[str | None]] = {}
    for record in data.records:
        splits_of.setdefault(record.group, set()).add(record.split)
    assert all(len(splits) == 1 for splits in splits_of.values())
    for split in ("train", "validation", "test"):
        assert len({record.raw_label for record in data.split(split)}) == 6
    assert (data.dropped, data.leaks) == ((), ())
    assert load_records([entry], taxonomy, seed=0, cache=tmp_path / "cache.sqlite") == data


# --- mixtures --------------------------------------------------------------------------------------------------


def test_weights_caps_and_fractions_change_the_training_split_alone(
    tmp_path: Path, draw: Draw, taxonomy: Taxonomy
) -> None:
    path = str(clinic(tmp_path / "a", draw))
    whole = load(taxonomy, {"path": path})
    assert Counter(r.split for r in whole.records) == {"train": 21, "validation": 3, "test": 6}
    small = load(taxonomy, {"path": path, "fraction": 0.5, "cap_per_class": 2, "weight": 2.5})
    assert whole.split("test") == small.split("test")
    kept = {r.id for r in small.records if r.split == "train"}
    assert kept < {r.id for r in whole.split("train")}
    assert max(Counter(r.top_node for r in small.records if r.split == "train").values()) == 2
    assert Counter(Counter(r.id for r in small.split("train")).values()) == {
        2: len(kept) // 2,
        3: len(kept) - len(kept) // 2,
    }
    assert small.pools == whole.pools


def test_two_sources_keep_their_own_splits_and_shared_ids_become_unique(
    tmp_path: Path, draw: Draw, taxonomy: Taxonomy
) -> None:
    a, b = clinic(tmp_path / "a", draw), clinic(tmp_path / "b", draw, 5, start=100)
    data = load(taxonomy, {"path": str(a)}, {"path": str(b)})
    assert len({r.id for r in data.records}) == len(data.records) == 45
    assert {r.source for r in data.split("test")} == {"a", "b"}
    assert next(r.id for r in data.records if r.source == "b") == "b/0"
    assert "a/0" in {r.id for r in data.records}
    assert "20" in {r.id for r in data.records}  # only `a` has it


def test_an_entry_that_names_a_split_gives_that_split_alone(tmp_path: Path, draw: Draw, taxonomy: Taxonomy) -> None:
    path = str(clinic(tmp_path / "a", draw))
    whole = load(taxonomy, {"path": path})
    parts = load(taxonomy, {"path": path, "split": "train", "fraction": 0.5}, {"path": path, "split": "test"})
    assert parts.split("test") == whole.split("test")
    assert {r.id for r in parts.split("train")} < {r.id for r in whole.split("train")}
    with pytest.raises(DataError, match="the validation split is empty; the data has"):
        parts.split("validation")


def test_the_same_records_from_two_entries_are_refused(tmp_path: Path, draw: Draw, taxonomy: Taxonomy) -> None:
    path = str(clinic(tmp_path / "a", draw))
    with pytest.raises(DataError, match="30 records come from two entries of the data list: a:0, a:1"):
        load(taxonomy, {"path": path}, {"path": path})


def test_a_recipes_section_and_a_spec_give_the_same(tmp_path: Path, draw: Draw, taxonomy: Taxonomy) -> None:
    path = str(clinic(tmp_path / "a", draw))
    spec = DataSpec("folder", path)
    section = SimpleNamespace(**{name: getattr(spec, name) for name in DataSpec.__dataclass_fields__}, use=["sft"])
    assert load_records([spec], taxonomy, seed=0) == load_records([section], taxonomy, seed=0)


# --- duplicates, broken and missing images -------------------------------------------------------------------------


def test_contradicting_identical_images_are_refused_or_dropped_by_name(
    tmp_path: Path, draw: Draw, taxonomy: Taxonomy
) -> None:
    root = clinic(tmp_path / "a", draw)
    (root / "1.png").write_bytes((root / "0.png").read_bytes())  # melanoma and naevus, two patients
    (root / "5.png").write_bytes((root / "2.png").read_bytes())  # two carcinomas
    with pytest.raises(DataError, match=r"1 identical images .* a:0 \(melanoma\) = a:1 \(melanocytic nevus\)"):
        load(taxonomy, {"path": str(root)})
    data = load(taxonomy, {"path": str(root), "on_conflict": "drop"})
    assert [r.id for r in data.dropped] == ["0", "1"]
    assert data.counts["a"]["contradicting labels"] == 2
    assert len(data.records) == 28
    assert "dropped for contradicting labels: a:0, a:1" in data.lines()
    assert [{r.id for r in d.records} for d in data.duplicates] == [{"2", "5"}]
    assert data.leaks == ()  # the split keeps them together though the patients differ


def test_an_identical_image_in_two_official_splits_is_reported(tmp_path: Path, draw: Draw, taxonomy: Taxonomy) -> None:
    a, b = clinic(tmp_path / "a", draw, 2, split="train"), clinic(tmp_path / "b", draw, 2, start=50, split="test")
    (b / "0.png").write_bytes((a / "0.png").read_bytes())
    columns = {"columns": {"patient": "patient", "split": "split"}}
    data = load(taxonomy, {"path": str(a), "kwargs": columns}, {"path": str(b), "kwargs": columns})
    assert [d.splits for d in data.leaks] == [("test", "train")]
    assert any("identical images in two splits: a:a/0 (melanoma) = b:b/0 (melanoma)" in line for line in data.lines())


def test_broken_images_stop_the_run_unless_the_recipe_allows_it(
    tmp_path: Path, draw: Draw, taxonomy: Taxonomy
) -> None:
    root = clinic(tmp_path / "a", draw)
    (root / "4.png").write_bytes((root / "4.png").read_bytes()[:60])
    with pytest.raises(DataError, match=r"1 of 30 images cannot be read: .*4\.png .*on_broken_image: skip"):
        load(taxonomy, {"path": str(root)})
    data = load(taxonomy, {"path": str(root), "on_broken_image": "skip"})
    assert len(data.records) == 29
    assert data.counts["a"]["images broken"] == 1
    for file in root.glob("*.png"):
        file.write_text("no image")
    with pytest.raises(DataError, match="none of 30 images can be read"):
        load(taxonomy, {"path": str(root), "on_broken_image": "skip"})


def test_of_a_case_with_a_broken_image_the_others_stay(tmp_path: Path, draw: Draw, taxonomy: Taxonomy) -> None:
    root = clinic(tmp_path / "a", draw)
    rows = [f"{n}.png,{CLASSES[n // 2 % 3].replace('_', ' ')},p{n // 2}" for n in range(30)]
    (root / "t.csv").write_text("\n".join(["image,label,patient", *rows]))
    (root / "4.png").write_text("no image")
    kwargs = {"columns": {"case": "patient", "patient": "patient"}}
    data = load(taxonomy, {"path": str(root), "on_broken_image": "skip", "kwargs": kwargs})
    assert Counter(len(r.images) for r in data.records) == {2: 14, 1: 1}


# --- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"path": None}, "data entry folder has no path"),
        ({"source": "foldr"}, "unknown source 'foldr'; did you mean folder"),
        ({"pth": "x"}, "unknown key 'pth'; expected source, path"),
        ({"fraction": 1.5}, r"fraction 1.5.* expected 0 < fraction <= 1"),
        ({"on_conflict": "skip"}, "on_conflict is 'skip'; expected error or drop"),
        ({"split": "hold"}, "data entry folder: split 'hold' is not one of"),
        ({"split": "test", "weight": 2.0}, "weight 2.0 on the test split"),
        ({"kwargs": {"colums": {}}}, "takes no argument 'colums'; it takes path, taxonomy, labels"),
    ],
)
def test_a_wrong_entry_is_told(
    tmp_path: Path, draw: Draw, taxonomy: Taxonomy, change: dict[str, Any], message: str
) -> None:
    path = str(clinic(tmp_path / "a", draw, 3))
    with pytest.raises(DataError, match=message):
        load_records([{"source": "folder", "path": path, **change}], taxonomy, seed=0)


def test_a_split_that_shares_patients_and_an_empty_one_are_refused(
    tmp_path: Path, draw: Draw, taxonomy: Taxonomy
) -> None:
    root = clinic(tmp_path / "a", draw, 2, split="train")
    text = (root / "t.csv").read_text().replace("4.png,melanocytic nevus,p4,train", "4.png,melanocytic nevus,p1,test")
    (root / "t.csv").write_text(text)
    kwargs = {"columns": {"patient": "patient", "split": "split"}}
    with pytest.raises(DataError, match=r"patient p1 of a \(test and train\)"):
        load(taxonomy, {"path": str(root), "kwargs": kwargs})
    clinic(tmp_path / "b", draw, 2, split="train")
    with pytest.raises(DataError, match=r"the test split is empty; the source has {'train': 6}"):
        load(taxonomy, {"path": str(tmp_path / "b"), "split": "test", "kwargs": kwargs})
    with pytest.raises(DataError, match="the data list is empty"):
        load_records([], taxonomy, seed=0)


# --- sources of one's own ------------------------------------------------------------------------------------------


def test_a_source_of_ones_own_gets_what_it_names_and_nothing_else(
    tmp_path: Path, draw: Draw, taxonomy: Taxonomy
) -> None:
    clinic(tmp_path / "a", draw, 4)
    (tmp_path / "own_loader_for_a_test.py").write_text(
        "from skinrl.data.record import Record\n"
        "def load(path, taxonomy, *, seed, split=None, count=12):\n"
        "    assert (seed, split) == (7, 'train')\n"
        "    return [Record(f'{n}', (f'{path}/{n}.png',), 'other', 'own', (('melanoma', 1.0),), split=split)\n"
        "            for n in range(count)]\n"
        "def bad(path, taxonomy):\n"
        "    return [Record('0', (f'{path}/0.png',), 'other', 'own', (('no_such_node', 1.0),))]\n"
    )
    entry = {"source": "./own_loader_for_a_test.py:load", "path": str(tmp_path / "a"), "split": "train"}
    data = load_records([{**entry, "kwargs": {"count": 5}}], taxonomy, seed=7, base=tmp_path)
    assert len(data.split("train")) == 5
    with pytest.raises(DataError, match="takes no label map"):
        load_records([{**entry, "labels": {"x": "melanoma"}}], taxonomy, seed=7, base=tmp_path)
    with pytest.raises(DataError, match="nodes that are not in 'dermatology': no_such_node"):
        load_records(
            [{**entry, "source": "./own_loader_for_a_test.py:bad", "split": None}], taxonomy, seed=7, base=tmp_path
        )
    with pytest.raises(PluginError):
        load_records([{**entry, "source": "./gone.py:load"}], taxonomy, seed=7, base=tmp_path)


def test_the_phantom_is_a_source_like_the_others(tmp_path: Path, taxonomy: Taxonomy) -> None:
    entry = {"source": "phantom", "path": str(tmp_path), "kwargs": {"domain": "clinical", "count": 40, "size": 32}}
    data = load_records([{**entry, "split": s} for s in ("train", "test")], taxonomy, seed=3)
    assert (len(data.split("train")), len(data.split("test"))) == (40, 40)


def test_the_data_room_loads_neither_torch_nor_the_phantom(tmp_path: Path) -> None:
    import subprocess
    import sys

    program = (
        "import sys, skinrl.data.loading, skinrl.data.dataset, skinrl.data.inspect\n"
        "print([m for m in ('torch', 'datasets', 'trl', 'transformers', 'skinrl.phantom') if m in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"
