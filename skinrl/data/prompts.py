"""The wording of every prompt: what is asked, and which form the answer is to have.

Nothing here has a place for a detail of the patient. `full` is for models that read instructions; `short` is for
the tiny model, whose context is small and whose tokenizer knows little more than the report.
"""

from __future__ import annotations

from collections.abc import Sequence

from skinrl.errors import DataError
from skinrl.report import BEHAVIOURS, UNDETERMINED, option_letter

WORDINGS = ("full", "short")
PLAIN = "plain"

_BEHAVIOURS = ", ".join(BEHAVIOURS[:-1]) + f" or {BEHAVIOURS[-1]}"

ASK = {
    "full": {
        "open": "What is the diagnosis of the skin lesion shown? Name one disease, as specifically as you can.",
        "closed": "Which of these diagnoses fits the skin lesion shown? If several fit, choose the most specific one.",
        "options": "Which of these options fits the skin lesion shown? If several fit, choose the most specific one.",
    },
    "short": {
        "open": "What is the diagnosis?",
        "closed": "Which diagnosis fits best?",
        "options": "Which option fits best?",
    },
}

# What stands in the place of the diagnosis, by the way in which the question wants it named.
_DIAGNOSIS = {
    "open": f"<name of the disease, or {UNDETERMINED}>",
    "name": "<name of one of the diagnoses listed>",
    "letter": "<letter of the option, then its name>",
}

_THINKING = (
    "Findings: <what the images show>\n"
    "Differential: 1. <disease>: for <evidence>; against <evidence> 2. ...\n"
    "Reasoning: <how the findings decide between them>\n"
)

# The forms that skinrl.report parses, as a request; {diagnosis} and {behaviours} are filled in.
FORM = {
    "report": (
        "Answer in exactly this form:\n"
        "<think>\n" + _THINKING + "</think>\n"
        "<answer>\n"
        "Diagnosis: {diagnosis}\n"
        "Malignancy: <{behaviours}>\n"
        "Confidence: <0 to 100>\n"
        "</answer>"
    ),
    "skin_r1": (
        "Answer in exactly this form:\n"
        "<thinking>\n<your reasoning>\n</thinking>\n"
        "<final diagnosis>{diagnosis}, <{behaviours}></final diagnosis>"
    ),
    "skin_r1_sft": (
        "Answer in exactly this form:\n"
        "<thinking>\n<your reasoning>\n</thinking>\n"
        "<diagnosis>{diagnosis}. Generally classified as <{behaviours}>.</diagnosis>"
    ),
    "skingpt_r1": (
        "Answer in exactly this form:\n"
        "<think>\n<your reasoning>\n</think>\n"
        "<answer>\nFinal Answer: {diagnosis}\n</answer>"
    ),
}


def question_text(
    kind: str,
    options: Sequence[str] = (),
    *,
    wording: str = "full",
    style: str = "report",
    answer_with: str = "letter",
) -> str:
    """The user's message for a question.

    Args:
        kind: `"open"`, `"closed"` or `"options"`.
        options: names offered, in order; empty for an open question.
        wording: one of `WORDINGS`. The short one does not ask for a form: the model has learnt it by SFT.
        style: one of `skinrl.report.STYLES`, or `PLAIN`: no form is asked for.
        answer_with: `"letter"` or `"name"`, where options are offered.

    Raises:
        DataError: a wording, kind or style that does not exist.
    """
    if wording not in ASK:
        raise DataError(f"unknown wording {wording!r}; expected one of {', '.join(WORDINGS)}")
    if kind not in ASK[wording]:
        raise DataError(f"unknown kind of question {kind!r}; expected one of {', '.join(ASK[wording])}")
    lettered = answer_with == "letter"
    parts = [ASK[wording][kind]]
    if options:
        heads = [f"{option_letter(i)}. " if lettered else "- " for i in range(len(options))]
        parts.append("\n".join(head + name for head, name in zip(heads, options, strict=True)))
    if wording == "full" and style != PLAIN:
        if style not in FORM:
            raise DataError(f"no request is written for the report style {style!r}; expected one of {', '.join(FORM)}")
        diagnosis = _DIAGNOSIS["open" if not options else answer_with]
        parts.append(FORM[style].format(diagnosis=diagnosis, behaviours=_BEHAVIOURS))
    return ("\n\n" if wording == "full" else "\n").join(parts)
