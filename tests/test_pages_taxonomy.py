"""The taxonomy as pictures: one page without network, SVG with text as text, the same every time."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import pytest
from typer.testing import CliRunner

from skinrl.cli.app import app
from skinrl.pages.base import page
from skinrl.pages.taxonomy import differential_svg, leaf_counts, neighbour_pairs, shown_parent, sunburst_svg
from skinrl.taxonomy import load_taxonomy

SMALL = """\
name: small <tree>
nodes:
  skin: {}
  rash: {parents: [skin]}
  tumor: {parents: [skin]}
  eczema: {parents: [rash], behaviour: non-neoplastic, differential: {wart: rough}}
  both: {name: two & more, parents: [tumor, rash], behaviour: benign}
  wart: {parents: [tumor], behaviour: benign, differential: {eczema: itchy, both: larger}}
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    path = tmp_path_factory.mktemp("tree") / "small.yaml"
    path.write_text(SMALL, encoding="utf-8")
    return path


def test_each_leaf_is_drawn_once_under_its_nearest_parent(small):
    tree = load_taxonomy(small)
    assert {id: shown_parent(tree, id) for id in tree.ids} == {
        "skin": "", "rash": "skin", "tumor": "skin", "eczema": "rash", "both": "tumor", "wart": "tumor",
    }  # fmt: skip
    assert leaf_counts(tree) == {"skin": 3, "rash": 1, "tumor": 2, "eczema": 1, "both": 1, "wart": 1}


def test_neighbours_are_joined_once_in_whichever_direction_they_are_stated(small):
    assert neighbour_pairs(load_taxonomy(small)) == [("both", "wart"), ("eczema", "wart")]


def test_the_page_needs_no_network_and_names_everything(small, tmp_path):
    target = tmp_path / "out.html"
    result = CliRunner().invoke(
        app, ["taxonomy", "plot", str(small), "-o", str(target), "--svg", str(tmp_path / "svg")]
    )
    assert result.exit_code == 0, result.output
    html = target.read_text(encoding="utf-8")
    assert "<title>Taxonomy: small &lt;tree&gt;</title>" in html
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=.http", html)
    assert html.count("plotly-graph-div") >= 2
    for name in ("eczema", "wart", "not a medical device"):
        assert name in html
    assert {path.name for path in (tmp_path / "svg").iterdir()} == {"tree.svg", "differential.svg"}


@pytest.mark.parametrize("draw", [sunburst_svg, differential_svg])
def test_the_svg_is_well_formed_has_text_and_does_not_change(small, draw):
    tree = load_taxonomy(small)
    svg = draw(tree)
    root = ElementTree.fromstring(svg)
    words = {text.strip() for element in root.iter() for text in element.itertext()}
    assert {"benign", "malignant"} <= words
    assert ("rash" if draw is sunburst_svg else "two & more") in words
    assert draw(tree) == svg


def test_a_title_is_text_not_html():
    assert "<b>" not in page("<b>", "").replace("<body>", "")
