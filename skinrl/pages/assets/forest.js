// Values with their intervals on one axis, as a table that reads well without the picture.

const UNITS = { mistake_severity: "levels" };

const TITLES = {
  accuracy: "Accuracy, greedy",
  accuracy_sampled: "Accuracy, sampled",
  accuracy_answered: "Accuracy of given answers",
  accuracy_top_3: "Right among the first 3",
  accuracy_top_5: "Right among the first 5",
  balanced_accuracy: "Balanced accuracy",
  macro_f1: "Macro F1",
  hierarchical_precision: "Hierarchical precision",
  hierarchical_recall: "Hierarchical recall",
  hierarchical_f1: "Hierarchical F1",
  mistake_severity: "Severity of mistakes",
  malignancy_sensitivity: "Malignancy, sensitivity",
  malignancy_specificity: "Malignancy, specificity",
  malignancy_ppv: "Malignancy, PPV",
  self_consistency: "Self-consistency",
  abstained_share: "Undetermined",
  invalid_share: "Unreadable",
  truncated_share: "Cut short",
  unresolved_share: "Names no node",
  no_image: "without the image",
  wrong_image: "with another patient's image",
  shuffled_options: "options in another order",
  metadata_only: "from the patient's data alone",
  label_prior: "best guess without looking",
};

/** Words for a metric or a control. */
function titleOf(name) {
  if (TITLES[name]) return TITLES[name];
  const level = name.match(/^accuracy_level_(\d+)$/);
  if (level) return `Right at level ${level[1]} of the tree`;
  const sampled = name.match(/^(invalid|truncated|unresolved|abstained)_share_sampled$/);
  if (sampled) return `${TITLES[`${sampled[1]}_share`]}, sampled`;
  const pass = name.match(/^pass_at_(\d+)$/);
  if (pass) return `Right in one of ${pass[1]} samples`;
  const sure = name.match(/^(ece|brier|aurc)_(.+)$/);
  if (sure) return `${{ ece: "Calibration error", brier: "Brier score", aurc: "Area under risk and coverage" }[sure[1]]}, ${spaced(sure[2])}`;
  return capital(spaced(name));
}

const isShare = (name) => !UNITS[name];

/** `72.0 % [67.8, 76.1]`, with the unit of the metric. */
function written(name, metric) {
  if (!isMetric(metric) || metric.value === null) return "–";
  return `${shown(metric, { share: isShare(name) })}${isShare(name) ? " %" : ` ${UNITS[name]}`}`;
}

/** The value, and its bounds in a part of their own: on a phone they stand below it. */
function valueAndBounds(text) {
  const cut = text.indexOf(" [");
  return cut < 0 ? [text] : [text.slice(0, cut), " ", el("span", { class: "interval" }, text.slice(cut + 1))];
}

/**
 * A table of rows {label, metric, n, look} with each value drawn on an axis from 0 to 100 %.
 * look: "main", "control" or nothing; mark: {value, words}, a line across all rows.
 */
function forest(caption, rows, { mark = null, first = "", counts = "Cases" } = {}) {
  const place = (share) => `${Math.min(100, Math.max(0, share * 100)).toFixed(2)}%`;
  const track = (metric) => {
    const parts = [];
    if (mark !== null) parts.push(el("span", { class: "mark", style: `left:${place(mark.value)}` }));
    if (isMetric(metric) && metric.value !== null) {
      if (metric.low !== null && metric.low !== undefined) {
        const width = place(metric.high - metric.low);
        parts.push(el("span", { class: "range", style: `left:${place(metric.low)};width:${width}` }));
      }
      parts.push(el("span", { class: "dot", style: `left:${place(metric.value)}` }));
    }
    return el("div", { class: "track" }, parts);
  };
  const ticks = [0, 25, 50, 75, 100].map((at) => el("span", { style: `left:${at}%` }, String(at)));
  return el(
    "table",
    { class: "forest" },
    el("caption", {}, caption, mark ? el("span", { class: "key" }, el("span", { class: "mark" }), ` ${mark.words}`) : null),
    el(
      "thead",
      {},
      el(
        "tr",
        {},
        el("th", { scope: "col" }, first || el("span", { class: "hidden" }, "What")),
        counts ? el("th", { scope: "col", class: "count" }, counts) : null,
        el("td", { class: "picture", "aria-hidden": "true" }, el("div", { class: "ticks" }, ticks)),
        el("th", { scope: "col", class: "value" }, "% [95 % interval]"),
      ),
    ),
    el(
      "tbody",
      {},
      rows.map((row) =>
        el(
          "tr",
          { class: row.look || null },
          el("th", { scope: "row" }, row.label, row.note ? el("span", { class: "note" }, row.note) : null),
          counts ? el("td", { class: "count" }, row.metric ? number(row.metric.n) : "–") : null,
          el("td", { class: "picture", "aria-hidden": "true" }, track(row.metric)),
          el("td", { class: "value" }, valueAndBounds(shown(row.metric))),
        ),
      ),
    ),
  );
}
