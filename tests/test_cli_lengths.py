"""Prompts that do not fit are refused before a model is loaded, and it is said by how much."""

from __future__ import annotations

from typing import Any

import pytest
from tiny_model import build_tiny_vlm, build_tokenizer, random_image

from skinrl.cli.common import Experiment, open_experiment
from skinrl.cli.lengths import refuse_too_long
from skinrl.data.dataset import sft_rows
from skinrl.errors import InputError

RECIPE = "name: one\nmodel: {path: ./model, dtype: float32}\ndata:\n  - {source: folder, path: ./photographs}\n"
QUESTION, ANSWER = "Diagnose the lesion.", "psoriasis"


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    folder = tmp_path_factory.mktemp("lengths")
    build_tiny_vlm(folder / "model", layers=1)
    random_image(0, 84, 84).save(folder / "a.png")
    (folder / "one.yaml").write_text(RECIPE)
    return open_experiment(folder / "one.yaml", None, runs=folder / "runs")


@pytest.fixture
def rows(experiment: Experiment) -> Any:
    image = str(experiment.file.parent / "a.png")
    short = {"prompt": "Lesion.", "completion": ANSWER, "images": [image]}
    return sft_rows([short, {**short, "prompt": QUESTION}, short])


def prompt_tokens() -> int:
    """Counted by hand: the chat template's text, with 84 x 84 pixels as 3 x 3 image tokens."""
    text = f"<|im_start|>user\n<|vision_start|>{'<|image_pad|>' * 9}<|vision_end|>{QUESTION}<|im_end|>\n"
    return len(build_tokenizer()(text + "<|im_start|>assistant\n")["input_ids"])


def test_what_just_fits_is_taken_and_one_token_more_is_refused(experiment: Experiment, rows: Any) -> None:
    start, needed = str(experiment.recipe.model.path), prompt_tokens() + 20
    refuse_too_long(experiment, start, rows, completion=20, engine=needed)
    with pytest.raises(InputError, match=rf"of {prompt_tokens()} tokens .* need {needed} tokens, but the engine"):
        refuse_too_long(experiment, start, rows, completion=20, engine=needed - 1)


def test_the_models_own_limit_counts_without_an_engine(experiment: Experiment, rows: Any) -> None:
    start = str(experiment.recipe.model.path)  # made for 2,048 positions
    refuse_too_long(experiment, start, rows, completion=2048 - prompt_tokens())
    with pytest.raises(InputError, match=r"the model \(max_position_embeddings\) allows 2048"):
        refuse_too_long(experiment, start, rows, completion=2049 - prompt_tokens())


def test_in_sft_the_rows_own_completion_counts(experiment: Experiment, rows: Any) -> None:
    start = str(experiment.recipe.model.path)
    whole = prompt_tokens() + len(build_tokenizer()(ANSWER)["input_ids"]) + 1
    refuse_too_long(experiment, start, rows, engine=whole)
    with pytest.raises(InputError, match=f"{whole} tokens"):
        refuse_too_long(experiment, start, rows, engine=whole - 1)
