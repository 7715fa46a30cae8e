"""Generation behind one interface: vLLM and transformers, prompts, token bans, weight push.

Nothing here knows medicine, and importing this package loads neither torch nor vLLM.
"""

from __future__ import annotations

from skinrl.engine.base import Completion, Generator, Request, Sampling, open_generator

__all__ = ["Completion", "Generator", "Request", "Sampling", "open_generator"]
