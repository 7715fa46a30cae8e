"""A hierarchy small enough to work on paper, and cases upon it.

skin
├── melanocytic             naevus; melanoma (nodular melanoma, lentigo maligna melanoma)
├── keratinocytic           seborrheic keratosis, basal cell carcinoma, lichenoid keratosis
└── inflammatory            psoriasis, eczema, lichenoid keratosis (a second parent)
"""

from __future__ import annotations

from skinrl.evaluation import Case, Prediction
from skinrl.evaluation.metrics import Scored
from skinrl.evaluation.scoring import judge, target_of
from skinrl.report import DiagnosticReport
from skinrl.taxonomy import Node, Taxonomy


def toy_taxonomy() -> Taxonomy:
    rows = [
        ("skin", (), None),
        ("melanocytic", ("skin",), None),
        ("keratinocytic", ("skin",), None),
        ("inflammatory", ("skin",), None),
        ("naevus", ("melanocytic",), "benign"),
        ("melanoma", ("melanocytic",), None),
        ("nodular_melanoma", ("melanoma",), "malignant"),
        ("lentigo_maligna_melanoma", ("melanoma",), "malignant"),
        ("seborrheic_keratosis", ("keratinocytic",), "benign"),
        ("basal_cell_carcinoma", ("keratinocytic",), "malignant"),
        ("lichenoid_keratosis", ("keratinocytic", "inflammatory"), "benign"),
        ("psoriasis", ("inflammatory",), "non-neoplastic"),
        ("eczema", ("inflammatory",), "non-neoplastic"),
    ]
    return Taxonomy("toy", [Node(id, id.replace("_", " "), parents, (), behaviour) for id, parents, behaviour in rows])


def case(id: str, *gold: str | tuple[str, float], **facts) -> Case:
    """A case of one certain gold, of weighted ones, or of none."""
    golds = tuple((one, 1.0) if isinstance(one, str) else one for one in gold)
    return Case(**({"id": id, "gold": golds, "group": f"patient {id}", "source": "toy"} | facts))


def answer(one: Case, node: str | None, outcome: str = "ok", malignancy: str | None = None) -> Prediction:
    return Prediction(one.id, one.gold, node or "", outcome, node, None, "", malignancy)


def scored(
    taxonomy: Taxonomy, one: Case, node: str | None, outcome: str = "ok", malignancy: str | None = None
) -> Scored:
    target = target_of(one, taxonomy)
    assert target is not None
    return Scored(one, target, judge(target, answer(one, node, outcome, malignancy), taxonomy))


def written(taxonomy: Taxonomy, node: str) -> str:
    """A well-formed report that names a node."""
    return DiagnosticReport(taxonomy.node(node).name, taxonomy.behaviour(node), findings="a plaque").render()
