"""The judge of open answers: what it is asked, what of its replies counts, and what happens when it is down."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skinrl.engine.remote import RemoteModel
from skinrl.errors import InputError, RecipeError, RunError
from skinrl.evaluation import Case, Evaluation, Reply, evaluate
from skinrl.evaluation.judging import Judgement, judge_all, judge_messages, judge_metrics, read_judgement
from skinrl.taxonomy import Taxonomy

RECIPE = """\
name: judged
model: {path: somewhere/model}
data: [{source: ddi, path: images}]
"""


def answers(taxonomy: Taxonomy, *diagnoses: str) -> Evaluation:
    cases = [Case(id=str(n), gold=(("melanoma", 1.0),), group=str(n)) for n in range(len(diagnoses))]
    replies = [
        Reply(f"<think>\n</think>\n<answer>\nDiagnosis: {name}\nMalignancy: malignant\n</answer>")
        for name in diagnoses
    ]
    return evaluate(cases, taxonomy, greedy=replies)


def verdict(correct: bool) -> str:
    return json.dumps({"predicted_diagnosis": "x", "correct": correct, "reason": "y"})


@pytest.mark.parametrize(
    ("text", "correct"),
    [
        (verdict(True), True),
        ("Here it is:\n```json\n" + verdict(False) + "\n```", False),
        ('{"correct": "yes"}', None),
        ("correct: true", None),
        ("{not json} " + verdict(True), True),
        ("", None),
    ],
)
def test_a_reply_is_a_verdict_only_with_a_truth_value(text: str, correct: bool | None) -> None:
    assert read_judgement("1", text).correct is correct


@given(text=st.text() | st.from_regex(r'[{}"a-z:, ]*("correct": ?(true|false|1))?[{}"a-z:, ]*'))
@settings(max_examples=150, deadline=None)
def test_every_reply_is_a_verdict_or_none(text: str) -> None:
    assert read_judgement("1", text).correct in (True, False, None)


def test_the_judge_sees_reference_and_the_end_of_the_completion() -> None:
    system, user = judge_messages(("melanoma", "naevus"), "x" * 30_000 + "THE END")
    assert "melanoma or naevus" in user["content"]
    assert "THE END" in user["content"]
    assert len(user["content"]) < 20_100
    assert "JSON" in system["content"]


def test_taxonomy_and_judge_are_both_reported(taxonomy: Taxonomy) -> None:
    evaluation = answers(taxonomy, "melanoma", "melanoma", "naevus", "naevus")
    verdicts = [verdict(True), verdict(False), "no idea", verdict(False)]
    kept: list[Judgement] = []
    found, missing = judge_all(evaluation, lambda messages: verdicts[len(kept)], done={}, keep=kept.append)
    assert (len(kept), missing) == (4, "")
    block = judge_metrics(evaluation, found, model="m", resamples=100)
    assert block["accuracy"]["value"] == pytest.approx(1 / 4)  # the one without a verdict counts as wrong
    assert block["accuracy_judged"]["value"] == pytest.approx(1 / 3)
    assert block["agreement"]["value"] == pytest.approx(2 / 3)  # they differ on the second
    assert (block["judged"], block["failed"], block["missing"]) == (3, 1, "1 replies held no verdict")
    assert evaluation.metrics(resamples=100)["accuracy"]["value"] == pytest.approx(1 / 2)


def test_a_judge_that_is_down_is_given_up_and_says_what_is_missing(taxonomy: Taxonomy) -> None:
    asked: list[Any] = []

    def down(messages: Any) -> str:
        asked.append(messages)
        raise RunError("m at http://localhost:1: connection refused")

    evaluation = answers(taxonomy, *["melanoma"] * 20)
    found, missing = judge_all(evaluation, down, done={}, keep=lambda one: None)
    assert (found, len(asked)) == ({}, 5)
    block = judge_metrics(evaluation, found, model="m", missing=missing, resamples=100)
    assert "connection refused" in block["missing"]
    assert (block["accuracy"], block["accuracy_judged"], block["failed"]) == (None, None, 20)


def test_a_judge_that_stumbles_now_and_then_is_asked_on(taxonomy: Taxonomy) -> None:
    evaluation = answers(taxonomy, *["melanoma"] * 20)
    asked: list[Any] = []

    def stumbling(messages: Any) -> str:
        asked.append(messages)
        if len(asked) % 2:
            raise RunError("busy")
        return verdict(True)

    found, missing = judge_all(evaluation, stumbling, done={}, keep=lambda one: None)
    assert (len(asked), len(found), missing) == (20, 10, "busy")


def test_a_case_without_a_reference_is_not_judged(taxonomy: Taxonomy) -> None:
    cases = [Case(id="0", gold=(), group="0"), Case(id="1", gold=(("melanoma", 1.0),), group="1")]
    evaluation = evaluate(cases, taxonomy, greedy=[Reply("melanoma")] * 2)
    found, _ = judge_all(evaluation, lambda messages: verdict(True), done={}, keep=lambda one: None)
    assert set(found) == {"1"}


def test_a_judge_that_went_down_halfway_says_nothing_of_the_whole_set_and_is_asked_for_the_rest_later(
    taxonomy: Taxonomy,
) -> None:
    evaluation = answers(taxonomy, *["melanoma"] * 9)
    kept: list[Judgement] = []

    def half(messages: Any) -> str:
        if len(kept) >= 4:
            raise RunError("gone")
        return verdict(True)

    found, missing = judge_all(evaluation, half, done={}, keep=kept.append)
    block = judge_metrics(evaluation, found, model="m", missing=missing, resamples=100)
    assert (block["accuracy"], block["judged"], block["accuracy_judged"]["value"]) == (None, 4, 1.0)
    again: list[Judgement] = []
    found, missing = judge_all(evaluation, lambda messages: verdict(False), done=found, keep=again.append)
    assert (len(again), missing) == (5, "")
    assert judge_metrics(evaluation, found, model="m", resamples=100)["accuracy"]["value"] == pytest.approx(4 / 9)


def test_several_requests_at_once_judge_the_same(taxonomy: Taxonomy) -> None:
    evaluation = answers(taxonomy, *["melanoma", "naevus", "psoriasis"] * 5)

    def strict(messages: Any) -> str:
        return verdict("Diagnosis: melanoma" in messages[1]["content"])

    one, many = (judge_all(evaluation, strict, done={}, keep=lambda one: None, workers=n)[0] for n in (1, 4))
    assert one == many
    assert sum(bool(judgement.correct) for judgement in many.values()) == 5


# --- over the wire ---------------------------------------------------------------------------------------------------


@contextmanager
def server(reply: dict[str, Any], status: int = 200, **headers: str) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    seen: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen.append({"path": self.path, **body})
            content = json.dumps(reply).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments: Any) -> None:
            pass

    running = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{running.server_port}/v1", seen
    finally:
        running.shutdown()
        running.server_close()
        thread.join()


def test_a_judge_is_asked_greedily_by_the_openai_protocol() -> None:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": verdict(True)}}
    reply = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
    with server(reply) as (url, seen):
        chat = RemoteModel(url, "m").open()
        assert read_judgement("1", chat.ask(judge_messages(("melanoma",), "melanoma"))).correct is True
    (request,) = seen
    assert (request["path"], request["model"], request["temperature"]) == ("/v1/chat/completions", "m", 0.0)
    assert [message["role"] for message in request["messages"]] == ["system", "user"]


def test_a_server_that_refuses_or_is_not_there_is_a_run_error_with_its_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with server({"error": {"message": "no such model"}}, 404) as (url, _), pytest.raises(RunError, match=url):
        RemoteModel(url, "m").open().ask([])
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between the attempts
    with pytest.raises(RunError, match=r"m at http://127\.0\.0\.1:9/v1"):
        RemoteModel("http://127.0.0.1:9/v1", "m", seconds=2.0).open().ask([])


def test_completions_reach_the_address_that_was_named_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    with server({}) as (elsewhere, seen):
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, elsewhere.removesuffix("/v1"))
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        with server({"error": {}}, 404) as (url, own), pytest.raises(RunError):
            RemoteModel(url, "m").open().ask([])
        assert len(own) == 1
        with server({}, 307, Location=f"{elsewhere}/chat/completions") as (url, own), pytest.raises(RunError):
            RemoteModel(url, "m").open().ask([])
        assert own
        assert seen == []


def test_a_key_that_is_not_set_is_said_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    with pytest.raises(InputError, match="JUDGE_KEY is not set"):
        RemoteModel("http://localhost:8000/v1", "m", "JUDGE_KEY").open()


def test_completions_go_to_another_host_only_where_the_recipe_allows_it(tmp_path: Any) -> None:
    from skinrl.recipe import load_recipe

    file = tmp_path / "judged.yaml"

    def load(url: str, more: str = "") -> Any:
        file.write_text(f"{RECIPE}evaluation:\n  judge:\n    url: {url}\n    model: m\n{more}")
        return load_recipe(file)

    assert load("http://localhost:8000/v1").evaluation.judge.host == "localhost"
    with pytest.raises(RecipeError, match=r"judged.yaml:6: evaluation.judge would send .* to api.example.org, which"):
        load("https://api.example.org/v1")
    with pytest.raises(RecipeError, match=r"api\.example\.org"):
        load("https://api.example.org/v1", "privacy: {allow_remote: [example.org]}\n")
    assert load("https://api.example.org/v1", "privacy: {allow_remote: [api.example.org]}\n").evaluation.judge
    with pytest.raises(RecipeError, match="is no address"):
        load("api.example.org")
