"""What stands beside a model's own numbers: other formats of its answers, and a judge of open ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from skinrl import files
from skinrl.cli.common import console

if TYPE_CHECKING:
    from skinrl.cli.conditions import Answers
    from skinrl.cli.generation import Asker
    from skinrl.evaluation.evaluate import Evaluation
    from skinrl.recipe import EvaluationSection

_AT_ONCE = 8  # requests to the judge


def format_blocks(asker: Asker, answers: Answers, evaluation: Evaluation, folder: Path) -> dict[str, Any]:
    """The block `formats` of `metrics.json`, and the predictions behind it."""
    from skinrl.evaluation.evaluate import Evaluation as Made
    from skinrl.evaluation.formats import format_metrics, likelihood_predictions
    from skinrl.evaluation.lenient import predict_leniently
    from skinrl.evaluation.predictions import predict

    asked, questions = asker.asked, asker.asked.questions
    resamples = asker.experiment.recipe.evaluation.bootstrap
    strict = {one.id: one for one in evaluation.greedy}
    cases = tuple(questions.cases[n] for n in asked.formats)
    blocks: dict[str, Any] = {}
    for name, written, read in (
        ("own_format", answers.own_format, predict_leniently),
        ("constrained", answers.constrained, predict),
    ):
        if not asked.formats:
            continue
        predictions = tuple(read(case, one, questions.taxonomy) for case, one in zip(cases, written, strict=True))
        files.write_jsonl(folder / f"predictions_{name}.jsonl", (one.to_dict() for one in predictions))
        made = Made(taxonomy=questions.taxonomy, cases=cases, greedy=predictions)
        if made.scored():
            blocks[name] = format_metrics(made, strict, resamples=resamples)
    likely = likelihood_predictions(evaluation)
    if likely is not None and likely.scored():
        found = format_metrics(likely, strict, resamples=resamples)
        blocks["option_likelihood"] = {key: found[key] for key in ("accuracy", "strict", "cases")}
    return blocks


def judge_block(
    evaluation: Evaluation, judge: Any, settings: EvaluationSection, work: Path, folder: Path
) -> dict[str, Any]:
    """The block `judge` of `metrics.json`, and ``judgements.jsonl``. A judge that is down fails nothing else."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from skinrl.cli.completions import fingerprint
    from skinrl.evaluation.judging import Judgement, judge_all, judge_metrics

    assert settings.judge is not None
    # another judge, or other answers, are judged anew
    whom = fingerprint(settings.judge.model, settings.judge.url)
    file = work / f"judgements_{whom}.jsonl"
    said = {one.id: fingerprint(one.completion) for one in evaluation.greedy}
    rows = files.read_jsonl(file, grown=True) if file.is_file() else []
    done = {row["id"]: Judgement.from_dict(row) for row in rows if row.get("asked") == said.get(row["id"])}

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console()) as bar:
        task = bar.add_task(f"judge {settings.judge.model}", total=len(evaluation.cases), completed=len(done))

        def keep(one: Judgement) -> None:
            files.append_jsonl(file, {**one.to_dict(), "asked": said[one.id]})
            bar.advance(task)

        judgements, missing = judge_all(evaluation, judge.ask, done=done, keep=keep, workers=_AT_ONCE)
    if missing:
        console().print(f"[bold yellow]eval: the judge is missing: {missing}. The other metrics stand[/]")
    block = judge_metrics(
        evaluation, judgements, model=settings.judge.model, missing=missing, resamples=settings.bootstrap
    )
    files.write_jsonl(folder / "judgements.jsonl", (one.to_dict() for one in judgements.values()))
    return block
