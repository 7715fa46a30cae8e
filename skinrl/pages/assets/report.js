// The page itself: which set and model is shown, and its sections.

const chosen = { set: 0, model: DATA.sets[0].models.length - 1 };
const currentSet = () => DATA.sets[chosen.set];
const currentModel = () => currentSet().models[chosen.model];

const SECTIONS = [
  ["headline", "Results", drawHeadline, ""],
  ["models", "Models", drawComparison, ""],
  ["tree", "Tree", drawTree, "Every ring is one level of the taxonomy; a case counts at its diagnosis and at every class above it. Choose a segment to look inside."],
  ["confusion", "Confusion", drawConfusion, ""],
  ["tones", "Skin tone", drawTones, "Small groups differ by chance: read each value with its interval and n."],
  ["groups", "Groups", drawGroups, ""],
  ["calibration", "Confidence", drawCalibration, ""],
  ["mistakes", "Examples", drawMistakes, ""],
  ["cases", "All cases", drawCases, "Choose a case to see its image and what every model wrote."],
];
const LONG = { headline: "Results", models: "Comparison of models", tree: "Accuracy over the tree", confusion: "What is mistaken for what", tones: "By skin tone", groups: "By other groups", calibration: "Confidence", mistakes: "Examples", cases: "All cases" };

function redraw(id) {
  DATA.nodes = currentSet().nodes;
  const [, , draw] = SECTIONS.find(([key]) => key === id);
  draw(document.getElementById(`${id}-body`), currentSet(), currentModel());
}

function redrawAll() {
  for (const [id] of SECTIONS) redraw(id);
}

function say(text) {
  document.getElementById("said").textContent = text;
}

function choices() {
  const box = document.getElementById("choice");
  const sets = DATA.sets.map((set, index) => [String(index), set.title]);
  const models = currentSet().models.map((model, index) => [String(index), model.title]);
  box.replaceChildren(
    ...[
      DATA.sets.length > 1 ? picker("Questions", sets, String(chosen.set), (value) => {
        const name = currentModel().name;
        chosen.set = Number(value);
        const same = currentSet().models.findIndex((model) => model.name === name);
        chosen.model = same >= 0 ? same : currentSet().models.length - 1;
        Object.assign(table, { tone: "", source: "", gold: null, answer: null, at: 0 });
        choices();
        redrawAll();
        document.getElementById("choose-set").focus();
      }, { id: "choose-set" }) : null,
      picker("Model", models, String(chosen.model), (value) => {
        chosen.model = Number(value);
        table.at = 0;
        redrawAll();
        say(`Shown: ${currentModel().title}`);
      }, { id: "choose-model" }),
    ].filter(Boolean),
  );
}

document.getElementById("title").textContent = DATA.title;
document.getElementById("facts").textContent = DATA.facts;
document.getElementById("made").textContent = DATA.made;
document.getElementById("notes").replaceChildren(noteList(DATA.notes) ?? "");
document.getElementById("sections").replaceChildren(...SECTIONS.map(([id, words]) => el("li", {}, el("a", { href: `#${id}` }, words))));
document.querySelector("main").append(...SECTIONS.map(([id, , , words]) =>
  el("section", { id, "aria-labelledby": `${id}-title` }, el("h2", { id: `${id}-title`, tabindex: "-1" }, LONG[id]), words ? el("p", { class: "muted" }, words) : null, el("div", { id: `${id}-body` }))));
const preferred = currentSet().models.findIndex((model) => model.name === "grpo");
if (preferred >= 0) chosen.model = preferred;
choices();
redrawAll();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => ["tree", "confusion"].forEach(redraw));
document.getElementById("case").addEventListener("click", (event) => {
  if (event.target === event.currentTarget) event.currentTarget.close();
});
