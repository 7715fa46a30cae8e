"""The rollouts of a GRPO run as its completions log holds them: one Parquet file a step, read when it is asked for."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from skinrl import files
from skinrl.cli.rollout_curves import RunNumbers
from skinrl.errors import InputError
from skinrl.pages.rollouts_given import Curve, Group, Rollout
from skinrl.yamlfile import read_yaml

IMAGES_FILE = "images.json"
_FILE = re.compile(r"completions_(\d+)\.parquet")
_OWN_COLUMNS = {"step", "prompt", "completion", "id", "row", "advantage"}
_KEPT_STEPS = 4  # read steps that stay in memory: turning the pages of one step reads it once


class UnreadableStepError(InputError):
    """The file of a step cannot be read; the newest one may be half written just now."""


def find_stage(run: Path) -> Path:
    """The folder that holds ``completions/``: ``run`` itself, or its stage ``grpo``; `completions` itself will do.

    Raises:
        InputError: there is none.
    """
    places = [run, run / "grpo", Path("runs") / run, Path("runs") / run / "grpo"]
    for place in places:
        if (place / "completions").is_dir():
            return place
    if run.name == "completions" and run.is_dir():
        return run.parent
    if not run.is_dir():
        raise InputError(f"{run}: no such folder; expected a run such as runs/phantom/default, or its grpo folder")
    raise InputError(
        f"{run}: holds no completions of a GRPO run (looked for {run}/completions and {run}/grpo/completions); they "
        "are logged where the recipe says grpo.log_completions: true"
    )


def write_image_paths(stage: Path, images: Mapping[str, Sequence[str]]) -> None:
    """Keep where the images of each record lie: the completions log names records alone.

    Args:
        images: id of a record -> its paths.
    """
    files.write_json(
        stage / IMAGES_FILE, {id: [str(Path(path).absolute()) for path in paths] for id, paths in images.items()}
    )


class RolloutLog:
    """The completions log of one stage.

    Files that are added or replaced while it is open are seen at the next call.
    """

    def __init__(self, stage: Path) -> None:
        self.stage = stage
        self._recipe = _recipe_of(stage)
        self._numbers = RunNumbers(stage / "metrics.jsonl")
        self._read = lru_cache(maxsize=_KEPT_STEPS)(self._read_version)
        self._paths: tuple[int, dict[str, list[str]]] = (-1, {})
        self._rewards: dict[str, float] | None = None

    @property
    def name(self) -> str:
        """The last parts of the path: recipe, run, stage."""
        return "/".join(self.stage.resolve().parts[-3:])

    @property
    def state(self) -> str:
        """Whether the stage is done."""
        return "complete" if (self.stage / "complete.json").is_file() else "in progress, or stopped"

    def files(self) -> dict[int, Path]:
        """Step -> file, steps rising. Opens none of them."""
        found = {}
        for file in (self.stage / "completions").iterdir():
            named = _FILE.fullmatch(file.name)
            if named:
                found[int(named[1])] = file
        return dict(sorted(found.items()))

    def weights(self) -> dict[str, float]:
        """Rewards in the order of the recipe, each with its weight (1 where no recipe says it); {} before the first
        step."""
        if self._rewards is None:
            steps = self.files()
            if not steps:
                return {}
            names = self._reward_names(next(iter(steps.values())))
            weights = [entry.get("weight", 1.0) for entry in self._recipe.get("rewards") or ()]
            self.weights_known = len(weights) == len(names)
            self._rewards = dict(zip(names, weights if self.weights_known else [1.0] * len(names), strict=True))
        return self._rewards

    weights_known = False

    def _reward_names(self, file: Path) -> list[str]:
        from pyarrow import parquet, types

        with _readable(file):
            schema = parquet.read_schema(file)
        numbers = [field.name for field in schema if types.is_floating(field.type) or types.is_null(field.type)]
        names = [name for name in numbers if "/" not in name and name not in _OWN_COLUMNS]
        logged = self._numbers.rewards()
        return [name for name in names if name in logged] or names

    # One step

    def groups(self, step: int) -> tuple[Group, ...]:
        """The groups of a step, without images, in the order in which they were drawn.

        Raises:
            InputError: the step was not logged.
            UnreadableStepError: its file cannot be read.
        """
        file = self.files().get(step)
        if file is None:
            steps = list(self.files())
            logged = f"steps {steps[0]} to {steps[-1]} are" if steps else "none is"
            raise InputError(f"{self.stage}: step {step} has no completions; {logged} logged")
        return self._read(file, version(file))

    def _read_version(self, file: Path, _version: tuple[int, int]) -> tuple[Group, ...]:
        from pyarrow import parquet

        with _readable(file):
            table = parquet.read_table(file, use_threads=False)
            _refuse_without({"completion", "prompt", *self.weights()} - set(table.column_names))
        rows = table.to_pylist()
        weights = self.weights()
        size = (self._recipe.get("grpo") or {}).get("num_generations")
        return tuple(_group(number, rows, members, weights) for number, members in enumerate(_group_rows(rows, size)))

    def texts(self, file: Path) -> tuple[list[str], list[str], list[list[float]]]:
        """Texts, prompts (ids where there are) and scores (rows of one number per reward, NaN for None) of a file.

        Raises:
            UnreadableStepError: the file cannot be read.
        """
        from pyarrow import parquet

        names = list(self.weights())
        with _readable(file):
            present = set(parquet.read_schema(file).names)
            prompt = "id" if "id" in present else "prompt"
            _refuse_without({"completion", prompt, *names} - present)
            table = parquet.read_table(file, columns=["completion", prompt, *names], use_threads=False)
        texts = [_text(one) for one in table.column("completion").to_pylist()]
        prompts = [one if isinstance(one, str) else json.dumps(one) for one in table.column(prompt).to_pylist()]
        scores = [table.column(name).to_pylist() for name in names]
        return texts, prompts, [[math.nan if one is None else one for one in row] for row in zip(*scores, strict=True)]

    def image_paths(self, id: str) -> list[Path]:
        """Files of a record's images, from ``images.json``; none where the run did not write it."""
        file = self.stage / IMAGES_FILE
        if not file.is_file():
            return []
        changed = file.stat().st_mtime_ns
        if self._paths[0] != changed:
            self._paths = (changed, files.read_json(file))
        return [Path(path) for path in self._paths[1].get(id, ())]

    @property
    def has_images(self) -> bool:
        """Whether the run wrote where its images lie."""
        return (self.stage / IMAGES_FILE).is_file()

    def curves(self) -> list[Curve]:
        """What ``metrics.jsonl`` says of rewards, lengths and the policy, by step."""
        return self._numbers.curves()


def version(file: Path) -> tuple[int, int]:
    """Changes whenever the file is written anew."""
    status = file.stat()
    return status.st_mtime_ns, status.st_size


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    """While open, what pyarrow raises for a damaged or half-written file is an `UnreadableStepError`."""
    try:
        yield
    except (OSError, ValueError) as problem:  # pyarrow's ArrowInvalid is a ValueError
        raise UnreadableStepError(
            f"{file}: cannot be read ({problem}); where the run is at work it may be half written: look again in a "
            "moment. Otherwise the file is damaged"
        ) from problem


def _refuse_without(columns: set[str]) -> None:
    if columns:
        raise ValueError(f"it has no column {', '.join(sorted(columns))}, which a completions log of this run has")


def _recipe_of(stage: Path) -> dict[str, Any]:
    file = stage / "recipe.resolved.yaml"
    found = read_yaml(file)[0] if file.is_file() else {}
    return found if isinstance(found, dict) else {}


# --- rows of a table ---------------------------------------------------------------------------------------------


def _group_rows(rows: Sequence[Mapping[str, Any]], size: int | None) -> Iterator[list[int]]:
    """Rows of each group: neighbours with one prompt, at most ``size`` of them."""
    members: list[int] = []
    for index, row in enumerate(rows):
        if members and (not _same_prompt(row, rows[members[0]]) or len(members) == size):
            yield members
            members = []
        members.append(index)
    if members:
        yield members


def _same_prompt(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return bool(one.get("id") == other.get("id") and one["prompt"] == other["prompt"])


def _group(
    number: int, rows: Sequence[Mapping[str, Any]], members: Sequence[int], weights: Mapping[str, float]
) -> Group:
    first = rows[members[0]]
    facts = json.loads(first.get("row") or "{}")
    prompt = [(message["role"], _content(message["content"])) for message in _messages(first["prompt"])]
    rollouts = tuple(_rollout(index, rows[index], weights) for index in members)
    return Group(number, str(first.get("id") or ""), prompt, facts, rollouts)


def _rollout(index: int, row: Mapping[str, Any], weights: Mapping[str, float]) -> Rollout:
    rewards = {name: _number(row.get(name)) for name in weights}
    known = [weights[name] * value for name, value in rewards.items() if value is not None]
    why: dict[str, dict[str, str]] = {}
    for column, value in row.items():
        if column in _OWN_COLUMNS or column in weights or value is None or value == "":
            continue
        reward, _, name = column.rpartition("/")
        why.setdefault(reward if reward in weights else "", {})[name if reward in weights else column] = str(value)
    finished = json.loads(row.get("row") or "{}").get("finished")
    advantage = _number(row.get("advantage")) or 0.0
    return Rollout(
        index, _text(row["completion"]), rewards, math.fsum(known) if known else None, advantage, why, finished
    )


def _number(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else float(value)


def _text(completion: Any) -> str:
    """A completion is text, or messages whose last one is the assistant's."""
    return completion if isinstance(completion, str) else _content(completion[-1]["content"]) if completion else ""


def _messages(prompt: Any) -> list[Mapping[str, Any]]:
    return [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt


def _content(content: Any) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    return "\n".join(part["text"] for part in content if part.get("text"))  # images are shown beside the text
