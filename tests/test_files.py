"""Files appear whole or not at all, and what is written reads back equal."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skinrl import files
from skinrl.errors import DataError, InputError
from skinrl.yamlfile import parse_scalar


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.endswith(".part")]


def test_a_failed_write_leaves_the_earlier_file_and_no_remains(tmp_path):
    path = tmp_path / "metrics.json"
    files.write_json(path, {"accuracy": 0.5})

    def rows():
        yield {"a": 1}
        raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError, match="the source broke"):
        files.write_jsonl(path, rows())
    assert json.loads(path.read_text()) == {"accuracy": 0.5}
    assert leftovers(tmp_path) == []


def test_a_reader_sees_the_old_file_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "deep" / "a.txt"
    files.write_text(path, "old")
    with files.atomic_open(path) as stream:
        stream.write(b"new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert leftovers(path.parent) == []


def test_json_holds_no_nan_and_takes_numpy_paths_and_sets(tmp_path):
    path = tmp_path / "x.json"
    value = {"nan": math.nan, "inf": np.inf, "half": np.float32(0.5), "n": np.int64(3), "row": np.arange(2)}
    files.write_json(path, {**value, "path": Path("a/b"), "set": {"b", "a"}, "pair": (1, True), "è": None})
    assert files.read_json(path) == {
        "nan": None, "inf": None, "half": 0.5, "n": 3, "row": [0, 1],
        "path": "a/b", "set": ["a", "b"], "pair": [1, True], "è": None,
    }  # fmt: skip
    assert "NaN" not in path.read_text()
    assert "è" in path.read_text(encoding="utf-8")


def test_a_value_without_a_plain_form_is_refused_by_name(tmp_path):
    with pytest.raises(TypeError, match="object"):
        files.write_json(tmp_path / "x.json", {"x": object()})
    assert list(tmp_path.iterdir()) == []


def test_a_broken_json_file_is_named_with_its_line(tmp_path):
    path = tmp_path / "x.json"
    path.write_text('{"a": 1,\n "b": }')
    with pytest.raises(DataError, match=r"x\.json:2: is not valid JSON"):
        files.read_json(path, error=DataError)
    with pytest.raises(InputError, match="cannot be read"):
        files.read_json(tmp_path / "absent.json")


def test_jsonl_reads_back_and_names_a_broken_line(tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = [{"id": "a", "text": "one\ntwo\u2028three"}, {"id": "b", "text": ""}]
    files.write_jsonl(path, iter(rows))
    assert files.read_jsonl(path) == rows
    path.write_text('{"id": 1}\n{"id": \n')
    with pytest.raises(InputError, match=r"rows\.jsonl:2"):
        files.read_jsonl(path)


def test_an_appended_file_survives_a_line_that_a_crash_cut_short(tmp_path):
    path = tmp_path / "metrics.jsonl"
    files.append_jsonl(path, {"step": 1})
    with path.open("ab") as stream:
        stream.write(b'{"step": 2, "word": "naev')
    files.append_jsonl(path, {"step": 2})
    files.append_jsonl(path, {"step": 3})
    assert files.read_jsonl(path, grown=True) == [{"step": 1}, {"step": 2}, {"step": 3}]


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Co", "Cn")), max_size=12)
    | st.sampled_from(["1e-6", "1_000", "yes", "null", "~", "2026-01-01", "0x1f", "1:30", ".5", "a\nb", " a", "#x"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc_1e", max_size=4), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(PLAIN)
def test_yaml_reads_back_equal(value):
    assert parse_scalar(files.yaml_text({"value": value})) == {"value": value}


def test_checksum_follows_contents_and_names_not_the_place(tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder / "images").mkdir(parents=True)
        (tmp_path / folder / "metadata.csv").write_text("id\n1\n")
        (tmp_path / folder / "images" / "1.png").write_bytes(b"\x89PNG")
    first = files.checksum(tmp_path / "one")
    assert first == files.checksum(tmp_path / "two")
    (tmp_path / "two" / "images" / "1.png").rename(tmp_path / "two" / "images" / "2.png")
    assert files.checksum(tmp_path / "two") != first
    # of one file, the digest that sha256sum prints
    single = files.checksum(tmp_path / "one" / "metadata.csv")
    assert single == "sha256:7cde7fb64fd82bd152710cf238e017b9ab46c0592483edc067ba4f6c75fac108"
    with pytest.raises(InputError, match="does not exist"):
        files.checksum(tmp_path / "absent")
