// Does it know when it is wrong: confidence against accuracy, and accuracy when it may decline.

const SURE = { stated: "as the report states it", options: "from the likelihoods of the options", agreement: "from agreement among samples" };

function drawCalibration(place, set, model) {
  const blocks = model.metrics.calibration ?? {};
  const sources = Object.keys(blocks);
  if (!sources.length) {
    place.replaceChildren(el("p", { class: "muted" }, "No confidence was measured: the reports state none, and likelihoods of options were not computed."));
    return;
  }
  const box = el("div", { class: "pair" });
  const show = (source) => box.replaceChildren(
    reliability(blocks[source]), model.metrics.risk_coverage?.[source] ? declining(model.metrics.risk_coverage[source]) : "");
  place.replaceChildren(
    el("div", { class: "controls" }, picker("Confidence", sources.map((name) => [name, capital(SURE[name] ?? spaced(name))]), sources[0], show)), box);
  show(sources[0]);
}

const PLOT = 300;
const EDGE = 40;

function axes(across, up) {
  const at = [0, 0.25, 0.5, 0.75, 1];
  return [
    ...at.flatMap((share) => [
      svg("line", { x1: EDGE, x2: EDGE + PLOT, y1: EDGE / 2 + PLOT * (1 - share), y2: EDGE / 2 + PLOT * (1 - share), class: "grid" }),
      svg("text", { x: EDGE - 6, y: EDGE / 2 + PLOT * (1 - share) + 4, "text-anchor": "end" }, String(share * 100)),
      svg("text", { x: EDGE + PLOT * share, y: EDGE / 2 + PLOT + 17, "text-anchor": "middle" }, String(share * 100)),
    ]),
    svg("text", { x: EDGE + PLOT / 2, y: PLOT + EDGE / 2 + 36, "text-anchor": "middle", class: "axis" }, across),
    svg("text", { transform: `translate(11 ${EDGE / 2 + PLOT / 2}) rotate(-90)`, "text-anchor": "middle", class: "axis" }, up),
  ];
}

const spot = (x, y) => [EDGE + PLOT * x, EDGE / 2 + PLOT * (1 - y)];

function plot(label, ...children) {
  return svg("svg", { viewBox: `0 0 ${PLOT + EDGE + 16} ${PLOT + EDGE / 2 + 42}`, class: "plot", role: "img", "aria-label": label }, ...children);
}

function reliability(block) {
  const bins = block.bins.filter((bin) => bin.n > 0 && bin.confidence !== null && bin.accuracy.value !== null);
  const most = Math.max(...bins.map((bin) => bin.n), 1);
  const points = bins.flatMap((bin) => {
    const [x, y] = spot(bin.confidence, bin.accuracy.value);
    const bounds = bin.accuracy.low !== null ? [svg("line", { x1: x, x2: x, y1: spot(0, bin.accuracy.low)[1], y2: spot(0, bin.accuracy.high)[1], class: "range" })] : [];
    return [...bounds, svg("circle", { cx: x, cy: y, r: 3 + 6 * Math.sqrt(bin.n / most), class: "dot" })];
  });
  const [[x1, y1], [x2, y2]] = [spot(0, 0), spot(1, 1)];
  return el("figure", {},
    plot(`Accuracy against confidence in ${bins.length} bins; calibration error ${written("ece", block.ece)}`,
      axes("Confidence, %", "Accuracy, %"), svg("line", { x1, y1, x2, y2, class: "ideal" }), points),
    el("figcaption", { class: "small muted" }, `On the dashed line confidence is what it says. Mean confidence ${shown(block.confidence)} %, accuracy ${shown(block.accuracy)} %; `
      + `calibration error ${shown(block.ece)}, Brier score ${shown(block.brier)}; ${percent(block.covered?.value)} % of cases have a confidence.`),
    el("details", {}, el("summary", {}, "As a table"), el("div", { class: "scroll" }, el("table", {},
      el("caption", { class: "hidden" }, "Calibration by bin of confidence"),
      el("thead", {}, el("tr", {}, ["Confidence", "Cases", "Mean confidence, %", "Accuracy, %"].map((text) => el("th", { scope: "col" }, text)))),
      el("tbody", {}, block.bins.map((bin) => el("tr", {}, el("th", { scope: "row" }, `${percent(bin.low, 0)} to ${percent(bin.high, 0)} %`), el("td", {}, number(bin.n)),
        el("td", {}, percent(bin.confidence)), el("td", {}, shown(bin.accuracy)))))))));
}

function declining(block) {
  const known = block.curve.filter((one) => isMetric(one.accuracy) && one.accuracy.value !== null);
  const line = (read) => known.map((one, index) => `${index ? "L" : "M"}${spot(one.coverage, read(one.accuracy)).map((value) => value.toFixed(1)).join(" ")}`).join("");
  const bounded = known.filter((one) => one.accuracy.low !== null);
  const band = bounded.length > 1
    ? `M${bounded.map((one) => spot(one.coverage, one.accuracy.high).join(" ")).join("L")}L${bounded.toReversed().map((one) => spot(one.coverage, one.accuracy.low).join(" ")).join("L")}Z`
    : "";
  return el("figure", {},
    plot("Accuracy on the cases answered with most confidence, by their share", axes("Share of cases answered, %", "Accuracy, %"),
      svg("path", { d: band, class: "band" }), svg("path", { d: line((one) => one.value), class: "curve" })),
    el("figcaption", { class: "small muted" }, `Accuracy where only the most confident share is answered. Area under the risk: ${shown(block.aurc)}; `
      + `with perfect order ${percent(block.aurc_best)}, with none ${percent(block.aurc_random)}.`),
    el("details", {}, el("summary", {}, "As a table"), el("div", { class: "scroll" }, el("table", {},
      el("caption", { class: "hidden" }, "Accuracy by share of cases answered"),
      el("thead", {}, el("tr", {}, ["Answered, %", "Confidence at least, %", "Accuracy, %"].map((text) => el("th", { scope: "col" }, text)))),
      el("tbody", {}, block.curve.map((one) => el("tr", {}, el("th", { scope: "row" }, percent(one.coverage, 0)), el("td", {}, percent(one.threshold)), el("td", {}, shown(one.accuracy)))))))));
}
