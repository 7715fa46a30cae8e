"""What a group shares is worked on once, and the numbers are those of separate rows, bit for bit."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from datasets import Dataset, Features, List, Value
from datasets import Image as ImageColumn
from PIL import Image
from tiny_model import build_tiny_vlm, distinct_tokens_reward, random_image

from skinrl.grpo.config import STOCK_SETTINGS, SkinGRPOConfig
from skinrl.grpo.once import DistinctRows, distinct, images_once, prompts_once


class CountedRows:
    """A dataset that says which rows were read, and makes a new object at every reading."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.read: list[int] = []

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, Any]:
        self.read.append(index)
        return {"prompt": [{"role": "user", "content": f"{index}"}], "images": [random_image(index, 56, 56)]}


def test_a_row_of_a_group_is_read_once_also_where_the_batch_comes_again() -> None:
    rows = CountedRows(4)
    shared = DistinctRows(rows)
    batch = shared.__getitems__([1, 1, 1, 3, 3, 3])
    assert rows.read == [1, 3]
    assert [row["prompt"][0]["content"] for row in batch] == ["1", "1", "1", "3", "3", "3"]
    assert batch[0]["images"][0] is batch[2]["images"][0]
    shared.__getitems__([1, 1, 1, 3, 3, 3])
    shared.__getitems__([3, 3, 0, 0])
    assert rows.read == [1, 3, 0]
    assert len(shared) == 4


def test_a_reward_that_changes_a_row_changes_that_row_alone() -> None:
    batch = DistinctRows(CountedRows(2)).__getitems__([0, 0])
    batch[0]["prompt"][0]["content"] = "changed"
    batch[0]["images"].clear()
    assert batch[1]["prompt"][0]["content"] == "0"
    assert len(batch[1]["images"]) == 1


def test_kinds_are_told_by_object_and_by_equality_to_the_left_neighbour() -> None:
    one, equal, other = random_image(1), random_image(1), random_image(2)
    assert distinct([one, one, equal, other, equal, random_image(2)]) == [0, 0, 0, 1, 0, 2]
    assert distinct([]) == []


class CountedProcessor:
    """An image processor whose image count is recorded."""

    def __init__(self, processor: Any) -> None:
        self.images = 0
        inner = processor.image_processor._preprocess_image_like_inputs

        def counted(images: Any, *args: Any, **kwargs: Any) -> Any:
            self.images += len(images)
            return inner(images, *args, **kwargs)

        processor.image_processor._preprocess_image_like_inputs = counted


@pytest.mark.parametrize("patch", [14, 16])  # Qwen2-VL and Qwen2.5-VL; Qwen3-VL
def test_repeated_features_are_those_of_every_row_bit_for_bit(patch: int, tmp_path: Path) -> None:
    from transformers import AutoProcessor

    processor = AutoProcessor.from_pretrained(build_tiny_vlm(tmp_path / "model"))
    processor.image_processor.patch_size = patch
    # unequal sizes, a row of two images, a row of none; the last is a copy, as a second decoding would give
    first, second, third = random_image(1, 112, 84), random_image(2, 112, 84), random_image(3, 200, 112)
    images = [[first], [first], [], [], [second, third], [second, third], [first.copy()], [second]]
    texts = ["<|vision_start|><|image_pad|><|vision_end|>" * len(row) + "what is it?" for row in images]
    plain = processor(images=images, text=texts, padding=True, return_tensors="pt")
    counted = CountedProcessor(processor)
    with images_once(processor):
        shared = [processor(images=images, text=texts, padding=True, return_tensors="pt") for _ in range(2)]
        lists = processor(images=images, text=texts)
    assert counted.images == 4  # three images and the copy, which stands apart
    assert "preprocess" not in vars(processor.image_processor)
    for made in shared:
        assert made.keys() == plain.keys()
        assert all(torch.equal(made[name], plain[name]) for name in plain)
    assert torch.equal(lists["pixel_values"], plain["pixel_values"])


def test_arguments_that_change_the_features_are_told_apart(tmp_path: Path) -> None:
    from transformers import AutoProcessor

    processor = AutoProcessor.from_pretrained(build_tiny_vlm(tmp_path / "model"))
    image = random_image(1)
    with images_once(processor):
        large = processor.image_processor([image, image], return_tensors="pt")
        small = processor.image_processor([image, image], return_tensors="pt", min_pixels=784, max_pixels=56 * 56)
    assert large["image_grid_thw"].tolist() == [[1, 8, 8]] * 2
    assert small["image_grid_thw"].tolist() == [[1, 4, 4]] * 2


def test_a_processor_of_another_kind_works_as_before() -> None:
    from transformers import CLIPImageProcessor

    processor = SimpleNamespace(image_processor=CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32))
    images = [random_image(1), random_image(1), random_image(2)]
    plain = processor.image_processor(images, return_tensors="pt")
    with images_once(processor):
        shared = processor.image_processor(images, return_tensors="pt")
    assert torch.equal(plain["pixel_values"], shared["pixel_values"])


class Params:
    """As much of vLLM's SamplingParams as is looked at."""

    def __init__(self, n: int = 1, temperature: float = 1.0) -> None:
        self.n, self.temperature = n, temperature

    def clone(self) -> Params:
        return Params(self.n, self.temperature)


class Engine:
    """Answers each prompt with names of its completions, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[list[int], int]] = []

    def generate(self, prompts: list[Any], sampling_params: Any, use_tqdm: bool = True) -> list[Any]:
        params = sampling_params if isinstance(sampling_params, list) else [sampling_params] * len(prompts)
        self.asked += [(prompt["prompt_token_ids"], own.n) for prompt, own in zip(prompts, params, strict=True)]
        return [
            SimpleNamespace(
                prompt_token_ids=prompt["prompt_token_ids"],
                outputs=[f"{prompt['prompt_token_ids']}/{k}" for k in range(own.n)],
            )
            for prompt, own in zip(prompts, params, strict=True)
        ]


def prompt(ids: list[int], image: Image.Image | None = None) -> dict[str, Any]:
    return {"prompt_token_ids": ids} | ({} if image is None else {"multi_modal_data": {"image": image}})


def test_each_distinct_prompt_is_sent_once_and_every_row_gets_a_completion_of_its_own() -> None:
    engine = Engine()
    one, two = random_image(1), random_image(2)
    rows = [prompt([1], one), prompt([1], one), prompt([1], two), prompt([1], two), prompt([3]), prompt([3])]
    with prompts_once(engine):
        outputs = engine.generate(rows, sampling_params=Params(), use_tqdm=False)
    assert engine.asked == [([1], 2), ([1], 2), ([3], 2)]
    assert [output.outputs for output in outputs] == [["[1]/0"], ["[1]/1"], ["[1]/0"], ["[1]/1"], ["[3]/0"], ["[3]/1"]]
    assert [output.prompt_token_ids for output in outputs] == [[1], [1], [1], [1], [3], [3]]
    engine.generate(rows[:2], sampling_params=Params())
    assert engine.asked[3:] == [([1], 1), ([1], 1)]


@pytest.mark.parametrize("params", [Params(n=2), Params(temperature=0.0)])
def test_several_completions_of_their_own_and_greedy_requests_are_left_alone(params: Params) -> None:
    engine = Engine()
    with prompts_once(engine):
        engine.generate([prompt([1]), prompt([1])], sampling_params=params)
    assert engine.asked == [([1], params.n)] * 2


def rows_from_files(folder: Path) -> Dataset:
    """Rows whose images are files, decoded at every reading."""
    for number in range(2):
        random_image(number, 90, 112).save(folder / f"{number}.png")
    features = Features(
        {"prompt": List({"role": Value("string"), "content": Value("string")}), "images": List(ImageColumn())}
    )
    rows = {
        "prompt": [[{"role": "user", "content": f"Diagnose lesion {n}."}] for n in range(4)],
        "images": [
            [str(folder / "0.png")],
            [],
            [str(folder / "0.png"), str(folder / "1.png")],
            [str(folder / "1.png")],
        ],
    }
    return Dataset.from_dict(rows, features=features)


def trained(model: Path, rows: Dataset, folder: Path, **settings: Any) -> list[dict[str, float]]:
    from skinrl.grpo.trainer import SkinGRPOTrainer

    args = SkinGRPOConfig(
        output_dir=str(folder), max_steps=3, per_device_train_batch_size=4, gradient_accumulation_steps=2,
        num_generations=2, max_completion_length=6, learning_rate=1e-3, logging_steps=1, save_strategy="no",
        report_to=[], use_cpu=True, bf16=False, gradient_checkpointing=False, disable_tqdm=True, seed=3,
        generation_kwargs={"suppress_tokens": [3, 4, 5, 6, 7]}, **settings,
    )  # fmt: skip
    trainer = SkinGRPOTrainer(model=str(model), reward_funcs=distinct_tokens_reward, args=args, train_dataset=rows)
    trainer.train()
    return [entry for entry in trainer.state.log_history if "loss" in entry]


def test_training_is_the_same_number_by_number(tmp_path: Path) -> None:
    model = build_tiny_vlm(tmp_path / "model")
    rows = rows_from_files(tmp_path)
    stock = STOCK_SETTINGS | {"mixed_batches": True}
    plain = trained(model, rows, tmp_path / "plain", **stock)
    once = trained(model, rows, tmp_path / "once", **(stock | {"once_per_group": True}))
    for name in ("loss", "grad_norm", "reward", "entropy"):
        assert [step[name] for step in once] == [step[name] for step in plain]
