"""Put the trainer's weights into a vLLM engine, completely.

"Completely" is four things, each of which leaves a stale part behind when it is forgotten:

1. every tensor, through the engine's own layer-wise reload (TRL loads tensor by tensor, which fails on CPU, where
   weights are repacked);
2. the output head that shares the embedding's weight: the CPU build packs it apart, under a name that
   ``named_parameters`` never yields;
3. the encoder cache, on the runner and in the scheduler, or images are seen with the old vision tower;
4. the prefix cache, or prompts are read with the old language model.

A colocated engine takes the tensors directly (:func:`push_into`). A server takes them from
safetensors files on a disk or memory file system that both sides see (:func:`push_by_file`), through
a worker extension (:class:`WeightPull`).
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skinrl.errors import RunError

if TYPE_CHECKING:
    import torch

WORKER_EXTENSION = "skinrl.engine.push.WeightPull"
# Bound on what the trainer's main process holds in memory while it writes
SHARD_BYTES = 2 << 30
_EMBEDDING = "embed_tokens.weight"


def ties_head(config: Any) -> bool:
    """Whether a model's output head shares the embedding's weight, by its configuration."""
    return bool(config.tie_word_embeddings or config.get_text_config().tie_word_embeddings)


def with_tied_head(weights: Iterable[tuple[str, torch.Tensor]], *, tied: bool) -> Iterator[tuple[str, torch.Tensor]]:
    """Copies of ``weights``, and the shared embedding once more under the head's own name.

    Copies, because the engine keeps what it is given until a layer is complete, and the trainer's
    tensors may be gone by then (ZeRO-3 partitions them again).
    """
    for name, tensor in weights:
        copy = tensor.detach().clone()
        yield name, copy
        if tied and name.endswith(_EMBEDDING) and "visual" not in name:
            yield "lm_head.weight", copy


def reload_worker(worker: Any, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
    """Reload one vLLM worker's model in place, its tied head included."""
    tied = ties_head(worker.model_runner.model_config.hf_config)
    worker.reload_weights(weights_iterator=with_tied_head(weights, tied=tied))
    _repack_tied_heads(worker.model_runner.get_model())


def _repack_tied_heads(model: Any) -> None:
    # On CPU the packed copy of a head is made from its weight after loading. A head that shares the embedding's
    # weight takes part in no loading of its own where the model's loader skips its name.
    from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead
    from vllm.platforms import current_platform

    if not current_platform.is_cpu():
        return
    for module in model.modules():
        if isinstance(module, ParallelLMHead):
            module.quant_method.process_weights_after_loading(module)


def push_into(llm: Any, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
    """Reload a colocated ``vllm.LLM`` from (name, tensor) pairs under their transformers names."""
    reload_worker(llm.llm_engine.model_executor.driver_worker, weights)
    reset_caches(llm)


def reset_caches(llm: Any) -> None:
    """Forget everything that was computed with the old weights: prefixes, encoded images."""
    if not llm.reset_prefix_cache():
        raise RunError(
            "vLLM could not empty its prefix cache after the weight push: requests are still running. "
            "Push weights only between generations."
        )
    llm.llm_engine.reset_mm_cache()
    llm.llm_engine.reset_encoder_cache()


class WeightPull:
    """vLLM worker extension (``--worker-extension-cls``): reload this worker from a folder of safetensors files."""

    def pull_weights(self, path: str) -> dict[str, int]:
        """Reload from ``path``; returns the number of tensors read. Called through ``/collective_rpc``."""
        read = 0

        def weights() -> Iterator[tuple[str, torch.Tensor]]:
            nonlocal read
            for name, tensor in read_weights(Path(path)):
                read += 1
                yield name, tensor

        reload_worker(self, weights())
        return {"tensors": read}


def write_weights(folder: Path, weights: Iterable[tuple[str, torch.Tensor]], *, shard_bytes: int = SHARD_BYTES) -> int:
    """Write (name, tensor) pairs as safetensors files of about ``shard_bytes`` each; returns the number of tensors."""
    from safetensors.torch import save_file

    shard: dict[str, torch.Tensor] = {}
    size = files = count = 0
    for name, tensor in weights:
        shard[name] = tensor.detach().to("cpu", copy=True).contiguous()
        size += tensor.numel() * tensor.element_size()
        count += 1
        if size >= shard_bytes:
            save_file(shard, folder / f"weights-{files:05d}.safetensors")
            shard, size, files = {}, 0, files + 1
    if shard:
        save_file(shard, folder / f"weights-{files:05d}.safetensors")
    return count


def read_weights(folder: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """The pairs that :func:`write_weights` wrote, one tensor at a time, in order."""
    from safetensors import safe_open

    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise RunError(f"No safetensors files in {folder}: trainer and server must see the same folder.")
    for file in files:
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 (not a mapping)
                yield name, tensors.get_tensor(name)


def push_by_file(
    session: Any,
    base_url: str,
    weights: Iterable[tuple[str, torch.Tensor]],
    directory: Path,
    *,
    timeout: float = 600.0,
) -> None:
    """Write ``weights`` into ``directory`` and have the server at ``base_url`` load them.

    Args:
        session: a ``requests.Session``.
        directory: seen by trainer and server under the same path; the files are removed afterwards.
        timeout: seconds that one request to the server may take.

    Raises:
        RunError: a request failed, or the server read another number of tensors than were written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="skinrl-weights-", dir=directory))
    try:
        written = write_weights(folder, weights)
        _post(session, base_url, "/pause", timeout, params={"mode": "wait"})
        call = {"method": "pull_weights", "kwargs": {"path": str(folder)}}
        answer = _post(session, base_url, "/collective_rpc", timeout, json=call)
        for worker in answer["results"]:
            if worker["tensors"] != written:
                raise RunError(f"A worker of {base_url} read {worker['tensors']} of {written} tensors from {folder}.")
        reset_server_caches(session, base_url, timeout=timeout)
        _post(session, base_url, "/resume", timeout)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def reset_server_caches(session: Any, base_url: str, *, timeout: float = 60.0) -> None:
    """Have a server forget prefixes and encoded images."""
    if not _post(session, base_url, "/reset_prefix_cache", timeout).get("success", True):
        raise RunError(f"The vLLM server at {base_url} could not empty its prefix cache after the weight push.")
    _post(session, base_url, "/reset_encoder_cache", timeout)


def _post(session: Any, base_url: str, path: str, timeout: float, **arguments: Any) -> Mapping[str, Any]:
    response = session.post(base_url + path, timeout=timeout, **arguments)
    if response.status_code != 200:
        raise RunError(
            f"The vLLM server at {base_url} answered {response.status_code} to {path}: {response.text[:500]}. "
            f"For the weight push by file, start it with VLLM_SERVER_DEV_MODE=1 and "
            f"--worker-extension-cls {WORKER_EXTENSION} (docs/rollouts.md)."
        )
    return response.json() if response.content else {}
