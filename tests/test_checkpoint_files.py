"""A checkpoint on disk is whole and its own, or it is not one."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from skinrl.manifest import (
    CheckpointError,
    checkpoints,
    clean_stale,
    last_complete_checkpoint,
    publish,
    verify_checkpoint,
    write_manifest,
)


def make(directory: Path, step: int) -> Path:
    folder = directory / f"checkpoint-{step}"
    (folder / "global_step").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(bytes(range(200)))
    (folder / "global_step" / "rank_0.pt").write_bytes(b"state of rank 0")
    write_manifest(folder, step=step, world_size=1)
    return folder


def test_manifest_names_size_and_sha256_of_every_file_in_every_folder(tmp_path: Path) -> None:
    manifest = json.loads((make(tmp_path, 3) / "manifest.json").read_text())
    assert manifest["step"] == 3
    assert manifest["files"]["global_step/rank_0.pt"]["bytes"] == 15
    # sha256sum of the 15 bytes, by coreutils
    assert manifest["files"]["global_step/rank_0.pt"]["sha256"] == (
        "sha256:5c606e7cae0cc157c9736c248015686a93849dc467002b9fc143802e82e10f34"
    )


def test_untouched_checkpoint_is_accepted(tmp_path: Path) -> None:
    folder = make(tmp_path, 3)
    verify_checkpoint(folder)
    assert last_complete_checkpoint(tmp_path) == folder


def truncate(folder: Path) -> None:
    os.truncate(folder / "model.safetensors", 100)


def alter(folder: Path) -> None:
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[50] ^= 1
    (folder / "model.safetensors").write_bytes(content)


def remove(folder: Path) -> None:
    (folder / "global_step" / "rank_0.pt").unlink()


def add(folder: Path) -> None:
    (folder / "optimizer.pt").write_bytes(b"from elsewhere")


def lose_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()


def cut_manifest(folder: Path) -> None:
    os.truncate(folder / "manifest.json", 20)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncate, "model.safetensors: has 100 bytes, but 200 were written"),
        (alter, "model.safetensors: its content was altered"),
        (remove, "rank_0.pt: is missing"),
        (add, "optimizer.pt: is not in the manifest"),
        (lose_manifest, "has no manifest.json, so it was never completed"),
        (cut_manifest, "is not valid JSON"),
    ],
)
def test_damage_is_refused_by_name_and_an_older_checkpoint_is_the_newest(damage, message: str, tmp_path: Path) -> None:
    older, newer = make(tmp_path, 9), make(tmp_path, 10)
    damage(newer)
    with pytest.raises(CheckpointError, match=message):
        verify_checkpoint(newer)
    assert last_complete_checkpoint(tmp_path) == older


def test_notes_beside_the_state_are_allowed(tmp_path: Path) -> None:
    folder = make(tmp_path, 1)
    (folder / "notes.txt").write_text("best so far")
    verify_checkpoint(folder)


def test_newest_is_by_number_not_by_name(tmp_path: Path) -> None:
    made = [make(tmp_path, step) for step in (9, 10, 100)]
    (tmp_path / "checkpoint-best").mkdir()
    assert checkpoints(tmp_path) == made[::-1]
    assert last_complete_checkpoint(tmp_path / "absent") is None


def test_stale_temporaries_are_removed_and_checkpoints_stay(tmp_path: Path) -> None:
    folder = make(tmp_path, 2)
    (tmp_path / "tmp-checkpoint-3" / "checkpoint-3").mkdir(parents=True)
    clean_stale(tmp_path)
    assert list(tmp_path.iterdir()) == [folder]


def test_replacing_a_checkpoint_leaves_the_new_one_alone(tmp_path: Path) -> None:
    old = make(tmp_path, 2)
    new = make(tmp_path / "tmp-checkpoint-2", 2)
    (new / "mark").write_text("new")
    publish(new, old)
    assert (old / "mark").read_text() == "new"
    assert not (tmp_path / "tmp-checkpoint-2.replaced").exists()


def test_checkpoint_cut_off_while_being_replaced_comes_back(tmp_path: Path) -> None:
    folder = make(tmp_path, 2)
    folder.rename(tmp_path / "tmp-checkpoint-2.replaced")
    clean_stale(tmp_path)
    assert last_complete_checkpoint(tmp_path) == folder
