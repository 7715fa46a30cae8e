"""Requests to a vLLM server that end: TRL waits for an answer for ever."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from urllib3.exceptions import ReadTimeoutError
from urllib3.util.retry import Retry

from skinrl.errors import RunError


class _NotAfterTimeout(Retry):
    """Lost connections are tried again, as TRL has it; a request that ran out of time is not: it is still running."""

    def increment(self, method=None, url=None, response=None, error=None, *args, **kwargs):  # type: ignore[no-untyped-def]
        if isinstance(error, ReadTimeoutError):
            raise error
        return super().increment(method, url, response, error, *args, **kwargs)


_KEPT = ("total", "connect", "read", "redirect", "status", "status_forcelist", "backoff_factor", "allowed_methods")


def limit_requests(session: Any, seconds: float | None) -> None:
    """Give every request of a ``requests.Session`` a time limit, unless it names its own; None changes nothing."""
    if seconds is None:
        return
    session.request = functools.partial(session.request, timeout=seconds)
    for adapter in session.adapters.values():
        adapter.max_retries = _NotAfterTimeout(**{name: getattr(adapter.max_retries, name) for name in _KEPT})


@contextmanager
def requests_named(seconds: float | None) -> Iterator[None]:
    """Raise :class:`RunError` in place of the library's error where a request runs out of time.

    Args:
        seconds: the limit, for the message.
    """
    from requests import exceptions

    try:
        yield
    except exceptions.Timeout as error:
        raise RunError(
            f"The vLLM server did not answer within {seconds:g} s (grpo.vllm_request_timeout). Look into its log: it "
            "may have stalled, on large images for example, or need longer for completions of this length."
        ) from error
