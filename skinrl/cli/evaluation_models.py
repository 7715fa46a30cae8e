"""Which models are evaluated, where their weights lie, and one engine that holds them in turn."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from skinrl.cli.common import Experiment, base_and_adapter, console
from skinrl.errors import InputError

if TYPE_CHECKING:
    from skinrl.engine.base import Generator

MODELS = ("base", "sft", "sft_continued", "grpo")
_FILES = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja", "*.tiktoken"]


@dataclass(frozen=True)
class Model:
    """One model of the comparison.

    Args:
        name: `base`, `sft`, `sft_continued`, `grpo`, or a foreign model's own.
        checkpoint: folder, or id on the model hub (of the recipe's base model alone).
        foreign: it was not trained here and does not know the report.
        stamp: when its stage was completed, which tells one making of it from another.
    """

    name: str
    checkpoint: str
    foreign: bool = False
    stamp: str | None = None

    @property
    def untrained(self) -> bool:
        """Whether it never learnt the report."""
        return self.foreign or self.name == "base"


def find_models(experiment: Experiment, wanted: list[str] | None) -> list[Model]:
    """The models that the run has and the user wants.

    Args:
        wanted: names of `MODELS`, or `name=PATH_OR_HUB_ID[@revision]`; None: all that the run has.

    Raises:
        InputError: an unknown name, a stage that is not complete, a foreign model that is not there.
        RecipeError: a stage that builds on an earlier one made anew since.
    """
    from skinrl.cli.build import base_checkpoint, inputs_of, run_directory

    for name in wanted or ():
        if "=" not in name and name not in MODELS:
            raise InputError(
                f"--model {name}: expected one of {', '.join(MODELS)}, or name=PATH_OR_HUB_ID for any other model"
            )
    found: list[Model] = []
    for name in wanted or MODELS:
        directory = run_directory(experiment, name.partition("=")[0])
        if "=" in name:
            found.append(_foreign(name))
        elif name == "base":
            found.append(Model(name, base_checkpoint(experiment)))
        elif directory.is_complete:
            directory.settle_inputs(inputs_of(experiment, name))
            found.append(Model(name, str(directory.final), stamp=directory.stamp))
        elif wanted:
            raise InputError(f"--model {name}: stage {name} of run {experiment.run!r} is not complete")
    doubled = {one.name for one in found if [other.name for other in found].count(one.name) > 1}
    if doubled:
        raise InputError(f"--model: {', '.join(sorted(doubled))} is named twice")
    return found


def _foreign(text: str) -> Model:
    name, _, place = text.partition("=")
    if name in MODELS or not name or not place:
        raise InputError(f"--model {text}: expected name=PATH_OR_HUB_ID, with a name other than {', '.join(MODELS)}")
    if Path(place).exists():
        if not (Path(place) / "config.json").is_file() and not (Path(place) / "adapter_config.json").is_file():
            raise InputError(f"--model {text}: {place} holds no config.json; expected the folder of a checkpoint")
        return Model(name, str(Path(place).resolve()), foreign=True)
    if place.startswith((".", "/", "~")):
        raise InputError(f"--model {text}: no such folder: {place}")
    return Model(name, _download(*place.partition("@")[::2], text), foreign=True)


def _download(place: str, revision: str, text: str) -> str:
    """A model of the hub as a local folder, at one commit: whatever is read later is the same."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        folder = snapshot_download(place, revision=revision or None, allow_patterns=_FILES)
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as problem:
        raise InputError(
            f"--model {text}: {place} is no folder, and the model hub does not give it ({problem}). Expected a "
            "checkpoint folder, or an id such as owner/name or owner/name@revision"
        ) from problem
    console().print(f"eval: {place} -> {folder}")
    return str(folder)


class Engine:
    """One engine for all models: opened at first need, then given each model's weights.

    A foreign model has a processor of its own, so the engine is opened anew for it; it sees images at its own
    resolution.
    """

    def __init__(self, experiment: Experiment) -> None:
        self._experiment = experiment
        self._open: Generator | None = None
        self._holds: Model | None = None

    def on(self, model: Model) -> Generator:
        if self._open is not None and self._holds == model:
            return self._open
        base, adapter = base_and_adapter(model.checkpoint)
        revision = None if model.foreign or Path(base).is_dir() else self._experiment.recipe.model.revision
        if self._open is not None and self._holds is not None and (model.foreign or self._holds.foreign):
            self.close()
        if self._open is None:
            self._open = self._start(base, adapter, revision, foreign=model.foreign)
        else:
            self._open.load(base, adapter=adapter, revision=revision)
        self._holds = model
        return self._open

    def _start(self, base: str, adapter: str | None, revision: str | None, *, foreign: bool) -> Generator:
        from skinrl.engine.base import open_generator

        recipe = self._experiment.recipe
        settings, image = recipe.evaluation, recipe.model.image
        return open_generator(
            base,
            backend=settings.backend,
            dtype=recipe.model.dtype,
            min_pixels=None if foreign else image.min_pixels,
            max_pixels=None if foreign else image.max_pixels,
            max_model_len=settings.max_model_length,
            adapter=adapter,
            max_batch=settings.batch_size,
            revision=revision,
        )

    def close(self) -> None:
        if self._open is not None:
            self._open.close()
        self._open = self._holds = None
