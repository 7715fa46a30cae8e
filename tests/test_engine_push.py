"""The parts of a weight push that need no engine: names, files, merged adapters, what a server answers."""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
import torch
from tiny_model import build_tiny_vlm

from skinrl.engine.merged import can_merge, merged_parameters
from skinrl.engine.push import WORKER_EXTENSION, push_by_file, read_weights, with_tied_head, write_weights
from skinrl.engine.server import server_command, server_environment
from skinrl.errors import RunError

LORA_TARGETS = r".*(q_proj|v_proj|up_proj|qkv|attn\.proj|mlp\.0)$"


def load(path: Path) -> Any:
    from transformers import AutoModelForImageTextToText

    return AutoModelForImageTextToText.from_pretrained(path, dtype=torch.float32)


def with_lora(model: Any, **options: Any) -> Any:
    from peft import LoraConfig, get_peft_model

    adapted = get_peft_model(model, LoraConfig(r=4, target_modules=LORA_TARGETS, **options))
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    return adapted


def test_a_tied_head_is_pushed_under_its_own_name_and_as_copies() -> None:
    embedding = torch.ones(2, 3)
    weights = [("model.language_model.embed_tokens.weight", embedding), ("model.norm.weight", torch.zeros(3))]
    pushed = dict(with_tied_head(weights, tied=True))
    assert list(pushed) == ["model.language_model.embed_tokens.weight", "lm_head.weight", "model.norm.weight"]
    embedding.fill_(7)
    assert torch.equal(pushed["lm_head.weight"], torch.ones(2, 3))
    assert "lm_head.weight" not in dict(with_tied_head(weights, tied=False))


def test_weights_survive_the_way_through_files_in_several_shards(tmp_path: Path) -> None:
    weights = [(f"layer.{i}", torch.full((4,), float(i), dtype=torch.bfloat16)) for i in range(5)]
    assert write_weights(tmp_path, iter(weights), shard_bytes=16) == 5  # two tensors of 8 bytes a file
    assert len(list(tmp_path.glob("*.safetensors"))) == 3
    back = list(read_weights(tmp_path))
    assert [name for name, _ in back] == [name for name, _ in weights]
    for (_, ours), (_, theirs) in zip(weights, back, strict=True):
        assert theirs.dtype == torch.bfloat16
        assert torch.equal(ours, theirs)


def test_an_empty_folder_is_not_taken_for_a_push(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="must see the same folder"):
        list(read_weights(tmp_path))


def test_merged_weights_equal_pefts_own_merge_and_leave_the_base_bit_for_bit(tmp_path: Path) -> None:
    model = with_lora(load(build_tiny_vlm(tmp_path)))
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    merged = {name: tensor.clone() for name, tensor in merged_parameters(model, lambda _: nullcontext())}
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name]), name
    reference = copy.deepcopy(model).merge_and_unload()
    names = {name for name, _ in reference.named_parameters()}
    assert set(merged) == names
    adapted = set()
    for name, parameter in reference.named_parameters():
        torch.testing.assert_close(merged[name], parameter.data, rtol=0, atol=1e-6)
        base = before.get(f"base_model.model.{name.removesuffix('.weight')}.base_layer.weight")
        if base is not None:
            assert (merged[name] - base).abs().max() > 1e-3
            adapted.add(name)
    # q, v, up in two language layers; qkv, proj, up in two vision blocks; the merger's first layer
    assert len(adapted) == 2 * 3 + 2 * 3 + 1


def test_a_frozen_reference_adapter_is_not_merged(tmp_path: Path) -> None:
    from peft import LoraConfig

    model = with_lora(load(build_tiny_vlm(tmp_path)))
    alone = {name: tensor.clone() for name, tensor in merged_parameters(model, lambda _: nullcontext())}
    model.add_adapter("ref", LoraConfig(r=4, target_modules=LORA_TARGETS, init_lora_weights=False))
    beside = dict(merged_parameters(model, lambda _: nullcontext()))
    assert set(alone) == set(beside)
    assert all(torch.equal(alone[name], beside[name]) for name in alone)


def test_dora_is_left_to_peft(tmp_path: Path) -> None:
    model = load(build_tiny_vlm(tmp_path))
    assert not can_merge(with_lora(copy.deepcopy(model), use_dora=True))
    assert can_merge(with_lora(model))


@contextmanager
def answering(answers: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """An HTTP server that gives fixed answers and remembers which paths were asked, in order."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.path)
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            answer = answers.get(self.path.split("?")[0])
            body = json.dumps(answer).encode()
            self.send_response(404 if answer is None else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()


def test_a_server_is_paused_loaded_emptied_and_resumed_and_no_file_is_left(tmp_path: Path) -> None:
    answers = {
        "/pause": {},
        "/collective_rpc": {"results": [{"tensors": 1}, {"tensors": 1}]},
        "/reset_prefix_cache": {"success": True},
        "/reset_encoder_cache": {},
        "/resume": {},
    }
    with answering(answers) as (url, asked):
        push_by_file(requests.Session(), url, iter([("a", torch.zeros(2))]), tmp_path)
    assert asked == ["/pause?mode=wait", "/collective_rpc", "/reset_prefix_cache", "/reset_encoder_cache", "/resume"]
    assert list(tmp_path.iterdir()) == []


def test_a_server_without_the_worker_extension_gets_a_message_that_names_it(tmp_path: Path) -> None:
    with answering({"/pause": {}}) as (url, _), pytest.raises(RunError, match=WORKER_EXTENSION):
        push_by_file(requests.Session(), url, iter([("a", torch.zeros(2))]), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_worker_that_read_fewer_tensors_is_an_error(tmp_path: Path) -> None:
    answers = {"/pause": {}, "/collective_rpc": {"results": [{"tensors": 1}]}}
    weights = [("a", torch.zeros(2)), ("b", torch.zeros(2))]
    with answering(answers) as (url, _), pytest.raises(RunError, match="read 1 of 2 tensors"):
        push_by_file(requests.Session(), url, iter(weights), tmp_path)


def test_a_prefix_cache_that_stays_full_is_an_error(tmp_path: Path) -> None:
    answers = {
        "/pause": {},
        "/collective_rpc": {"results": [{"tensors": 1}]},
        "/reset_prefix_cache": {"success": False},
    }
    with answering(answers) as (url, _), pytest.raises(RunError, match="could not empty its prefix cache"):
        push_by_file(requests.Session(), url, iter([("a", torch.zeros(2))]), tmp_path)


def test_the_server_command_asks_for_all_that_rollouts_need() -> None:
    command = server_command("model", port=1234, dtype="float32", max_pixels=12544, max_model_len=256)
    text = " ".join(command)
    assert "-m vllm.entrypoints.openai.api_server --model model" in text
    for part in ("--port 1234", "--logprobs-mode processed_logprobs", "--enable-scale-out", "--dtype float32"):
        assert part in text
    assert f"--worker-extension-cls {WORKER_EXTENSION}" in text
    assert '{"max_pixels": 12544}' in command
    assert "--weight-transfer-config" not in text


def test_the_server_joins_no_process_group_of_the_trainer() -> None:
    environment = server_environment("model", base={"RANK": "1", "WORLD_SIZE": "2", "VLLM_LOGGING_LEVEL": "INFO"})
    assert "RANK" not in environment
    assert "WORLD_SIZE" not in environment
    assert environment["VLLM_SERVER_DEV_MODE"] == "1"
    assert environment["VLLM_LOGGING_LEVEL"] == "INFO"  # what the user set wins
