"""The page of an evaluation, `report.html`: headline, tree, confusion, groups, calibration, mistakes, every case.

It is given everything and computes nothing but its own layout. 100,000 cases fit: columns of small numbers that point
into short lists of words; a browser draws only what is looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from skinrl.pages.base import NOT_A_DEVICE, document
from skinrl.pages.taxonomy import shown_parent

if TYPE_CHECKING:
    from skinrl.taxonomy import Taxonomy

_SCRIPTS = ("forest.js", "headline.js", "sunburst.js", "confusion.js", "groups.js", "calibration.js", "cases.js")
# Of each group, what the page can show; metrics.json has all.
_OF_GROUPS = (
    "accuracy", "accuracy_sampled", "accuracy_top_3", "balanced_accuracy", "hierarchical_f1",
    "malignancy_sensitivity", "malignancy_specificity", "invalid_share", "abstained_share",
)  # fmt: skip
_DIGITS = 5

_BODY = f"""\
<a class="skip" href="#headline">To the results</a>
<header class="top"><div class="wide">
<p class="kicker">Evaluation</p>
<h1 id="title"></h1>
<p id="facts" class="muted"></p>
<p class="device"><strong>{NOT_A_DEVICE}</strong> No number here says anything about a single patient.</p>
<div id="notes"></div>
</div></header>
<div class="bar"><div class="wide">
<nav aria-label="Sections"><ul id="sections"></ul></nav>
<div id="choice" role="group" aria-label="What is shown"></div>
</div></div>
<main class="wide">
<noscript><p>This page draws its tables with the script that is part of it; scripts are switched off.</p></noscript>
<div id="said" class="hidden" role="status" aria-live="polite"></div>
</main>
<footer class="wide"><p>{NOT_A_DEVICE}</p><p id="made" class="small"></p></footer>
<dialog id="case" aria-labelledby="case-title"></dialog>
"""


def report_page(report: Mapping[str, Any]) -> str:
    """The whole page as HTML.

    Args:
        report: `title`, `facts` (a line), `made` (a line), `notes` (warnings, sentences), `seeds` (what `seeds.json`
            holds, or None) and `sets`, one per set of cases:

            - `name`, `title`, `notes` (warnings), `taxonomy` (names the nodes and says where each is drawn);
            - `cases`: columns `id`, `gold`, `tone`, `source`, `modality`, each as long as the set;
            - `sizes`: node -> (cases, patients) at or below it;
            - `models`: each `name`, `title`, `metrics` (as `metrics.json`), `answers` (columns `node`, `verdict`,
              `severity`, `credit`, `missed`), `tree`, `worst` and `right` (numbers of cases), `texts` (number ->
              completion), `rewards` (number -> score by name);
            - `difference`, `baselines`: as in `comparison.json`;
            - `images`: number of a case -> `data:` address of its thumbnail;
            - `few_texts`: not every report is on the page.
    """
    data = {
        **{key: report[key] for key in ("title", "facts", "made", "notes")},
        "seeds": _rounded(report.get("seeds")),
        "sets": [_packed_set(one) for one in report["sets"]],
    }
    return document(report["title"], _BODY, styles=("report.css",), scripts=(*_SCRIPTS, "report.js"), data=data)


class _Nodes:
    """The nodes that a set names, numbered as they come; with each, those above it in the picture."""

    def __init__(self, taxonomy: Taxonomy) -> None:
        self._taxonomy = taxonomy
        self._number: dict[str, int] = {}
        self.number(taxonomy.root)

    def number(self, node: str | None) -> int:
        """Number of a node; -1 for none."""
        if node is None:
            return -1
        if node not in self._number:
            if node != self._taxonomy.root:
                self.number(shown_parent(self._taxonomy, node))
            self._number[node] = len(self._number)
        return self._number[node]

    def packed(self) -> dict[str, Any]:
        """Names, numbers of the nodes above (-1 for the root) and behaviours, in the order of the numbers."""
        taxonomy = self._taxonomy
        return {
            "name": [taxonomy.node(node).name for node in self._number],
            "above": [self._number.get(shown_parent(taxonomy, node), -1) for node in self._number],
            "behaviour": [taxonomy.behaviour(node) for node in self._number],
        }


def _packed_set(one: Mapping[str, Any]) -> dict[str, Any]:
    cases, nodes = one["cases"], _Nodes(one["taxonomy"])
    packed = {
        **{key: one[key] for key in ("name", "title", "notes", "images", "few_texts")},
        "tree": f"{one['taxonomy'].name}, {one['taxonomy'].checksum[:12]}",
        "ids": cases["id"],
        "gold": [nodes.number(node) for node in cases["gold"]],
        **{name: _as_numbers(cases[name]) for name in ("tone", "source", "modality")},
        "sizes": {nodes.number(node): size for node, size in one["sizes"].items()},
        "models": [_packed_model(model, nodes) for model in one["models"]],
        "difference": _rounded(one["difference"]),
        "baselines": {name: _rounded(_of_page(metrics)) for name, metrics in one["baselines"].items()},
    }
    return {**packed, "nodes": nodes.packed()}  # last: by now every node has its number


def _packed_model(model: Mapping[str, Any], nodes: _Nodes) -> dict[str, Any]:
    answers = model["answers"]
    texts = {text: number for number, text in enumerate(dict.fromkeys(model["texts"].values()))}
    return {
        "name": model["name"],
        "title": model["title"],
        "metrics": _rounded(_of_page(model["metrics"])),
        "node": [nodes.number(node) for node in answers["node"]],
        "verdict": "".join(map(str, answers["verdict"])),
        "severity": list(answers["severity"]),
        "credit": [None if credit is None else round(credit, 3) for credit in answers["credit"]],
        "missed": [index for index, missed in enumerate(answers["missed"]) if missed],
        "tree": {nodes.number(node): _rounded(part) for node, part in model["tree"].items()},
        "worst": list(model["worst"]),
        "right": list(model["right"]),
        "texts": list(texts),
        "text_of": {index: texts[text] for index, text in model["texts"].items()},
        "rewards": _rounded(model["rewards"]),
    }


def _as_numbers(words: Sequence[str]) -> dict[str, Any]:
    """A column of repeated words as the words and a number per case."""
    listed = sorted(set(words))
    number = {word: index for index, word in enumerate(listed)}
    return {"words": listed, "of": [number[word] for word in words]}


def _of_page(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """`metrics.json` without what the page does not show of its groups."""
    kept = dict(metrics)
    for block in ("by_skin_tone", "by_slice"):
        kept[block] = {name: _of_groups(parts) for name, parts in metrics.get(block, {}).items()}
    for block in ("by_modality", "by_source"):
        kept[block] = _of_groups(metrics.get(block, {}))
    return kept


def _of_groups(parts: Mapping[str, Any]) -> dict[str, Any]:
    return {value: {name: one[name] for name in _present(one)} for value, one in parts.items()}


def _present(metrics: Mapping[str, Any]) -> Iterable[str]:
    return (name for name in _OF_GROUPS if name in metrics)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, _DIGITS)
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(item) for item in value]
    return value
