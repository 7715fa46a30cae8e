"""The baseline: a linear classifier on frozen features of the images, answering the same cases as a model.

A specialist classifier often beats a vision-language model on its own classes. What a linear probe on the model's own
vision features reaches, the model can see; what it says less than that, it loses in language.

Multinomial logistic regression of scikit-learn on standardised features. No class weights: accuracy is the headline.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinrl.errors import DataError
from skinrl.evaluation.cases import Case
from skinrl.evaluation.predictions import Prediction
from skinrl.taxonomy.graph import Taxonomy
from skinrl.taxonomy.similarity import expected_credit

STRENGTHS = tuple(10.0**power for power in range(-5, 2))  # C: the inverse of the penalty; the first is the strictest
FEW = 100  # cases of a validation part below which grouped cross-validation says more
_FOLDS = 5
_ROUNDS = 3  # of labelling images that are labelled at an inner node
_LISTED = 5  # diagnoses of the differential
_ITERATIONS = 500

Matrix = NDArray[np.float32]
Gold = tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Labelled:
    """Images with their labels.

    Args:
        features: (N, D).
        golds: `(node id, weight)` of each image; none may be empty.
        groups: patients: cross-validation keeps them together.
    """

    features: Matrix
    golds: tuple[Gold, ...]
    groups: tuple[str, ...]

    def __post_init__(self) -> None:
        sizes = {len(self.features), len(self.golds), len(self.groups)}
        if len(sizes) != 1 or not all(self.golds):
            raise DataError(f"a probe needs a label and a patient for every image; found {sorted(sizes)} of them")

    def part(self, rows: Sequence[int] | NDArray[np.intp]) -> Labelled:
        return Labelled(
            self.features[rows], tuple(self.golds[row] for row in rows), tuple(self.groups[row] for row in rows)
        )


@dataclass(frozen=True)
class Probe:
    """A fitted probe.

    Args:
        classes: nodes that it can answer.
        about: how it was fitted, for `probe.json`.
        scaler, model: of scikit-learn.
    """

    classes: tuple[str, ...]
    about: Mapping[str, Any]
    scaler: Any
    model: Any

    def probabilities(self, features: Matrix) -> NDArray[np.float64]:
        """(N, classes)."""
        found = self.model.predict_proba(self.scaler.transform(features))
        return np.asarray(found, dtype=np.float64)


def fit_probe(
    train: Labelled, validation: Labelled | None, taxonomy: Taxonomy, *, seed: int, learnt: bool = False
) -> Probe:
    """Fit a probe, its penalty chosen for accuracy.

    The classes are the finest training labels: those with no other training label below them. An image that is
    labelled at an inner node counts for the most probable class below it, as the probe itself sees it: fitted first
    without these images, then with them, three times over (expectation-maximisation with hard assignments; labels
    that leave several classes open: Jin and Ghahramani 2002). Of a weighted differential the diagnosis of the largest
    weight counts. The penalty is chosen without the images at inner nodes.

    Args:
        validation: chooses the penalty where it has at least 100 images; otherwise cross-validation over patients
            does.
        learnt: the encoder itself was trained on the training images with their labels. It knows them, so that
            cross-validation over them says nothing, and the validation part is used however small it is.

    Raises:
        DataError: training labels of fewer than two classes.
    """
    tops = [_top(gold) for gold in train.golds]
    classes = finest(tops, taxonomy)
    if len(classes) < 2:
        found = ", ".join(classes) or "none"
        raise DataError(f"a probe needs training images of at least two diagnoses; found {found}")
    allowed = [_below(node, classes, taxonomy) for node in tops]
    sure = np.array([len(numbers) == 1 for numbers in allowed])
    label = np.array([numbers[0] if len(numbers) else -1 for numbers in allowed])
    enough = validation is not None and (learnt or len(validation.golds) >= FEW)
    known = np.flatnonzero(sure)
    folds = [(known, None)] if enough else [(known[a], known[b]) for a, b in _folds(train.part(known))]
    hits = np.zeros(len(STRENGTHS))
    tried = 0
    for learn, check in folds:
        part = train.part(check) if check is not None else validation
        assert part is not None  # `enough` says so
        tried += len(part.golds)
        hits += _hits_by_strength(train.features[learn], label[learn], part, classes, taxonomy, seed)
    best = STRENGTHS[int(np.argmax(hits))]  # the strictest of those that are equally good
    scaler, model = _fit_all(train.features, label, allowed, best, seed)
    about = {
        "classes": list(classes),
        "training_images": len(tops),
        "training_images_at_inner_nodes": int((~sure).sum()),
        "inner_node_labels": "each counts for the most probable class below it, as the probe itself sees it",
        "C": best,
        "C_chosen_by": f"{tried} validation images" if enough else f"{len(folds)} folds over patients",
        "accuracy_when_chosen": float(hits.max() / tried) if tried else None,
        "encoder_was_trained_on_these_images": learnt,
    }
    return Probe(classes, about, scaler, model)


def finest(nodes: Sequence[str], taxonomy: Taxonomy) -> tuple[str, ...]:
    """The nodes with no other of them below, sorted; the root is none."""
    known = set(nodes) - {taxonomy.root}
    above = set().union(*(taxonomy.ancestors(node) - {node} for node in known))
    return tuple(sorted(known - above))


def _top(gold: Gold) -> str:
    return min(gold, key=lambda one: (-one[1], one[0]))[0]


def _below(node: str, classes: Sequence[str], taxonomy: Taxonomy) -> NDArray[np.intp]:
    """Numbers of the classes at or below a node."""
    return np.array([n for n, one in enumerate(classes) if one == node or taxonomy.is_ancestor(node, one)], dtype=int)


def _regression(strength: float, seed: int, *, warm: bool = False) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=strength, max_iter=_ITERATIONS, random_state=seed, warm_start=warm)


def _hits_by_strength(
    features: Matrix,
    label: NDArray[np.intp],
    check: Labelled,
    classes: Sequence[str],
    taxonomy: Taxonomy,
    seed: int,
) -> NDArray[np.float64]:
    """Right answers on `check` by penalty; each fit starts from the stricter one before."""
    from sklearn.preprocessing import StandardScaler

    hits = np.zeros(len(STRENGTHS))
    if len(set(label.tolist())) < 2:
        return hits
    scaler = StandardScaler().fit(features)
    scaled, asked = scaler.transform(features), scaler.transform(check.features)
    golds = [_top(gold) for gold in check.golds]
    model = _regression(STRENGTHS[0], seed, warm=True)
    for number, strength in enumerate(STRENGTHS):
        answers = [classes[at] for at in model.set_params(C=strength).fit(scaled, label).predict(asked)]
        hits[number] = sum(a == g or taxonomy.is_ancestor(g, a) for a, g in zip(answers, golds, strict=True))
    return hits


def _fit_all(
    features: Matrix, label: NDArray[np.intp], allowed: Sequence[NDArray[np.intp]], strength: float, seed: int
) -> tuple[Any, Any]:
    """Scaler and model on all images, those at inner nodes labelled by the model of the round before."""
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(features)
    scaled, label = scaler.transform(features), label.copy()
    open_rows = [row for row, numbers in enumerate(allowed) if len(numbers) > 1]
    label[open_rows] = -1
    model = _regression(strength, seed, warm=True).fit(scaled[label >= 0], label[label >= 0])
    for _ in range(_ROUNDS if open_rows else 0):
        for row, chances in zip(open_rows, model.predict_proba(scaled[open_rows]), strict=True):
            label[row] = allowed[row][int(np.argmax(chances[allowed[row]]))]
        model.fit(scaled[label >= 0], label[label >= 0])
    return scaler, model


def _folds(train: Labelled) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Rows to learn from and rows to check on, no patient in both; empty where there are not enough patients."""
    from sklearn.model_selection import GroupKFold

    count = min(_FOLDS, len(set(train.groups)))
    return list(GroupKFold(count).split(train.features, groups=train.groups)) if count > 1 else []


# --- answers -------------------------------------------------------------------------------------------------------


def probe_predictions(
    probe: Probe, cases: Sequence[Case], features: Matrix, taxonomy: Taxonomy
) -> tuple[Prediction, ...]:
    """The probe's answers as those of a model: one prediction a case.

    An open question gets the most probable class. Where options are offered, each class counts for the most specific
    option that covers it, and the option with the largest sum is answered; `unresolved` where no class is covered.

    Args:
        features: of the cases, (cases, D).
    """
    chances = probe.probabilities(features)
    return tuple(_answer(case, row, probe.classes, taxonomy) for case, row in zip(cases, chances, strict=True))


def _answer(case: Case, chances: NDArray[np.float64], classes: Sequence[str], taxonomy: Taxonomy) -> Prediction:
    order = np.argsort(-chances, kind="stable")
    chance_of: dict[str, float] = {}  # answer -> probability of the classes that it stands for
    for number in order:
        name = _offered(classes[number], case, taxonomy)
        if name is not None:
            chance_of[name] = chance_of.get(name, 0.0) + float(chances[number])
    ranked = dict(sorted(chance_of.items(), key=lambda one: -one[1]))
    answer = next(iter(ranked), None)
    listed = tuple(ranked)[:_LISTED]
    said = ", ".join(f"{taxonomy.node(node).name} {ranked[node]:.0%}" for node in listed)
    return Prediction(
        id=case.id,
        gold=case.gold,
        raw=taxonomy.node(answer).name if answer is not None else "",
        outcome="ok" if answer is not None else "unresolved",
        answer_node=answer,
        credit=expected_credit(taxonomy, answer, case.gold, option_nodes=case.option_nodes or None),
        completion=f"linear probe: {said}" if said else "linear probe: none of the options",
        reason="" if answer is not None else "no class of the probe lies at or below an option",
        differential=listed,
        confidence=min(1.0, ranked[answer]) if answer is not None else None,
    )


def _offered(node: str, case: Case, taxonomy: Taxonomy) -> str | None:
    """The most specific option at or above a class; the class itself where nothing is offered."""
    if not case.option_nodes:
        return node
    covering = [one for one in case.option_nodes if one and (one == node or taxonomy.is_ancestor(one, node))]
    return max(covering, key=lambda one: (taxonomy.level(one), one), default=None)
