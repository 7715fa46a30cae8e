"""The taxonomy to look at: a sunburst of the tree and a graph of what is mistaken for what."""

from __future__ import annotations

from html import escape
from math import cos, pi, sin
from typing import TYPE_CHECKING, Any

from skinrl.pages.base import page

if TYPE_CHECKING:
    from skinrl.taxonomy import Taxonomy

# Told apart by colour-blind eyes (Okabe and Ito 2008).
COLOURS = {
    "non-neoplastic": "#56b4e9",
    "benign": "#009e73",
    "uncertain": "#f0e442",
    "precancerous or in situ": "#e69f00",
    "malignant": "#d55e00",
    None: "#bbbbbb",
}
_SEED = 0  # of the graph's layout: the same picture every time


def taxonomy_page(taxonomy: Taxonomy) -> str:
    """Both pictures in one HTML document that needs no network (about 5 MB, most of it plotly's own code)."""
    tree = _sunburst(taxonomy).to_html(full_html=False, include_plotlyjs=True)
    neighbours = _differential_graph(taxonomy).to_html(full_html=False, include_plotlyjs=False)
    legend = " ".join(
        f'<span style="background:{colour};padding:.1rem .5rem">{escape(behaviour or "mixed")}</span>'
        for behaviour, colour in COLOURS.items()
    )
    body = (
        f'<p class="note">{len(taxonomy)} nodes, {len(taxonomy.leaves)} leaves; checksum {taxonomy.checksum[:12]}. '
        f"Colours: {legend}</p>\n<h2>The tree</h2>\n"
        '<p class="note">Click a segment to look inside, the middle to go back. A disease with several parents is '
        f"drawn under the nearest one.</p>\n{tree}\n<h2>What is mistaken for what</h2>\n"
        '<p class="note">Two diseases are joined where one stands in the differential diagnosis of the other. Point '
        f"at one for its name and its neighbours.</p>\n{neighbours}"
    )
    return page(f"Taxonomy: {taxonomy.name}", body)


def shown_parent(taxonomy: Taxonomy, id: str) -> str:
    """The parent under which a picture draws the node; ``""`` for the root."""
    path = taxonomy.path(id)
    return "" if id == taxonomy.root else path[-2] if len(path) > 1 else taxonomy.root


def leaf_counts(taxonomy: Taxonomy) -> dict[str, int]:
    """Leaves drawn at or below each node; unlike in the taxonomy, each leaf counts once."""
    counts = dict.fromkeys(taxonomy.ids, 0)
    inner = {shown_parent(taxonomy, id) for id in taxonomy.ids}
    for id in taxonomy.ids:
        if id not in inner:
            for above in (taxonomy.root, *taxonomy.path(id)):
                counts[above] += 1
    return counts


def neighbour_pairs(taxonomy: Taxonomy) -> list[tuple[str, str]]:
    """Each pair of neighbours once, sorted."""
    pairs = {tuple(sorted((id, other.node))) for id in taxonomy.ids for other in taxonomy.node(id).differential}
    return sorted((a, b) for a, b in pairs)


def _layout(taxonomy: Taxonomy) -> dict[str, tuple[float, float]]:
    import networkx

    graph: networkx.Graph[str] = networkx.Graph(neighbour_pairs(taxonomy))
    found = networkx.spring_layout(graph, seed=_SEED, iterations=100, k=2.0 / max(len(graph), 1) ** 0.5)
    return {str(id): (float(x), float(y)) for id, (x, y) in found.items()}


def _sunburst(taxonomy: Taxonomy) -> Any:
    import plotly.graph_objects as go

    counts = leaf_counts(taxonomy)
    behaviours = [taxonomy.behaviour(id) for id in taxonomy.ids]
    figure = go.Figure(
        go.Sunburst(
            ids=taxonomy.ids,
            labels=[taxonomy.node(id).name for id in taxonomy.ids],
            parents=[shown_parent(taxonomy, id) for id in taxonomy.ids],
            values=[counts[id] for id in taxonomy.ids],
            marker={"colors": [COLOURS[behaviour] for behaviour in behaviours]},
            customdata=[behaviour or "mixed" for behaviour in behaviours],
            hovertemplate="%{label}<br>%{customdata}<br>%{value} leaves<extra></extra>",
            branchvalues="total",
            maxdepth=3,
        )
    )
    return figure.update_layout(height=800, margin={"t": 10, "b": 10, "l": 10, "r": 10})


def _differential_graph(taxonomy: Taxonomy) -> Any:
    import plotly.graph_objects as go

    at = _layout(taxonomy)
    pairs = neighbour_pairs(taxonomy)
    near: dict[str, list[str]] = {id: [] for id in at}
    for a, b in pairs:
        near[a].append(taxonomy.node(b).name)
        near[b].append(taxonomy.node(a).name)
    lines = go.Scatter(
        x=[x for a, b in pairs for x in (at[a][0], at[b][0], None)],
        y=[y for a, b in pairs for y in (at[a][1], at[b][1], None)],
        mode="lines",
        line={"width": 0.5, "color": "#999999"},
        hoverinfo="skip",
    )
    points = go.Scatter(
        x=[at[id][0] for id in at],
        y=[at[id][1] for id in at],
        mode="markers",
        marker={
            "size": [6 + 2 * len(near[id]) ** 0.5 for id in at],
            "color": [COLOURS[taxonomy.behaviour(id)] for id in at],
            "line": {"width": 0.5, "color": "#333333"},
        },
        text=[f"<b>{escape(taxonomy.node(id).name)}</b><br>{escape(', '.join(sorted(near[id])))}" for id in at],
        hovertemplate="%{text}<extra></extra>",
    )
    blank = {"visible": False}
    layout = {"height": 800, "showlegend": False, "xaxis": blank, "yaxis": blank, "plot_bgcolor": "white"}
    return go.Figure([lines, points]).update_layout(layout)


# --- for papers ------------------------------------------------------------------------------------------------------


def sunburst_svg(taxonomy: Taxonomy) -> str:
    """The whole tree as rings, classes named; SVG with text as text."""
    figure, axes = _blank_figure()
    counts = leaf_counts(taxonomy)
    below: dict[str, list[str]] = {id: [] for id in taxonomy.ids}
    for id in (id for above in taxonomy.ids for id in taxonomy.children(above)):
        if id not in below[shown_parent(taxonomy, id)]:
            below[shown_parent(taxonomy, id)].append(id)
    _ring(axes, taxonomy, below, counts, taxonomy.root, 0.0, 360.0, 1)
    axes.set_xlim(-9.6, 9.6)
    axes.set_ylim(-9.6, 9.6)
    _legend(axes)
    return _svg(figure)


def _ring(
    axes: Any, taxonomy: Taxonomy, below: dict[str, list[str]], counts: dict[str, int], id: str,
    start: float, end: float, depth: int,
) -> None:  # fmt: skip
    from matplotlib.patches import Wedge

    at = start
    for child in below[id]:
        width = (end - start) * counts[child] / counts[id]
        colour = COLOURS[taxonomy.behaviour(child)]
        axes.add_patch(
            Wedge((0, 0), depth + 1, at, at + width, width=1, facecolor=colour, edgecolor="white", linewidth=0.2)
        )
        if depth == 1:
            middle = (at + width / 2) * pi / 180
            turn = (at + width / 2 + 90) % 180 - 90  # never upside down
            axes.text(
                7.6 * cos(middle), 7.6 * sin(middle), taxonomy.node(child).name, rotation=turn, fontsize=5,
                ha="center", va="center", rotation_mode="anchor",
            )  # fmt: skip
        _ring(axes, taxonomy, below, counts, child, at, at + width, depth + 1)
        at += width


def differential_svg(taxonomy: Taxonomy) -> str:
    """The graph of neighbours as SVG; the diseases with most neighbours are named."""
    figure, axes = _blank_figure()
    at = _layout(taxonomy)
    pairs = neighbour_pairs(taxonomy)
    degree = {id: sum(id in pair for pair in pairs) for id in at}
    for a, b in pairs:
        axes.plot([at[a][0], at[b][0]], [at[a][1], at[b][1]], color="#999999", linewidth=0.2, zorder=1)
    axes.scatter(
        [at[id][0] for id in at], [at[id][1] for id in at], s=[4 + 2 * degree[id] for id in at],
        c=[COLOURS[taxonomy.behaviour(id)] for id in at], edgecolors="#333333", linewidths=0.2, zorder=2,
    )  # fmt: skip
    for id in sorted(at, key=lambda id: (-degree[id], id))[:40]:
        axes.annotate(taxonomy.node(id).name, at[id], fontsize=4, zorder=3)
    _legend(axes)
    return _svg(figure)


def _legend(axes: Any) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(facecolor=colour, label=behaviour or "mixed") for behaviour, colour in COLOURS.items()]
    axes.legend(handles=handles, loc="lower left", fontsize=6, frameon=False)


def _blank_figure() -> tuple[Any, Any]:
    from matplotlib.figure import Figure  # not pyplot: no window, no global state

    figure = Figure(figsize=(8, 8))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_aspect("equal")
    return figure, axes


def _svg(figure: Any) -> str:
    import io

    import matplotlib

    stream = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "skinrl"}):  # the same file every time
        figure.savefig(stream, format="svg", metadata={"Date": None})
    return stream.getvalue()
