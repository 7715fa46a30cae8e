"""GRPO on two processes: their numbers, their alarms, their importance correction. Arguments: SCENARIO FOLDER."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))


def main() -> None:
    import torch
    from accelerate import PartialState
    from accelerate.utils import gather_object
    from test_grpo_alarms import trainer
    from test_grpo_correction import Ours, Stock, train
    from tiny_model import build_tiny_text

    from skinrl.grpo.alarms import AlarmError

    torch.set_num_threads(1)
    scenario, folder = sys.argv[1], Path(sys.argv[2])
    state = PartialState(cpu=True)
    with state.main_process_first():
        if state.is_main_process:
            build_tiny_text(folder / "model")
    model = str(folder / "model")

    made = trainer(model, folder, alarm_entropy_below=50.0, alarm_patience=2, logging_steps=1, skip_flat_groups=False)
    mine: dict[str, Any] = {"rank": state.process_index, "alarm": ""}
    try:
        made.train()
    except AlarmError as error:
        mine["alarm"] = str(error)
    mine["stopped_at"] = made.state.global_step
    mine["checkpoint"] = (folder / "out" / f"checkpoint-{made.state.global_step}" / "manifest.json").is_file()
    mine["steps"] = [entry for entry in made.state.log_history if "loss" in entry]

    for name, kind in (("stock", Stock), ("ours", Ours)):
        kind.fixed_seed = 11 + 100 * state.process_index  # other completions on each
        run = train(kind, model, folder)
        kept = [entry for entry in run.state.log_history if "loss" in entry]
        names = [key for key in kept[0] if key in ("loss", "grad_norm") or key.startswith("sampling/")]
        mine[name] = {f"{key} at step {index}": entry[key] for index, entry in enumerate(kept) for key in names}
    ranks = gather_object([mine])
    if state.is_main_process:
        (folder / f"{scenario}.json").write_text(json.dumps(ranks), encoding="utf-8")
    state.wait_for_everyone()
    state.destroy_process_group()


if __name__ == "__main__":
    main()
