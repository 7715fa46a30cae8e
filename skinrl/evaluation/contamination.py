"""What a test set shares with the training data, and the metrics without it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skinrl import files
from skinrl.evaluation.bootstrap import RESAMPLES, SEED
from skinrl.evaluation.metrics import Scored, metrics_of, stated_prevalence

if TYPE_CHECKING:
    from skinrl.data.overlap import Overlap
    from skinrl.evaluation.evaluate import Evaluation

FILE = "contamination.jsonl"


@dataclass(frozen=True)
class Contamination:
    """What was found.

    Args:
        overlaps: pairs of a test case and a training record.
        training_images, test_images: images that were compared.
        threshold: bits in which the hashes of near duplicates may differ.
    """

    overlaps: tuple[Overlap, ...]
    training_images: int
    test_images: int
    threshold: int

    @property
    def cases(self) -> frozenset[tuple[str, str]]:
        """Source and id of the cases that share something with the training data."""
        return frozenset((one.case.source, one.case.id) for one in self.overlaps)


def contamination_block(
    found: Contamination,
    evaluation: Evaluation,
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
    prevalence: float | None = None,
) -> dict[str, Any]:
    """The block `contamination` of `metrics.json`.

    Args:
        prevalence: of `malignancy_ppv`, as in `Evaluation.metrics`; by default that of the whole set here too, so
            that the two numbers differ by the cases alone.

    Returns:
        `cases` (of this evaluation) that overlap, of `test_cases`; `by_reason`: cases by reason, each under all of
        its own; `pairs`; `training_images`, `test_images`, `threshold`; `without`: the metrics of the other cases,
        None where none is left; `only`: accuracy on the overlapping ones, None where there is none.
    """
    asked = {(case.source, case.id) for case in evaluation.cases}
    overlaps = [one for one in found.overlaps if (one.case.source, one.case.id) in asked]
    seen = {(one.case.source, one.case.id) for one in overlaps}
    scored = evaluation.scored()
    at = stated_prevalence(scored, prevalence)
    clean = [one for one in scored if (one.case.source, one.case.id) not in seen]
    dirty = [one for one in scored if (one.case.source, one.case.id) in seen]
    reasons = Counter(reason for reason, _ in {(one.reason, (one.case.source, one.case.id)) for one in overlaps})

    def metrics(part: Sequence[Scored]) -> dict[str, Any] | None:
        settings: dict[str, Any] = {"resamples": resamples, "seed": seed, "prevalence": at}
        return metrics_of(part, evaluation.taxonomy, **settings) if part else None

    only = metrics(dirty)
    return {
        "cases": len(seen),
        "test_cases": len(asked),
        "by_reason": dict(sorted(reasons.items())),
        "pairs": len(overlaps),
        "training_images": found.training_images,
        "test_images": found.test_images,
        "threshold": found.threshold,
        "without": metrics(clean),
        "only": {"accuracy": only["accuracy"]} if only else None,
    }


def write_contamination(folder: Path | str, found: Contamination) -> Path:
    """Write `contamination.jsonl`, one line a pair; returns the file."""
    file = Path(folder) / FILE
    files.write_jsonl(file, (one.to_dict() for one in found.overlaps))
    return file
