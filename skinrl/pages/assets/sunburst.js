// Accuracy over the tree of diseases: rings that zoom, and beside them the same numbers as a table.

const RINGS = 3;
const RADIUS = 320;
const HOLE = 84;
const TURN = 350; // milliseconds of a zoom

/** What is below each node of the page, in the order of cases. */
function childrenOf(set) {
  const below = new Map();
  for (const key of Object.keys(set.sizes)) {
    const node = Number(key);
    const above = DATA.nodes.above[node];
    if (above >= 0) below.set(above, [...(below.get(above) ?? []), node]);
  }
  for (const list of below.values()) list.sort((a, b) => set.sizes[b][0] - set.sizes[a][0] || a - b);
  return below;
}

function pathOf(node) {
  const path = [];
  for (let at = node; at >= 0; at = DATA.nodes.above[at]) path.unshift(at);
  return path;
}

const nameOf = (node) => (node < 0 ? "no diagnosis" : DATA.nodes.above[node] < 0 ? "all diagnoses" : DATA.nodes.name[node]);

/** Colour of a share between the page's colours of wrong and right, and black or white to write on it. */
function shade(share) {
  const look = getComputedStyle(document.documentElement);
  const read = (name) => look.getPropertyValue(name).trim().match(/[0-9a-f]{2}/gi).map((part) => parseInt(part, 16));
  const [end, middle] = [read(share < 0.5 ? "--bad" : "--good"), read("--neutral")];
  const part = Math.min(1, Math.abs(share - 0.5) * 2);
  const mixed = end.map((value, index) => Math.round(value * part + middle[index] * (1 - part)));
  const linear = mixed.map((value) => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4));
  const light = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  return { fill: `rgb(${mixed.join(" ")})`, ink: light > 0.18 ? "#000" : "#fff" };
}

function drawTree(place, set, model) {
  const below = childrenOf(set);
  if (below.size < 2) {
    place.replaceChildren(el("p", { class: "muted" }, "The classes of these questions have no tree."));
    return;
  }
  const start = { from: new Map(), node: 0 };
  layOut(0, 0, 1, 0);
  function layOut(node, from, to, depth) {
    start.from.set(node, { from, to, depth });
    const children = below.get(node) ?? [];
    const whole = set.sizes[node][0]; // cases of an inner node itself leave a gap behind its children
    let at = from;
    for (const child of children) {
      const width = ((to - from) * set.sizes[child][0]) / whole;
      layOut(child, at, at + width, depth + 1);
      at += width;
    }
  }
  let shownNode = 0;
  let view = { ...start.from.get(0) };
  let focused = null;
  const rings = svg("g", {});
  const middle = svg("g", { class: "middle" });
  const picture = svg(
    "svg",
    { viewBox: `${-RADIUS} ${-RADIUS} ${2 * RADIUS} ${2 * RADIUS}`, role: "group", "aria-label": "Accuracy over the tree of diseases. Arrow keys move, Enter looks inside, Escape goes back. The table beside it holds the same numbers." },
    rings,
    middle,
  );
  const trail = el("nav", { class: "trail", "aria-label": "Place in the tree" });
  const table = el("div", { class: "scroll" });
  place.replaceChildren(
    el("div", { class: "tree" }, el("div", { class: "picture" }, picture, legend()), el("div", { class: "beside" }, trail, table)),
  );
  draw();
  list();
  const watch = new ResizeObserver(() => (picture.isConnected ? draw() : watch.disconnect())); // another model, another picture
  watch.observe(picture);

  function legend() {
    const steps = [0, 0.25, 0.5, 0.75, 1];
    return el("p", { class: "legend small muted" }, "Right: ", steps.map((share) => {
      const { fill, ink } = shade(share);
      return el("span", { style: `background:${fill};color:${ink}` }, `${share * 100}`);
    }), " %. Angle: number of cases.");
  }

  function position(node) {
    const own = start.from.get(node);
    const wide = view.to - view.from;
    const clamp = (value) => Math.min(1, Math.max(0, value));
    return { from: clamp((own.from - view.from) / wide), to: clamp((own.to - view.from) / wide), ring: own.depth - view.depth };
  }

  function draw() {
    const scale = (picture.clientWidth || 2 * RADIUS) / (2 * RADIUS);
    const thick = (RADIUS - HOLE) / RINGS;
    const font = Math.min(26, 12.5 / scale);
    const drawn = [];
    for (const node of start.from.keys()) {
      const at = position(node);
      if (at.ring <= 0.01 || at.ring > RINGS + 0.01 || at.to - at.from < 0.0008) continue;
      const inner = HOLE + (at.ring - 1) * thick;
      const accuracy = model.tree[node].accuracy;
      const { fill, ink } = shade(accuracy.value);
      const words = `${capital(nameOf(node))}: ${written("accuracy", accuracy)} right of ${plural(accuracy.n, "case")}`;
      const arc = svg("path", {
        d: ringPath(at.from, at.to, Math.max(inner, HOLE) + 1, inner + thick - 1),
        fill, role: "button", "aria-label": words, "data-node": node, tabindex: "-1",
        class: below.has(node) ? "inner" : "leaf",
        onclick: () => go(node), onfocus: () => { focused = node; }, onkeydown: (event) => pressed(event, node),
      }, svg("title", {}, words));
      drawn.push(arc);
      const label = arcLabel(node, at, inner, thick, font, ink);
      if (label) drawn.push(label);
    }
    rings.replaceChildren(...drawn);
    const arcs = rings.querySelectorAll("path[data-node]");
    const first = [...arcs].find((arc) => Number(arc.dataset.node) === focused) ?? arcs[0];
    first?.setAttribute("tabindex", "0");
    const whole = model.tree[shownNode].accuracy;
    const up = DATA.nodes.above[shownNode];
    const lines = [[nameOf(shownNode), font * 1.02, 500], [`${percent(whole.value)} %`, Math.min(font * 1.9, HOLE / 1.9), 650], [plural(whole.n, "case"), font, 400]];
    middle.replaceChildren(
      svg("circle", {
        r: HOLE - 4, ...(up >= 0
          ? { role: "button", tabindex: "0", class: "back", "aria-label": `Back to ${nameOf(up)}`, onclick: () => go(up), onkeydown: (event) => pressed(event, up) }
          : { "aria-hidden": "true" }),
      }),
      ...lines.map(([text, size, weight], line) => svg("text", { y: (line - 1) * font * 1.75 + font * 0.4, "font-size": size, "font-weight": weight, "text-anchor": "middle", "aria-hidden": "true" }, line === 1 ? text : cut(text, (2 * HOLE - 24) / (size * 0.54)))),
    );
  }

  function cut(text, letters) {
    return text.length <= letters ? text : `${text.slice(0, Math.max(1, Math.floor(letters) - 1))}…`;
  }

  /** A name along its segment where that has room, else across it on one line or two. */
  function arcLabel(node, at, inner, thick, font, ink) {
    const radius = inner + thick / 2;
    const arc = (at.to - at.from) * 2 * Math.PI * radius;
    const name = nameOf(node);
    const width = (text) => text.length * font * 0.55;
    const look = { "font-size": font, fill: ink, "text-anchor": "middle", "aria-hidden": "true" };
    const angle = (at.from + at.to) * Math.PI;
    const along = [[name], halves(name)].find((lines) => arc > Math.max(...lines.map(width)) + font && thick > font * (0.6 + 1.2 * lines.length));
    if (along) return alongSegment(node, at, radius, along, font, look);
    if (arc < font * 1.15) return null;
    const lines = arc > font * 2.5 && width(name) > thick - 8 ? halves(name) : [name];
    const room = (thick - 8) / (font * 0.55);
    const texts = lines.map((line) => cut(line, room));
    if (texts.some((text, line) => text !== lines[line] && text.length < 7)) return null; // three letters of a name say nothing
    const turn = (angle * 180) / Math.PI - 90;
    return svg("text", { ...look, transform: `rotate(${turn}) translate(${radius}) rotate(${angle > Math.PI ? 180 : 0})` },
      texts.map((text, line) => svg("tspan", { x: 0, y: (line - (texts.length - 1) / 2) * font * 1.1 + font * 0.35 }, text)));
  }

  function alongSegment(node, at, radius, lines, font, look) {
    const middle = (at.from + at.to) / 2;
    const low = middle > 0.25 && middle < 0.75; // read from left to right below the middle too
    const [one, two] = low ? [at.to, at.from] : [at.from, at.to];
    const end = Math.abs(two - one) > 0.9999 ? one + (two - one) * 0.9999 : two;
    const large = at.to - at.from > 0.5 ? 1 : 0;
    return svg("g", {}, lines.map((line, index) => {
      const down = (index - (lines.length - 1) / 2) * font * 1.1 + font * 0.35;
      const far = radius + (low ? down : -down);
      const id = `along-${node}-${index}`;
      return [
        svg("path", { id, class: "guide", d: `M${spotAt(one, far)}A${far} ${far} 0 ${large} ${low ? 0 : 1} ${spotAt(end, far)}` }),
        svg("text", look, svg("textPath", { href: `#${id}`, startOffset: "50%" }, line)),
      ];
    }));
  }

  /** A name at the space that makes both lines most alike. */
  function halves(name) {
    const spaces = [...name.matchAll(/[ -]/g)].map((found) => found.index + 1);
    if (!spaces.length) return [name];
    const best = spaces.reduce((one, two) => (Math.abs(two - name.length / 2) < Math.abs(one - name.length / 2) ? two : one));
    return [name.slice(0, best).trim(), name.slice(best)];
  }

  function pressed(event, node) {
    const arcs = [...rings.querySelectorAll("path[data-node]")];
    const here = arcs.findIndex((arc) => arc === event.currentTarget);
    const move = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (event.key === "Enter" || event.key === " ") go(node, true);
    else if (event.key === "Escape" && DATA.nodes.above[shownNode] >= 0) go(DATA.nodes.above[shownNode], true);
    else if (move && here >= 0) {
      const next = arcs[(here + move + arcs.length) % arcs.length];
      arcs[here].setAttribute("tabindex", "-1");
      next.setAttribute("tabindex", "0");
      next.focus();
    } else return;
    event.preventDefault();
  }

  /** Zoom so that the node fills the picture; a leaf shows its cases in the table of cases. */
  function go(node, byKey = false) {
    if (!below.has(node)) {
      showCases({ gold: node });
      return;
    }
    const before = { ...view };
    const after = start.from.get(node);
    shownNode = node;
    focused = null;
    picture.dataset.zooming = "";
    list();
    say(`${capital(nameOf(node))}: ${written("accuracy", model.tree[node].accuracy)} right`);
    const begun = performance.now();
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const step = (now) => {
      const part = still ? 1 : Math.min(1, (now - begun) / TURN);
      const eased = part * part * (3 - 2 * part);
      for (const key of ["from", "to", "depth"]) view[key] = before[key] + (after[key] - before[key]) * eased;
      draw();
      if (part < 1) {
        requestAnimationFrame(step);
        return;
      }
      delete picture.dataset.zooming;
      if (byKey) (rings.querySelector('path[tabindex="0"]') ?? middle.querySelector("[tabindex]"))?.focus();
    };
    requestAnimationFrame(step);
  }

  /** The same as a table: where we are, and what lies directly below. */
  function list() {
    const path = pathOf(shownNode);
    trail.replaceChildren(el("ol", {}, path.map((node, index) => el("li", {}, index === path.length - 1
      ? el("span", { "aria-current": "location" }, capital(nameOf(node)))
      : el("button", { class: "plain", type: "button", onclick: () => go(node) }, capital(nameOf(node)))))));
    const children = below.get(shownNode) ?? [];
    table.replaceChildren(el(
      "table",
      { class: "below" },
      el("caption", {}, `Directly below ${nameOf(shownNode)}. In class: the answer lies at least in this class. Intervals are Wilson's with patients as units.`),
      el("thead", {}, el("tr", {}, ["Class", "Cases", "Patients", "Right, % [95 %]", "In class, %"].map((text) => el("th", { scope: "col" }, text)))),
      el("tbody", {}, children.map((node) => {
        const { accuracy, inside } = model.tree[node];
        const { fill } = shade(accuracy.value);
        return el("tr", {},
          el("th", { scope: "row" }, el("button", { class: "plain", type: "button", onclick: () => go(node) },
            el("span", { class: "chip", style: `background:${fill}`, "aria-hidden": "true" }), capital(nameOf(node)),
            below.has(node) ? null : el("span", { class: "hidden" }, " (show its cases)"))),
          el("td", {}, number(accuracy.n)), el("td", {}, number(set.sizes[node][1])), el("td", {}, shown(accuracy)), el("td", {}, percent(inside)));
      })),
    ));
  }
}

function spotAt(share, radius) {
  const angle = share * 2 * Math.PI - Math.PI / 2;
  return `${(Math.cos(angle) * radius).toFixed(2)} ${(Math.sin(angle) * radius).toFixed(2)}`;
}

function ringPath(from, to, inner, outer) {
  const whole = to - from > 0.9999;
  const end = whole ? from + 0.9999 : to;
  const large = end - from > 0.5 ? 1 : 0;
  return `M${spotAt(from, outer)}A${outer} ${outer} 0 ${large} 1 ${spotAt(end, outer)}L${spotAt(end, inner)}A${inner} ${inner} 0 ${large} 0 ${spotAt(from, inner)}Z`;
}
