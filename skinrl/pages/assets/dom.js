// What every page's script uses. Text from data becomes text nodes: nothing a model wrote is ever read as HTML.

const DATA = JSON.parse(document.getElementById("data").textContent);
const SVG = "http://www.w3.org/2000/svg";

/** An element: attributes by name (`on...`: a listener, null or false: left out), then children, nested as may be. */
function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

const isMetric = (one) => one !== null && typeof one === "object" && "value" in one && "n" in one;

/** A share as percent with one decimal, without the sign. */
function percent(share, digits = 1) {
  if (share === null || share === undefined) return "–";
  const text = (share * 100).toFixed(digits);
  return text === "100.0" ? "100" : text === "-0.0" ? "0.0" : text;
}

const number = (count) => Number(count).toLocaleString("en-US");
const plural = (count, one, many = `${one}s`) => `${number(count)} ${count === 1 ? one : many}`;
const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
const spaced = (name) => name.replaceAll("_", " ");

/** `72.0 [67.8, 76.1]`, in percent; a metric that is no share in its own unit. */
function shown(metric, { share = true, signed = false } = {}) {
  if (!isMetric(metric) || metric.value === null) return "–";
  const write = (value) => {
    const text = share ? percent(value) : value.toFixed(2);
    return signed && value > 0 && Number(text) !== 0 ? `+${text}` : text.replace("-", "−");
  };
  const bounds = metric.low === null || metric.low === undefined ? "" : ` [${write(metric.low)}, ${write(metric.high)}]`;
  return write(metric.value) + bounds;
}

/** A labelled select; `choose` gets the chosen value. Options: [value, words]. */
function picker(words, options, value, choose, attributes = {}) {
  const list = el(
    "select",
    { ...attributes, onchange: (event) => choose(event.target.value) },
    options.map(([key, text]) => el("option", { value: key, selected: key === value }, text)),
  );
  return el("label", {}, words, list);
}
