"""What a model is asked in an evaluation: each condition becomes a file of rows, made once and read afterwards.

Conditions: greedy, sampled, the controls, the question without a form (`own_format`), the forced answer
(`constrained`) and the likelihood of each option. With several processes each makes the rows of its own cases.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skinrl.cli.common import Experiment
from skinrl.cli.completions import (
    Row,
    Share,
    completions_of,
    fingerprint,
    has_completions,
    saved_rows,
    wait_for_rows,
    write_completions,
    write_rows,
)
from skinrl.cli.conditions import Answers, Asked
from skinrl.errors import InputError, RunError
from skinrl.evaluation.formats import (
    ENDING,
    assemble,
    diagnosis_choices,
    empty_head,
    head,
    malignancy_choices,
    option_likelihoods,
)

if TYPE_CHECKING:
    from skinrl.cli.evaluation_models import Engine, Model
    from skinrl.engine.base import Request
    from skinrl.evaluation.cases import Case


class Asker:
    """Asks one model one set of questions, condition by condition; see `generate` and `answers`."""

    def __init__(
        self,
        experiment: Experiment,
        model: Model,
        asked: Asked,
        engine: Engine,
        folder: Path,
        share: Share | None = None,
    ) -> None:
        self.experiment, self.model, self.asked, self.folder = experiment, model, asked, folder
        self.share = share or Share.of_launch()
        self._engine = engine
        self._settings = experiment.recipe.evaluation
        self._marks: dict[str, dict[str, str]] = {}

    # --- the conditions ----------------------------------------------------------------------------------------

    def generate(self) -> None:
        """Make all rows of this process's cases that are not there yet."""
        asked, questions = self.asked, self.asked.questions
        every = range(len(questions.cases))
        self._complete("greedy", every, lambda n: (questions.prompts[n], n))
        if asked.samples:
            self._complete("sampled", every, lambda n: (questions.prompts[n], n), samples=asked.samples)
        for name, control in asked.controls.items():
            by_number = {one.number: one for one in control}
            self._complete(name, list(by_number), lambda n, of=by_number: (of[n].prompt, of[n].shows))  # type: ignore[misc]
        if asked.formats and asked.own_words:
            self._complete("own_format", asked.formats, lambda n: (questions.plain[n], n))
        if asked.formats:
            self._force()
        if asked.scored:
            self._score()

    def answers(self) -> Answers:
        """Everything that was asked, once all processes have it."""
        asked, cases = self.asked, self.asked.questions.cases

        def first(condition: str, numbers: Sequence[int]) -> list[Any]:
            rows = self._wait(condition, [cases[n].id for n in numbers], 1)
            return [completions_of(rows[cases[n].id])[0] for n in numbers]

        every = list(range(len(cases)))
        greedy = first("greedy", every)
        sampled: list[list[Any]] = []
        if asked.samples:
            rows = self._wait("sampled", [case.id for case in cases], asked.samples)
            sampled = [completions_of(rows[case.id]) for case in cases]
        scores: dict[int, tuple[float, ...]] = {}
        if asked.scored:
            rows = self._wait("likelihood", [cases[n].id for n in asked.scored], None)
            scores = {n: tuple(rows[cases[n].id]["logps"]) for n in asked.scored}
        own = [greedy[n] for n in asked.formats]
        if asked.formats and asked.own_words:
            own = first("own_format", asked.formats)
        return Answers(
            greedy=greedy,
            sampled=sampled,
            controls={name: first(name, [one.number for one in of]) for name, of in asked.controls.items()},
            own_format=own,
            constrained=first("constrained", asked.formats) if asked.formats else [],
            option_logps=[scores.get(n, ()) for n in every],
        )

    # --- one condition -----------------------------------------------------------------------------------------

    def _file(self, condition: str) -> Path:
        return self.folder / f"completions_{condition}.jsonl"

    def _title(self, condition: str) -> str:
        suite = self.asked.questions.suite
        return f"eval {self.model.name}{f', {suite}' if suite else ''}, {condition.replace('_', ' ')}"

    def _wait(self, condition: str, ids: Sequence[str], count: int | None) -> dict[str, Row]:
        accept = None if count is None else lambda row: has_completions(row, count)
        return wait_for_rows(self._file(condition), ids, asked=self._marks.get(condition), accept=accept)

    def _images(self, number: int | None) -> tuple[Any, ...]:
        from skinrl.data.images import open_image

        return () if number is None else tuple(open_image(path) for path in self.asked.questions.images[number])

    def _names(self, number: int | None) -> list[str]:
        return [] if number is None else [Path(path).name for path in self.asked.questions.images[number]]

    def _asked(self, number: int, messages: Any, shows: int | None) -> list[Any]:
        """What tells one question about a case from another: files of two cases may have one name."""
        other = [self.asked.questions.cases[shows].id] if shows is not None and shows != number else []
        return [messages, self._names(shows), *other]

    def _complete(
        self, condition: str, numbers: Sequence[int], ask: Callable[[int], tuple[Any, int | None]], samples: int = 0
    ) -> None:
        """Completions of some cases; ``ask`` gives messages and the case whose images are shown."""
        from skinrl.engine.base import Request, Sampling

        cases, settings = self.asked.questions.cases, self._settings
        ids = [cases[n].id for n in numbers]
        marks = {cases[n].id: fingerprint(*self._asked(n, *ask(n))) for n in numbers}
        self._marks[condition] = marks
        length, seed = settings.max_completion_length, self.experiment.recipe.seed
        sampling = Sampling(length, temperature=1.0, n=samples, seed=seed) if samples else Sampling(length, 0.0)

        def request(place: int) -> Request:
            messages, shows = ask(numbers[place])
            return Request(messages, self._images(shows))

        write_completions(
            self._file(condition),
            self._title(condition),
            ids,
            request,
            lambda: self._engine.on(self.model),
            sampling,
            chunk=max(1, settings.batch_size // sampling.n),
            asked=marks,
            share=self.share,
        )

    def _force(self) -> None:
        """The model's own thinking, then an answer that cannot be malformed: first its diagnosis, then its class.

        Cases whose greedy completion belongs to another process are left to it.
        """
        from skinrl.engine.base import Request, Sampling

        questions, numbers = self.asked.questions, self.asked.formats
        greedy = saved_rows(self._file("greedy"), self._marks["greedy"])
        if self.share.of > 1:  # cases are dealt by their place among these, not among all
            ids = [questions.cases[n].id for n in numbers]
            own = [name for place, name in enumerate(ids) if self.share.has(place)]
            greedy = wait_for_rows(self._file("greedy"), own, asked=self._marks["greedy"])

        def block(requests: list[Request], endings: str) -> list[str]:
            answers = self._engine.on(self.model).generate(requests, Sampling(8, temperature=0.0))
            return [_chosen(one.text, of, endings) for (one,), of in zip(answers, requests, strict=True)]

        def forced(places: list[int], kept: float) -> list[Row]:
            rows = []
            for place in places:
                n = numbers[place]
                case, prompt = questions.cases[n], questions.prompts[n]
                start = head(completions_of(greedy[case.id])[0], case, kept=kept)
                offered = diagnosis_choices(case, questions.taxonomy, lettered=_is_lettered(case, prompt))
                rows.append(Request(prompt, self._images(n), start, offered, ENDING))
            named = block(rows, ENDING)
            rows = [
                replace(row, choices=malignancy_choices(diagnosis), ending="")
                for row, diagnosis in zip(rows, named, strict=True)
            ]
            made = [assemble(row.prefix, text) for row, text in zip(rows, block(rows, ""), strict=True)]
            return [{"completions": [{"text": one.text, "finished": True}]} for one in made]

        def make(places: list[int]) -> list[Row]:
            try:
                return forced(places, 1.0)
            except InputError:  # thinking and answer are longer than the model takes; the thinking gives way
                return forced(places, 0.5)

        self._rows("constrained", numbers, make, lambda row: has_completions(row, 1))

    def _score(self) -> None:
        """Log-likelihood of each option behind an empty thinking block."""
        from skinrl.engine.base import Request

        questions, numbers = self.asked.questions, self.asked.scored

        def make(places: list[int]) -> list[Row]:
            requests = []
            for n in (numbers[place] for place in places):
                case, prompt = questions.cases[n], questions.prompts[n]
                choices = diagnosis_choices(case, questions.taxonomy, lettered=_is_lettered(case, prompt))
                requests.append(Request(prompt, self._images(n), empty_head(case), choices, ENDING))
            cases = [questions.cases[numbers[place]] for place in places]
            scores = self._engine.on(self.model).score(requests)
            return [{"logps": option_likelihoods(case, own)} for case, own in zip(cases, scores, strict=True)]

        self._rows("likelihood", numbers, make, lambda row: "logps" in row)

    def _rows(
        self,
        condition: str,
        numbers: Sequence[int],
        make: Callable[[list[int]], list[Row]],
        accept: Callable[[Row], bool],
    ) -> None:
        questions = self.asked.questions
        marks = {questions.cases[n].id: fingerprint(condition, questions.prompts[n], self._names(n)) for n in numbers}
        self._marks[condition] = marks
        write_rows(
            self._file(condition),
            self._title(condition),
            [questions.cases[n].id for n in numbers],
            make,
            chunk=self._settings.batch_size,
            asked=marks,
            accept=accept,
            share=self.share,
        )


def _is_lettered(case: Case, prompt: Sequence[dict[str, Any]]) -> bool:
    from skinrl.evaluation.question_sets import is_lettered

    return is_lettered(case.options, str(prompt[-1]["content"]))


def _chosen(text: str, request: Request, ending: str) -> str:
    """Which choice a constrained completion is; decoding may have touched spaces at its ends."""
    for choice in request.choices:
        if text.strip() == (choice + ending).strip():
            return choice
    raise RunError(f"the engine wrote {text!r}, which is none of the {len(request.choices)} choices it was given")
