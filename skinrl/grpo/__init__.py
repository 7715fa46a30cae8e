"""Group relative policy optimisation: TRL's trainer, with rollouts that are the trainer's own policy."""

from __future__ import annotations

from skinrl.engine.environment import prepare_environment

prepare_environment()  # before TRL's first import of vLLM
