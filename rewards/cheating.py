"""A reward on the adversarial corpus: what it pays for cases that should earn less."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from skinrl.rewards.adversarial import (
    BODIES,
    FORM_PARTS,
    GOLD_PARTS,
    Case,
    Rendering,
    Scene,
    load_cases,
    make_scene,
)
from skinrl.rewards.base import Reward
from skinrl.rewards.finding import Finding, failed
from skinrl.rewards.samples import Probe, call
from skinrl.taxonomy.graph import Taxonomy

_CHECK = "adversarial corpus"
_WHY = "reinforcement learning finds what is paid without being right"


@dataclass(frozen=True)
class Paid:
    """What one case earned.

    Args:
        score: `None` where the prompt cannot be scored.
        most: the most that it may earn.
    """

    case: Case
    score: float | None
    most: float

    @property
    def over(self) -> bool:
        """Whether it earned more than it may."""
        return self.score is not None and self.score > self.most + 1e-9


def pay_for_cases(
    reward: Reward, scene: Scene, readings: Sequence[Mapping[str, float]], cases: Sequence[Case], rendering: Rendering
) -> list[Paid]:
    """What a reward pays for each case, beside the most that it may.

    Args:
        readings: what the reward pays for, part -> the most of it; with several, the kindest counts.
    """
    probes: list[Probe] = [(scene.row(case.options), scene.completion(case, rendering)) for case in cases]
    scores = call(reward, probes)
    return [
        Paid(case, score, max(case.bound(parts) for parts in readings))
        for case, score in zip(cases, scores, strict=True)
    ]


def readings_of(reward: Reward, reads_gold: bool) -> list[dict[str, float]]:
    """What a reward says that it pays for, as its attribute ``parts``; else each part that it could be paying for."""
    stated = getattr(reward, "parts", None)
    if stated is not None:
        return [dict(stated)]
    maximum = float(getattr(reward, "maximum", 1.0))
    return [{part: maximum} for part in (GOLD_PARTS if reads_gold else FORM_PARTS)]


def check_adversarial(reward: Reward, taxonomy: Taxonomy, style: str) -> Finding:
    """The corpus as one finding: the worst case that earns more than it may, and how many do.

    A reward that states its ``parts``, or whose scores depend on the gold, fails; another one (length, say) is warned:
    it may be a small part of a recipe that a person has thought about.
    """
    scene = make_scene(taxonomy)
    if scene is None or style not in BODIES:
        return Finding(_CHECK, "skipped", "the taxonomy has fewer than four leaves" if scene is None else style)
    rendering = Rendering.of(style)
    cases = [case for case in load_cases() if rendering.says(case)]
    try:
        reads_gold = _reads_gold(reward, scene, rendering)
        paid = pay_for_cases(reward, scene, readings_of(reward, reads_gold), cases, rendering)
    except Exception as error:  # noqa: BLE001 - whatever a user's reward raises is the finding
        mend = "score any text; 0 for an unreadable one"
        return failed(_CHECK, f"raised {type(error).__name__}: {error}", mend, "it would stop the run")
    over = [one for one in paid if one.over]
    if not over:
        return Finding(_CHECK, "ok", f"{len(cases)} completions earn no more than they may")
    worst = max(over, key=lambda one: (one.score or 0.0) - one.most)
    names = ", ".join(repr(one.case.name) for one in over[:5]) + (" ..." if len(over) > 5 else "")
    what = (
        f"{len(over)} of {len(cases)} completions earn more than they may: {names}; {worst.case.name!r} earns "
        f"{worst.score:g}, may earn {worst.most:g}: {worst.case.reason}"
    )
    mend = "read the answer with skinrl.taxonomy.answer.read_answer, score 0 unless its outcome is ok"
    strict = reads_gold or hasattr(reward, "parts")
    return Finding(_CHECK, "fail" if strict else "warn", what, mend, _WHY)


def _reads_gold(reward: Reward, scene: Scene, rendering: Rendering) -> bool:
    """Whether the same completions score otherwise for another gold."""
    right, wrong = (
        Case("", "", False, {"diagnosis": name, "malignancy": behaviour}, {}, "")
        for name, behaviour in (("{gold}", "{behaviour}"), ("{wrong}", "{opposite}"))
    )
    row = scene.row(options=False)
    probes: list[Probe] = [(row, scene.completion(case, rendering)) for case in (right, wrong)]
    other: dict[str, Any] = {**row, "gold_nodes": [scene.wrong]}
    return bool(call(reward, probes) != call(reward, [(other, text) for _, text in probes]))
