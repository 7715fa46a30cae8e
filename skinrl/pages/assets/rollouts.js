// The pages of rollouts: curves that tell the step under the pointer, keys, images in large, marked words.

const jump = document.getElementById("jump");

function goTo(step) {
  if (jump && Number.isInteger(step)) location.href = jump.dataset.base + step;
}

if (jump) {
  jump.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && jump.value && jump.reportValidity()) goTo(Number(jump.value));
  });
}

// Curves: all show the same step at once; a click opens it.

function nearest(points, step) {
  return points.reduce((best, one) => (Math.abs(one[0] - step) < Math.abs(best[0] - step) ? one : best));
}

function placeCursors(step) {
  for (const figure of document.querySelectorAll(".chart")) {
    const drawn = figure.querySelector("svg");
    const cursor = figure.querySelector(".cursor");
    const output = figure.querySelector("output");
    cursor.toggleAttribute("hidden", step === null);
    figure.classList.toggle("reading", step !== null);
    if (step === null) {
      output.textContent = output.dataset.last;
      continue;
    }
    const [first, last, left, right] = JSON.parse(drawn.dataset.range);
    const [at, value] = nearest(JSON.parse(drawn.dataset.points), step);
    const x = left + ((at - first) / (last - first || 1)) * (right - left);
    cursor.setAttribute("x1", x);
    cursor.setAttribute("x2", x);
    const words = drawn.dataset.form === "share" ? `${percent(value)}%` : String(Number(value.toPrecision(3)));
    output.textContent = `${words} at ${at}`;
  }
}

function stepUnder(event) {
  const drawn = event.target.closest(".chart svg");
  if (!drawn) return null;
  const [first, last, left, right, width] = JSON.parse(drawn.dataset.range);
  const box = drawn.getBoundingClientRect();
  const share = (((event.clientX - box.left) / box.width) * width - left) / (right - left);
  return nearest(JSON.parse(drawn.dataset.points), first + share * (last - first))[0];
}

document.addEventListener("pointermove", (event) => {
  const step = stepUnder(event);
  if (step !== null) placeCursors(step);
  else if (document.querySelector(".chart.reading")) placeCursors(null);
});
document.addEventListener("click", (event) => {
  const step = stepUnder(event);
  if (step !== null) goTo(step);
});

// An image in large.

const large = document.getElementById("large");
if (large) {
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button.image");
    if (!button) return;
    const source = button.querySelector("img").getAttribute("src");
    const shown = document.getElementById("large-image");
    shown.src = source.startsWith("data:") ? source : `${source}?large=1`;
    shown.alt = button.dataset.words;
    document.getElementById("large-words").textContent = button.dataset.words;
    large.showModal();
  });
  document.getElementById("close").addEventListener("click", () => large.close());
  large.addEventListener("click", (event) => event.target === large && large.close());
}

// A file that is gone or no image.

document.addEventListener(
  "error",
  (event) => {
    const button = event.target.tagName === "IMG" && event.target.closest("button.image");
    if (button) button.replaceWith(el("p", { class: "small muted" }, "This image cannot be shown: its file is gone, or is none."));
  },
  true,
);

// Words that the best completion of the group does not have.

const words = (text) => text.split(/(\s+)/);

function mark(group, on) {
  const texts = [...group.querySelectorAll(".rollout pre")];
  const best = new Set(texts.length ? words(texts[0].textContent) : []);
  for (const pre of texts) {
    for (const old of pre.querySelectorAll("mark")) old.replaceWith(old.textContent);
    pre.normalize();
    if (!on || pre === texts[0]) continue;
    const walker = document.createTreeWalker(pre, NodeFilter.SHOW_TEXT);
    const nodes = [];
    while (walker.nextNode()) nodes.push(walker.currentNode);
    for (const node of nodes) {
      const parts = words(node.textContent).map((one) => (one.trim() && !best.has(one) ? el("mark", {}, one) : one));
      node.replaceWith(...parts);
    }
  }
}

const differ = document.getElementById("differ");
if (differ) {
  differ.addEventListener("click", () => {
    const on = differ.getAttribute("aria-pressed") !== "true";
    differ.setAttribute("aria-pressed", String(on));
    for (const group of document.querySelectorAll(".group")) mark(group, on);
  });
}

// Keys: the step before and after.

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea, .columns, dialog")) return;
  const link = { ArrowLeft: "prev", p: "prev", ArrowRight: "next", n: "next" }[event.key];
  const there = link && document.querySelector(`a[rel="${link}"]`);
  if (there) there.click();
});

// A run at work: the page follows it while nobody is reading a part of it.

if (DATA && DATA.state) {
  let known = DATA.state;
  setInterval(async () => {
    const live = document.getElementById("live");
    if (document.hidden || live.contains(document.activeElement) || live.matches(":hover")) return;
    try {
      const state = await (await fetch("state.json", { cache: "no-store" })).text();
      if (state === known) return;
      const text = await (await fetch(location.href, { cache: "no-store" })).text();
      const fresh = new DOMParser().parseFromString(text, "text/html");
      for (const id of ["head", "live"]) document.getElementById(id).replaceWith(fresh.getElementById(id));
      known = state;
    } catch {
      // the server has ended; the page stays as it is
    }
  }, 4000);
}
