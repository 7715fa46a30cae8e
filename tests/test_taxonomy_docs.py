"""docs/taxonomy.md is executed: its examples run, its overlays load, its numbers are the file's."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

from typer.testing import CliRunner

from skinrl.cli.app import app
from skinrl.taxonomy import load_taxonomy
from skinrl.taxonomy.check import check

PAGE = Path(__file__).resolve().parents[1] / "docs" / "taxonomy.md"
TEXT = PAGE.read_text(encoding="utf-8")


def overlays() -> dict[str, str]:
    return dict(re.findall(r"<!-- overlay: (\S+) -->\n```yaml\n(.*?)```", TEXT, re.DOTALL))


def test_the_examples_run():
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    example = doctest.DocTestParser().get_doctest(code, {}, PAGE.name, str(PAGE), 0)
    runner = doctest.DocTestRunner()
    runner.run(example)
    assert runner.tries >= 5
    assert runner.failures == 0


def test_the_overlay_of_four_lines_adds_one_disease(tmp_path):
    path = tmp_path / "my_clinic.yaml"
    path.write_text(overlays()["my_clinic.yaml"], encoding="utf-8")
    assert len(path.read_text(encoding="utf-8").splitlines()) == 4
    added = load_taxonomy(path)
    assert set(added.ids) - set(load_taxonomy().ids) == {"hand_foot_xerosis"}
    assert added.resolve("Cracked heels").node == "hand_foot_xerosis"
    assert added.path("hand_foot_xerosis") == ("inflammatory", "pruritic_disorder", "hand_foot_xerosis")


def test_the_commands_of_the_page_take_the_overlay_and_say_where_it_was_left_out(tmp_path):
    path = tmp_path / "my_clinic.yaml"
    path.write_text(overlays()["my_clinic.yaml"], encoding="utf-8")
    call = ["taxonomy", "show", "hand_foot_xerosis"]
    assert call[2] in TEXT
    assert CliRunner().invoke(app, ["taxonomy", "check", str(path)]).exit_code == 0
    shown = CliRunner().invoke(app, [*call, "--taxonomy", str(path)]).output
    assert shown.startswith("hand foot xerosis  (hand_foot_xerosis)\n  path: inflammatory > pruritic_disorder")
    without = CliRunner().invoke(app, call)
    assert without.exit_code == 0
    assert "'hand_foot_xerosis' is no name in dermatology; read as xerosis (by context)" in without.output


def test_the_overlay_that_adds_to_ours_does_so(tmp_path):
    path = tmp_path / "my_synonyms.yaml"
    path.write_text(overlays()["my_synonyms.yaml"], encoding="utf-8")
    added = load_taxonomy(path)
    assert added.ids == load_taxonomy().ids
    assert added.resolve("chronic nodular prurigo").node == "prurigo_nodularis"
    assert added.node("scabies").differential[-1].source == "our_clinic"
    assert check(added)["facts_unreviewed"] == check(load_taxonomy())["facts_unreviewed"]


def test_the_numbers_are_those_of_the_file(taxonomy):
    found = check(taxonomy)
    stated = re.search(
        r"(\d+) nodes, (\d+) leaves, (\d+) synonyms, (\d+) codes, (\d+) nodes with several parents, (\d+) with a "
        r"morphology, (\d+) differential",
        TEXT.replace("\n", " "),
    )
    assert stated is not None
    keys = ["nodes", "leaves", "synonyms", "codes", "several_parents", "with_morphology", "differential_edges"]
    assert [int(number) for number in stated.groups()] == [found[key] for key in keys]
    table = dict(re.findall(r"^\| `(\w+)` \| (\d+) \|", TEXT, re.MULTILINE))
    assert {id: int(n) for id, n in table.items()} == {id: len(taxonomy.leaves_below(id)) for id in taxonomy.classes}
    assert {taxonomy.level(leaf) for leaf in taxonomy.leaves} == {2, 3, 4, 5, 6}
