"""The server process: its whole group ends, and a start that fails says why. Real processes, no vLLM."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from skinrl.engine.server import VLLMServer, free_port
from skinrl.errors import RunError

# A process that starts a child, as an API server starts its engine, and ends without it when told to
PARENT = """
import signal, subprocess, sys, time
deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(60)"
child = subprocess.Popen([sys.executable, "-c", deaf])
signal.signal(15, lambda *_: sys.exit(0))
print("started", flush=True)
time.sleep(60)
"""

pytest.importorskip("vllm", reason="vLLM is not installed on this platform")


def url() -> str:
    return f"http://127.0.0.1:{free_port()}"


def test_stopping_ends_children_that_outlive_the_first_process(tmp_path: Path) -> None:
    log = tmp_path / "log"
    server = VLLMServer([sys.executable, "-c", PARENT], {}, url(), log)
    deadline = time.monotonic() + 30
    while "started" not in log.read_text() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert server.is_alive()
    server.stop(patience=1.0)
    assert not server.is_alive()


def test_a_server_that_dies_while_starting_shows_the_end_of_its_log(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "print('no such model'); raise SystemExit(3)"]
    expected = r"ended with code 3 while starting(.|\n)*no such model"
    with VLLMServer(command, {}, url(), tmp_path / "log") as server, pytest.raises(RunError, match=expected):
        server.wait()


def test_a_server_that_never_answers_is_stopped_when_its_time_is_up(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    with VLLMServer(command, {}, url(), tmp_path / "log", start_timeout=1.0) as server:
        with pytest.raises(RunError, match="not healthy after 1 s"):
            server.wait()
        assert not server.is_alive()
