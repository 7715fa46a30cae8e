"""Engines that go on from what is written, write one of the choices given, and say how likely each one is."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from tiny_model import build_tiny_text, build_tiny_vlm, random_image

from skinrl.engine import Request, Sampling, open_generator
from skinrl.engine.choices import Choices, allowed_after
from skinrl.errors import InputError

GREEDY = Sampling(6, temperature=0.0)
CHOICES = ("melanoma", "melanoma in situ", "naevus", "basal cell carcinoma")


def ask(text: str, *images: Any, **more: Any) -> Request:
    return Request([{"role": "user", "content": text}], images, **more)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Any:
    model = str(build_tiny_vlm(tmp_path_factory.mktemp("model")))
    return open_generator(model, backend="transformers", dtype="float32", max_batch=8)


def test_a_completion_goes_on_from_the_prefix(engine: Any) -> None:
    """Generating in two parts gives what one go gives, with an image and without, alone and beside a longer prompt."""
    requests = [ask("Diagnose.", random_image(1)), ask("Define psoriasis at length, please."), ask("x")]
    whole = [one[0] for one in engine.generate(requests, Sampling(10, temperature=0.0))]
    tokenizer = engine._tokenizer
    kept = [one for one in whole if tokenizer.encode(tokenizer.decode(one.token_ids[:4])) == list(one.token_ids[:4])]
    assert kept, "at least one beginning must survive being read as text"
    rest = engine.generate(
        [
            Request(request.messages, request.images, prefix=tokenizer.decode(one.token_ids[:4]))
            for request, one in zip(requests, whole, strict=True)
            if one in kept
        ],
        GREEDY,
    )
    for one, (more,) in zip(kept, rest, strict=True):
        assert one.token_ids[4:] == more.token_ids


def test_nothing_but_a_choice_is_written_and_it_counts_as_finished(engine: Any) -> None:
    requests = [ask(f"Diagnose {n}", random_image(n), choices=CHOICES, ending="\n") for n in range(3)]
    requests.append(ask("Define.", choices=("yes", "no"), prefix="Well: "))
    for (one,), request in zip(engine.generate(requests, Sampling(1, temperature=0.0)), requests, strict=True):
        assert one.text in [choice + request.ending for choice in request.choices]
        assert one.finished, "the limit of the sampling is not that of the choices"
    drawn = engine.generate(requests[:1], Sampling(1, temperature=5.0, n=8, seed=1))[0]
    assert {one.text for one in drawn} <= {choice + "\n" for choice in CHOICES}
    assert len({one.text for one in drawn}) > 1


def test_the_likelihood_of_a_choice_is_the_models_own(engine: Any) -> None:
    """Against the log-probs of forced generation, token by token: another way to the same number."""
    request = ask("Diagnose.", random_image(5), prefix="The answer: ", choices=CHOICES, ending="\n")
    (scores,) = engine.score([request])
    encoded = Choices(engine._tokenizer).encoded(CHOICES, "\n")
    assert scores[0] > scores[1] - 100, "finite"
    for number, choice in enumerate(CHOICES):
        logp = 0.0
        for place in range(encoded.shared, encoded.counted[number]):
            told = engine._tokenizer.decode(encoded.whole[number][:place])
            (logits,) = next_logps(engine, request, encoded.whole[number][:place])
            logp += logits[encoded.whole[number][place]]
            assert (choice + "\n").startswith(told)
        assert scores[number] == pytest.approx(logp, abs=1e-4)


def next_logps(engine: Any, request: Request, written: Any) -> Any:
    import torch

    from skinrl.engine.chat import encode

    inputs = encode(engine.processor, [request], padding=True, return_tensors="pt")
    more = torch.tensor([[*engine._choices.ids(request.prefix), *written]], dtype=torch.long)
    inputs["input_ids"] = torch.cat([inputs["input_ids"], more], dim=1)
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    if "mm_token_type_ids" in inputs:
        zeros = torch.zeros_like(more)
        inputs["mm_token_type_ids"] = torch.cat([inputs["mm_token_type_ids"], zeros], dim=1)
    with torch.no_grad():
        logits = engine._model(**inputs).logits[:, -1].float()
    return torch.log_softmax(logits, dim=-1).tolist()


def test_likelihoods_do_not_depend_on_what_stands_beside_them(engine: Any) -> None:
    requests = [
        ask(
            "Diagnose " + "please " * n,
            *([random_image(n)] if n % 2 else []),
            choices=CHOICES[: 2 + n % 3],
            ending="\n",
        )
        for n in range(5)
    ]
    together = engine.score(requests)
    alone = [engine.score([request])[0] for request in requests]
    for one, other in zip(together, alone, strict=True):
        assert one == pytest.approx(other, abs=1e-4)


def test_choices_that_share_a_beginning_are_counted_from_where_they_part(tmp_path: Path) -> None:
    engine: Any = open_generator(str(build_tiny_text(tmp_path)), backend="transformers", dtype="float32")
    scores = engine.score(
        [ask("a", choices=("b", "c"), ending="\n"), ask("a", prefix="x", choices=("xb", "xc"), ending="\n")]
    )
    shared = engine.score([ask("a", prefix="xx", choices=("b", "c"), ending="\n")])[0]
    assert all(math.isfinite(value) for row in scores for value in row)
    tokens = engine._choices.encoded(("xb", "xc"), "\n")
    if tokens.shared == 1 and engine._choices.ids("xx") == engine._choices.ids("x") * 2:
        assert scores[1] == pytest.approx(shared, abs=1e-4)


def test_a_token_trie_lets_through_the_choices_and_then_the_end() -> None:
    trie = {1: {2: {}, 3: {4: {}}}}
    assert allowed_after(trie, [], [9]) == [1]
    assert allowed_after(trie, [1], [9]) == [2, 3]
    assert allowed_after(trie, [1, 2], [9]) == [9]
    assert allowed_after(trie, [1, 2, 9, 0], [9]) == [9]


def test_wrong_choices_are_refused(engine: Any) -> None:
    with pytest.raises(InputError, match="some requests of one call have choices and some have none"):
        engine.generate([ask("a"), ask("b", choices=("x", "y"))], GREEDY)
    with pytest.raises(InputError, match="must differ"):
        engine.generate([ask("b", choices=("x", "x"))], GREEDY)
    with pytest.raises(InputError, match="nothing to score"):
        engine.score([ask("a")])
