// Cases to look at: the worst mistakes and right ones as cards, all of them as a table, each one in a window.

const VERDICTS = ["right", "wrong", "undetermined", "unreadable", "cut short", "names no node", "not scored"];
const PAGE = 50;
const CARDS = 12;

function verdictOf(model, index) {
  return Number(model.verdict[index]);
}

function tag(verdict) {
  return el("span", { class: `tag ${verdict === 0 ? "good" : verdict === 6 ? "" : "bad"}` }, `${verdict === 0 ? "✓ " : verdict === 6 ? "" : "✗ "}${VERDICTS[verdict]}`);
}

function drawMistakes(place, set, model) {
  const missed = new Set(model.missed);
  place.replaceChildren(...[
    cards("Worst mistakes", "Malignant called benign first, then by distance in the tree; at most two of one patient while there are others.", model.worst, set, model, missed),
    cards("Right answers, drawn by chance", "", model.right, set, model, missed),
  ].flat(2).filter(Boolean));
}

function cards(title, words, indices, set, model, missed) {
  const list = el("ul", { class: "cards" });
  const more = el("button", { type: "button" }, "Show more");
  let count = 0;
  const add = (focus) => {
    const fresh = indices.slice(count, count + CARDS).map((index) => card(index, set, model, missed));
    count += fresh.length;
    list.append(...fresh);
    more.hidden = count >= indices.length;
    if (focus) fresh[0]?.querySelector("button").focus();
  };
  more.addEventListener("click", () => add(true));
  add(false);
  return [el("h3", {}, title), words ? el("p", { class: "muted small" }, words) : null,
    indices.length ? [list, more] : el("p", { class: "muted" }, "None.")];
}

function card(index, set, model, missed) {
  const verdict = verdictOf(model, index);
  const answer = model.node[index];
  const image = set.images[index];
  return el("li", {}, el("button", { type: "button", class: "card", onclick: () => openCase(index) },
    el("span", { class: "thumb" }, image ? el("img", { src: image, alt: "", loading: "lazy" }) : el("span", { class: "muted small" }, "no image here")),
    el("span", { class: "words" },
      el("span", { class: "gold" }, capital(nameOf(set.gold[index]))),
      verdict === 0 ? tag(verdict) : el("span", { class: "called" }, el("span", { class: "hidden" }, "called "), el("span", { "aria-hidden": "true" }, "→ "),
        answer < 0 ? VERDICTS[verdict] : nameOf(answer)),
      missed.has(index) ? el("span", { class: "tag bad" }, "malignant called benign") : null,
      el("span", { class: "muted small" }, [verdict === 0 ? null : `${plural(model.severity[index], "level")} off`, `credit ${credit(model, index)}`].filter(Boolean).join(" · ")),
      toneOf(set, index) ? el("span", { class: "muted small" }, toneOf(set, index)) : null)));
}

const credit = (model, index) => (model.credit[index] === null ? "–" : model.credit[index].toFixed(2));
const toneOf = (set, index) => capital(set.tone.words[set.tone.of[index]]);

// --- one case --------------------------------------------------------------------------------------------------------

function openCase(index) {
  const set = currentSet();
  const box = document.getElementById("case");
  const image = set.images[index];
  const line = [set.source.words[set.source.of[index]], set.modality.words[set.modality.of[index]], toneOf(set, index)].filter(Boolean).join(" · ");
  const chosen = currentModel();
  const models = [chosen, ...set.models.filter((model) => model !== chosen)];
  box.replaceChildren(
    el("div", { class: "sheet" },
      el("header", {},
        el("div", {}, el("h2", { id: "case-title" }, capital(nameOf(set.gold[index]))),
          el("p", { class: "muted small" }, pathOf(set.gold[index]).slice(1, -1).map(nameOf).join(" › ")),
          el("p", { class: "muted small" }, `Case ${set.ids[index]} · ${line}`)),
        el("button", { type: "button", onclick: () => box.close() }, "Close")),
      image ? el("img", { src: image, alt: `Image of case ${set.ids[index]}`, class: "large" }) : null,
      models.map((model) => answerOf(model, set, index))));
  box.showModal();
  box.scrollTop = 0;
}

function answerOf(model, set, index) {
  const text = model.texts[model.text_of[index]];
  const rewards = Object.entries(model.rewards[index] ?? {});
  const verdict = verdictOf(model, index);
  return el("section", { class: "answer" },
    el("h3", {}, model.title, " ", tag(verdict)),
    el("p", {}, el("span", { class: "muted" }, "Called: "), nameOf(model.node[index]),
      model.node[index] >= 0 && verdict !== 0 ? el("span", { class: "muted small" }, ` (${relation(set.gold[index], model.node[index])}, ${plural(model.severity[index], "level")} off)`) : null),
    el("dl", { class: "facts" }, el("dt", {}, "Credit on the tree"), el("dd", {}, credit(model, index)),
      rewards.map(([name, value]) => [el("dt", {}, capital(spaced(name))), el("dd", {}, value === null ? "not scored" : value.toFixed(2))])),
    text === undefined ? el("p", { class: "muted small" }, "Its report is not on this page, which would be too large; it stands in predictions.jsonl.")
      : el("pre", { tabindex: "0", role: "region", "aria-label": `Report of ${model.title}` }, text.trim() ? text.trimEnd() : "(nothing)"));
}

// --- all cases -------------------------------------------------------------------------------------------------------

const table = { sort: "place", down: false, at: 0, find: "", verdict: "", tone: "", source: "", gold: null, answer: null };

const COLUMNS = [
  ["place", "Case"], ["gold", "It is"], ["answer", "Called"], ["verdict", "Verdict"], ["severity", "Levels off"],
  ["credit", "Credit"], ["tone", "Skin tone"], ["source", "Source"],
];

function drawCases(place, set, model) {
  const search = el("input", { type: "search", value: table.find, id: "find", oninput: (event) => change({ find: event.target.value }) });
  const verdicts = [["", "all"], ...VERDICTS.map((word, index) => [String(index), word]).filter(([index]) => model.verdict.includes(index))];
  const among = (column) => [["", "all"], ...column.words.map((word, index) => [String(index), word || "not known"])];
  const clear = el("button", { type: "button", onclick: () => {
    Object.assign(table, { find: "", verdict: "", tone: "", source: "", gold: null, answer: null, at: 0 });
    drawCases(place, set, model);
    document.getElementById("find").focus();
  } }, "Clear filters");
  const only = el("p", { class: "small" });
  const body = el("tbody");
  const heads = COLUMNS.map(([key, words]) => el("th", { scope: "col", "data-key": key }, el("button", { type: "button", class: "sort", onclick: () => sortBy(key) }, words, el("span", { "aria-hidden": "true" }))));
  const count = el("p", { class: "muted small", id: "case-count", role: "status" });
  const back = el("button", { type: "button", onclick: () => turn(-1) }, "Previous");
  const on = el("button", { type: "button", onclick: () => turn(1) }, "Next");
  place.replaceChildren(
    el("div", { class: "controls" }, el("label", {}, "Find case or diagnosis", search),
      picker("Verdict", verdicts, table.verdict, (value) => change({ verdict: value })),
      set.tone.words.length > 1 ? picker("Skin tone", among(set.tone), table.tone, (value) => change({ tone: value })) : null,
      set.source.words.length > 1 ? picker("Source", among(set.source), table.source, (value) => change({ source: value })) : null, clear),
    only,
    el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Table of cases" },
      el("table", { class: "cases" }, el("caption", { class: "hidden" }, `Cases and the answers of ${model.title}`), el("thead", {}, el("tr", {}, heads)), body)),
    el("div", { class: "controls pages" }, back, on, count),
  );
  let rows = [];
  fresh();

  function change(values) {
    Object.assign(table, values, { at: 0 });
    fresh();
  }

  function sortBy(key) {
    Object.assign(table, { down: table.sort === key && !table.down, sort: key, at: 0 });
    fresh();
  }

  function turn(step) {
    table.at += step * PAGE;
    show();
  }

  function fresh() {
    rows = sorted(filtered());
    const words = [table.gold === null ? null : `${nameOf(table.gold)} and below`, table.answer === null ? null : `called ${nameOf(table.answer)}`].filter(Boolean);
    only.textContent = words.length ? `Only ${words.join(", ")}.` : "";
    for (const head of heads) {
      const own = head.dataset.key === table.sort;
      if (own) head.setAttribute("aria-sort", table.down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    }
    show();
  }

  function filtered() {
    const found = [];
    const find = table.find.trim().toLowerCase();
    const hits = find ? DATA.nodes.name.map((name) => name.toLowerCase().includes(find)) : null;
    for (let index = 0; index < set.ids.length; index += 1) {
      if (table.verdict && model.verdict[index] !== table.verdict) continue;
      if (table.tone && set.tone.of[index] !== Number(table.tone)) continue;
      if (table.source && set.source.of[index] !== Number(table.source)) continue;
      if (table.gold !== null && branchOf(set.gold[index], table.gold) === null) continue;
      if (table.answer !== null && (model.node[index] !== table.answer || model.verdict[index] === "0")) continue;
      if (hits && !hits[set.gold[index]] && !hits[model.node[index]] && !set.ids[index].toLowerCase().includes(find)) continue;
      found.push(index);
    }
    return found;
  }

  function sorted(indices) {
    const names = (node) => (node < 0 ? "￿" : DATA.nodes.name[node]);
    const read = {
      place: (index) => index, gold: (index) => names(set.gold[index]), answer: (index) => names(model.node[index]),
      verdict: (index) => verdictOf(model, index), severity: (index) => model.severity[index], credit: (index) => model.credit[index] ?? -1,
      tone: (index) => toneOf(set, index) || "￿", source: (index) => set.source.words[set.source.of[index]],
    }[table.sort];
    const keys = new Map(indices.map((index) => [index, read(index)]));
    const sign = table.down ? -1 : 1;
    return indices.sort((a, b) => {
      const [one, two] = [keys.get(a), keys.get(b)];
      return (one < two ? -sign : one > two ? sign : 0) || a - b;
    });
  }

  function show() {
    const part = rows.slice(table.at, table.at + PAGE);
    body.replaceChildren(...part.map((index) => el("tr", {},
      el("th", { scope: "row" }, el("button", { type: "button", class: "plain", onclick: () => openCase(index) }, set.ids[index])),
      el("td", {}, nameOf(set.gold[index])), el("td", {}, model.node[index] < 0 ? "–" : nameOf(model.node[index])),
      el("td", {}, tag(verdictOf(model, index))), el("td", { class: "count" }, verdictOf(model, index) === 6 ? "–" : String(model.severity[index])),
      el("td", { class: "count" }, credit(model, index)), el("td", {}, toneOf(set, index) || "–"), el("td", {}, set.source.words[set.source.of[index]]))));
    count.textContent = rows.length ? `${number(table.at + 1)} to ${number(table.at + part.length)} of ${plural(rows.length, "case")}` : "No case fits.";
    back.disabled = table.at === 0;
    on.disabled = table.at + PAGE >= rows.length;
  }
}

/** Jump to the table of cases with a filter. */
function showCases(filter) {
  Object.assign(table, { find: "", verdict: "", tone: "", source: "", gold: null, answer: null, at: 0 }, filter);
  redraw("cases");
  const heading = document.getElementById("cases-title");
  heading.scrollIntoView();
  heading.focus({ preventScroll: true });
}
