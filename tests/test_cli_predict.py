"""``skinrl predict``: which cases, which weights, what it writes, and that every form says what it is not."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tiny_model import CHAT_TEMPLATE, build_tiny_vlm
from typer.testing import CliRunner, Result

from skinrl.cli.app import app
from skinrl.cli.predict_cases import gather, look, with_options
from skinrl.cli.predict_output import thumbnail
from skinrl.engine import base as engine_base
from skinrl.engine.base import Completion
from skinrl.engine.chat import generation_prompt, load_processor
from skinrl.errors import DataError
from skinrl.evaluation.agreement import Level, agreement
from skinrl.report import DiagnosticReport
from skinrl.taxonomy import Taxonomy

NO_DEVICE = "not a medical device"


def said(name: str) -> str:
    return DiagnosticReport(name, "malignant", confidence=70).render()


class Engine:
    """Answers from a script, request by request, and keeps what it was asked."""

    def __init__(self, answers: Sequence[Sequence[str]]) -> None:
        self.answers = iter(answers)
        self.requests: list[Any] = []
        self.samplings: list[Any] = []
        self.closed = False

    def generate(self, requests: Sequence[Any], sampling: Any) -> list[list[Completion]]:
        self.requests += requests
        self.samplings.append(sampling)
        return [[Completion(text, (1,), None, True) for text in next(self.answers)] for _ in requests]

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Engine]:
    """Puts an engine with these answers in the place of the real one."""

    def put(*answers: Sequence[str]) -> Engine:
        made = Engine(answers)
        monkeypatch.setattr(engine_base, "open_generator", lambda path, **settings: made)
        return made

    return put


@pytest.fixture
def no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **settings: Any) -> None:
        raise AssertionError("the model was opened")

    monkeypatch.setattr(engine_base, "open_generator", refuse)


@pytest.fixture
def model(tmp_path: Path) -> str:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return str(folder)


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(app, ["predict", *map(str, arguments)])


def refused(result: Result, *words: str) -> None:
    assert isinstance(result.exception, DataError | ValueError), result.output
    for word in words:
        assert word in str(result.exception)


# Which weights


def test_an_adapter_is_put_on_its_base_at_the_resolution_it_was_trained_at(
    tmp_path: Path, draw: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    base = build_tiny_vlm(tmp_path / "base")
    processor = load_processor(str(base))
    processor.image_processor.size = type(processor.image_processor.size)(shortest_edge=3136, longest_edge=6272)
    processor.save_pretrained(tmp_path / "final")
    (tmp_path / "final" / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(base)}))
    opened: list[Any] = []

    def open_it(path: str, **settings: Any) -> Engine:
        keys = ("adapter", "min_pixels", "max_pixels", "revision")
        opened.append((path, *(settings[key] for key in keys)))
        return Engine([["nothing"]])

    monkeypatch.setattr(engine_base, "open_generator", open_it)
    image = draw(tmp_path / "a.png")
    result = run("--model", tmp_path / "final", "--revision", "v2", "--json", image)
    assert result.exit_code == 0, result.output
    assert opened == [(str(base), str(tmp_path / "final"), 3136, 6272, "v2")]
    assert json.loads(result.stdout)["outcome"] == "invalid"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "./nowhere"], "no such folder"),
        (["--model", "MODEL", "--revision", "v2"], "is a folder, which has none"),
        (["--model", "MODEL", "--kind", "open", "--option", "acne", "--option", "eczema"], "takes no options"),
        (["--model", "MODEL", "--kind", "closed"], "needs options"),
        (["--model", "MODEL", "--wording", "long"], "expected one of full, short"),
    ],
)
@pytest.mark.usefixtures("no_engine")
def test_arguments_that_do_not_fit_are_refused(
    arguments: list[str], words: str, tmp_path: Path, draw: Callable[..., str], model: str
) -> None:
    image = draw(tmp_path / "a.png")
    refused(run(image, *(model if one == "MODEL" else one for one in arguments)), words)


# Which cases


def test_cases_come_from_files_folders_and_rows(tmp_path: Path, draw: Callable[..., str]) -> None:
    files = [draw(tmp_path / "lesions" / name, number) for number, name in enumerate(("b.png", "a.jpg", "x/c.png"))]
    draw(tmp_path / "lesions" / ".hidden" / "d.png")
    (tmp_path / "lesions" / "notes.txt").write_text("no image")
    rows = [{"id": "two", "images": ["lesions/b.png", "lesions/a.jpg"]}, {"image": "lesions/x/c.png"}]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert [case.images for case in gather([tmp_path / "lesions"])] == [(files[1],), (files[0],), (files[2],)]
    whole = gather([tmp_path / "lesions"], together=True)
    assert [(case.id, case.images) for case in whole] == [
        (str(tmp_path / "lesions"), (files[1], files[0])),
        (str(tmp_path / "lesions" / "x"), (files[2],)),
    ]
    assert [case.images for case in gather([Path(one) for one in files[:2]], together=True)] == [tuple(files[:2])]
    listed = gather([tmp_path / "rows.jsonl"])
    assert [(case.id, len(case.images)) for case in listed] == [("two", 2), (files[2], 1)]


def test_faults_of_all_inputs_are_told_at_once(tmp_path: Path, draw: Callable[..., str]) -> None:
    image = draw(tmp_path / "a.png")
    rows = [
        {"image": "a.png", "age": 61},
        {"images": []},
        {"id": "x"},
        [1],
        {"image": "gone.png"},
        {"image": "a.png", "options": "acne"},
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError) as told:
        gather([Path(image), Path(image), tmp_path / "missing.png", tmp_path / "empty", tmp_path / "rows.jsonl"])
    for words in (
        "row 1: unknown key 'age'; expected id, image, images, options (nothing else reaches the model)",
        "row 2: images are []",
        "row 3: give exactly one of image",
        "row 4: is list",
        "gone.png: no such file",
        "row 6: options are 'acne'",
        "missing.png: no such file",
        "empty: no image below this folder",
        "a.png: stands 2 times",
    ):
        assert words in str(told.value)


@pytest.mark.usefixtures("no_engine")
def test_broken_images_are_told_at_once_before_the_model_is_opened(
    tmp_path: Path, draw: Callable[..., str], model: str
) -> None:
    paths = [Path(draw(tmp_path / f"{number}.png", number)) for number in range(3)]
    paths[0].write_bytes(paths[0].read_bytes()[:200])
    paths[2].write_text("no image")
    refused(run("--model", model, *paths), "2 of 3 images cannot be read", "0.png", "2.png")


def test_options_are_nodes_and_unknown_ones_are_told_at_once(
    tmp_path: Path, draw: Callable[..., str], taxonomy: Taxonomy
) -> None:
    cases = gather([Path(draw(tmp_path / "a.png"))])
    found = with_options(cases, ["melanoma", "acne vulgaris"], taxonomy)
    assert found[0].option_nodes[0] == "melanoma"
    with pytest.raises(DataError, match=r"(?s)'melanomma' is not.*nearest: .*melanoma.*'xyzzy' is not"):
        with_options(cases, ["melanomma", "psoriasis", "xyzzy"], taxonomy)
    with pytest.raises(DataError, match="one option alone"):
        with_options(cases, ["melanoma"], taxonomy)


# What is asked


def test_the_question_is_that_of_training_and_shows_all_images_upright(
    tmp_path: Path, draw: Callable[..., str], engine: Callable[..., Engine], model: str
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    exif[0x8825] = {1: "N"}  # GPS
    paths = [draw(tmp_path / "case" / "a.jpg", 1, (32, 24), exif=exif), draw(tmp_path / "case" / "b.png", 2, (32, 24))]
    asked = engine([said("melanoma")])
    options = ["--option", "melanoma", "--option", "psoriasis", "--kind", "closed"]
    result = run("--model", model, "--together", *options, "--wording", "short", "--json", *paths)
    assert result.exit_code == 0, result.output
    (request,) = asked.requests
    assert request.messages[0]["content"] == "Which diagnosis fits best?\nA. melanoma\nB. psoriasis"
    assert [image.size for image in request.images] == [(24, 32), (32, 24)]
    assert not request.images[0].getexif()
    assert asked.closed
    row = json.loads(result.stdout)
    assert (row["outcome"], row["answer_node"], row["options"]) == ("ok", "melanoma", ["melanoma", "psoriasis"])


@pytest.mark.parametrize(("flag", "outcome"), [("--prefill-think", "ok"), ("--no-prefill-think", "invalid")])
def test_what_the_template_writes_of_the_answer_is_joined_to_it(
    flag: str, outcome: str, tmp_path: Path, draw: Callable[..., str], engine: Callable[..., Engine], model: str
) -> None:
    engine([said("melanoma").removeprefix("<think>\n")])
    result = run("--model", model, flag, "--json", draw(tmp_path / "a.png"))
    assert json.loads(result.stdout)["outcome"] == outcome


def test_a_template_that_opens_the_thinking_is_found_out(tmp_path: Path) -> None:
    processor = load_processor(str(build_tiny_vlm(tmp_path)))
    assert generation_prompt(processor) == "<|im_start|>assistant\n"
    processor.chat_template = CHAT_TEMPLATE.replace("assistant\n", "assistant\n<think>\n")
    assert generation_prompt(processor) == "<|im_start|>assistant\n<think>\n"


# Agreement


def test_agreement_by_hand(taxonomy: Taxonomy) -> None:
    """Two melanomas, one nodular melanoma, one naevus, one without an answer."""
    found = agreement(["melanoma", "nodular_melanoma", None, "melanoma", "melanocytic_nevus"], taxonomy)
    assert (found.samples, found.answered, found.node, found.share) == (5, 4, "melanoma", 3 / 5)
    # kinds of 2, 1, 1 and 1 of 5
    assert found.entropy == pytest.approx(-(2 / 5 * math.log(2 / 5) + 3 * (1 / 5 * math.log(1 / 5))))
    levels = {one.level: one for one in found.levels}
    assert levels[taxonomy.level("melanoma")] == Level(taxonomy.level("melanoma"), "melanoma", 3 / 5)
    shared = taxonomy.common_ancestors("melanoma", "melanocytic_nevus")
    assert shared
    for node in shared:
        assert levels[taxonomy.level(node)].share == 4 / 5
    assert max(levels) == taxonomy.level("nodular_melanoma")


@pytest.mark.parametrize(
    ("nodes", "node", "share", "entropy"),
    [
        (["melanoma"] * 3, "melanoma", 1.0, 0.0),
        ([None, None], None, 0.0, None),
        # as often as psoriasis, and a third sample lies below it
        (["psoriasis", "psoriasis", "melanoma", "melanoma", "nodular_melanoma"], "melanoma", 3 / 5, None),
        # level on every count: the first by name
        (["psoriasis", "melanoma"], None, 0.5, math.log(2)),
    ],
)
def test_agreement_at_the_edges(
    nodes: list[str | None], node: str | None, share: float, entropy: float | None, taxonomy: Taxonomy
) -> None:
    found = agreement(nodes, taxonomy)
    assert found.share == share
    assert found == agreement(list(reversed(nodes)), taxonomy)
    if node is not None or found.answered == 0:
        assert found.node == node
    if entropy is not None:
        assert found.entropy == pytest.approx(entropy)
    assert (found.entropy is None) == (found.answered == 0), "samples that fail alike agree on nothing"


# What is written


def test_samples_give_the_commonest_answer_with_their_agreement(
    tmp_path: Path, draw: Callable[..., str], engine: Callable[..., Engine], model: str
) -> None:
    asked = engine([said("psoriasis"), said("melanoma"), "nonsense", said("nodular melanoma"), said("melanoma")])
    path = draw(tmp_path / "a.png")
    text = run("--model", model, "--n", 5, path).stdout
    assert "a.png: melanoma\n" in text
    assert "agreement: 3 of 5 samples at or below it, 4 named a disease; entropy 1.33 nats" in text
    assert re.search(r"level \d: +60% melanoma", text)
    assert text.rstrip().endswith(f"Research tool, {NO_DEVICE}: no diagnosis for a patient.")
    (sampling,) = asked.samplings
    assert (sampling.n, sampling.temperature, sampling.seed) == (5, 1.0, 0)
    engine([said("melanoma"), said("psoriasis")])
    row = json.loads(run("--model", model, "--n", 2, "--json", path).stdout)
    assert [one["answer_node"] for one in row["samples"]] == ["melanoma", "psoriasis"]
    assert row["agreement"]["share"] == 0.5
    assert NO_DEVICE in row["note"]


def test_samples_that_all_fail_are_no_agreement(
    tmp_path: Path, draw: Callable[..., str], engine: Callable[..., Engine], model: str
) -> None:
    engine(["nonsense", "more of it"])
    page = tmp_path / "page.html"
    text = run("--model", model, "--n", 2, draw(tmp_path / "a.png")).stdout
    assert "no answer (invalid" in text
    assert "agreement: none of 2 samples named a disease" in text
    engine(["nonsense", "more of it"])
    assert run("--model", model, "--n", 2, "--page", page, tmp_path / "a.png").exit_code == 0
    assert "None of 2 samples named a disease" in page.read_text()


def test_json_is_a_line_a_case_and_every_line_says_what_it_is_not(
    tmp_path: Path, draw: Callable[..., str], engine: Callable[..., Engine], model: str
) -> None:
    asked = engine([said("melanoma")], ["nonsense"], [said("undetermined").replace("malignant", "undetermined")])
    paths = [draw(tmp_path / f"{number}.png", number) for number in range(3)]
    lines = run("--model", model, "--json", *paths).stdout.splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["id"] for row in rows] == paths
    assert [(row["outcome"], row["name"]) for row in rows] == [("ok", "melanoma"), ("invalid", None), ("ok", None)]
    assert rows[0]["path"][-1] == "melanoma"
    assert rows[0]["path_names"][-1] == "melanoma"
    assert (rows[0]["malignancy"], rows[0]["confidence"]) == ("malignant", 70)
    assert all(NO_DEVICE in row["note"] for row in rows)
    assert asked.samplings[0].temperature == 0


def test_a_run_that_was_cut_off_goes_on_where_it_was(
    tmp_path: Path, draw: Callable[..., str], engine: Callable[..., Engine], model: str, taxonomy: Taxonomy
) -> None:
    paths = [draw(tmp_path / f"{number}.png", number) for number in range(3)]
    out = tmp_path / "answers.jsonl"
    arguments = ["--model", model, "--out", out, "--batch-size", 1]
    engine([said("melanoma")], [said("psoriasis")])  # the third is asked in vain
    assert run(*arguments, *paths).exit_code != 0
    assert len(out.read_text().splitlines()) == 2
    with out.open("a") as stream:
        stream.write('{"id": "cut o')
    second = engine([said("acne")])
    result = run(*arguments, "--json", *paths)
    assert result.exit_code == 0, result.output
    assert len(second.requests) == 1
    assert [json.loads(line)["name"] for line in result.stdout.splitlines()][:2] == ["melanoma", "psoriasis"]
    third = engine()
    assert run(*arguments, "--json", *paths).stdout == result.stdout
    assert third.requests == []


@pytest.mark.usefixtures("no_engine")
def test_answers_to_something_else_are_never_taken_for_these(
    tmp_path: Path, draw: Callable[..., str], monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    path, out = draw(tmp_path / "a.png"), tmp_path / "answers.jsonl"
    with monkeypatch.context() as patch:
        patch.setattr(engine_base, "open_generator", lambda *a, **k: Engine([[said("melanoma")]]))
        assert run("--model", model, "--out", out, path).exit_code == 0
    assert run("--model", model, "--out", out, path).exit_code == 0
    for other in (
        ["--max-tokens", 9],
        ["--wording", "short"],
        ["--n", 3],
        ["--no-prefill-think"],
        ["--backend", "vllm"],
    ):
        refused(run("--model", model, "--out", out, *other, path), "1 cases were answered with other weights")
    draw(tmp_path / "a.png", 7)
    refused(run("--model", model, "--out", out, path), "1 cases were answered with other weights")
    out.write_text('{"id": "1"}\n')
    refused(run("--model", model, "--out", out, path), "something else than answers of skinrl predict")


def test_an_adapter_on_other_base_weights_is_another_model(
    tmp_path: Path, draw: Callable[..., str], engine: Callable[..., Engine], model: str
) -> None:
    adapter, path, out = tmp_path / "adapter", draw(tmp_path / "a.png"), tmp_path / "answers.jsonl"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": model}))
    weights = Path(model) / "model.safetensors"
    weights.write_text("before")
    engine([said("melanoma")])
    assert run("--model", adapter, "--out", out, path).exit_code == 0
    assert run("--model", adapter, "--out", out, path).exit_code == 0
    weights.write_text("trained further")
    refused(run("--model", adapter, "--out", out, path), "1 cases were answered with other weights")


def test_the_page_stands_alone_shows_the_images_and_says_what_it_is_not(
    tmp_path: Path, draw: Callable[..., str], engine: Callable[..., Engine], model: str
) -> None:
    evil = said("melanoma").replace("Findings: ", "Findings: <script>alert(1)</script> ")
    evil = evil if "<script>" in evil else evil.replace("<think>", "<think>\nFindings: <script>alert(1)</script>")
    paths = [draw(tmp_path / f"{number}.png", number, (400, 300)) for number in range(2)]
    engine([evil, said("psoriasis")], [said("psoriasis"), said("psoriasis")])
    page = tmp_path / "page.html"
    assert run("--model", model, "--n", 2, "--page", page, *paths).exit_code == 0
    html = page.read_text()
    assert html.count(NO_DEVICE) >= 2
    assert html.count("data:image/jpeg;base64,") == 2
    assert 'alt="Image 1 of 1 of case' in html
    assert "<script>alert" not in html
    assert not re.search(r'(src|href)="(?!data:|#)', html), "it reaches for something outside"
    assert "Agreement of 2 samples" in html
    engine([said("melanoma")], [said("melanoma")])
    assert run("--model", model, "--no-thumbnails", "--page", page, *paths).exit_code == 0
    assert "data:image" not in page.read_text()


def test_a_thumbnail_is_upright_small_and_knows_nothing_of_the_patient(
    tmp_path: Path, draw: Callable[..., str]
) -> None:
    import base64
    import io

    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "Jane Doe"
    path = draw(tmp_path / "a.jpg", 1, (800, 600), exif=exif)
    content = base64.b64decode(thumbnail(path).partition(",")[2])
    image = Image.open(io.BytesIO(content))
    assert image.size == (240, 320)
    assert b"Jane" not in content
    assert not image.getexif()


def test_looking_at_images_tells_other_pixels_apart(tmp_path: Path, draw: Callable[..., str]) -> None:
    cases = gather([Path(draw(tmp_path / "a.png", 1)), Path(draw(tmp_path / "b.png", 2))])
    first, second = look(cases)
    assert first.pixels != second.pixels
    draw(tmp_path / "a.png", 2)
    assert look(cases)[0].pixels == second.pixels
