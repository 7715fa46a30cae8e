"""A vLLM server process of our own: start it, know when it is ready, and leave nothing behind.

The engine of a server is a process of its own. Killing the API process alone leaves it alive with
all its memory, so the server runs in a new process group and the group is stopped.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO

from skinrl.engine.environment import engine_environment, on_cpu
from skinrl.engine.push import WORKER_EXTENSION
from skinrl.errors import InputError, RunError


def free_port() -> int:
    """A TCP port that is free on this machine now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def server_command(
    model_path: str,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    dtype: str = "auto",
    max_model_len: int | None = None,
    min_pixels: int | None = None,
    max_pixels: int | None = None,
    tensor_parallel_size: int = 1,
    gpu_memory_utilization: float = 0.9,
    nccl: bool = False,
    extra: Sequence[str] = (),
) -> list[str]:
    """The command of a server that GRPO can roll out from.

    ``python -m`` and not ``vllm serve``: the CPU build lacks the package metadata that the latter asks for.

    Args:
        dtype: must be the trainer's.
        min_pixels, max_pixels: must be the trainer's image size limits.
        nccl: also take weights over NCCL (TRL's way, CUDA alone).
        extra: further arguments of vLLM, as they are.
    """
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", model_path]
    command += ["--host", host, "--port", str(port), "--dtype", dtype]
    # log-probs after temperature and bans: those that the trainer computes
    command += ["--logprobs-mode", "processed_logprobs", "--max-logprobs", "-1"]
    # images of a prompt are processed apart from its tokens, at an endpoint of this group
    command += ["--enable-scale-out", "--worker-extension-cls", WORKER_EXTENSION]
    if max_model_len is not None:
        command += ["--max-model-len", str(max_model_len)]
    pixels = {"min_pixels": min_pixels, "max_pixels": max_pixels}
    pixels = {name: value for name, value in pixels.items() if value is not None}
    if pixels:
        command += ["--mm-processor-kwargs", json.dumps(pixels)]
    if on_cpu():
        command += ["--enforce-eager"]
    else:
        command += ["--tensor-parallel-size", str(tensor_parallel_size)]
        command += ["--gpu-memory-utilization", str(gpu_memory_utilization)]
    if nccl:
        command += ["--weight-transfer-config", json.dumps({"backend": "nccl"})]
    return [*command, *extra]


def server_environment(model_path: str, *, base: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of such a server: ours and the defaults, with the endpoints for weight pushes open."""
    environment = {**engine_environment(model_path=model_path), **(os.environ if base is None else base)}
    # the server is a process of its own and may have a separate engine process
    environment.pop("VLLM_ENABLE_V1_MULTIPROCESSING", None)
    # a launcher's variables would make vLLM join the trainer's process group
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        environment.pop(name, None)
    environment["VLLM_SERVER_DEV_MODE"] = "1"
    return environment


class VLLMServer:
    """A running server; use as a context manager.

    Args:
        command: :func:`server_command`.
        environment: :func:`server_environment`.
        url: where it will listen, e.g. ``http://127.0.0.1:8000``.
        log: file for its output.
        start_timeout: seconds until it must be healthy.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        url: str,
        log: Path,
        *,
        start_timeout: float = 300.0,
    ) -> None:
        if importlib.util.find_spec("vllm") is None:
            raise InputError("A vLLM server needs vLLM, which is not installed here.")
        self.url = url
        self.log = log
        self._start_timeout = start_timeout
        self._output: IO[bytes] = log.open("wb")
        self._process = subprocess.Popen(
            list(command),
            env=dict(environment),
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def is_healthy(self) -> bool:
        """Whether it answers."""
        import requests

        try:
            return requests.get(f"{self.url}/health", timeout=5).status_code == 200
        except requests.RequestException:
            return False

    def wait(self) -> VLLMServer:
        """Block until it is healthy.

        Raises:
            RunError: it ended, or the time is up; the message holds the end of its log.
        """
        deadline = time.monotonic() + self._start_timeout
        while not self.is_healthy():
            code = self._process.poll()
            if code is not None:
                raise RunError(f"The vLLM server ended with code {code} while starting. {self._tail()}")
            if time.monotonic() > deadline:
                self.stop()
                raise RunError(f"The vLLM server was not healthy after {self._start_timeout:.0f} s. {self._tail()}")
            time.sleep(0.5)
        return self

    def stop(self, *, patience: float = 10.0) -> None:
        """End the whole process group: politely, and after ``patience`` seconds for good."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if not self._signal(number):
                break
            deadline = time.monotonic() + patience
            # the first process may be gone while the engine, in the same group, still holds its memory
            while self.is_alive() and time.monotonic() < deadline:
                time.sleep(0.1)
        self._output.close()

    def is_alive(self) -> bool:
        """Whether any process of the group is left."""
        self._process.poll()  # collect the first process, or it stays in the table
        return self._signal(0) and _runs(self._process.pid)

    def _signal(self, number: int) -> bool:
        try:
            os.killpg(self._process.pid, number)
        except ProcessLookupError:
            return False
        return True

    def _tail(self, lines: int = 15) -> str:
        text = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return f"The end of {self.log}:\n" + "\n".join(text[-lines:])

    def __enter__(self) -> VLLMServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _runs(group: int) -> bool:
    """Whether a process of ``group`` still runs: in a container nobody may collect the dead from the table."""
    stats = list(Path("/proc").glob("[0-9]*/stat"))
    if not stats:
        return True  # no such table here
    for stat in stats:
        try:
            state, _, process_group = stat.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue  # it ended meanwhile
        if int(process_group) == group and state != "Z":
            return True
    return False
