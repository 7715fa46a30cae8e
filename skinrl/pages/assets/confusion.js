// What is called what: among the children of one node, and the most frequent mistakes of all.

const MOST_ROWS = 14;
const FREQUENT = 15;

/** How often each answer was given to each gold: key "gold,answer" (answer -1: none; a right one counts as the gold). */
function pairsOf(set, model) {
  const counts = new Map();
  for (let index = 0; index < set.gold.length; index += 1) {
    const verdict = model.verdict[index];
    if (verdict === "6") continue;
    const answer = verdict === "0" ? set.gold[index] : model.node[index];
    const key = `${set.gold[index]},${answer}`;
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  return [...counts].map(([key, count]) => [...key.split(",").map(Number), count]);
}

/** The child of `above` under which `node` is drawn; `above` itself for it; null where it lies elsewhere. */
function branchOf(node, above) {
  for (let at = node, last = node; at >= 0; last = at, at = DATA.nodes.above[at]) if (at === above) return last;
  return null;
}

function drawConfusion(place, set, model) {
  const pairs = pairsOf(set, model);
  const below = childrenOf(set);
  const inner = [...below.keys()].filter((node) => below.get(node).length > 1 || node === 0);
  const order = (node) => pathOf(node).map(nameOf).join(" ");
  inner.sort((a, b) => (a === 0 ? -1 : b === 0 ? 1 : order(a).localeCompare(order(b))));
  const table = el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Confusion" });
  const show = (value) => table.replaceChildren(matrix(set, pairs, Number(value)));
  const options = inner.map((node) => [String(node), node === 0 ? "Across classes" : `${"  ".repeat(pathOf(node).length - 2)}Among ${nameOf(node)}`]);
  place.replaceChildren(
    el("div", { class: "two" },
      el("div", {}, el("div", { class: "controls" }, picker("Look at", options, "0", show, { id: "confusion-node" })), table),
      el("div", {}, el("h3", {}, "Most frequent mistakes"), frequent(set, model, pairs))),
  );
  show("0");
}

function matrix(set, pairs, above) {
  const OUTSIDE = "elsewhere";
  const VAGUE = above === 0 ? "the root" : "no finer";
  const NONE = "no diagnosis";
  const rows = new Map();
  for (const [gold, answer, count] of pairs) {
    const row = branchOf(gold, above);
    if (row === null) continue;
    let column = answer < 0 ? NONE : branchOf(answer, above);
    if (column === null) column = branchOf(above, answer) === null ? OUTSIDE : VAGUE;
    else if (column === above && gold !== above) column = VAGUE;
    if (!rows.has(row)) rows.set(row, new Map());
    rows.get(row).set(column, (rows.get(row).get(column) ?? 0) + count);
  }
  const total = (cells) => [...cells.values()].reduce((sum, count) => sum + count, 0);
  const listed = [...rows].sort((a, b) => total(b[1]) - total(a[1])).slice(0, MOST_ROWS);
  const hiddenRows = rows.size - listed.length;
  const columns = listed.map(([node]) => node);
  const called = new Map();
  for (const [, cells] of listed) for (const [column, count] of cells) called.set(column, (called.get(column) ?? 0) + count);
  const others = [...called.keys()].filter((column) => typeof column === "number" && !columns.includes(column)).sort((a, b) => called.get(b) - called.get(a));
  const extra = others.slice(0, 4);
  const rest = others.slice(4);
  const shownColumns = [...columns, ...extra, ...(rest.length ? ["other"] : []), ...[OUTSIDE, VAGUE, NONE].filter((column) => called.has(column))];
  const value = (cells, column) => column === "other" ? rest.reduce((sum, node) => sum + (cells.get(node) ?? 0), 0) : cells.get(column) ?? 0;
  const head = (column) => typeof column === "number" ? capital(column === above ? `${nameOf(column)} itself` : nameOf(column)) : capital(column);
  return el(
    "table",
    { class: "matrix" },
    el("caption", {}, `Rows: what it is. Columns: what it was called. Percent of the row. ${above === 0 ? "" : `"Elsewhere": outside ${nameOf(above)}. "No finer": ${nameOf(above)} or a class above it. `}`
      + (hiddenRows > 0 ? `${plural(hiddenRows, "rarer row")} not shown.` : "")),
    el("thead", {}, el("tr", {}, el("td", {}), el("th", { scope: "col", class: "count" }, "Cases"),
      shownColumns.map((column) => el("th", { scope: "col", class: "upright" }, el("span", {}, head(column)))))),
    el("tbody", {}, listed.map(([node, cells]) => {
      const sum = total(cells);
      return el("tr", {},
        el("th", { scope: "row" }, head(node)), el("td", { class: "count" }, number(sum)),
        shownColumns.map((column) => {
          const count = value(cells, column);
          const share = count / sum;
          const { fill, ink } = shade(column === node ? 0.5 + share / 2 : 0.5 - share / 2);
          return el("td", { class: "cell", style: count ? `background:${fill};color:${ink}` : null, title: `${head(node)} called ${head(column).toLowerCase()}: ${number(count)} of ${number(sum)}` },
            count ? percent(share, share < 0.0995 ? 1 : 0) : el("span", { class: "nothing" }, "·"));
        }));
    })),
  );
}

/** How far apart two diagnoses stand in the tree, in words. */
function relation(gold, answer) {
  if (answer < 0) return "none given";
  const [one, two] = [pathOf(gold), pathOf(answer)];
  if (one.includes(answer)) return "too general";
  if (one.length > 1 && DATA.nodes.above[gold] === DATA.nodes.above[answer]) return "siblings";
  return one[1] === two[1] ? "same class" : "across classes";
}

function frequent(set, model, pairs) {
  const missed = new Set(model.missed.map((index) => `${set.gold[index]},${model.node[index]}`));
  const mistakes = pairs.filter(([gold, answer]) => gold !== answer).sort((a, b) => b[2] - a[2]).slice(0, FREQUENT);
  if (!mistakes.length) return el("p", { class: "muted" }, "No mistake on these cases.");
  return el(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": "Most frequent mistakes" },
    el("table", {},
      el("thead", {}, el("tr", {}, ["It is", "Called", "Cases", "In the tree", ""].map((text) => text
        ? el("th", { scope: "col" }, text) : el("td", {})))),
      el("tbody", {}, mistakes.map(([gold, answer, count]) => el("tr", {},
        el("th", { scope: "row" }, capital(nameOf(gold))),
        el("td", {}, nameOf(answer)),
        el("td", {}, number(count)),
        el("td", {}, relation(gold, answer), " ", missed.has(`${gold},${answer}`) ? el("span", { class: "tag bad" }, "malignant called benign") : null),
        el("td", {}, el("button", { type: "button", class: "plain", onclick: () => showCases({ gold, answer }) }, "Show",
          el("span", { class: "hidden" }, ` the cases of ${nameOf(gold)} called ${nameOf(answer)}`)))))),
    ),
  );
}
