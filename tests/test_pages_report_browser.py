"""The page of an evaluation in a real Chromium: clicked, typed at, read as a screen reader would, at two sizes."""

from __future__ import annotations

import itertools
import re
from collections import Counter

import pytest
from page_checks import faults_of
from report_runs import HOSTILE, make_cases, make_run

from skinrl import files
from skinrl.cli.page import write_page

pytestmark = pytest.mark.browser
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def run(tmp_path_factory, taxonomy, draw):
    folder = tmp_path_factory.mktemp("runs") / "clinic" / "default"
    cases = make_cases(120, known_patients=False)
    models = make_run(folder, taxonomy, draw, cases, {"sft": 0.4, "grpo": 0.7}, suites=["malignancy", "open_ended"])
    return write_page(folder), cases, models


@pytest.fixture(scope="module")
def path(run):
    return run[0]


def said(models, name):
    """Gold and answer of every case; a right answer is the gold."""
    return [(one.gold[0][0], one.answer_node) for one in models[name].greedy]


def share(models, name):
    pairs = said(models, name)
    return f"{100 * sum(gold == answer for gold, answer in pairs) / len(pairs):.1f}"


def count_of(page):
    return page.locator("#case-count").inner_text()


# --- what is read ---------------------------------------------------------------------------------------------------


def test_it_opens_without_a_network_and_says_what_it_is(open_page, path):
    page = open_page(path)
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.reload()
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert page.title() == "clinic / default"
    assert page.locator("header").get_by_text("not a medical device").is_visible()


def test_its_policy_refuses_the_network_even_to_its_own_scripts(browser, path):
    page = browser.new_page()
    page.goto(path.as_uri())
    assert page.evaluate("fetch('https://example.org').then(() => 'reached', () => 'refused')") == "refused"
    page.evaluate(
        "addEventListener('securitypolicyviolation', event => { window.refused = event.effectiveDirective })"
    )
    page.evaluate("document.body.append(Object.assign(new Image(), { src: 'https://example.org/a.png' }))")
    page.wait_for_function("window.refused === 'img-src'")
    page.close()


def test_the_headline_has_interval_controls_and_what_is_not_known_of_patients(open_page, run):
    path, _, models = run
    page = open_page(path)
    headline = page.locator("#headline")
    assert headline.locator(".figure").inner_text().startswith(share(models, "grpo"))
    assert re.search(r"95 % interval [\d.]+ to [\d.]+; 120 cases", headline.inner_text())
    rows = headline.locator("table.forest tbody th").all_inner_texts()
    assert [row.split("\n")[0] for row in rows] == ["Greedy", "Without the image", "Best guess without looking"]
    assert "For 120 cases the patient is not known: each image counts as one patient" in headline.inner_text()


def test_another_model_changes_every_part(open_page, run):
    path, _, models = run
    page = open_page(path)
    page.get_by_role("combobox", name="Model", exact=True).select_option(label="SFT")
    assert page.locator("#headline .figure").inner_text().startswith(share(models, "sft"))
    assert page.locator("#tree .middle text").nth(1).text_content() == f"{share(models, 'sft')} %"
    page.get_by_role("combobox", name="Verdict", exact=True).select_option(label="right")
    right = sum(gold == answer for gold, answer in said(models, "sft"))
    assert count_of(page).endswith(f"of {right} cases")


def test_another_suite_shows_its_own_cases(open_page, path):
    page = open_page(path)
    page.get_by_role("combobox", name="Questions", exact=True).select_option(label="Suite open_ended")
    assert count_of(page) == "1 to 40 of 40 cases"
    assert "3 cases left out: too small." in page.locator("#headline").inner_text()
    assert (
        page.get_by_role("combobox", name="Model", exact=True).locator("option:checked").inner_text() == "SFT + GRPO"
    )


def test_a_suite_with_a_taxonomy_of_its_own_names_its_own_classes(open_page, path):
    page = open_page(path)
    page.get_by_role("combobox", name="Questions", exact=True).select_option(label="Suite malignancy")
    assert set(page.locator("#cases tbody td:nth-child(2)").all_inner_texts()) == {"benign", "malignant"}
    assert "The classes of these questions have no tree." in page.locator("#tree").inner_text()
    page.set_viewport_size({"width": 900, "height": 700})  # the tree of before would draw itself anew
    page.wait_for_timeout(100)
    page.get_by_role("combobox", name="Questions", exact=True).select_option(label="Main questions")
    assert page.locator("#tree svg path[role=button]").count() > 10


# --- the tree -------------------------------------------------------------------------------------------------------


def settled(page):
    """Wait for the zoom's end."""
    page.locator("#tree svg:not([data-zooming])").wait_for()


def test_a_click_on_the_tree_looks_inside_and_the_middle_goes_back(open_page, path):
    page = open_page(path)
    tree = page.locator("#tree")
    tree.locator("svg path[role=button][aria-label^='Inflammatory']").click()
    settled(page)
    assert tree.locator("nav li").all_inner_texts() == ["All diagnoses", "Inflammatory skin disease"]
    names = tree.locator("table.below tbody th").all_inner_texts()
    assert "Eczema" in names
    tree.locator("circle.back").click()
    settled(page)
    assert tree.locator("nav li").all_inner_texts() == ["All diagnoses"]


def test_the_tree_is_used_by_keyboard_alone_and_says_its_numbers(open_page, run):
    path = run[0]
    page = open_page(path)
    arcs = page.locator("#tree svg path[role=button]")
    assert arcs.locator("xpath=self::*[@tabindex='0']").count() == 1  # one stop for the whole picture
    page.locator("#tree svg path[tabindex='0']").focus()
    first = page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert re.fullmatch(r"[A-Z].*: [\d.]+ \[[\d.]+, [\d.]+\] % right of \d+ cases", first)
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") != first
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == first
    page.keyboard.press("Enter")
    settled(page)
    assert page.locator("#tree nav [aria-current=location]").inner_text() == first.partition(":")[0]
    assert page.evaluate("document.activeElement.closest('#tree svg') !== null")
    assert page.locator("[role=status]#said").inner_text().startswith(first.partition(":")[0])
    page.keyboard.press("Escape")
    settled(page)
    assert page.locator("#tree nav [aria-current=location]").inner_text() == "All diagnoses"


def test_a_leaf_of_the_tree_leads_to_its_cases(open_page, run):
    path, cases, _ = run
    page = open_page(path)
    for name in ("Inflammatory skin disease", "Eczema", "Atopic dermatitis"):
        page.locator("#tree table.below").get_by_role("button", name=name).first.click()
        settled(page)
    expected = sum(case.gold[0][0] == "atopic_dermatitis" for case in cases)
    assert count_of(page).endswith(f"of {expected} cases")
    assert page.evaluate("document.activeElement.id") == "cases-title"


# --- confusion and groups -------------------------------------------------------------------------------------------


def test_the_confusion_matrix_counts_what_was_called_what(open_page, run, taxonomy):
    path, _, models = run
    page = open_page(path)
    counts = Counter()
    for gold, answer in said(models, "grpo"):
        counts[taxonomy.path(gold)[0], taxonomy.path(answer)[0] if answer else None] += 1
    rows = page.locator("#confusion table.matrix tbody tr")
    for row in range(rows.count()):
        name = rows.nth(row).locator("th").inner_text()
        node = taxonomy.resolve(name).node
        total = sum(count for (gold, _), count in counts.items() if gold == node)
        assert rows.nth(row).locator("td.count").inner_text() == str(total)
        title = f"{name} called {name.lower()}: {counts[node, node]} of {total}"
        assert rows.nth(row).locator(f'td[title="{title}"]').count() == (1 if counts[node, node] else 0)
    page.get_by_role("combobox", name="Look at", exact=True).select_option(label="\u2003Among melanocytic neoplasm")
    assert set(page.locator("#confusion table.matrix tbody th").all_inner_texts()) == {
        "Malignant melanocytic neoplasm", "Benign melanocytic lesion",
    }  # fmt: skip


def test_a_frequent_mistake_shows_its_cases(open_page, run):
    path, _, models = run
    page = open_page(path)
    (gold, answer), count = Counter(pair for pair in said(models, "grpo") if pair[0] != pair[1]).most_common(1)[0]
    row = page.locator("#confusion h3 + div tbody tr").first
    assert row.locator("td").nth(1).inner_text() == str(count)
    row.get_by_role("button").click()
    shown = int(re.search(r"of (\d+) case", count_of(page)).group(1))
    assert shown == int(row.locator("td").nth(1).inner_text())
    assert "Only" in page.locator("#cases").inner_text()
    page.get_by_role("button", name="Clear filters").click()
    assert count_of(page) == "1 to 50 of 120 cases"
    assert gold
    assert answer != gold


def test_skin_tones_have_their_n_and_the_gap_stands_beside_what_chance_gives(open_page, run):
    path, cases, _ = run
    page = open_page(path)
    panel = page.locator("#tones .panel").first
    assert panel.locator("tbody th").all_inner_texts() == [f"Type {n}" for n in ("I", "II", "III", "IV", "V", "VI")]
    expected = Counter(case.skin_tone[1] for case in cases)
    assert panel.locator("tbody td.count").all_inner_texts() == [str(expected[str(n)]) for n in range(1, 7)]
    assert re.search(r"groups of these sizes dealt at random differ by [\d.]+ points .* p = ", panel.inner_text())
    assert "Scales are never merged" in page.locator("#tones").inner_text()
    page.locator("#tones").get_by_role("combobox", name="Metric", exact=True).select_option(label="Hierarchical F1")
    assert "Hierarchical F1" in page.locator("#tones .panel caption").first.inner_text()


def test_calibration_is_drawn_and_is_there_as_a_table(open_page, path):
    page = open_page(path)
    section = page.locator("#calibration")
    assert section.locator("svg[role=img]").count() == 2
    section.get_by_text("As a table").first.click()
    assert section.locator("table").first.locator("tbody tr").count() == 10


# --- cases ----------------------------------------------------------------------------------------------------------


def test_cases_are_filtered_sorted_and_turned_by_pages_of_fifty(open_page, run):
    path, cases, _ = run
    page = open_page(path)
    body = page.locator("#cases tbody tr")
    assert body.count() == 50
    assert page.get_by_role("button", name="Previous").is_disabled()
    page.get_by_role("button", name="Next").click()
    page.get_by_role("button", name="Next").click()
    assert count_of(page) == "101 to 120 of 120 cases"
    assert page.get_by_role("button", name="Next").is_disabled()
    head = page.locator("#cases th[data-key=severity]")
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    levels = [int(text) for text in page.locator("#cases tbody td.count:nth-child(5)").all_inner_texts()]
    assert levels == sorted(levels, reverse=True)
    assert levels[0] > 0
    page.get_by_role("combobox", name="Skin tone", exact=True).select_option(label="fitzpatrick 4")
    assert count_of(page).endswith(f"of {sum(case.skin_tone[1] == '4' for case in cases)} cases")
    page.get_by_role("searchbox", name="Find case or diagnosis").fill("CASE-00007")
    assert body.count() <= 1
    page.get_by_role("button", name="Clear filters").click()
    page.get_by_role("searchbox", name="Find case or diagnosis").fill("case-00007")
    assert body.count() == 1
    page.get_by_role("searchbox", name="Find case or diagnosis").fill("nobody has this")
    assert count_of(page) == "No case fits."


def test_an_example_opens_with_image_report_and_rewards_and_gives_the_focus_back(open_page, run):
    path, _, models = run
    page = open_page(path)
    card = page.locator("#mistakes .cards button").first
    card.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    assert dialog.is_visible()
    assert (
        dialog.get_by_role("img", name=re.compile("Image of case case-")).evaluate("image => image.naturalWidth") > 0
    )
    assert "Hierarchy reward" in dialog.inner_text()
    assert dialog.locator("h3").all_inner_texts()[0].startswith("SFT + GRPO")
    number = int(re.search(r"case-(\d+)", dialog.inner_text()).group(1))
    assert dialog.locator("pre").first.inner_text() == models["grpo"].greedy[number].completion
    assert page.evaluate("document.querySelector('dialog').contains(document.activeElement)")
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    assert card.evaluate("card => card === document.activeElement")


def test_what_a_model_wrote_is_text_and_never_markup(open_page, path):
    page = open_page(path)
    page.get_by_role("button", name="case-00000").click()
    assert page.get_by_role("dialog").locator("pre").first.inner_text() == HOSTILE
    assert page.title() == "clinic / default"
    assert page.locator("dialog pre img").count() == 0


def test_more_examples_come_at_the_press_of_a_button(open_page, path):
    page = open_page(path)
    shown = page.locator("#mistakes .cards").first.locator("li")
    assert shown.count() == 12
    page.locator("#mistakes").get_by_role("button", name="Show more").first.click()
    assert shown.count() == 24
    assert page.evaluate("document.activeElement.closest('li') !== null")


# --- for everyone ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_readable_and_reachable(open_page, path, size, scheme):
    page = open_page(path, **size, scheme=scheme)
    assert faults_of(page) == []
    page.locator("#mistakes .cards button").first.click()
    assert faults_of(page) == []


def test_nothing_sticks_out_on_a_phone_and_everything_works_there(open_page, path):
    page = open_page(path, **PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.get_by_role("link", name="All cases").click()
    page.get_by_role("searchbox", name="Find case or diagnosis").fill("case-00003")
    page.get_by_role("button", name="case-00003").click()
    box = page.get_by_role("dialog").bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390
    page.get_by_role("button", name="Close").click()
    assert not page.get_by_role("dialog").is_visible()


def test_the_first_tab_leads_past_the_menu(open_page, path):
    page = open_page(path)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "To the results"
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#headline"


def test_ten_thousand_cases_are_on_the_page_and_fifty_are_drawn(open_page, run, tmp_path):
    small, large = run[0].parent / "eval_grpo" / "final", tmp_path / "large"
    files.write_bytes(large / "metrics.json", (small / "metrics.json").read_bytes())
    for name in ("cases.jsonl", "predictions.jsonl"):
        rows = files.read_jsonl(small / name)
        copies = ({**row, "id": f"{row['id']}-{copy:02d}"} for copy in range(84) for row in rows)
        files.write_jsonl(large / name, itertools.islice(copies, 10_000))
    page = open_page(write_page(large))
    assert count_of(page) == "1 to 50 of 10,000 cases"
    assert page.evaluate("document.querySelectorAll('*').length") < 5000
    page.get_by_role("searchbox", name="Find case or diagnosis").fill("case-00039-83")
    assert page.locator("#cases tbody tr").count() == 1


def test_the_checks_find_what_is_planted(open_page, path):
    """A rule that nothing can break would say nothing above."""
    page = open_page(path)
    page.evaluate(
        """() => {
          document.querySelector("main").insertAdjacentHTML("beforeend", `
            <p style="color: #999">pale</p> <button></button> <img src="data:,"> <h5>deep</h5> <h4>skipped</h4>
            <table><tbody><tr><td>bare</td></tr></tbody></table> <p id="title" tabindex="3">again</p>
            <section><button style="min-height: 0; height: 12px; padding: 0">low</button></section>`)
        }"""
    )
    found = "\n".join(faults_of(page))
    for rule in (
        *("contrast 2", "no name", "image without alt", "heading skips", "table without a caption", "target of"),
        *("row without a head", "id twice: title", "positive tabindex", "landmark without a name"),
    ):
        assert rule in found, rule
