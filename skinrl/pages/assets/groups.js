// The same metrics by skin tone and by other groups: every group with its n, the gap beside what chance gives.

const GROUP_METRICS = [
  "accuracy", "accuracy_sampled", "accuracy_top_3", "balanced_accuracy", "hierarchical_f1", "malignancy_sensitivity",
  "malignancy_specificity", "invalid_share", "abstained_share",
];
const TONES = {
  fitzpatrick: "Fitzpatrick type", fitzpatrick_bands: "Fitzpatrick: light (I, II), medium (III, IV), dark (V, VI)",
  monk: "Monk scale", apparent: "Apparent tone",
};
const ROMAN = ["", "I", "II", "III", "IV", "V", "VI"];

function drawTones(place, set, model) {
  const scales = Object.entries(model.metrics.by_skin_tone ?? {}).filter(([scale]) => scale !== "unknown");
  if (!scales.length) {
    place.replaceChildren(el("p", { class: "muted" }, "The skin tone of these cases is not known, so nothing can be said about it."));
    return;
  }
  panels(place, model, scales.map(([scale, parts]) => ({ title: TONES[scale] ?? capital(spaced(scale)), parts, axis: `skin_tone/${scale}`, roman: scale.startsWith("fitzpatrick") })),
    "Scales are never merged: each was measured in its own way.");
}

function drawGroups(place, set, model) {
  const metrics = model.metrics;
  const axes = [["modality", metrics.by_modality], ["source", metrics.by_source], ...Object.entries(metrics.by_slice ?? {})]
    .filter(([, parts]) => parts && Object.keys(parts).length > 1)
    .map(([name, parts]) => ({ title: capital(spaced(name)), parts, axis: name }));
  if (!axes.length) {
    place.replaceChildren(el("p", { class: "muted" }, "These cases have no other known groups."));
    return;
  }
  panels(place, model, axes, "");
}

/** One panel for each axis, all of the metric that is chosen. */
function panels(place, model, axes, words) {
  const known = GROUP_METRICS.filter((name) => axes.some(({ parts }) => Object.values(parts).some((part) => isMetric(part[name]))));
  const box = el("div", { class: "panels" });
  const show = (name) => box.replaceChildren(...axes.map((axis) => panel(model, axis, name)));
  place.replaceChildren(
    el("div", { class: "controls" }, picker("Metric", known.map((name) => [name, titleOf(name)]), known[0], show)),
    words ? el("p", { class: "muted small" }, words) : "",
    box,
  );
  show(known[0]);
}

function panel(model, { title, parts, axis, roman }, name) {
  const label = (value) => (value === "unknown" ? "not known" : roman && /^[1-6](-[1-6])?$/.test(value) ? `Type ${value.split("-").map((part) => ROMAN[Number(part)]).join("–")}` : spaced(value));
  const order = ["light", "medium", "dark"];
  const values = Object.keys(parts).sort((a, b) => (a === "unknown") - (b === "unknown")
    || (order.includes(a) && order.includes(b) ? order.indexOf(a) - order.indexOf(b) : a.localeCompare(b, "en", { numeric: true })));
  const whole = model.metrics[name];
  const mark = isMetric(whole) && whole.value !== null && isShare(name) ? { value: whole.value, words: "whole set" } : null;
  const rows = values.map((value) => ({ label: label(value), metric: parts[value][name], look: value === "unknown" ? "control" : "main" }));
  return el(
    "section",
    { class: "panel" },
    el("h3", {}, title),
    el("div", { class: "scroll" }, forest(titleOf(name), rows, { mark, first: "Group" })),
    gapOf(model.metrics.fairness?.[axis], name, label),
  );
}

/** Worst and best group, the mean, and the gap beside the gap that chance gives to groups of these sizes. */
function gapOf(block, name, label) {
  if (!block) return null;
  const found = block.metrics?.[name];
  const left = (block.left_out ?? []).map((one) => `${label(one.value)} (${plural(one.groups, "patient")})`);
  const lines = [];
  if (found) {
    const { best, worst, gap, mean } = found;
    const chance = found.null;
    lines.push(["Worst group", `${label(worst.group)}: ${shown(worst)} %`], ["Best group", `${label(best.group)}: ${shown(best)} %`],
      ["Mean of the groups", `${shown(mean)} %`], ["Gap", `${shown(gap)} points`]);
    if (chance) {
      lines.push(["By chance alone", `groups of these sizes dealt at random differ by ${percent(chance.mean)} points on average, `
        + `by less than ${percent(chance.high)} in 95 of 100; p = ${chance.p < 0.001 ? "< 0.001" : chance.p.toFixed(3)}`]);
    }
    if (isMetric(found.score)) lines.push(["Score, 1 − (max − min) / max", shown(found.score)]);
  }
  const equal = block.equal_opportunity;
  if (equal && name === "malignancy_sensitivity") lines.push(["Equal opportunity difference", `${shown(equal.difference)} points, groups of at least 20 malignant cases`]);
  if (left.length) lines.push(["Too few patients to compare", left.join(", ")]);
  return lines.length ? el("dl", { class: "facts" }, lines.map(([word, text]) => [el("dt", {}, word), el("dd", {}, text)])) : null;
}
