"""One GPU, under 8 minutes: five GRPO steps of a model with the shape of Qwen2.5-VL-7B and random weights.

    make gpu-smoke                                the 7B shape: LoRA, bfloat16, colocated vLLM with sleep mode
    python tools/gpu_smoke.py --shape tiny        the same way through, on a CPU, in a minute or two

Nothing is downloaded: the model is made from a configuration, its tokenizer from the phantom's wording. The steps go
through `skinrl grpo` with a recipe written here. Printed: the gap between rollout and trainer, seconds and reward at
every step, and the peak of GPU memory. Exit code 1 if a step is missing, or its mean gap above the limit.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from skinrl.files import read_jsonl

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from skinrl.taxonomy import Taxonomy

HERE = Path(__file__).resolve()
RUNS = HERE.parent.parent / "runs"
STEPS = 5
SECONDS = 8 * 60
GAP_LIMIT = {"bfloat16": 0.03, "float32": 1e-5}  # nats a token, mean over a step

# Qwen2.5-VL-7B-Instruct, as its published configuration says; and the same way through in small.
TEXT = {
    "7b": {
        "vocab_size": 152064,
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "max_position_embeddings": 32768,
        "rope_parameters": {"rope_type": "default", "mrope_section": [16, 24, 24], "rope_theta": 1_000_000.0},
    },
    "tiny": {
        "vocab_size": 2048,
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 2048,
        "rope_parameters": {"rope_type": "default", "mrope_section": [4, 6, 6], "rope_theta": 1_000_000.0},
    },
}
VISION = {
    "7b": {
        "depth": 32,
        "hidden_size": 1280,
        "intermediate_size": 3420,
        "num_heads": 16,
        "out_hidden_size": 3584,
        "window_size": 112,
        "fullatt_block_indexes": [7, 15, 23, 31],
    },
    "tiny": {
        "depth": 2,
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_heads": 4,
        "out_hidden_size": 128,
        "window_size": 112,
        "fullatt_block_indexes": [1],
    },
}


def any_reward(completion_ids: Sequence[Sequence[int]], completions: Sequence[Any], **kwargs: Any) -> list[float]:
    """A number between 0 and 1 from the tokens: a random model earns nothing else, and equal rewards teach nothing."""
    return [sum(ids) % 101 / 100 for ids in completion_ids]


def build(output_dir: Path, *, taxonomy: Taxonomy, seed: int, shape: str) -> dict[str, Any]:
    """Write a checkpoint of ``shape`` with random weights: the recipe's model factory."""
    import torch
    from transformers import (
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        Qwen2_5_VLProcessor,
        Qwen2VLImageProcessor,
        Qwen2VLVideoProcessor,
    )

    from skinrl.phantom.model import CHAT_TEMPLATE, SPECIAL_TOKENS, make_tokenizer

    names = [taxonomy.node(node).name for node in taxonomy.ids]
    tokenizer = widen(make_tokenizer(names * 2, 1024), int(str(TEXT[shape]["vocab_size"])))
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in SPECIAL_TOKENS}
    ends = {
        "bos_token_id": ids["<|endoftext|>"],
        "eos_token_id": ids["<|im_end|>"],
        "pad_token_id": ids["<|endoftext|>"],
    }
    config = Qwen2_5_VLConfig(
        text_config={**TEXT[shape], "tie_word_embeddings": False, **ends},
        vision_config={**VISION[shape], "patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2},
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=False,
        **ends,
    )
    cuda = torch.cuda.is_available()
    torch.manual_seed(seed)
    torch.set_default_dtype(torch.bfloat16 if cuda else torch.float32)
    with torch.device("cuda" if cuda else "cpu"):
        model = Qwen2_5_VLForConditionalGeneration(config)
    torch.set_default_dtype(torch.float32)
    model.generation_config.eos_token_id = ends["eos_token_id"]
    model.generation_config.pad_token_id = ends["pad_token_id"]
    model.save_pretrained(output_dir)
    Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(min_pixels=56 * 56, max_pixels=448 * 448),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(),
        chat_template=CHAT_TEMPLATE,
    ).save_pretrained(output_dir)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    del model
    if cuda:
        torch.cuda.empty_cache()
    return {"parameters": parameters}


def widen(tokenizer: PreTrainedTokenizerFast, size: int) -> PreTrainedTokenizerFast:
    """The tokenizer with entries that no text produces, up to ``size``: a random model writes every id."""
    from tokenizers import Tokenizer

    from skinrl.phantom.model import SPECIAL_TOKENS

    content = json.loads(tokenizer.backend_tokenizer.to_str())
    vocabulary = content["model"]["vocab"]
    vocabulary |= {added["content"]: added["id"] for added in content["added_tokens"]}
    vocabulary |= {f"filler{number}": number for number in range(len(vocabulary), size)}
    wide = type(tokenizer)(
        tokenizer_object=Tokenizer.from_str(json.dumps(content)),
        eos_token=tokenizer.eos_token,
        pad_token=tokenizer.pad_token,
        additional_special_tokens=list(SPECIAL_TOKENS),
        clean_up_tokenization_spaces=False,
    )
    wide.chat_template = tokenizer.chat_template
    return wide


def recipe(shape: str) -> dict[str, Any]:
    """The experiment: what the GPU recipes set, five steps long."""
    full = shape == "7b"
    side = 448 if full else 84
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    return {
        "name": f"gpu_smoke_{shape}",
        "model": {
            "factory": f"{HERE}:build",
            "kwargs": {"shape": shape},
            "dtype": "bfloat16" if full else "float32",
            "attention": "sdpa",
            "freeze": ["vision", "merger"],
            "lora": {"r": 64, "alpha": 32, "target_modules": targets},
            "image": {"min_pixels": side * side, "max_pixels": side * side},
        },
        "data": [
            {
                "source": "phantom",
                "path": str(RUNS / "data" / "gpu_smoke"),
                "split": "train",
                "use": "grpo",
                "kwargs": {"domain": "clinical", "count": 64, "size": 84},
            }
        ],
        "rewards": [{"fn": f"{HERE}:any_reward"}],
        "grpo": {
            "init": "base",
            "learning_rate": 1e-5,
            "max_steps": STEPS,
            "num_generations": 8,
            "per_device_train_batch_size": 8,
            "gradient_accumulation_steps": 2,
            "max_completion_length": 256 if full else 24,
            "gradient_checkpointing": full,
            "use_vllm": True,
            "vllm_mode": "colocate",
            "vllm_enable_sleep_mode": full,
            "vllm_gpu_memory_utilization": 0.35,
            "vllm_max_model_length": 1024 if full else 512,
            "vllm_importance_sampling_mode": "token_truncate",
            "log_completions": False,
            "logging_steps": 1,
            "save_strategy": "no",
            "report_to": [],
        },
    }


class GpuMemory(threading.Thread):
    """The most memory that the fullest GPU held, by the driver, once a second; 0 without a GPU."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.gib, self.ended = 0.0, threading.Event()

    def run(self) -> None:
        command = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
        while shutil.which("nvidia-smi") and not self.ended.wait(1.0):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            used = [int(line) for line in done.stdout.split() if line.isdigit()]
            self.gib = max([self.gib, *(value / 1024 for value in used)])


def report(rows: list[dict[str, Any]], limit: float) -> bool:
    """Print the steps; whether there are as many as there should be, each within the limit."""
    steps = [row for row in rows if "rollout/logp_gap_mean" in row]
    print(f"{'step':>4} {'gap mean':>10} {'p99':>10} {'max':>10} {'seconds':>8} {'reward':>7}")
    for row in steps:
        gaps = [row[f"rollout/logp_gap_{name}"] for name in ("mean", "p99", "max")]
        numbers = " ".join(f"{gap:10.2g}" for gap in gaps)
        print(f"{row['step']:>4} {numbers} {row.get('step_time', float('nan')):8.1f} {row.get('reward', 0.0):7.3f}")
    good = len(steps) == STEPS and all(row["rollout/logp_gap_mean"] <= limit for row in steps)
    print(f"{len(steps)} of {STEPS} steps, mean gap limit {limit:g}: {'passed' if good else 'FAILED'}")
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=sorted(TEXT), default="7b")
    parser.add_argument("--runs", type=Path, default=RUNS, help="folder of run directories; the model goes there too")
    options = parser.parse_args()
    if options.shape == "7b" and shutil.which("nvidia-smi") is None:
        print("gpu-smoke: no GPU in sight; --shape tiny takes the same way on a CPU", file=sys.stderr)
        return 2
    values = recipe(options.shape)
    folder = options.runs / values["name"] / "default"
    shutil.rmtree(folder, ignore_errors=True)
    file = options.runs / values["name"] / "recipe.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(values, sort_keys=False))
    start, memory = time.monotonic(), GpuMemory()
    memory.start()
    command = [sys.executable, "-m", "skinrl.cli", "grpo", str(file), "--runs", str(options.runs)]
    code = subprocess.run(command, check=False).returncode
    memory.ended.set()
    seconds = time.monotonic() - start
    metrics = folder / "grpo" / "metrics.jsonl"
    good = report(read_jsonl(metrics) if metrics.is_file() else [], GAP_LIMIT[values["model"]["dtype"]])
    print(f"{seconds:.0f} s (at most {SECONDS}), peak GPU memory {memory.gib:.1f} GiB")
    shutil.rmtree(folder / "base", ignore_errors=True)  # 16 GB that nobody needs again
    return 0 if good and code == 0 and seconds <= SECONDS else 1


if __name__ == "__main__":
    sys.exit(main())
