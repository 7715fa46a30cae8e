"""``skinrl predict``: which weights, at which resolution."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_model import build_tiny_vlm
from typer.testing import CliRunner

from skinrl.cli.app import app
from skinrl.engine import base as engine_base
from skinrl.engine.base import Completion
from skinrl.engine.prompts import image_size


def test_an_adapter_is_put_on_its_base_at_the_resolution_it_was_trained_at(
    tmp_path: Path, draw: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from skinrl.engine.chat import load_processor

    model = build_tiny_vlm(tmp_path / "base")
    processor = load_processor(str(model))
    processor.image_processor.size = type(processor.image_processor.size)(shortest_edge=3136, longest_edge=6272)
    processor.save_pretrained(tmp_path / "final")
    assert image_size(load_processor(str(model)).image_processor) != (3136, 6272)
    (tmp_path / "final" / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(model)}))
    opened: list[Any] = []

    class Engine:
        def generate(self, requests: list[Any], sampling: Any) -> list[list[Completion]]:
            return [[Completion("nothing", (1,), None, True)] for _ in requests]

        def close(self) -> None:
            opened.append("closed")

    def open_it(path: str, **settings: Any) -> Engine:
        opened.append((path, settings["adapter"], settings["min_pixels"], settings["max_pixels"]))
        return Engine()

    monkeypatch.setattr(engine_base, "open_generator", open_it)
    image = draw(tmp_path / "a.png")
    result = CliRunner().invoke(app, ["predict", "--model", str(tmp_path / "final"), "--json", image])
    assert result.exit_code == 0, result.output
    assert opened == [(str(model), str(tmp_path / "final"), 3136, 6272), "closed"]
    assert json.loads(result.stdout)[0]["outcome"] == "invalid"
