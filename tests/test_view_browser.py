"""The pages of rollouts in a real browser: clicked, on a desk and on a phone, by keyboard, while a run is at work."""

from __future__ import annotations

import threading

import pytest
from rollout_runs import serving, small_run, write_step
from typer.testing import CliRunner

from skinrl.cli.app import app
from skinrl.cli.rollout_log import RolloutLog
from skinrl.cli.rollout_server import RolloutServer

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def run(tmp_path_factory, draw):
    return small_run(tmp_path_factory.mktemp("view"), draw, steps=5)


@pytest.fixture
def served(run):
    with serving(run) as server:
        yield server


def fits(page):
    return page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_a_curve_tells_its_value_under_the_pointer_and_opens_that_step(served, open_page):
    page = open_page(served.url)
    chart = page.get_by_role("img", name="weighted sum of the rewards: 1.01 at step 1, 1.05 at step 5")
    box = chart.bounding_box()
    middle = (box["x"] + box["width"] * 0.56, box["y"] + box["height"] * 0.5)
    page.mouse.move(*middle)
    assert page.locator(".chart output").all_inner_texts() == ["1.03 at 3", "0.5 at 3", "0.5 at 3"]
    page.mouse.move(box["x"], box["y"] - 40)
    assert page.locator(".chart output").first.inner_text() == "1.05"
    page.mouse.click(*middle)
    page.wait_for_url("**/step/3")
    assert page.get_by_role("heading", level=1).inner_text() == "Step 3"


def test_a_suspect_leads_to_its_completion_which_is_marked(served, open_page):
    page = open_page(served.url)
    assert page.get_by_role("heading", name="Look here first").is_visible()
    page.get_by_role("link", name="rewards disagree 15").click()  # one in each of 15 groups
    first = page.locator(".suspect").first
    assert "hierarchy_reward gives 1, format_reward 0" in first.inner_text()
    assert first.locator("img").evaluate("image => image.decode().then(() => image.naturalWidth)") == 32
    first.get_by_role("link").click()
    page.wait_for_url("**#row-*")
    shown = page.locator(".rollout:has(.anchor:target)")
    assert "<script>alert" in shown.inner_text()  # as text: a script that ran would have opened a dialog
    assert shown.evaluate("one => one.getBoundingClientRect().top") < 900


def test_the_keyboard_goes_from_step_to_step_and_to_any_step(served, open_page):
    page = open_page(f"{served.url}step/2")
    page.keyboard.press("ArrowRight")
    page.wait_for_url("**/step/3*")
    page.keyboard.press("p")
    page.wait_for_url("**/step/2*")
    field = page.get_by_label("Go to step")
    field.focus()
    page.keyboard.press("ArrowLeft")  # in a field it moves the cursor
    field.fill("5")
    page.keyboard.press("Enter")
    page.wait_for_url("**/step/5")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "To the content"


def test_an_image_opens_in_large_and_closes_with_escape(served, open_page):
    page = open_page(f"{served.url}step/1")
    page.get_by_role("button", name="Image 1 of 1, record case-1").click()
    dialog = page.get_by_role("dialog")
    assert dialog.is_visible()
    assert dialog.inner_text().startswith("Image 1 of 1, record case-1, step 1")
    assert page.locator("#large-image").get_attribute("src") == "../image/1/1/0?large=1"
    page.keyboard.press("Escape")
    assert not dialog.is_visible()


def test_words_that_the_best_completion_lacks_are_marked_and_unmarked(served, open_page):
    page = open_page(f"{served.url}step/1")
    group = page.locator(".group").first
    before = group.locator("pre").all_inner_texts()
    button = page.get_by_role("button", name="Mark words that the best lacks")
    button.click()
    assert button.get_attribute("aria-pressed") == "true"
    assert group.locator("pre").last.locator("mark").all_inner_texts() == ["Diagnosis", "of", "case-0:", "nevus"]
    assert group.locator("pre").first.locator("mark").count() == 0
    button.click()
    assert page.locator("mark").count() == 0
    assert group.locator("pre").all_inner_texts() == before


@pytest.mark.parametrize("path", ["", "step/1"])
def test_on_a_phone_nothing_runs_out_of_the_page(served, open_page, path):
    page = open_page(served.url + path, width=390, height=844, scheme="dark")
    assert fits(page)
    if path:
        columns = page.get_by_role("group", name="Completions of group 1")
        assert columns.evaluate("one => one.scrollWidth > one.clientWidth")  # they scroll sideways
        columns.focus()
        assert columns.evaluate("one => document.activeElement === one")


def test_a_page_follows_a_run_at_work(tmp_path, draw, open_page):
    run = small_run(tmp_path, draw)
    server = RolloutServer(RolloutLog(run / "grpo"))
    server.search.scan()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    page = open_page(server.url)
    page.clock.install()
    page.reload()
    assert page.get_by_text("3 steps with completions").is_visible()
    write_step(run / "grpo", 4, [("case-0", [("new", (1.0, 1.0))])])
    page.clock.run_for(4100)
    page.get_by_text("4 steps with completions").wait_for()
    assert page.get_by_role("link", name="4", exact=True).is_visible()
    server.shutdown()
    server.close()


def test_the_file_opens_without_a_network_and_leads_to_what_stands_out(run, tmp_path, open_page):
    out = tmp_path / "rollouts.html"
    CliRunner().invoke(app, ["view", str(run), "--out", str(out)], catch_exceptions=False)
    asked = []
    page = open_page(out)
    page.on("request", lambda request: asked.append(request.url))
    page.reload()
    link = page.locator(".suspect a").first
    link.click()
    assert page.locator(".rollout:has(.anchor:target)").is_visible()
    image = page.locator("button.image img").first
    assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") == 32
    assert all(url.startswith(("file:", "data:")) for url in asked)
    page.set_viewport_size({"width": 390, "height": 844})
    assert fits(page)
