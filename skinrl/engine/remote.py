"""A language model behind an address that speaks the OpenAI protocol: `vllm serve` first, any other too."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from skinrl.errors import InputError, RunError

_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class RemoteModel:
    """Where a model is asked: there and nowhere else, whatever a redirection or a proxy of the environment says.

    A proxy of the environment (``HTTPS_PROXY``) is used for other hosts than this machine alone.

    Args:
        url: such as ``http://localhost:8000/v1``.
        model: its name there.
        key_variable: environment variable that holds the key; empty: none is needed.
        seconds: time limit of one request.
        max_tokens: of a reply.
    """

    url: str
    model: str
    key_variable: str = ""
    seconds: float = 60.0
    max_tokens: int = 512

    @property
    def here(self) -> bool:
        """Whether it is on this machine."""
        return urlsplit(self.url).hostname in _THIS_MACHINE

    def open(self) -> RemoteChat:
        """Ready to ask.

        Raises:
            InputError: the variable of the key is not set, or the openai package is missing.
        """
        if self.key_variable and not os.environ.get(self.key_variable):
            raise InputError(f"the environment variable {self.key_variable} is not set; it should hold the key")
        try:
            import openai
        except ModuleNotFoundError as error:
            raise InputError("asking a model by its address needs the openai package") from error
        key = os.environ[self.key_variable] if self.key_variable else "none"
        # A proxy would see what is meant for this machine, and a redirection leads to a host that nobody allowed
        straight = openai.DefaultHttpxClient(follow_redirects=False, trust_env=not self.here, timeout=self.seconds)
        client = openai.OpenAI(
            base_url=self.url, api_key=key, timeout=self.seconds, max_retries=2, http_client=straight
        )
        return RemoteChat(self, client)


class RemoteChat:
    """An open connection; see :class:`RemoteModel`."""

    def __init__(self, where: RemoteModel, client: Any) -> None:
        self.where = where
        self._client = client

    def ask(self, messages: Sequence[dict[str, str]]) -> str:
        """The reply to a conversation, greedy.

        Raises:
            RunError: no answer, or a refusal of the server.
        """
        import openai

        try:
            reply = self._client.chat.completions.create(
                model=self.where.model,
                messages=list(messages),
                temperature=0.0,
                max_tokens=self.where.max_tokens,
            )
        except openai.OpenAIError as problem:
            raise RunError(f"{self.where.model} at {self.where.url}: {problem}") from problem
        choices = getattr(reply, "choices", None)
        if not choices:
            raise RunError(f"{self.where.model} at {self.where.url}: the reply holds no choices")
        return choices[0].message.content or ""
