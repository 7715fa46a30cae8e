"""Settings of the supervised stage: TRL's own, and when to stop."""

from __future__ import annotations

from dataclasses import dataclass, field

from trl import SFTConfig

from skinrl.errors import InputError


@dataclass
class SkinSFTConfig(SFTConfig):
    """TRL's ``SFTConfig`` with four more fields, and one other default.

    ``max_length`` is ``None``, not 1,024: a sequence is never cut, because a cut report teaches no answer, and a cut
    image is an error in the middle of a run.
    """

    max_length: int | None = field(
        default=None, metadata={"help": "Longest sequence in tokens; longer ones are cut. None: nothing is cut."}
    )
    flat_patience: int | None = field(
        default=None,
        metadata={
            "help": "Stop once the validation loss has not fallen by more than flat_min_delta for this many "
            "evaluations in a row. None: train all steps."
        },
    )
    flat_min_delta: float = field(
        default=0.0, metadata={"help": "The fall of the validation loss (nats per token) that counts as one."}
    )
    max_seconds: float | None = field(
        default=None,
        metadata={"help": "Stop after this many seconds of training, those before a resume included."},
    )

    cosine_over_seconds: bool = field(
        default=False,
        metadata={
            "help": "Let the learning rate fall to 0 along a cosine over max_seconds, after the warm-up, in place of "
            "lr_scheduler_type, which counts steps: how many fit into the seconds is not known before."
        },
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.flat_patience is not None and self.flat_patience < 1:
            raise InputError(f"sft.flat_patience: found {self.flat_patience}; expected at least 1, or nothing")
        if self.flat_patience is not None and self.eval_strategy == "no":
            raise InputError("sft.flat_patience needs evaluations: set sft.eval_strategy and sft.eval_steps")
        if self.cosine_over_seconds and self.max_seconds is None:
            raise InputError("sft.cosine_over_seconds needs sft.max_seconds, the seconds to fall over")
        if self.max_seconds is not None and self.max_seconds <= 0:
            raise InputError(f"sft.max_seconds: found {self.max_seconds}; expected more than 0, or nothing")
