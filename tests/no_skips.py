"""A pytest plugin: with SKINRL_NO_SKIP=1, a test that skips has failed, unless this machine truly cannot run it.

`make test` loads it, `.ci/run` switches it on. Three reasons count: the folder of real data beside the repository
is not there, a test marked `gpu` meets no GPU, a test marked `vllm` meets an environment for which set-up found no
vLLM to install, a test marked `browser` meets a machine without a Chromium on which `.ci/run` could not install one
(it says so in SKINRL_NO_CHROMIUM).
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY / "tests"))  # this plugin is loaded before pytest puts the folder there

from browser import chromium  # noqa: E402


def may_skip(item: pytest.Item) -> bool:
    """Whether the machine lacks what this test needs."""
    fixtures = getattr(item, "fixturenames", [])
    return (
        ("shared_data" in fixtures and not (REPOSITORY.parent / "shared" / "data").is_dir())
        or (item.get_closest_marker("gpu") is not None and shutil.which("nvidia-smi") is None)
        or (item.get_closest_marker("vllm") is not None and importlib.util.find_spec("vllm") is None)
        or (item.get_closest_marker("browser") is not None and chromium() is None and no_chromium_to_be_had())
    )


def no_chromium_to_be_had() -> bool:
    """Whether set-up tried to install a browser and could not, or was not allowed to."""
    return bool(os.environ.get("SKINRL_NO_CHROMIUM"))


def refuse(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn a skip into a failure that keeps its reason."""
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    report.outcome = "failed"
    report.longrepr = f"refused to skip (SKINRL_NO_SKIP=1): {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and refusing() and not may_skip(item):
        refuse(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if report.skipped and refusing():
        refuse(report)
    return report


def refusing() -> bool:
    return os.environ.get("SKINRL_NO_SKIP") == "1"
