"""Baselines of an evaluation: linear probes on image features, answering the same cases as the models."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from skinrl.cli.common import Experiment, base_and_adapter, console
from skinrl.cli.overlap import progress
from skinrl.errors import DataError, InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from skinrl.data.loading import LoadedData
    from skinrl.engine.features import Encoder
    from skinrl.evaluation.cases import Case
    from skinrl.evaluation.evaluate import Evaluation
    from skinrl.evaluation.predictions import Prediction
    from skinrl.evaluation.probe import Labelled

POLICY, BASE = "policy", "base"  # the vision tower of the policy as it is, and as it was before any training


def run_baselines(
    experiment: Experiment, data: LoadedData, cases: Sequence[Case], checkpoint: str
) -> dict[str, Evaluation]:
    """Fit a probe for each encoder of ``evaluation.baselines`` and let it answer the cases.

    Writes ``cases.jsonl``, ``predictions.jsonl``, ``metrics.json`` and ``probe.json`` to ``baselines/<name>/``. A
    baseline that cannot be measured is left out, saying why: the models' answers are there by then.

    Args:
        data: of the evaluation.
        cases: the recipe's own questions about its test split.
        checkpoint: the policy whose vision tower is probed.

    Returns:
        Name (``probe_policy``, ``probe_timm_...``) to evaluation.
    """
    from skinrl import files
    from skinrl.evaluation.evaluate import Evaluation

    found: dict[str, Evaluation] = {}
    learnt = _training(experiment, data) if experiment.recipe.evaluation.baselines else data
    for name in experiment.recipe.evaluation.baselines:
        try:
            answers, about = _answers(experiment, name, learnt, data, cases, checkpoint)
        except InputError as problem:
            console().print(f"baseline {name} is left out: {problem}")
            continue
        title = f"probe_{re.sub(r'[^A-Za-z0-9_.-]+', '_', name)}"
        found[title] = Evaluation(taxonomy=experiment.taxonomy, cases=tuple(cases), greedy=answers)
        folder = experiment.folder / "baselines" / title
        settings = experiment.recipe.evaluation
        metrics = found[title].write(folder, resamples=settings.bootstrap, prevalence=settings.prevalence)
        files.write_json(folder / "probe.json", about)
        console().print(f"baseline {title}: accuracy {metrics['accuracy']['value']:.1%} -> {folder}")
    return found


def _answers(
    experiment: Experiment, name: str, learnt: LoadedData, data: LoadedData, cases: Sequence[Case], checkpoint: str
) -> tuple[tuple[Prediction, ...], dict[str, Any]]:
    """The answers of one probe, and what ``probe.json`` holds.

    Raises:
        InputError: an encoder that cannot be loaded; DataError: too few training images, or cases without an image.
    """
    import numpy as np

    from skinrl.evaluation.probe import fit_probe, probe_predictions

    encoder = _open(experiment, name, checkpoint)
    vectors = _features(experiment, encoder, [learnt] if learnt is data else [learnt, data])
    train, validation = (_labelled(learnt, part, vectors) for part in ("train", "validation"))
    if train is None:
        raise DataError("no data entry of this recipe has a train split with labelled images to learn from")
    if any((case.source, case.id) not in vectors for case in cases):
        raise DataError("some test cases have no image")
    frozen = {"vision", "merger"} <= set(experiment.recipe.model.freeze)
    trained = name == POLICY and not frozen and checkpoint != experiment.recipe.model.path
    probe = fit_probe(train, validation, experiment.taxonomy, seed=experiment.recipe.seed, learnt=trained)
    asked = np.stack([vectors[case.source, case.id] for case in cases])
    answers = probe_predictions(probe, cases, asked, experiment.taxonomy)
    return answers, {"encoder": encoder.name, "weights": encoder.key, **probe.about}


def check_baselines(experiment: Experiment) -> None:
    """Refuse, before anything is generated, a baseline whose name or library is wrong.

    Raises:
        InputError: with the line that installs the library.
    """
    from skinrl.engine.features import check_encoder

    for name in experiment.recipe.evaluation.baselines:
        if name not in (POLICY, BASE):
            check_encoder(name)


def _open(experiment: Experiment, name: str, checkpoint: str) -> Encoder:
    """The encoder of a baseline.

    Raises:
        InputError: it cannot be loaded, or the policy has no vision tower that we know.
    """
    from skinrl.cli.build import base_checkpoint
    from skinrl.engine.features import PolicyEncoder, open_encoder

    if name not in (POLICY, BASE):
        return open_encoder(name)
    model = experiment.recipe.model
    base, adapter = base_and_adapter(checkpoint if name == POLICY else base_checkpoint(experiment))
    return PolicyEncoder(
        base,
        adapter=adapter,
        dtype=model.dtype,
        min_pixels=model.image.min_pixels,
        max_pixels=model.image.max_pixels,
        revision=model.revision if base == model.path else None,
    )


def _training(experiment: Experiment, data: LoadedData) -> LoadedData:
    """The data that has a training split: the evaluation's own, else GRPO's, else that of SFT."""
    from skinrl.cli.build import stage_data

    stages: tuple[Literal["grpo", "sft"], ...] = ("grpo", "sft")
    loaded = data
    for stage in stages:
        if any(record.split == "train" for record in loaded.records):
            return loaded
        if experiment.recipe.data_for(stage):
            loaded = stage_data(experiment, stage)
    return loaded


def _features(
    experiment: Experiment, encoder: Encoder, loaded: Sequence[LoadedData]
) -> dict[tuple[str, str], NDArray[np.float32]]:
    """Source and id of each record -> its features, the mean over its images; records without images are left out."""
    import numpy as np

    from skinrl.data.images import open_image
    from skinrl.engine.features import features_of

    pixels = {path: checksum for data in loaded for path, checksum in data.pixels.items() if checksum}
    records = {(record.source, record.id): record for data in loaded for record in data.records if record.images}
    files = {pixels[path]: path for record in records.values() for path in record.images}
    with progress(f"features of {encoder.name}", len(files)) as advance:
        cache = experiment.runs / "cache" / "features.sqlite"
        vectors = features_of(
            encoder, files, open_image, cache=cache, batch=experiment.recipe.evaluation.batch_size, advance=advance
        )
    return {key: np.mean([vectors[pixels[path]] for path in record.images], axis=0) for key, record in records.items()}


def _labelled(data: LoadedData, split: str, vectors: dict[tuple[str, str], NDArray[np.float32]]) -> Labelled | None:
    """The labelled images of a split; None where there are none."""
    import numpy as np

    from skinrl.evaluation.probe import Labelled

    chosen = [r for r in data.records if r.split == split and r.labels and (r.source, r.id) in vectors]
    if not chosen:
        return None
    return Labelled(
        np.stack([vectors[record.source, record.id] for record in chosen]),
        tuple(record.labels for record in chosen),
        tuple(f"{record.source}/{record.group}" for record in chosen),
    )
