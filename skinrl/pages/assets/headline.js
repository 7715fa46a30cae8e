// The main numbers of the chosen model with its controls beside them, and all models side by side.

const CONTROLS = ["no_image", "wrong_image", "shuffled_options", "metadata_only"];
const FORMATS = { own_format: "Greedy, in its own format", constrained: "Greedy, format enforced", option_likelihood: "Likeliest option" };
const TILES = [
  "accuracy_sampled", "hierarchical_f1", "balanced_accuracy", "accuracy_top_3", "malignancy_sensitivity",
  "malignancy_specificity", "malignancy_ppv", "mistake_severity", "abstained_share", "invalid_share",
];

function drawHeadline(place, set, model) {
  const metrics = model.metrics;
  const prior = metrics.controls?.label_prior;
  const accuracy = metrics.accuracy;
  place.replaceChildren(
    el(
      "div",
      { class: "lead" },
      el(
        "div",
        { class: "big" },
        el("p", { class: "label" }, `${model.title}: right diagnosis`),
        el("p", { class: "figure" }, percent(accuracy?.value), el("span", { class: "unit" }, " %")),
        el("p", { class: "muted" }, `${intervalWords(accuracy)}; ${plural(accuracy?.n ?? 0, "case")} ${groupsOf(metrics)}`),
        el("p", { class: "verdict" }, beyondGuess(accuracy, prior)),
      ),
      el("dl", { class: "tiles" }, TILES.filter((name) => isMetric(metrics[name])).map((name) => tile(name, metrics))),
    ),
    controlsTable(set, model, prior),
    noteList(notesOf(set, metrics)) ?? "",
  );
}

function intervalWords(metric) {
  if (!isMetric(metric) || metric.low === null || metric.low === undefined) return "No interval";
  return `95 % interval ${percent(metric.low)} to ${percent(metric.high)}`;
}

function tile(name, metrics) {
  const metric = metrics[name];
  const at = name === "malignancy_ppv" && metrics.prevalence ? ` at ${percent(metrics.prevalence.value)} % prevalence` : "";
  const value = metric.value === null ? "–" : isShare(name) ? percent(metric.value) : metric.value.toFixed(2);
  const bounds = metric.value === null ? "not defined here" : metric.low === null || metric.low === undefined ? "no interval" : shown(metric, { share: isShare(name) }).replace(/^[^[]*/, "");
  return el(
    "div",
    {},
    el("dt", {}, titleOf(name) + at),
    el("dd", {}, el("strong", {}, value), metric.value === null ? null : el("span", { class: "unit" }, isShare(name) ? " %" : ` ${UNITS[name]}`),
      el("span", { class: "bounds" }, bounds)),
  );
}

function groupsOf(metrics) {
  const kinds = Object.keys(metrics.group_kinds ?? {});
  return metrics.groups === undefined ? "" : `of ${plural(metrics.groups, kinds.length === 1 ? kinds[0] : "group")}`;
}

function beyondGuess(accuracy, prior) {
  if (!isMetric(accuracy) || !isMetric(prior) || prior.value === null || accuracy.value === null) return "";
  const guess = `the best guess without looking, ${percent(prior.value)} %`;
  if (accuracy.low === null || accuracy.low === undefined) return `For comparison: ${guess}.`;
  return accuracy.low > prior.value ? `Its interval lies above ${guess}.` : `Not shown to be above ${guess}.`;
}

/** The model's accuracy, then each control on the cases it was asked on, then classifiers on the same split. */
function controlsTable(set, model, prior) {
  const metrics = model.metrics;
  const rows = [];
  const add = (label, metric, look = null, note = null) => isMetric(metric) && rows.push({ label, metric, look, note });
  add("Sampled at temperature 1", metrics.accuracy_sampled, "main");
  add("Greedy", metrics.accuracy, "main");
  for (const name of CONTROLS) {
    const control = metrics.controls?.[name];
    const same = metrics.controls_paired?.[name]?.model;
    const asked = isMetric(same) && isMetric(control) && same.n !== metrics.accuracy?.n;
    if (asked && !rows.some((row) => row.metric.n === same.n && row.metric.value === same.value)) add(`Greedy, on the ${number(same.n)} cases of the controls`, same, "main");
    const paired = metrics.controls_paired?.[name];
    const note = isMetric(paired?.difference) ? `the whole question is ahead by ${shown(paired.difference)} points, paired` : null;
    add(capital(titleOf(name)), control, "control", note);
  }
  add(capital(titleOf("label_prior")), prior, "control");
  for (const [name, found] of Object.entries(metrics.formats ?? {})) {
    add(FORMATS[name] ?? capital(spaced(name)), found.accuracy, null, isMetric(found.strict) ? `as asked for, on the same cases: ${written("accuracy", found.strict)}` : null);
  }
  if (metrics.judge) {
    add(`Judged by ${metrics.judge.model}`, metrics.judge.accuracy, null, [
      isMetric(metrics.judge.agreement) ? `agrees with the taxonomy in ${written("accuracy", metrics.judge.agreement)}` : "",
      metrics.judge.missing ? `missing: ${metrics.judge.missing}` : "",
    ].filter(Boolean).join("; ") || null);
  }
  for (const [name, found] of Object.entries(set.baselines)) {
    add(`Classifier: ${spaced(name.replace(/^probe_/, "")).replace("timm ", "timm, ")}`, found.accuracy, "control");
  }
  const mark = isMetric(prior) && prior.value !== null ? { value: prior.value, words: "best guess without looking" } : null;
  return el("div", { class: "scroll" }, forest(`Accuracy of ${model.title} and what the same questions give without seeing`, rows, { mark }));
}

/** What a reader must know of this set before believing an interval. */
function notesOf(set, metrics) {
  const notes = [...set.notes];
  const unknown = Object.entries(metrics.group_kinds ?? {}).filter(([kind]) => kind !== "patient");
  for (const [kind, count] of unknown) {
    notes.push(`For ${plural(count, "case")} the patient is not known: each ${kind} counts as one patient, so the intervals are too narrow.`);
  }
  if (metrics.cases_without_gold) notes.push(`${plural(metrics.cases_without_gold, "case")} without a diagnosis in the tree: not scored.`);
  if (metrics.small_groups?.length) notes.push(`${plural(metrics.small_groups.length, "part")} of the set have fewer than 5 patients: their numbers say little.`);
  if (metrics.slices_left_out?.length) notes.push(`Not split by ${metrics.slices_left_out.join(", ")}: too many values.`);
  const overlap = metrics.contamination;
  if (overlap?.cases) {
    const without = overlap.without?.accuracy;
    notes.push(`${plural(overlap.cases, "case")} resemble or share a patient with training data; accuracy without them: ${written("accuracy", without)}.`);
  } else if (overlap) {
    notes.push(`No case resembles a training image or shares a patient with one (${number(overlap.training_images)} images compared).`);
  }
  return notes;
}

function noteList(notes) {
  return notes.length ? el("ul", { class: "notes" }, notes.map((note) => el("li", {}, note))) : null;
}

// --- all models ------------------------------------------------------------------------------------------------------

function drawComparison(place, set) {
  const rows = [];
  for (const model of set.models) {
    const before = rows.length;
    for (const [name, words] of [["accuracy_sampled", "sampled"], ["accuracy", "greedy"]]) {
      if (isMetric(model.metrics[name])) rows.push({ label: `${model.title}, ${words}`, metric: model.metrics[name], look: name === "accuracy" ? "main" : null });
    }
    const blind = model.metrics.controls?.no_image;
    if (isMetric(blind)) rows.push({ label: `${model.title}, without the image`, metric: blind, look: "control" });
    if (rows[before]) rows[before].look = `${rows[before].look ?? ""} first`;
  }
  const prior = set.models.at(-1).metrics.controls?.label_prior;
  const mark = isMetric(prior) && prior.value !== null ? { value: prior.value, words: "best guess without looking" } : null;
  place.replaceChildren(
    el("div", { class: "scroll" }, forest("Accuracy of every model on the same cases", rows, { mark, first: "Model" })),
    el("h3", {}, "All metrics"),
    metricsTable(set),
    el("h3", {}, "Paired differences"),
    differenceTable(set),
    ...seedsTable(),
  );
}

function metricsTable(set) {
  const names = [...new Set(set.models.flatMap((model) => Object.keys(model.metrics).filter((name) => isMetric(model.metrics[name]))))];
  const columns = [...set.models, ...Object.entries(set.baselines).map(([name, metrics]) => ({ title: spaced(name), metrics }))];
  return el(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": "All metrics of every model" },
    el(
      "table",
      { class: "wide-table" },
      el("caption", {}, "Percent with 95 % interval by bootstrap over patients; severity in levels of the tree."),
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Metric"), columns.map((one) => el("th", { scope: "col" }, one.title)))),
      el("tbody", {}, names.map((name) =>
        el("tr", {}, el("th", { scope: "row" }, titleOf(name)), columns.map((one) => el("td", {}, shown(one.metrics[name], { share: isShare(name) })))))),
    ),
  );
}

function differenceTable(set) {
  const pairs = Object.entries(set.difference);
  if (!pairs.length) return el("p", { class: "muted" }, "Only one model was evaluated on these cases.");
  const names = ["accuracy_sampled", "accuracy", "hierarchical_f1", "malignancy_sensitivity", "malignancy_specificity"]
    .filter((name) => pairs.some(([, metrics]) => isMetric(metrics[name])));
  const titles = Object.fromEntries(set.models.map((model) => [model.name, model.title]));
  const words = (pair) => {
    const cut = pair.split("-");
    return cut.length === 2 && titles[cut[0]] && titles[cut[1]] ? `${titles[cut[0]]} − ${titles[cut[1]]}` : pair;
  };
  const sure = (metric) => isMetric(metric) && metric.low !== null && metric.low !== undefined && (metric.low > 0 || metric.high < 0);
  return el(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": "Paired differences" },
    el(
      "table",
      { class: "wide-table" },
      el("caption", {}, "Points with 95 % interval, both models on the same cases and the same resamples. Bold: the interval leaves out 0. No correction for looking at many."),
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Difference"), names.map((name) => el("th", { scope: "col" }, titleOf(name))))),
      el("tbody", {}, pairs.map(([pair, metrics]) =>
        el("tr", {}, el("th", { scope: "row" }, words(pair)), names.map((name) =>
          el("td", {}, el(sure(metrics[name]) ? "strong" : "span", {}, shown(metrics[name], { signed: true }))))))),
    ),
  );
}

function seedsTable() {
  const seeds = DATA.seeds;
  if (!seeds?.models) return [];
  const names = ["accuracy_sampled", "accuracy", "hierarchical_f1", "malignancy_sensitivity"]
    .filter((name) => Object.values(seeds.models).some((metrics) => isMetric(metrics[name])));
  const cell = (metric) => isMetric(metric)
    ? el("td", {}, shown(metric), metric.runs ? el("span", { class: "note" }, metric.runs.map((one) => percent(one)).join(", ")) : null)
    : el("td", {}, "–");
  return [
    el("h3", {}, "Over seeds"),
    el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Over seeds" },
      el("table", { class: "wide-table" },
        el("caption", {}, `Mean over ${plural(seeds.runs.length, "run")} (${seeds.runs.join(", ")}), with each run's value.`,
          seeds.same_cases === false ? " The runs were asked different cases." : ""),
        el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Model"), names.map((name) => el("th", { scope: "col" }, titleOf(name))))),
        el("tbody", {}, Object.entries(seeds.models).map(([model, metrics]) =>
          el("tr", {}, el("th", { scope: "row" }, model), names.map((name) => cell(metrics[name]))))))),
  ];
}
