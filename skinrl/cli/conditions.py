"""Under which conditions a model is asked: settled from the recipe before anything is generated."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from skinrl.cli.common import Experiment
from skinrl.evaluation.formats import MOST_SCORED

if TYPE_CHECKING:
    from skinrl.cli.evaluation_models import Model
    from skinrl.evaluation.cases import Case
    from skinrl.evaluation.control_questions import ControlQuestion
    from skinrl.evaluation.question_sets import Questions

BESIDE_CASES = 500  # in other formats, and with scored options


@dataclass(frozen=True)
class Asked:
    """What one set of questions asks of one model, settled before anything is generated.

    Args:
        questions: the cases and prompts.
        samples: completions a case at temperature 1.
        controls: by name, those that can be asked.
        formats: positions of the cases that are also asked without a form and with a forced answer; empty: none.
        scored: positions of the cases whose options are scored.
    """

    questions: Questions
    samples: int = 0
    controls: dict[str, tuple[ControlQuestion, ...]] = field(default_factory=dict)
    formats: tuple[int, ...] = ()
    scored: tuple[int, ...] = ()

    @property
    def own_words(self) -> bool:
        """Whether the plain question is another one than the question that was asked anyway."""
        return any(self.questions.plain[n] != self.questions.prompts[n] for n in self.formats)


@dataclass(frozen=True)
class Answers:
    """All rows of one set of questions, by condition."""

    greedy: list[Any]
    sampled: list[list[Any]]
    controls: dict[str, list[Any]]
    own_format: list[Any]
    constrained: list[Any]
    option_logps: list[tuple[float, ...]]


def what_to_ask(experiment: Experiment, model: Model, questions: Questions, samples: int) -> Asked:
    """Settle the conditions of one model and one set of questions."""
    from skinrl.evaluation.control_questions import control_questions, control_sample
    from skinrl.evaluation.controls import ANSWERED_CONTROLS, CONTROL_CASES

    settings, seed = experiment.recipe.evaluation, experiment.recipe.seed
    full = settings.controls == "full"
    wanted = ANSWERED_CONTROLS if isinstance(settings.controls, str) else tuple(settings.controls)
    if settings.controls == "none":
        wanted = ()
    cases, prompts = questions.cases, questions.prompts
    chosen = control_sample(cases, limit=None if full else CONTROL_CASES, seed=seed)
    controls = {
        name: control_questions(name, cases, prompts, questions.taxonomy, chosen=chosen, seed=seed) for name in wanted
    }
    formats = settings.formats == "all" or (settings.formats == "default" and model.untrained)
    few = control_sample(cases, limit=BESIDE_CASES, seed=seed)
    scored = [n for n in few if 2 <= len(cases[n].options) <= MOST_SCORED and _differ(cases[n])]
    return Asked(
        questions,
        samples,
        {name: asked for name, asked in controls.items() if asked},
        few if formats else (),
        tuple(scored) if settings.likelihoods else (),
    )


def _differ(case: Case) -> bool:
    return len(set(case.options)) == len(case.options)
