"""Baselines of an evaluation: linear probes on image features, answering the same cases as the models."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

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
    from skinrl.evaluation.probe import Labelled

POLICY = "policy"


def run_baselines(
    experiment: Experiment, data: LoadedData, cases: Sequence[Case], checkpoint: str
) -> dict[str, Evaluation]:
    """Fit a probe for each encoder of ``evaluation.baselines`` and let it answer the cases.

    Writes ``cases.jsonl``, ``predictions.jsonl``, ``metrics.json`` and ``probe.json`` to ``baselines/<name>/``.

    Args:
        data: of the evaluation.
        cases: the recipe's own questions about its test split.
        checkpoint: the policy whose vision tower is probed.

    Returns:
        Name (``probe_policy``, ``probe_timm_...``) to evaluation.

    Raises:
        InputError: an encoder that cannot be loaded.
    """
    names = experiment.recipe.evaluation.baselines
    if not names:
        return {}
    import numpy as np

    from skinrl import files
    from skinrl.evaluation.evaluate import Evaluation
    from skinrl.evaluation.probe import fit_probe, probe_predictions

    taxonomy, seed = experiment.taxonomy, experiment.recipe.seed
    learnt = _training(experiment, data)
    found: dict[str, Evaluation] = {}
    for name in names:
        encoder = _open(experiment, name, checkpoint)
        if encoder is None:
            continue
        vectors = _features(experiment, encoder, [learnt] if learnt is data else [learnt, data])
        train, validation = (_labelled(learnt, part, vectors) for part in ("train", "validation"))
        if train is None:
            raise DataError("a baseline needs training images with a label; the train split has none")
        probe = fit_probe(train, validation, taxonomy, seed=seed)
        asked = np.stack([vectors[case.source, case.id] for case in cases])
        answers = probe_predictions(probe, cases, asked, taxonomy)
        title = f"probe_{re.sub(r'[^A-Za-z0-9_.-]+', '_', name)}"
        found[title] = Evaluation(taxonomy=taxonomy, cases=tuple(cases), greedy=answers)
        folder = experiment.folder / "baselines" / title
        metrics = found[title].write(folder, resamples=experiment.recipe.evaluation.bootstrap)
        files.write_json(folder / "probe.json", {"encoder": encoder.name, "weights": encoder.key, **probe.about})
        console().print(f"baseline {title}: accuracy {metrics['accuracy']['value']:.1%} -> {folder}")
    return found


def check_baselines(experiment: Experiment) -> None:
    """Refuse, before anything is generated, a baseline whose name or library is wrong.

    Raises:
        InputError: with the line that installs the library.
    """
    from skinrl.engine.features import check_encoder

    for name in experiment.recipe.evaluation.baselines:
        if name != POLICY:
            check_encoder(name)


def _open(experiment: Experiment, name: str, checkpoint: str) -> Encoder | None:
    """The encoder; None for the policy's own where the policy has no vision tower that we know."""
    from skinrl.engine.features import PolicyEncoder, open_encoder

    if name != POLICY:
        return open_encoder(name)
    model = experiment.recipe.model
    base, adapter = base_and_adapter(checkpoint)
    try:
        return PolicyEncoder(
            base,
            adapter=adapter,
            dtype=model.dtype,
            min_pixels=model.image.min_pixels,
            max_pixels=model.image.max_pixels,
            revision=model.revision if base == model.path else None,
        )
    except InputError as problem:
        console().print(f"baseline policy is left out: {problem}")
        return None


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
