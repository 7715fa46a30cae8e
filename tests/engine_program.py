"""Both generation engines side by side: ``python engine_program.py engines FOLDER``; see test_engine_generators.py."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))


def largest_difference(left: list[list[Any]], right: list[list[Any]]) -> float:
    """Of the log-probs, over completions whose tokens agree; infinite if any token differs."""
    worst = 0.0
    for ours, theirs in zip(left, right, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            if a.token_ids != b.token_ids or a.text != b.text or a.finished != b.finished:
                return float("inf")
            worst = max([worst, *(abs(x - y) for x, y in zip(a.logprobs, b.logprobs, strict=True))])
    return worst


def save_adapter(model_path: Path, folder: Path) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForImageTextToText

    model = AutoModelForImageTextToText.from_pretrained(model_path)
    adapted = get_peft_model(model, LoraConfig(r=4, target_modules=r".*(q_proj|up_proj|qkv)$"))
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.2)
    adapted.save_pretrained(folder)


def engines(folder: Path) -> dict[str, Any]:
    from tiny_model import build_tiny_vlm, random_image

    from skinrl.engine import Request, Sampling, open_generator
    from skinrl.errors import InputError

    first = str(build_tiny_vlm(folder / "first"))
    other = str(build_tiny_vlm(folder / "other", seed=3))
    save_adapter(folder / "first", folder / "adapter")
    # images of several sizes, several images, none
    requests = [
        Request([{"role": "user", "content": f"Diagnose {i}."}], (random_image(i, 90 + 30 * i),)) for i in range(3)
    ]
    requests.append(Request([{"role": "user", "content": "Compare."}], (random_image(7), random_image(8))))
    requests.append(Request([{"role": "user", "content": "Define psoriasis."}]))
    options: dict[str, Any] = {"dtype": "float32", "max_pixels": 84 * 84, "max_model_len": 200}
    slow = open_generator(first, backend="transformers", **options)
    fast = open_generator(first, backend="auto", **options)
    greedy = Sampling(24, temperature=0)
    result: dict[str, Any] = {"kind": type(fast).__name__, "difference": {}}

    def compare(name: str) -> list[list[Any]]:
        ours, theirs = slow.generate(requests, greedy), fast.generate(requests, greedy)
        result["difference"][name] = largest_difference(ours, theirs)
        return theirs

    base = compare("base")
    for name, path, adapter in (("other", other, None), ("adapter", first, str(folder / "adapter"))):
        slow.load(path, adapter=adapter)
        fast.load(path, adapter=adapter)
        result[f"{name}_differs"] = compare(name) != base
    slow.load(first)
    fast.load(first)
    result["back"] = compare("back") == base

    names = ("melanoma", "melanoma in situ", "naevus", "basal cell carcinoma")
    head = "<think>\nIt is dark.\n</think>\n"
    asked = [replace(request, prefix=head, choices=names, ending="\nMalignancy: ") for request in requests]
    forced = [[one[0].text for one in engine.generate(asked, greedy)] for engine in (slow, fast)]
    allowed = {name + "\nMalignancy: " for name in names}
    result["forced"] = [set(texts) <= allowed for texts in forced]
    scores = [engine.score(asked) for engine in (slow, fast)]
    result["scores"] = max(
        abs(a - b) for ours, theirs in zip(*scores, strict=True) for a, b in zip(ours, theirs, strict=True)
    )

    draws = [fast.generate(requests, Sampling(24, n=3, seed=seed)) for seed in (5, 5, 6)]
    result["seeded"] = [draws[0] == draws[1], draws[0] == draws[2]]
    result["counts"] = [len(completions) for completions in draws[0]]
    try:
        fast.generate(requests, Sampling(500))
        result["too_long"] = None
    except InputError as error:
        result["too_long"] = str(error)
    slow.close()
    fast.close()
    return result


def main() -> None:
    import torch

    torch.set_num_threads(1)
    folder = Path(sys.argv[2])
    begun = time.monotonic()
    result = engines(folder)
    result["seconds"] = time.monotonic() - begun
    (folder / "engines.json").write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main()
