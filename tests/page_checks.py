"""Rules of accessibility (WCAG 2.2, level AA) that a program can check, on a page that is open in a browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page

# ruff: noqa: E501
# Each rule adds a line that names the rule and the element. Colours are read by painting them, so that every way of
# writing one counts; a background is what lies below, blended up to the first opaque one.
_RULES = """() => {
  const faults = [];
  const name = (node) => `${node.tagName.toLowerCase()}${node.id ? "#" + node.id : ""}.${node.getAttribute("class") ?? ""} "${(node.textContent || "").trim().slice(0, 40)}"`;
  const fault = (rule, node) => faults.push(`${rule}: ${node ? name(node) : "page"}`);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const seen = (node) => node.checkVisibility({ visibilityProperty: true, opacityProperty: true }) && !node.closest(".hidden, .skip, noscript");

  if (!document.documentElement.lang) fault("no language");
  if (all("main").length !== 1) fault("not one main landmark");
  if (all("body > header").length !== 1 || all("body > footer").length !== 1) fault("not one banner and one footer");
  for (const nav of all("nav, section")) if (!nav.getAttribute("aria-label") && !document.getElementById(nav.getAttribute("aria-labelledby"))
    && !nav.querySelector("h2, h3")) fault("landmark without a name", nav);
  const heads = all("h1, h2, h3, h4").filter((node) => !node.closest("dialog"));
  if (heads.filter((node) => node.tagName === "H1").length !== 1) fault("not one h1");
  heads.reduce((before, node) => {
    const level = Number(node.tagName[1]);
    if (level > before + 1) fault("heading skips a level", node);
    return level;
  }, 0);

  const ids = all("[id]").map((node) => node.id);
  for (const id of new Set(ids)) if (ids.filter((other) => other === id).length > 1) faults.push(`id twice: ${id}`);
  for (const node of all("[aria-labelledby], [aria-controls], [aria-describedby]")) {
    for (const key of ["aria-labelledby", "aria-controls", "aria-describedby"]) {
      for (const id of (node.getAttribute(key) ?? "").split(" ").filter(Boolean)) if (!document.getElementById(id) && !node.matches("dialog:not([open])")) fault(`${key} leads nowhere`, node);
    }
  }
  for (const node of all("[tabindex]")) if (node.tabIndex > 0) fault("positive tabindex", node);
  for (const node of all("[aria-hidden=true]")) if (node.querySelector("a, button, input, select, [tabindex='0']") || node.matches("a, button, input, select, [tabindex='0']")) fault("hidden, but takes the focus", node);
  for (const node of all("a, button, input, select, [role=button], [role=region], dialog[open]")) {
    const words = node.getAttribute("aria-label") || document.getElementById(node.getAttribute("aria-labelledby"))?.textContent
      || (node.labels?.length ? node.labels[0].firstChild.textContent : node.textContent);
    if (!words?.trim()) fault("no name", node);
  }
  for (const node of all("img")) if (!node.hasAttribute("alt")) fault("image without alt", node);
  for (const table of all("table")) {
    if (!table.caption?.textContent.trim() && !table.closest("[aria-label]")) fault("table without a caption", table);
    for (const cell of all("thead th", table)) if (cell.scope !== "col") fault("column head without scope", cell);
    for (const row of all("tbody tr", table)) if (row.cells[0].tagName !== "TH" || row.cells[0].scope !== "row") fault("row without a head", row);
  }
  for (const node of all("*")) {
    const style = getComputedStyle(node);
    const scrolls = ["auto", "scroll"].includes(style.overflowX) && node.scrollWidth > node.clientWidth + 1;
    if (scrolls && seen(node) && node.tabIndex < 0 && !node.querySelector("a, button, input, select, [tabindex='0']")) fault("scrolls, but not by keyboard", node);
  }
  for (const node of all("button, select, input, a, summary")) {
    const box = node.getBoundingClientRect();
    if (seen(node) && !node.closest("p, li:not(.cards li, .bar li, .trail li)") && box.width && (box.height < 23.9 || box.width < 23.9)) fault(`target of ${box.width.toFixed()} x ${box.height.toFixed()}`, node);
  }

  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const known = new Map();
  const paint = (text) => {
    if (!known.has(text)) {
      canvas.clearRect(0, 0, 1, 1);
      canvas.fillStyle = text;
      canvas.fillRect(0, 0, 1, 1);
      const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
      known.set(text, [r, g, b, a / 255]);
    }
    return known.get(text);
  };
  const over = (top, below) => [0, 1, 2].map((at) => top[at] * top[3] + below[at] * (1 - top[3])).concat(1);
  const ground = (node) => {
    const layers = [];
    for (let at = node; at; at = at.parentElement) {
      const colour = paint(getComputedStyle(at).backgroundColor);
      if (colour[3] > 0) layers.push(colour);
      if (colour[3] >= 0.999) break;
    }
    return layers.reverse().reduce((below, layer) => over(layer, below), paint("Canvas"));
  };
  const light = ([r, g, b]) => [r, g, b].map((value) => (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
    .reduce((sum, value, at) => sum + value * [0.2126, 0.7152, 0.0722][at], 0);
  const contrast = (one, two) => { const [a, b] = [light(one), light(two)].sort((x, y) => y - x); return (a + 0.05) / (b + 0.05); };
  const holders = new Set();
  for (let walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), node; (node = walker.nextNode());) if (node.data.trim()) holders.add(node.parentElement);
  for (const node of holders) {
    if (!seen(node) || node.closest("script, option, svg, :disabled") || node.matches("title")) continue;
    const style = getComputedStyle(node);
    const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && Number(style.fontWeight) >= 700);
    const below = ground(node);
    const found = contrast(over(paint(style.color), below), below);
    if (found < (large ? 3 : 4.5)) fault(`contrast ${found.toFixed(2)}`, node);
  }
  for (const arc of all("#tree svg path[data-node]")) {
    const label = arc.nextElementSibling;
    const text = label?.matches("text") ? label : label?.matches("g") ? label.querySelector("text") : null;
    if (text && contrast(paint(text.getAttribute("fill")), paint(arc.getAttribute("fill"))) < 4.5) fault("contrast in the tree", text);
  }
  return faults;
}"""


def faults_of(page: Page) -> list[str]:
    """Every breach of the rules on the page as it is now, a line each; empty where there is none."""
    found: list[str] = page.evaluate(_RULES)
    return found
