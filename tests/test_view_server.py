"""The server of `skinrl view`: what it serves, and what nobody gets."""

from __future__ import annotations

import http.client
import json
import os
import socket
import threading
from io import BytesIO

import pytest
from PIL import Image
from rollout_runs import serving, small_run, write_step

from skinrl.cli import rollout_server
from skinrl.cli.rollout_log import RolloutLog, write_image_paths
from skinrl.cli.rollout_server import RolloutServer
from skinrl.errors import InputError


@pytest.fixture
def run(tmp_path, draw):
    return small_run(tmp_path, draw)


@pytest.fixture
def served(run):
    with serving(run) as server:
        yield server


def get(server, path, *, secret=True, method="GET", **headers):
    """Status, headers and body; ``path`` goes out as it is."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    address = f"/{server.secret}/{path}" if secret else path
    connection.putrequest(method, address, skip_host="Host" in headers)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, dict(answer.getheaders()), body


def test_the_first_page_shows_curves_search_and_all_steps(served):
    status, headers, body = get(served, "")
    text = body.decode()
    assert status == 200
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert "3 steps with completions, steps 1 to 3" in text
    assert "hierarchy_reward × 1, format_reward × 0.25" in text
    assert text.count("<figure") == 3  # the sum and two rewards
    assert "36 rollouts of 3 steps searched" in text
    for step in (1, 2, 3):
        assert f'href="step/{step}"' in text
    assert 'href="step/1?row=3#row-3"' in text  # paid for the disease without a form
    assert "hierarchy_reward gives 1, format_reward 0" in text
    assert "not a medical device" in text
    assert "photographs of patients" in text


def test_a_step_shows_images_completions_scores_reasons_and_advantages(served):
    status, _, body = get(served, "step/2")
    text = body.decode()
    assert status == 200
    assert text.count("<article") == 3
    assert 'src="../image/2/1/0"' in text
    assert "× 2" in text  # equal completions stand together
    assert "#4, #5" in text
    assert "advantage +0.31" in text  # 1.25 less the mean of 0.9375
    assert "advantage −0.69" in text
    assert "<dt>node</dt><dd>nevus</dd>" in text
    assert "<dt>gold</dt><dd>melanoma</dd>" in text
    assert 'href="1?sort=drawn" rel="prev"' in text
    assert 'href="3?sort=drawn" rel="next"' in text


def test_what_a_model_wrote_is_never_markup(served):
    for path in ("", "step/1"):
        text = get(served, path)[2].decode()
        assert "<script>alert" not in text
        assert "&lt;script&gt;" in text


def test_an_image_comes_as_jpeg_without_metadata_and_in_two_sizes(served, run, tmp_path):
    exif = Image.Exif()
    exif[0x010E] = "name of a patient"
    Image.new("RGB", (2400, 1200), "red").save(tmp_path / "large.jpg", exif=exif)
    write_image_paths(run / "grpo", {"case-0": [str(tmp_path / "large.jpg")]})
    for path, width in (("image/1/0/0", 512), ("image/1/0/0?large=1", 1600)):
        status, headers, body = get(served, path)
        assert (status, headers["Content-Type"]) == (200, "image/jpeg")
        image = Image.open(BytesIO(body))
        assert image.size == (width, width // 2)
        assert not image.getexif()
        assert b"patient" not in body


@pytest.mark.parametrize(
    "path",
    [
        "../../../etc/passwd",
        "image/1/0/../../../../photos/0.png",
        "image/1/0/1",  # the record has one image
        "image/1/9/0",  # the step has three groups
        "image/9/0/0",
        "image/1/0/photos%2F0.png",
        "image/-1/0/0",
        "image/1/0/%EF%BC%90",
        "step/99",
        "step/../state.json",
        "completions/completions_00001.parquet",
        "metrics.jsonl",
        "images.json",
        "nothing",
    ],
)  # fmt: skip
def test_no_address_leads_to_a_file_that_the_table_does_not_name(served, path):
    status, _, body = get(served, path)
    assert status == 404
    assert b"root:" not in body
    assert b"PAR1" not in body


def test_a_file_that_is_no_image_is_not_given_out_even_if_the_run_names_it(served, run, tmp_path):
    (tmp_path / "secret.txt").write_text("the password")
    write_image_paths(run / "grpo", {"case-0": [str(tmp_path / "secret.txt"), str(tmp_path / "gone.png")]})
    for place in (0, 1):
        status, _, body = get(served, f"image/1/0/{place}")
        assert status == 404
        assert b"the password" not in body


def test_without_the_secret_there_is_nothing(served):
    for path in ("/", "/state.json", "/step/1", "/wrong/step/1", f"/{served.secret}", f"/{served.secret}x/", "//"):
        status, _, body = get(served, path, secret=False)
        assert status == 404, path
        assert b"case-" not in body


def test_another_host_is_refused_and_a_tunnel_with_its_own_port_is_not(served):
    assert get(served, "", Host="evil.example")[0] == 403
    assert get(served, "", Host=f"evil.example:{served.server_port}")[0] == 403
    assert get(served, "", Host="localhost:9999")[0] == 200
    assert get(served, "", Host="127.0.0.1")[0] == 200


def test_it_listens_on_this_computer_alone(served):
    assert served.server_address[0] == "127.0.0.1"
    with socket.socket() as other:
        other.settimeout(1)
        assert other.connect_ex(("127.0.0.2", served.server_port)) != 0


def test_pages_are_kept_in_no_cache_and_may_reach_their_own_server_alone(served):
    _, headers, body = get(served, "")
    assert headers["Cache-Control"] == "no-store"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert "default-src &#x27;none&#x27;" in body.decode()
    assert get(served, "", method="POST")[0] == 501
    status, headers, body = get(served, "", method="HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["Content-Length"]) > 1000


def test_groups_are_sorted_filtered_and_shown_in_pages(served, run):
    flat = [("same", (1.0, 1.0))] * 4
    uneven = [("good", (1.0, 1.0)), *[("bad", (0.0, 1.0))] * 3]
    write_step(run / "grpo", 4, [(f"flat-{i}", flat) for i in range(20)] + [("uneven", uneven)])
    first, second = (get(served, f"step/4?page={page}")[2].decode() for page in (0, 1))
    assert (first.count("<article"), second.count("<article")) == (16, 5)
    text = get(served, "step/4?spread=1")[2].decode()
    assert text.count("<article") == 1
    assert "1 of 21 groups" in text
    text = get(served, "step/4?sort=low")[2].decode()
    assert text.index("uneven") < text.index("flat-0")
    text = get(served, "step/4?row=82")[2].decode()  # the page with that row
    assert 'id="row-82"' in text
    assert get(served, "step/4?page=99&sort=nonsense&row=x")[0] == 200


def test_a_run_at_work_is_followed(served, run):
    before = json.loads(get(served, "state.json")[2])
    assert before == {"steps": 3, "last": 3, "searched": 3, "state": "in progress, or stopped"}
    write_step(run / "grpo", 4, [("case-0", [("new", (1.0, 1.0))])])
    assert json.loads(get(served, "state.json")[2])["last"] == 4
    assert 'href="step/4"' in get(served, "")[2].decode()
    file = run / "grpo" / "completions" / "completions_00005.parquet"
    file.write_bytes(b"PAR1")
    status, _, body = get(served, "step/5")
    assert status == 503
    assert b"half written" in body
    file.unlink()


def test_the_search_goes_on_in_a_thread_and_ends_with_the_server(run):
    server = RolloutServer(RolloutLog(run / "grpo"))
    server.start_search()
    for _ in range(200):
        if server.search.searched == 3:
            break
        threading.Event().wait(0.02)
    assert server.search.searched == 3
    server.close()
    assert not server._searching.is_alive()


def test_the_search_outlives_a_run_that_is_begun_anew(run, monkeypatch):
    monkeypatch.setattr(rollout_server, "_LOOK_AGAIN", 0.01)
    completions, away = run / "grpo" / "completions", run / "away"
    completions.rename(away)
    server = RolloutServer(RolloutLog(run / "grpo"))
    server.start_search()
    threading.Event().wait(0.1)
    away.rename(completions)
    for _ in range(200):
        if server.search.searched == 3:
            break
        threading.Event().wait(0.02)
    assert server.search.searched == 3
    server.close()


def test_a_run_that_has_logged_nothing_yet_shows_a_page(tmp_path):
    (tmp_path / "grpo" / "completions").mkdir(parents=True)
    server = RolloutServer(RolloutLog(tmp_path / "grpo"))
    _, _, body = server.answer("", {})
    assert "no step has been logged yet" in body.decode()
    server.close()


def test_photographs_can_be_left_out(run):
    server = RolloutServer(RolloutLog(run / "grpo"), images=False)
    text = server.answer("step/1", {})[2].decode()
    assert "<img src" not in text.replace('<img alt="" id="large-image">', "")
    assert "--no-images" in text
    with pytest.raises(InputError, match="no such page"):
        server.answer("image/1/0/0", {})
    server.close()


def test_a_port_that_is_taken_is_refused_in_a_line(run):
    log = RolloutLog(run / "grpo")
    first = RolloutServer(log)
    with pytest.raises(InputError, match=f"--port {first.server_port}: cannot be used"):
        RolloutServer(log, port=first.server_port)
    first.close()


def test_a_run_without_written_image_paths_says_so(served, run):
    os.remove(run / "grpo" / "images.json")
    assert "did not write where its images lie (images.json)" in get(served, "step/1")[2].decode()
