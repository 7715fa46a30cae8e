"""Run a test program in a process of its own: engines and process groups cannot be shared with pytest's.

A program writes one JSON file. It gets a time limit, and on expiry its whole process group is killed:
a hang is a failure, and leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parent


def free_port() -> int:
    """A TCP port that is free now."""
    from skinrl.engine.server import free_port as find

    return find()


def run_program(script: str, scenario: str, folder: Path, *, processes: int = 1, timeout: float) -> Any:
    """Run ``tests/<script> <scenario> <folder>`` (under torchrun for several processes); returns its result.

    Raises:
        AssertionError: it failed or ran out of time; the message holds the end of its output.
    """
    command = [sys.executable]
    if processes > 1:
        # a fixed address: the default rendezvous asks for this machine's name, which may not resolve
        command += ["-m", "torch.distributed.run", "--nproc_per_node", str(processes)]
        command += ["--master_addr", "127.0.0.1", "--master_port", str(free_port())]
    command += [str(TESTS / script), scenario, str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    log = folder / f"{scenario}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True, cwd=folder
        )
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-60:])
    assert code is not None, f"{script} {scenario} was not done after {timeout:.0f} s:\n{tail}"
    assert code == 0, f"{script} {scenario} ended with code {code}:\n{tail}"
    return json.loads((folder / f"{scenario}.json").read_text(encoding="utf-8"))
