"""The same model without the burden of the format: its own words read leniently, and an answer that is forced.

A model that has never seen the report loses its points on the form. These numbers stand beside the strict one, so
that what training gains in form is not taken for a gain in medicine. Pure: whoever has an engine calls in turn
`head`, `diagnosis_choices`, `malignancy_choices` and `assemble` (the forced answer) or `likely_answers` (scores).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from skinrl.evaluation.bootstrap import RESAMPLES, SEED, intervals
from skinrl.evaluation.cases import Case
from skinrl.evaluation.evaluate import Evaluation
from skinrl.evaluation.predictions import Prediction, Written
from skinrl.report import BEHAVIOURS, UNDETERMINED, option_letter
from skinrl.taxonomy import Taxonomy

MOST_SCORED = 10  # options whose log-likelihood is measured; longer lists cost a forward pass for each name
_OPEN, _CLOSE = "<think>\n", "\n</think>\n"
_DIAGNOSIS, _MALIGNANCY, _END = "<answer>\nDiagnosis: ", "\nMalignancy: ", "\n</answer>"
_TAGS = re.compile(r"</?(?:think|answer)>")
_SHOWN = (
    "accuracy",
    "hierarchical_f1",
    "malignancy_sensitivity",
    "malignancy_specificity",
    "invalid_share",
    "truncated_share",
    "unresolved_share",
)


@dataclass(frozen=True)
class Forced:
    """A completion whose answer block was forced; a `Written`."""

    text: str
    finished: bool = True


def head(written: Written, case: Case, *, kept: float = 1.0) -> str:
    """What the model is taken to have written before a forced answer: its own thinking, closed.

    Of a completion that was cut inside its thinking the last quarter is left out, to make room for the answer.

    Args:
        kept: share of the thinking that is kept, from its beginning.
    """
    thinking, closed, _ = (case.prefilled + written.text).partition("</think>")
    if not closed:
        thinking = thinking.partition("<answer>")[0]
        if not written.finished:
            thinking = thinking[: len(thinking) * 3 // 4]
    thinking = _TAGS.sub("", thinking).strip()
    return _thought(thinking[: int(len(thinking) * kept)].strip(), case)


def empty_head(case: Case) -> str:
    """An empty thinking block: what the options are scored behind."""
    return _thought("", case)


def _thought(thinking: str, case: Case) -> str:
    whole = f"{_OPEN}{thinking}{_CLOSE}" if thinking else f"{_OPEN}</think>\n"
    return whole.removeprefix(case.prefilled)


def diagnosis_choices(case: Case, taxonomy: Taxonomy, *, lettered: bool) -> tuple[str, ...]:
    """What the Diagnosis line may say: an option, with its letter or by its name alone; else any name of the taxonomy.

    Where the question shows letters, all options come with their letters first, then all by their names.
    """
    if not case.options:
        return _all_names(taxonomy)
    names = [_DIAGNOSIS + name for name in case.options]
    letters = [f"{_DIAGNOSIS}{option_letter(index)}. {name}" for index, name in enumerate(case.options)]
    return tuple(dict.fromkeys([*letters, *names] if lettered else names))


def option_likelihoods(case: Case, scores: Sequence[float]) -> tuple[float, ...]:
    """Log-likelihood of each option from those of `diagnosis_choices`: either way of writing it counts."""
    count = len(case.options)
    return tuple(
        math.log(math.fsum(map(math.exp, _above(scores[n::count])))) + max(scores[n::count]) for n in range(count)
    )


def _above(scores: Sequence[float]) -> list[float]:
    top = max(scores)
    return [score - top for score in scores]


@lru_cache(maxsize=4)
def _all_names(taxonomy: Taxonomy) -> tuple[str, ...]:
    names = sorted({taxonomy.node(node).name for node in taxonomy.ids if node != taxonomy.root})
    return tuple(_DIAGNOSIS + name for name in (*names, UNDETERMINED))


ENDING = _MALIGNANCY  # follows every diagnosis


def malignancy_choices(diagnosis: str) -> tuple[str, ...]:
    """What may follow a forced Diagnosis line: it again, and one of the classes."""
    return tuple(f"{diagnosis}{_MALIGNANCY}{behaviour}{_END}" for behaviour in (*BEHAVIOURS, UNDETERMINED))


def assemble(own_head: str, block: str) -> Forced:
    """The whole forced completion, as the strict reader takes it (what the template prefilled is left out)."""
    return Forced(own_head + block)


def likely_answers(case: Case, scores: Sequence[float]) -> str:
    """Node of the most likely option; the first at a tie. Empty where it has no node."""
    best = max(range(len(scores)), key=lambda index: scores[index])
    return case.option_nodes[best]


def format_metrics(
    evaluation: Evaluation,
    strict: Mapping[str, Prediction],
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> dict[str, Any]:
    """A format's own numbers, and the strict accuracy on the very same cases.

    Args:
        evaluation: the format's predictions.
        strict: the model's main predictions by case id.
    """
    reference = Evaluation(
        taxonomy=evaluation.taxonomy,
        cases=evaluation.cases,
        greedy=tuple(strict[case.id] for case in evaluation.cases),
    )
    own, groups = evaluation.measures()
    other, _ = reference.measures()
    shown = intervals([one for one in own if one.name in _SHOWN], groups, resamples=resamples, seed=seed)
    main = intervals([one for one in other if one.name == "accuracy"], groups, resamples=resamples, seed=seed)
    return {
        **{name: interval.as_dict() for name, interval in shown.items()},
        "strict": main["accuracy"].as_dict(),
        "cases": len(groups),
    }


def likelihood_predictions(evaluation: Evaluation) -> Evaluation | None:
    """What the model would answer by the likelihood of the options alone; None where none was measured."""
    chosen = [
        (case, prediction)
        for case, prediction in zip(evaluation.cases, evaluation.greedy, strict=True)
        if prediction.option_logps
    ]
    if not chosen:
        return None
    answers = []
    for case, prediction in chosen:
        node = likely_answers(case, prediction.option_logps) or None
        outcome = "ok" if node else "unresolved"
        answers.append(replace(prediction, outcome=outcome, answer_node=node, malignancy=None))
    return Evaluation(taxonomy=evaluation.taxonomy, cases=tuple(case for case, _ in chosen), greedy=tuple(answers))
