"""What a page of results reads from run folders: which models were evaluated on what, thumbnails, parts of rewards."""

from __future__ import annotations

import base64
import filecmp
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skinrl import files
from skinrl.errors import DataError, InputError, PluginError

if TYPE_CHECKING:
    from skinrl.taxonomy import Taxonomy

MAIN = "main"
SIDE = 192  # pixels of a thumbnail's longer side
_OURS = "skinrl.rewards:"
_PARTS = ("metrics.json", "cases.jsonl", "predictions.jsonl")


@dataclass(frozen=True)
class Evaluated:
    """One model on one suite: a folder with `metrics.json`, `cases.jsonl` and `predictions.jsonl`.

    Args:
        run: the folder that was named: of a run, or this folder itself.
        label: the run's name for people, no other run's on the page.
        stage: the folder with `recipe.resolved.yaml`, where there is one.
    """

    run: Path
    label: str
    model: str
    suite: str
    folder: Path
    stage: Path

    def same_cases(self, other: Evaluated) -> bool:
        return filecmp.cmp(self.folder / "cases.jsonl", other.folder / "cases.jsonl", shallow=False)


def labels_of(runs: Sequence[Path]) -> dict[Path, str]:
    """A name for each of several different folders: recipe and run, and as many folders above as tell them apart."""
    parts = {run: run.resolve().parts for run in runs}
    count = 2
    while len({names[-count:] for names in parts.values()}) < len(parts):
        count += 1
    return {run: " / ".join(names[-count:]) for run, names in parts.items()}


def find_evaluations(run: Path, label: str) -> list[Evaluated]:
    """The evaluations of a run, models in the order of the method; of a folder of one evaluation, that one.

    Raises:
        InputError: there is none.
    """
    from skinrl.evaluation.compare import in_order

    if _is_evaluation(run):
        return [Evaluated(run, label, run.resolve().name, MAIN, run, run)]
    models = in_order(sorted(stage.name.removeprefix("eval_") for stage in run.glob("eval_*")))
    found = [one for model in models for one in _of_stage(run, label, model)]
    if not found:
        raise InputError(
            f"{run}: no finished evaluation is there; expected the folder of a run (runs/<recipe>/<run>) after "
            f"`skinrl eval`, or a folder with {', '.join(_PARTS)}"
        )
    return found


def _of_stage(run: Path, label: str, model: str) -> Iterator[Evaluated]:
    stage = run / f"eval_{model}"
    if _is_evaluation(stage / "final"):
        yield Evaluated(run, label, model, MAIN, stage / "final", stage)
    for folder in sorted((stage / "final" / "suites").glob("*")):
        if _is_evaluation(folder):
            yield Evaluated(run, label, model, folder.name, folder, stage)


def _is_evaluation(folder: Path) -> bool:
    return all((folder / name).is_file() for name in _PARTS)


def suite_of(one: Evaluated) -> dict[str, Any]:
    """What `suite.json` says of the suite; empty for a recipe's own questions."""
    file = one.folder / "suite.json"
    found: dict[str, Any] = files.read_json(file, error=DataError) if file.is_file() else {}
    return found


def taxonomy_of(group: Sequence[Evaluated]) -> tuple[Taxonomy, list[str]]:
    """The taxonomy of a suite or of the recipes, as it is now, and a warning where it was another one at the time.

    Raises:
        InputError: recipes that name different ones.
    """
    from skinrl.taxonomy import load_taxonomy
    from skinrl.yamlfile import read_yaml

    own = suite_of(group[0]).get("taxonomy")
    if own is not None:
        return load_taxonomy(own), []
    recipes = [one.stage / "recipe.resolved.yaml" for one in group]
    named = {read_yaml(file)[0].get("taxonomy", "dermatology") for file in recipes if file.is_file()}
    if len(named) > 1:
        raise InputError(f"the runs name different taxonomies ({', '.join(sorted(named))}); make a page for each")
    taxonomy = load_taxonomy(*(named or {"dermatology"}))
    then = {_checksum_then(one.stage / "environment.json") for one in group} - {None}
    if then and then != {taxonomy.checksum}:
        return taxonomy, [
            "The taxonomy has changed since the evaluation: tree and verdicts of single cases are shown with it as it "
            "is now, the metrics as they were measured."
        ]
    return taxonomy, []


def _checksum_then(environment: Path) -> str | None:
    if not environment.is_file():
        return None
    found: str | None = files.read_json(environment).get("checksums", {}).get("taxonomy")
    return found


# --- thumbnails ----------------------------------------------------------------------------------------------------


def image_paths(folder: Path) -> dict[str, str]:
    """First image of each case by its id, from `images.json`; empty where an older evaluation wrote none."""
    file = folder / "images.json"
    if not file.is_file():
        return {}
    return {id: paths[0] for id, paths in files.read_json(file, error=DataError).items() if paths}


def thumbnails(paths: Mapping[int, str]) -> tuple[dict[int, str], int]:
    """Small JPEGs as `data:` addresses, upright and without metadata; and how many files could not be read."""

    def draw(item: tuple[int, str]) -> tuple[int, str | None]:
        try:
            return item[0], _thumbnail(item[1])
        except DataError:
            return item[0], None

    with ThreadPoolExecutor(2) as pool:
        drawn = list(pool.map(draw, paths.items()))
    return {number: address for number, address in drawn if address}, sum(address is None for _, address in drawn)


def _thumbnail(path: str) -> str:
    from skinrl.data.images import open_image

    image = open_image(path, at_least=2 * SIDE)
    image.thumbnail((SIDE, SIDE))
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=82, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"


# --- parts of rewards ----------------------------------------------------------------------------------------------


def rewards_of(run: Path, taxonomy: Taxonomy) -> list[Callable[..., list[float | None]]]:
    """The rewards of a run's GRPO that skinrl brings itself: looking at a page runs nobody's own code."""
    from skinrl.plugins import call_factory, resolve
    from skinrl.yamlfile import read_yaml

    file = run / "grpo" / "recipe.resolved.yaml"
    made = []
    for entry in read_yaml(file)[0].get("rewards", []) if file.is_file() else ():
        name = entry.get("fn") or entry.get("factory") or ""
        if not name.startswith(_OURS):
            continue
        try:
            reward = resolve(name)
            made.append(
                call_factory(reward, name, entry.get("kwargs") or {}, {"taxonomy": taxonomy})
                if entry.get("factory")
                else reward
            )
        except PluginError:  # it wants what only training has, such as the counts of its labels
            continue
    return made


def reward_parts(
    rewards: Sequence[Callable[..., list[float | None]]],
    answers: Mapping[int, Mapping[str, Any]],
    cases: Mapping[int, Mapping[str, Any]],
) -> dict[int, dict[str, float | None]]:
    """Each reward's score of each answer, by the number of the case.

    Args:
        answers, cases: rows of `predictions.jsonl` and of `cases.jsonl` by the number of the case.
    """
    from skinrl.rewards import score_rows

    if not rewards or not answers:
        return {}
    rows = [
        {
            "id": answer["id"],
            "completion": answer["completion"],
            "gold_nodes": [node for node, _ in cases[number]["gold"]],
            "gold_weights": [weight for _, weight in cases[number]["gold"]],
            **{key: cases[number].get(key) for key in ("options", "option_nodes", "prefilled")},
            "concepts": None,
            "images": None,
            "finished": answer["outcome"] != "truncated",
        }
        for number, answer in answers.items()
    ]
    return dict(zip(answers, score_rows(rows, rewards), strict=True))
