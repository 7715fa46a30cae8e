"""Reports to look at: one card a case with its images, the answer in its hierarchy and the agreement of samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from skinrl.pages.base import NOT_A_DEVICE, document


def predictions_page(
    rows: Sequence[Mapping[str, Any]], thumbnails: Sequence[Sequence[str]], facts: Mapping[str, Any]
) -> str:
    """The whole document; it needs no network and no script.

    Args:
        rows: as `skinrl predict --json` writes them, with `answer`: the answer in words.
        thumbnails: of each row, `data:` addresses of its images; none where the page is to have none.
        facts: `model`, `taxonomy`, `cases`, and `note`: what the page is not for.
    """
    cards = "\n".join(
        _card(number, row, shown) for number, (row, shown) in enumerate(zip(rows, thumbnails, strict=True))
    )
    contents = "\n".join(
        f'<li><a href="#case-{number}">{escape(str(row["id"]))}</a>: {escape(row["answer"])}</li>'
        for number, row in enumerate(rows)
    )
    body = f"""\
<a class="skip" href="#reports">To the reports</a>
<header class="wide">
<h1>Reports of a model</h1>
<p class="device" role="note"><strong>{escape(facts["note"])}</strong> What stands here was written by a language
model. It may be wrong in every line; its confidence and the agreement of its samples are no probability of being
right.</p>
<p class="muted">{facts["cases"]} cases; model {escape(facts["model"])}; taxonomy {escape(facts["taxonomy"])}</p>
</header>
<main class="wide" id="reports">
<nav aria-label="Cases"><details><summary>All cases</summary><ol>
{contents}
</ol></details></nav>
{cards}
</main>
<footer class="wide muted">{escape(facts["note"])} {NOT_A_DEVICE}</footer>"""
    return document("Reports of a model", body, styles=("predictions.css",))


def _card(number: int, row: Mapping[str, Any], thumbnails: Sequence[str]) -> str:
    name = escape(str(row["id"]))
    images = "".join(
        f'<img src="{escape(address)}" alt="Image {place} of {len(thumbnails)} of case {name}" loading="lazy">'
        for place, address in enumerate(thumbnails, start=1)
    )
    path = "".join(f"<li>{escape(step)}</li>" for step in row["path_names"])
    facts = {
        "Malignancy, as stated": row["malignancy"],
        "Confidence, as stated": None if row["confidence"] is None else f"{row['confidence']} of 100",
        "Options offered": ", ".join(row["options"]) or None,
    }
    terms = "".join(
        f"<dt>{term}</dt><dd>{escape(str(value))}</dd>" for term, value in facts.items() if value is not None
    )
    return f"""\
<article class="case" id="case-{number}" aria-labelledby="title-{number}">
<div class="images">{images}</div>
<div class="said">
<p class="muted small">{name}</p>
<h2 id="title-{number}">{escape(row["answer"])}</h2>
{f'<ol class="path" aria-label="Place in the hierarchy">{path}</ol>' if path else ""}
{f"<dl>{terms}</dl>" if terms else ""}
{_agreement(row)}
<details open><summary>Report</summary><pre>{escape(row["completion"])}</pre></details>
{_samples(row)}
</div>
</article>"""


def _agreement(row: Mapping[str, Any]) -> str:
    found = row.get("agreement")
    if found is None:
        return ""
    if found["node"] is None:
        return f"<h3>Agreement</h3>\n<p>None of {found['samples']} samples named a disease.</p>"
    levels = "".join(
        f'<tr><th scope="row">{level["level"]}</th><td>{escape(level["name"])}</td><td>{level["share"]:.0%}</td>'
        f'<td><meter min="0" max="1" value="{level["share"]:.4f}" aria-hidden="true"></meter></td></tr>'
        for level in found["levels"]
    )
    return f"""\
<h3>Agreement of {found["samples"]} samples</h3>
<p>{found["share"]:.0%} at or below the commonest answer; {found["answered"]} named a disease; entropy
{found["entropy"]:.2f} nats (0: all alike).</p>
<div class="scroll"><table><thead><tr><th scope="col">Level</th><th scope="col">Commonest node</th>
<th scope="col">At or below it</th><td></td></tr></thead><tbody>{levels}</tbody></table></div>"""


def _samples(row: Mapping[str, Any]) -> str:
    samples = row.get("samples")
    if not samples:
        return ""
    listed = "".join(
        f"<li><strong>{escape(str(one['name'] or one['outcome']))}</strong><pre>{escape(one['completion'])}</pre></li>"
        for one in samples
    )
    return f"<details><summary>All {len(samples)} samples</summary><ol>{listed}</ol></details>"
