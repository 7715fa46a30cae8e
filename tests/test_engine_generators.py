"""The generation engines: transformers alone, and vLLM beside it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from programs import run_program
from tiny_model import build_tiny_text, build_tiny_vlm, random_image

from skinrl.engine import Request, Sampling, open_generator
from skinrl.errors import InputError


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Any:
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vLLM is not installed on this platform")
    return run_program("engine_program.py", "engines", tmp_path_factory.mktemp("engines"), timeout=200)


def ask(text: str, *images: Any) -> Request:
    return Request([{"role": "user", "content": text}], images)


def test_transformers_engine_is_the_same_for_any_batch_size(tmp_path: Path) -> None:
    model = str(build_tiny_vlm(tmp_path))
    requests = [ask(f"Diagnose {i} {'please ' * i}", random_image(i)) for i in range(3)] + [ask("Define eczema.")]
    greedy = Sampling(12, temperature=0)
    alone, together = (
        open_generator(model, backend="transformers", dtype="float32", max_batch=size).generate(requests, greedy)
        for size in (1, 8)
    )
    for one, many in zip(alone, together, strict=True):
        assert one[0].token_ids == many[0].token_ids
        assert one[0].logprobs == pytest.approx(many[0].logprobs, abs=1e-5)


def test_transformers_engine_draws_n_completions_and_repeats_by_seed(tmp_path: Path) -> None:
    engine = open_generator(str(build_tiny_text(tmp_path)), backend="transformers", dtype="float32")
    requests = [ask("a"), ask("b")]
    first, again, other = (engine.generate(requests, Sampling(8, n=3, seed=seed)) for seed in (1, 1, 2))
    assert [len(completions) for completions in first] == [3, 3]
    assert first == again
    assert first != other
    greedy = engine.generate(requests, Sampling(8, temperature=0, n=2))
    assert greedy[0][0] == greedy[0][1]


def test_images_for_a_text_model_and_a_prompt_beyond_the_limit_are_refused(tmp_path: Path) -> None:
    engine = open_generator(str(build_tiny_text(tmp_path)), backend="transformers", max_model_len=40)
    with pytest.raises(InputError, match="1 images, but the model takes text alone"):
        engine.generate([ask("a", random_image(0))], Sampling(4))
    with pytest.raises(InputError, match="allows 40"):
        engine.generate([ask("a")], Sampling(400))


def test_weights_processor_and_configuration_are_read_at_one_revision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import transformers

    model = str(build_tiny_text(tmp_path))
    read: list[tuple[str, str | None]] = []
    for name in ("AutoConfig", "AutoModelForCausalLM", "AutoProcessor"):
        kind: Any = getattr(transformers, name)

        def noted(path: str, *, revision: str | None = None, real: Any = kind.from_pretrained, **rest: Any) -> Any:
            if path == model:
                read.append((real.__self__.__name__, revision))
            return real(path, revision=revision, **rest)

        monkeypatch.setattr(kind, "from_pretrained", noted)
    engine = open_generator(model, backend="transformers", revision="v2")
    assert {name for name, _ in read} == {"AutoConfig", "AutoModelForCausalLM", "AutoProcessor"}
    assert {revision for _, revision in read} == {"v2"}
    read.clear()
    engine.load(model, revision="v3")
    assert read
    assert {revision for _, revision in read} == {"v3"}


def test_the_model_before_is_let_go_of_before_another_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import weakref

    from skinrl.engine import transformers_engine

    model, left = str(build_tiny_text(tmp_path)), []
    engine: Any = open_generator(model, backend="transformers")
    before, load = weakref.ref(engine._model), transformers_engine.load_model

    def noted(path: str, **rest: Any) -> Any:
        left.append(before())
        return load(path, **rest)

    monkeypatch.setattr(transformers_engine, "load_model", noted)
    engine.load(model)
    assert left == [None]
    engine.close()


@pytest.mark.vllm
@pytest.mark.slow
def test_both_engines_agree_on_every_token_and_log_prob(both: Any) -> None:
    assert both["kind"] == "VLLMEngine"
    assert both["difference"] == pytest.approx(dict.fromkeys(("base", "other", "adapter", "back"), 0.0), abs=1e-5)


@pytest.mark.vllm
@pytest.mark.slow
def test_another_checkpoint_or_adapter_loads_into_the_open_engine_and_out_again(both: Any) -> None:
    assert both["other_differs"]
    assert both["adapter_differs"]
    assert both["back"]


@pytest.mark.vllm
@pytest.mark.slow
def test_vllm_repeats_by_seed_and_refuses_what_does_not_fit(both: Any) -> None:
    assert both["seeded"] == [True, False]
    assert both["counts"] == [3] * 5
    assert "the engine (max_model_len) allows 200" in both["too_long"]


@pytest.mark.vllm
@pytest.mark.slow
def test_both_engines_write_one_of_the_choices_and_agree_how_likely_each_is(both: Any) -> None:
    assert both["forced"] == [True, True]  # vLLM may spell a choice in other tokens, so the two may choose otherwise
    assert both["scores"] < 1e-3
