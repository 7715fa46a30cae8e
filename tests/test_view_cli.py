"""`skinrl view` as a command: the offline file, JSON, and input that is wrong."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request

import pytest
from rollout_runs import small_run
from typer.testing import CliRunner

from skinrl.cli.app import app
from skinrl.cli.view import chosen_steps
from skinrl.errors import InputError


@pytest.fixture
def run(tmp_path, draw):
    return small_run(tmp_path, draw, steps=6)


def view(*arguments):
    return CliRunner().invoke(app, ["view", *map(str, arguments)])


def test_a_file_holds_chosen_steps_and_their_images_and_asks_for_nothing(run, tmp_path):
    out = tmp_path / "page.html"
    done = view(run, "--out", out, "--steps", "2,4-5")
    assert done.exit_code == 0, done.output
    assert "36 rollouts of 3 steps, 9 images" in done.stdout
    text = out.read_text()
    assert re.findall(r'id="step-(\d+)"', text) == ["2", "4", "5"]
    assert text.count("data:image/jpeg;base64,") == 9
    assert not re.search(r'(src|href)="(?!#|data:)[^"]+"', text)
    assert "<script>alert" not in text
    assert "36 rollouts of 6 steps searched" not in text
    assert "72 rollouts of 6 steps searched" in text  # all of the run, whatever the file shows
    assert str(tmp_path) not in text  # no path of a file
    assert "not a medical device" in text


def test_images_are_limited_or_left_out(run, tmp_path):
    out = tmp_path / "page.html"
    view(run, "--out", out, "--steps", "1-6", "--most-images", 4)
    text = out.read_text()
    assert text.count("data:image/jpeg;base64,") == 4
    assert "4 images in this file, 14 left out" in text
    view(run, "--out", out, "--steps", "1", "--no-images")
    text = out.read_text()
    assert "data:image" not in text.replace("img-src data:", "")
    assert "--no-images" in text


def test_without_a_choice_the_file_shows_the_last_step_and_the_first_suspects(run, tmp_path):
    out = tmp_path / "page.html"
    assert view(run, "--out", out).exit_code == 0
    text = out.read_text()
    shown = set(re.findall(r'id="step-(\d+)"', text))
    assert "6" in shown
    assert set(re.findall(r'href="#row-(\d+)-\d+"', text)) <= shown


def test_json_lists_the_suspects_for_programs(run):
    done = view(run, "--json")
    found = json.loads(done.stdout)
    assert found["rollouts"] == 72
    first = found["suspects"][0]
    assert set(first) == {"step", "row", "id", "score", "signs", "because", "alike", "total", "completion"}
    assert first["because"][0] == "hierarchy_reward gives 1, format_reward 0"
    assert first["score"] == max(one["score"] for one in found["suspects"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "nowhere: no such folder"),
        (["RUN", "--steps", "1"], "--out"),
        (["RUN", "--out", "x.html", "--steps", "9"], "9 names no logged step; there are 1 to 6"),
        (["RUN", "--out", "x.html", "--steps", "one"], "'one' is neither a step"),
    ],
)
def test_wrong_input_is_refused_in_a_line(run, arguments, words):
    done = view(*[run if one == "RUN" else one for one in arguments])
    assert isinstance(done.exception, InputError)  # which the program says in one line, and ends with 2
    assert words in str(done.exception)


def test_steps_are_chosen_by_number_span_and_name():
    logged = [5, 10, 15, 20]
    assert chosen_steps("first,last", logged) == [5, 20]
    assert chosen_steps("6-16, 5", logged) == [5, 10, 15]
    with pytest.raises(InputError, match="names no logged step"):
        chosen_steps("6-9", logged)


def test_the_command_prints_the_address_serves_it_and_ends_with_an_interrupt(run):
    command = [sys.executable, "-m", "skinrl.cli", "view", str(run), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/[\w-]{16}/", address)
        with urllib.request.urlopen(address, timeout=20) as answer:
            assert b"Rollouts" in answer.read()
        process.send_signal(2)
        _, said = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "data of patients" in " ".join(said.split())
