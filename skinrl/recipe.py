"""A recipe: one YAML file is one experiment.

``load_recipe`` reads the file, applies one level of ``extends`` and the ``key=value`` overrides, refuses what it
does not know (with file, line and the nearest valid key) and returns a frozen ``Recipe`` whose paths are absolute.
The ``sft`` and ``grpo`` sections carry TRL's own field names; ``training_arguments`` checks them against TRL.
"""

from __future__ import annotations

import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from skinrl.errors import RecipeError
from skinrl.recipe_reading import explain, nearest, override, place, read_with_base, resolve_paths
from skinrl.yamlfile import Lines, read_yaml


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, protected_namespaces=())


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class LoraSection(_Section):
    """Settings of PEFT's ``LoraConfig``, by its own names."""

    r: int = Field(16, gt=0)
    alpha: int = Field(32, gt=0)
    dropout: float = Field(0.0, ge=0, lt=1)
    target_modules: list[str] | str = "all-linear"


class ImageSection(_Section):
    """Resolution of every image in every stage, in pixels of area (width x height)."""

    min_pixels: int | None = Field(None, gt=0)
    max_pixels: int | None = Field(None, gt=0)


class ModelSection(_Section):
    """The policy: a checkpoint (``path``: folder or hub id) or a function that builds one (``factory``)."""

    path: str | None = None
    revision: str | None = None
    factory: str | None = None
    kwargs: dict[str, Any] = {}
    dtype: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    attention: str | None = None
    lora: LoraSection | None = None
    freeze: Annotated[list[Literal["vision", "merger", "language"]], BeforeValidator(_as_list)] = []
    image: ImageSection = ImageSection()

    @model_validator(mode="after")
    def _one_origin(self) -> ModelSection:
        if (self.path is None) == (self.factory is None):
            raise ValueError("give exactly one of path (a checkpoint) and factory (a function that builds one)")
        return self


Stage = Literal["sft", "grpo", "evaluation", "validation"]


class DataSection(_Section):
    """One entry of the data mixture."""

    source: str
    path: str | None = None
    use: Annotated[list[Stage], BeforeValidator(_as_list)] = ["sft", "grpo", "evaluation"]
    split: str | None = None
    labels: str | dict[str, Any] | None = None
    weight: float = Field(1.0, gt=0)
    cap_per_class: int | None = Field(None, gt=0)
    fraction: float = Field(1.0, gt=0, le=1)
    on_missing_image: Literal["error", "skip"] = "error"
    on_broken_image: Literal["error", "skip"] = "error"
    on_conflict: Literal["error", "drop"] = "error"
    kwargs: dict[str, Any] = {}


class QuestionSection(_Section):
    """What is asked of an image, and with which wording."""

    kind: Literal["open", "closed", "options"] = "open"
    wording: Literal["full", "short"] = "full"
    choices: int = Field(4, ge=2, description="options offered when kind is `options`")
    prefill_think: bool = False


class RewardSection(_Section):
    """A reward by import path: ``fn`` is the callable itself, ``factory`` returns it."""

    fn: str | None = None
    factory: str | None = None
    weight: float = 1.0
    kwargs: dict[str, Any] = {}

    @model_validator(mode="after")
    def _one_origin(self) -> RewardSection:
        if (self.fn is None) == (self.factory is None):
            raise ValueError("give exactly one of fn (a reward function) and factory (a function that returns one)")
        if self.fn is not None and self.kwargs:
            raise ValueError("kwargs belong to a factory; a reward named by fn is used as it is")
        return self


class SuiteSection(_Section):
    """One suite: a name that ships, or an import path; see docs/suites.md."""

    name: str
    sources: Annotated[list[str], BeforeValidator(_as_list)] = []
    limit: int | None = Field(None, gt=0)
    samples: int = Field(0, ge=0)


class JudgeSection(_Section):
    """A language model that speaks the OpenAI protocol and judges open answers."""

    url: str
    model: str
    key_variable: str = ""
    seconds: float = Field(60.0, gt=0)

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    @model_validator(mode="after")
    def _an_address(self) -> JudgeSection:
        if urlsplit(self.url).scheme not in ("http", "https") or not self.host:
            raise ValueError(f"{self.url!r} is no address; expected one such as http://localhost:8000/v1")
        return self


def _suite_entries(value: Any) -> Any:
    return [{"name": one} if isinstance(one, str) else one for one in _as_list(value)] if value else []


Control = Literal["no_image", "shuffled_options", "wrong_image", "metadata_only"]


class EvaluationSection(_Section):
    """How models are compared."""

    samples: int = Field(4, ge=0, description="completions per case at temperature 1, for accuracy_sampled")
    max_completion_length: int = Field(512, gt=0)
    backend: Literal["auto", "vllm", "transformers"] = "auto"
    batch_size: int = Field(64, gt=0)
    limit: int | None = Field(None, gt=0)
    max_model_length: int | None = Field(None, gt=0)
    suites: Annotated[list[SuiteSection], BeforeValidator(_suite_entries)] = []
    controls: Literal["default", "full", "none"] | list[Control] = "default"
    formats: Literal["default", "all", "none"] = "default"
    likelihoods: bool = True
    baselines: Annotated[list[str], BeforeValidator(_as_list)] = ["policy"]
    contamination: bool = True
    prevalence: float | None = Field(None, gt=0, lt=1)
    judge: JudgeSection | None = None
    page_images: int = Field(200, ge=0)
    continued_sft: bool = Field(False, description="also train and show SFT continued on GRPO's images, answers alone")
    bootstrap: int = Field(2000, ge=100)


class TaskMetricsSection(_Section):
    """Task metrics during a training stage: `sft.task_metrics`, `grpo.task_metrics`."""

    every: int = Field(gt=0)
    cases: int = Field(64, gt=0)
    metrics: list[str] = ["accuracy", "hierarchical_f1", "invalid_share"]
    metric: str = "accuracy"
    mode: Literal["max", "min"] | None = None
    patience: int | None = Field(None, gt=0)
    min_delta: float = Field(0.0, ge=0)
    min_steps: int = Field(1, ge=0)
    best: Literal["log", "keep", "hand_on"] = "log"


class PrivacySection(_Section):
    """Which hosts may receive case data (teacher, judge, tracker). None by default."""

    allow_remote: list[str] = []


class LaunchSection(_Section):
    """Expected launch: the number of processes the batch sizes were chosen for."""

    processes: int = Field(1, gt=0)


class Recipe(_Section):
    """One experiment."""

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    seed: int = 0
    model: ModelSection
    taxonomy: str = "dermatology"
    data: list[DataSection] = Field(min_length=1)
    questions: QuestionSection = QuestionSection()
    rewards: list[RewardSection] = []
    sft: dict[str, Any] = {}
    grpo: dict[str, Any] = {}
    evaluation: EvaluationSection = EvaluationSection()
    privacy: PrivacySection = PrivacySection()
    launch: LaunchSection = LaunchSection()

    @property
    def grpo_init(self) -> str:
        """Where GRPO starts: ``sft``, ``base`` or a checkpoint folder."""
        return str(self.grpo.get("init", "sft"))

    def task_metrics(self, stage: Literal["sft", "grpo"]) -> TaskMetricsSection | None:
        """What is measured during a training stage; None where nothing is."""
        values = getattr(self, stage).get("task_metrics")
        return None if values is None else TaskMetricsSection.model_validate(values)

    def data_for(self, stage: Stage) -> list[DataSection]:
        """The entries of the mixture that ``stage`` uses."""
        return [entry for entry in self.data if stage in entry.use]


# Keys that another section or the run directory owns; one owner per setting.
_OWNED = {
    "output_dir": "the run directory (RUN= names the run)",
    "seed": "the recipe's top-level seed",
    "data_seed": "the recipe's top-level seed",
    "reward_weights": "rewards[].weight",
    "reward_funcs": "rewards",
    "model_init_kwargs": "model",
    "max_pixels": "model.image.max_pixels",
    "min_pixels": "model.image.min_pixels",
    "resume_from_checkpoint": "the run directory: the same command resumes",
    "bf16": "model.dtype",
    "fp16": "model.dtype",
}


_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")
_STAY_HERE = ("none", "tensorboard")  # trackers that write files and send nothing


def load_recipe(path: str | Path, overrides: Sequence[str] = (), *, data_path: str | Path | None = None) -> Recipe:
    """Read a recipe.

    Args:
        path: the YAML file.
        overrides: ``key=value`` texts; values are YAML; relative paths in them are relative to the recipe.
        data_path: replaces the ``path`` of every data entry (relative to the working directory).

    Raises:
        RecipeError: with file, line, what was found and what was expected.
    """
    file = Path(path)
    lines: Lines = {}
    data = read_with_base(file, lines)
    for text in overrides:
        override(data, text)
    resolve_paths(data, file.parent)
    if data_path is not None:
        for entry in data.get("data") or []:
            entry["path"] = str(Path(data_path).resolve())
    try:
        recipe = Recipe.model_validate(data)
    except ValidationError as problem:
        raise RecipeError(explain(Recipe, problem, file, lines)) from problem
    sections: tuple[Literal["sft", "grpo"], ...] = ("sft", "grpo")
    for section in sections:
        for key in getattr(recipe, section):
            if key in _OWNED:
                where = place(file, lines, (section, key))
                raise RecipeError(f"{where}: {section}.{key} is owned by {_OWNED[key]}; set it there")
        _refuse_remote(recipe, section, file, lines)
        try:
            recipe.task_metrics(section)
        except ValidationError as problem:
            below = (section, "task_metrics")
            raise RecipeError(explain(TaskMetricsSection, problem, file, lines, below)) from problem
    _refuse_remote_judge(recipe, file, lines)
    return recipe


def _refuse_remote_judge(recipe: Recipe, file: Path, lines: Lines) -> None:
    """Refuse a judge on another host that the recipe does not allow: completions would leave this machine.

    Raises:
        RecipeError: with the host that ``privacy.allow_remote`` lacks.
    """
    judge = recipe.evaluation.judge
    if judge is None or judge.host in _THIS_MACHINE or judge.host in recipe.privacy.allow_remote:
        return
    where = place(file, lines, ("evaluation", "judge", "url"))
    raise RecipeError(
        f"{where}: evaluation.judge would send completions and labels to {judge.host}, which privacy.allow_remote "
        f"does not name; add {judge.host} there, use a judge on this machine, or take the judge out"
    )


def _refuse_remote(recipe: Recipe, section: Literal["sft", "grpo"], file: Path, lines: Lines) -> None:
    """Refuse a tracker, or the hub, that the recipe does not allow: prompts, completions and ids would leave.

    Raises:
        RecipeError: with the host that ``privacy.allow_remote`` lacks.
    """
    settings = getattr(recipe, section)
    trackers = settings.get("report_to") or []
    remote = dict.fromkeys([trackers] if isinstance(trackers, str) else trackers, "report_to")
    if settings.get("push_to_hub"):
        remote["huggingface"] = "push_to_hub"
    for name, key in remote.items():
        word = str(name).partition("_")[0]
        if name not in _STAY_HERE and not any(word in host for host in recipe.privacy.allow_remote):
            where = place(file, lines, (section, key))
            raise RecipeError(
                f"{where}: {section}.{key} would send what is logged to {name}, which privacy.allow_remote does not "
                f"name; add the host of {name} there, or take {key} out"
            )


def training_arguments(
    recipe: Recipe, section: Literal["sft", "grpo"], config_class: type, file: Path
) -> dict[str, Any]:
    """The keyword arguments of ``config_class`` from a recipe's section, checked by name and type.

    Raises:
        RecipeError: an unknown key (with the nearest valid one) or a value of a wrong type, with file and line.
    """
    values = dict(getattr(recipe, section))
    values.pop("task_metrics", None)  # a callback's, see `Recipe.task_metrics`
    if section == "grpo":
        values.pop("init", None)  # where to start from is not the trainer's business
    hints = typing.get_type_hints(config_class)
    valid = list(config_class.__dataclass_fields__)  # type: ignore[attr-defined]
    lines: Lines = {}
    if file.exists():
        lines = read_yaml(file, error=RecipeError)[1]
    for key, value in values.items():
        where = place(file, lines, (section, key))
        if key not in valid:
            raise RecipeError(f"{where}: unknown key '{section}.{key}'{nearest(key, valid)}")
        try:
            values[key] = TypeAdapter(hints[key], config=ConfigDict(arbitrary_types_allowed=True)).validate_python(
                value
            )
        except ValidationError as problem:
            expected = getattr(hints[key], "__name__", str(hints[key]))
            hint = '; YAML reads no, off, yes and on as that: write "no" in quotes' if isinstance(value, bool) else ""
            raise RecipeError(f"{where}: {section}.{key}: found {value!r}{hint}; expected {expected}") from problem
    return values
