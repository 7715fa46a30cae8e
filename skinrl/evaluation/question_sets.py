"""A set of questions: cases with their prompts and images, from the recipe's own questions or from a suite."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from skinrl.data.prompts import PLAIN, question_text
from skinrl.data.questions import Pool, Question, QuestionSettings, ask, random_for, user_messages
from skinrl.data.record import Record
from skinrl.errors import DataError
from skinrl.evaluation.cases import Case, case_of
from skinrl.evaluation.suites import Asking, Suite
from skinrl.report import option_letter
from skinrl.taxonomy import Taxonomy, load_taxonomy


@dataclass(frozen=True)
class Questions:
    """Cases with their prompts, in one order.

    Args:
        suite: name, empty for the recipe's own questions.
        cases: what is scored.
        prompts: messages of each case, asking for the report.
        plain: messages of each case that ask for no form.
        images: paths of each case's images, in order.
        taxonomy: that scores them.
        headline, title, judged: of the suite.
        left_out: reason -> records that are not asked.
    """

    suite: str
    cases: tuple[Case, ...]
    prompts: tuple[list[dict[str, Any]], ...]
    plain: tuple[list[dict[str, Any]], ...]
    images: tuple[tuple[str, ...], ...]
    taxonomy: Taxonomy
    headline: tuple[str, ...] = ("accuracy",)
    title: str = ""
    judged: bool = False
    left_out: Mapping[str, int] | None = None

    @property
    def ids(self) -> list[str]:
        return [case.id for case in self.cases]


def suite_questions(suite: Suite, records: Sequence[Record], asking: Asking) -> Questions:
    """The suite's questions about all records that it can ask about.

    Raises:
        DataError: about none of them.
        PluginError: the suite's function gives something else than a question or a reason.
    """
    made, left_out = [], Counter[str]()
    for record in records:
        asked = suite.ask(record, asking)
        if isinstance(asked, str):
            left_out[asked] += 1
        else:
            made.append((record, asked))
    if not made:
        reasons = "; ".join(f"{reason}: {count}" for reason, count in left_out.items()) or "there are no records"
        raise DataError(f"suite {suite.name}: can ask about none of {len(records)} cases ({reasons})")
    cases = []
    for record, asked in made:
        case = case_of(record, asked.question)
        cases.append(case if asked.gold is None else replace(case, gold=asked.gold))
    taxonomy = load_taxonomy(suite.taxonomy) if suite.taxonomy else asking.taxonomy
    return _questions(
        [(record, asked.question) for record, asked in made],
        cases,
        taxonomy,
        asking.questions.wording,
        suite,
        left_out,
    )


def own_questions(
    records: Sequence[Record],
    taxonomy: Taxonomy,
    settings: QuestionSettings,
    *,
    seed: int,
    pools: Mapping[str, Pool],
) -> Questions:
    """The recipe's own questions.

    Raises:
        DataError: a question cannot be asked of a record, or a record stands there twice.
    """
    if len({record.id for record in records}) < len(records):
        raise DataError("a record stands twice in the evaluation; use each split without repeats")
    made = [
        (record, ask(record, taxonomy, settings, random_for(record, seed), pools.get(record.source, Pool((), ()))))
        for record in records
    ]
    return _questions(made, [case_of(*one) for one in made], taxonomy, settings.wording, None, {})


def _questions(
    made: Sequence[tuple[Record, Question]],
    cases: Sequence[Case],
    taxonomy: Taxonomy,
    wording: str,
    suite: Suite | None,
    left_out: Mapping[str, int],
) -> Questions:
    return Questions(
        suite=suite.name if suite else "",
        cases=tuple(cases),
        prompts=tuple(user_messages(question) for _, question in made),
        plain=tuple([{"role": "user", "content": plain_text(question, wording)}] for _, question in made),
        images=tuple(record.images for record, _ in made),
        taxonomy=taxonomy,
        headline=suite.headline if suite else ("accuracy",),
        title=suite.title if suite else "",
        judged=suite.judged if suite else False,
        left_out=dict(left_out),
    )


def plain_text(question: Question, wording: str) -> str:
    """The same question, asking for no form."""
    answer_with = "letter" if is_lettered(question.options, question.text) else "name"
    texts = [
        question_text(kind, question.options, wording=wording, style=PLAIN, answer_with=answer_with)
        for kind in (question.kind, "options")  # a closed list may be asked for as options are
    ]
    return next((text for text in texts if question.text.startswith(text)), texts[0])


def is_lettered(options: Sequence[str], text: str) -> bool:
    """Whether a question shows its options with letters."""
    return bool(options) and f"{option_letter(0)}. {options[0]}" in text
