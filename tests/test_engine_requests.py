"""Requests to a vLLM server: a limit of time, and what the person is told when it is reached."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest
import requests
from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry

from skinrl.engine.requests import limit_requests, requests_named
from skinrl.errors import RunError

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"


class Server:
    """Takes connections; the first ``lost`` it closes without a word, the next ``stalled`` it never answers."""

    def __init__(self, lost: int = 0, stalled: int = 0) -> None:
        self.lost, self.stalled, self.taken = lost, stalled, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}/x"
        self.kept: list[socket.socket] = []
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:  # closed: the test is over
                return
            self.taken += 1
            connection.recv(65536)
            if self.taken <= self.lost:
                connection.close()
            elif self.taken <= self.lost + self.stalled:
                self.kept.append(connection)
            else:
                connection.sendall(ANSWER)
                connection.close()


@pytest.fixture
def session() -> Iterator[requests.Session]:
    """With TRL's retries, without its waits."""
    with requests.Session() as made:
        made.mount("http://", HTTPAdapter(max_retries=Retry(total=5, connect=5, read=5, allowed_methods=["POST"])))
        yield made


def test_a_stalled_server_stops_the_run_with_the_setting_named_and_is_asked_once(session: requests.Session) -> None:
    server = Server(stalled=9)
    limit_requests(session, 0.2)
    begun = time.monotonic()
    with (
        pytest.raises(RunError, match=r"did not answer within 0.2 s \(grpo.vllm_request_timeout\)"),
        requests_named(0.2),
    ):
        session.post(server.url, json={})
    assert server.taken == 1
    assert time.monotonic() - begun < 60


def test_a_lost_connection_is_tried_again(session: requests.Session) -> None:
    server = Server(lost=2)
    limit_requests(session, 30.0)
    assert session.post(server.url, json={}).status_code == 200
    assert server.taken == 3


def test_a_request_keeps_a_limit_of_its_own(session: requests.Session) -> None:
    server = Server(stalled=1)
    limit_requests(session, 600.0)
    with pytest.raises(requests.exceptions.Timeout):
        session.post(server.url, json={}, timeout=0.2)


def test_without_a_limit_nothing_changes(session: requests.Session) -> None:
    before = session.adapters["http://"].max_retries
    limit_requests(session, None)
    assert session.adapters["http://"].max_retries is before
    assert "request" not in vars(session)
