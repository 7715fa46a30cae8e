"""Features of frozen encoders: the policy's own tower in three families, timm, open_clip; and the store on disk."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_model import build_tiny_relative, build_tiny_text, build_tiny_vlm, random_image

from skinrl.engine.features import PolicyEncoder, check_encoder, features_of, open_encoder
from skinrl.errors import InputError


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return build_tiny_vlm(tmp_path_factory.mktemp("features") / "qwen2_5_vl")


IMAGES = [random_image(seed, 112, 112 if seed % 2 else 84) for seed in range(5)]


@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen2_vl", "qwen3_vl"])
def test_features_of_the_policy_are_the_mean_of_its_image_tokens(family, tiny, tmp_path):
    from transformers import AutoModelForImageTextToText, AutoProcessor

    path = tiny if family == "qwen2_5_vl" else build_tiny_relative(tmp_path, family)
    encoder = PolicyEncoder(str(path))
    together = encoder.encode(IMAGES)
    assert together.shape == (5, 128)
    assert together.dtype == np.float32
    alone = np.concatenate([encoder.encode([image]) for image in IMAGES])
    np.testing.assert_allclose(together, alone, atol=1e-5)  # an image's neighbours in the batch do not matter
    model = AutoModelForImageTextToText.from_pretrained(path).eval()
    inputs = AutoProcessor.from_pretrained(path).image_processor(images=[IMAGES[1]], return_tensors="pt")
    with torch.inference_mode():
        tokens = model.model.visual(inputs["pixel_values"], grid_thw=inputs["image_grid_thw"]).pooler_output
    assert len(tokens) == (9 if family == "qwen3_vl" else 16)  # patches of 16 or 14 pixels, four merged into one
    np.testing.assert_allclose(together[1], tokens.mean(dim=0).numpy(), atol=1e-5)


def test_the_key_follows_the_tower_and_the_resolution_alone(tiny, tmp_path):
    """So that a tower that was frozen in training is asked once for all stages."""
    from transformers import AutoModelForImageTextToText, AutoProcessor

    def changed(name: str, part: str) -> str:
        model = AutoModelForImageTextToText.from_pretrained(tiny)
        with torch.no_grad():
            next(p for n, p in model.named_parameters() if part in n).add_(0.1)
        model.save_pretrained(tmp_path / name)
        AutoProcessor.from_pretrained(tiny).save_pretrained(tmp_path / name)
        return PolicyEncoder(str(tmp_path / name)).key

    key = PolicyEncoder(str(tiny)).key
    assert changed("language", "language_model.layers") == key
    assert changed("tower", "visual") != key
    assert PolicyEncoder(str(tiny), max_pixels=56 * 56).key != key


def test_a_model_without_a_vision_tower_is_refused(tmp_path):
    with pytest.raises(InputError, match="has no vision tower of the Qwen-VL kind"):
        PolicyEncoder(str(build_tiny_text(tmp_path)))


def test_an_encoder_of_timm_with_weights_from_a_file(tmp_path):
    import timm

    torch.manual_seed(0)
    model = timm.create_model("test_resnet", pretrained=False).eval()
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    encoder = open_encoder(f"timm:test_resnet@{tmp_path / 'weights.pth'}", device="cpu")
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
    model.reset_classifier(0)
    with torch.inference_mode():
        wanted = model(torch.stack([transform(image) for image in IMAGES])).numpy()
    np.testing.assert_allclose(encoder.encode(IMAGES), wanted, atol=1e-5)


def test_an_encoder_of_open_clip_with_weights_from_a_file(tmp_path):
    import open_clip

    config = {
        "embed_dim": 32,
        "vision_cfg": {"image_size": 64, "layers": 2, "width": 64, "patch_size": 16},
        "text_cfg": {"context_length": 16, "vocab_size": 100, "width": 32, "heads": 2, "layers": 1},
    }
    (tmp_path / "tiny-clip.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path)
    torch.manual_seed(0)
    model, _, transform = open_clip.create_model_and_transforms("tiny-clip")
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    encoder = open_encoder(f"open_clip:tiny-clip@{tmp_path / 'weights.pt'}", device="cpu")
    with torch.inference_mode():
        wanted = model.eval().encode_image(torch.stack([transform(image) for image in IMAGES])).numpy()
    np.testing.assert_allclose(encoder.encode(IMAGES), wanted, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("resnet50", "expected policy, base, timm:NAME"),
        ("timm:", "expected policy, base, timm:NAME"),
        ("timm:no_such_model", "timm could not load it"),
        ("timm:test_resnet@/nowhere/weights.pth", "timm could not load it"),
        ("open_clip:ViT-S-32", "no weights are named"),
        ("open_clip:no-such-model@/nowhere.pt", "open_clip could not load it"),
    ],
)
def test_an_encoder_that_is_not_there_is_refused(name, words):
    with pytest.raises(InputError, match=words):
        open_encoder(name, device="cpu")


@pytest.mark.parametrize(("library", "package"), [("timm", "timm"), ("open_clip", "open_clip_torch")])
def test_a_library_that_is_not_installed_is_named_with_the_line_that_installs_it(library, package, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(InputError, match=f"needs {library}, which is not installed: pip install {package}$"):
        check_encoder(f"{library}:anything")


class Counting:
    name, key = "counting", "key"

    def __init__(self) -> None:
        self.seen: list[int] = []

    def encode(self, images):
        self.seen.append(len(images))
        return np.stack([np.asarray(image, dtype=np.float32).mean(axis=(0, 1)) for image in images])


def test_features_are_computed_once_and_kept_by_encoder_and_pixels(tmp_path, draw):
    files = {f"p{seed}": draw(tmp_path / f"{seed}.png", seed) for seed in range(5)}
    encoder, done, cache = Counting(), [], tmp_path / "cache" / "features.sqlite"
    first = features_of(encoder, files, Image.open, cache=cache, batch=2, advance=done.append)
    assert encoder.seen == [2, 2, 1]
    assert sum(done) == 5
    again = features_of(encoder, files | {"p5": draw(tmp_path / "5.png", 5)}, Image.open, cache=cache, batch=2)
    assert encoder.seen == [2, 2, 1, 1]
    assert all((first[key] == again[key]).all() for key in files)
    np.testing.assert_allclose(again["p5"], np.asarray(Image.open(tmp_path / "5.png")).mean(axis=(0, 1)), rtol=1e-5)
    encoder.key = "other weights"
    features_of(encoder, files, Image.open, cache=cache, batch=8)
    assert encoder.seen[-1] == 5


def test_what_was_computed_before_an_interruption_is_kept(tmp_path, draw):
    files = {f"p{seed}": draw(tmp_path / f"{seed}.png", seed) for seed in range(40)}

    def read(path):
        if path.endswith("/39.png"):
            raise KeyboardInterrupt
        return Image.open(path)

    encoder, cache = Counting(), tmp_path / "features.sqlite"
    with pytest.raises(KeyboardInterrupt):
        features_of(encoder, files, read, cache=cache, batch=1)
    assert len(encoder.seen) == 39
    features_of(encoder, files, Image.open, cache=cache, batch=1)
    assert len(encoder.seen) == 39 + 8  # 32 were kept: the store is written every 16 batches
