"""Run a command and say at its end how long it took and how much memory it needed, all of its processes together.

    python tools/measure.py -- python -m skinrl.cli demo recipes/phantom.yaml

Memory is the proportional set size summed over the command's processes (shared pages count once), looked at once a
second, from /proc; where there is no /proc, nothing is said about it. Exit code and signals are the command's own.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

GIB = 2**30


def children(pid: int) -> list[int]:
    """The processes that ``pid``'s threads started, as far as they still run."""
    lists = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for file in lists for child in read(file).split()]


def read(file: Path) -> str:
    """The text of a /proc file; empty if its process has just ended."""
    try:
        return file.read_text()
    except OSError:
        return ""


def memory(pid: int) -> int:
    """Bytes that a process and all its descendants hold now."""
    rollup = read(Path(f"/proc/{pid}/smaps_rollup"))
    held = next((int(line.split()[1]) * 1024 for line in rollup.splitlines() if line.startswith("Pss:")), 0)
    return held + sum(memory(child) for child in children(pid))


class Peak(threading.Thread):
    """Looks at a process tree once a second until it is told to stop."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid, self.bytes, self.ended = pid, 0, threading.Event()

    def run(self) -> None:
        while not self.ended.wait(1.0):
            self.bytes = max(self.bytes, memory(self.pid))


def main(arguments: list[str]) -> int:
    command = arguments[1:] if arguments[:1] == ["--"] else arguments
    if not command:
        print(__doc__, file=sys.stderr)
        return 2
    start = time.monotonic()
    with subprocess.Popen(command) as process:
        # The command sees the terminal's Ctrl-C itself; a SIGTERM is for it, so that it can save.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda number, _: process.send_signal(number))
        peak = Peak(process.pid)
        peak.start()
        code = process.wait()
        peak.ended.set()
    minutes, seconds = divmod(round(time.monotonic() - start), 60)
    held = f", peak memory {peak.bytes / GIB:.1f} GiB over all its processes" if peak.bytes else ""
    print(f"took {minutes} min {seconds} s{held}", file=sys.stderr)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
