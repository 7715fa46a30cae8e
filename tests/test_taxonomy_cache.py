"""A kept taxonomy is the loaded one, and is left alone as soon as anything that it was made of changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from skinrl.taxonomy import Taxonomy, cache, load_taxonomy
from skinrl.taxonomy.loader import _Reader

MAIN = "name: small\nparts: [part.yaml]\nnodes: {skin: {}}\n"
PART = "nodes:\n  wart: {parents: [skin], behaviour: benign, synonyms: [verruca]}\n"
OVERLAY = "extends: small.yaml\nnodes:\n  boil: {parents: [skin], behaviour: non-neoplastic}\n"


@pytest.fixture
def tree(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("SKINRL_CACHE", str(tmp_path / "cache"))
    for name, text in (("small.yaml", MAIN), ("part.yaml", PART), ("overlay.yaml", OVERLAY)):
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


@pytest.fixture
def reads(monkeypatch) -> list[Path]:
    """The files that were read and parsed."""
    seen: list[Path] = []
    read = _Reader.load

    def load(self: _Reader, path: Path) -> Taxonomy:
        seen.append(path)
        return read(self, path)

    monkeypatch.setattr(_Reader, "load", load)
    return seen


def test_the_second_load_reads_no_yaml_and_gives_the_same(tree, reads):
    first, second = load_taxonomy(tree / "overlay.yaml"), load_taxonomy(tree / "overlay.yaml")
    assert len(reads) == 1
    assert second.checksum == first.checksum
    assert second.resolve("Verrucas").node == "wart"
    assert second.node("wart").locators == first.node("wart").locators


@pytest.mark.parametrize("name", ["small.yaml", "part.yaml", "overlay.yaml"])
def test_any_changed_file_is_read_again(tree, reads, name):
    load_taxonomy(tree / "overlay.yaml")
    text = (tree / name).read_text()
    (tree / name).write_text(text + "# changed\n")
    load_taxonomy(tree / "overlay.yaml")
    assert len(reads) == 2


def test_an_entry_that_is_torn_or_that_others_may_write_is_not_used(tree, reads):
    load_taxonomy(tree / "small.yaml")
    (entry,) = (tree / "cache" / "taxonomy").iterdir()
    whole = entry.read_bytes()
    entry.write_bytes(whole[:-10])
    assert cache.load(tree / "small.yaml") is None
    entry.write_bytes(whole)
    assert cache.load(tree / "small.yaml") is not None
    os.chmod(entry, 0o666)
    assert cache.load(tree / "small.yaml") is None


def test_without_a_place_to_write_everything_works(tree, reads, monkeypatch):
    monkeypatch.setenv("SKINRL_CACHE", "")
    assert load_taxonomy(tree / "small.yaml").checksum == load_taxonomy(tree / "small.yaml").checksum
    assert len(reads) == 2
    blocked = tree / "file"
    blocked.write_text("")
    monkeypatch.setenv("SKINRL_CACHE", str(blocked / "below"))
    assert "wart" in load_taxonomy(tree / "small.yaml")
