"use strict";
// The page: unpacking of blocks, sorting of tables, choice of the scenario, and plots drawn when they come into view.

const find = (id) => document.getElementById(id);
const index = JSON.parse(find("index").textContent);
const darkness = matchMedia("(prefers-color-scheme: dark)");
const unpacked = new Map();

/** Text of a compressed block; kept, so that each is unpacked once. */
function unpack(id) {
  if (!unpacked.has(id)) {
    const packed = Uint8Array.from(atob(find(id).textContent), (letter) => letter.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
    unpacked.set(id, new Response(stream).text());
  }
  return unpacked.get(id);
}

/** A colour of the page, which depends on light or dark. */
function shade(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function make(tag, text = "", attributes = {}) {
  const element = document.createElement(tag);
  element.textContent = text;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

// --- tables

function sortBy(button) {
  const heading = button.closest("th");
  const table = heading.closest("table");
  const column = heading.cellIndex;
  const before = heading.getAttribute("aria-sort");
  const first = "ascending" in button.dataset ? "ascending" : "descending";
  const order = before === null ? first : before === "ascending" ? "descending" : "ascending";
  for (const other of heading.parentNode.children) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", order);
  const sign = order === "ascending" ? 1 : -1;
  const value = (row) => row.cells[column].dataset.value;
  const compare = (a, b) => {
    if (value(a) === "" || value(b) === "") return (value(a) === "") - (value(b) === "");
    return sign * (column === 0 ? value(a).localeCompare(value(b)) : value(a) - value(b));
  };
  table.tBodies[0].append(...[...table.tBodies[0].rows].sort(compare));
}

for (const button of document.querySelectorAll(".leaderboard thead button")) {
  button.addEventListener("click", () => sortBy(button));
}

// --- plots

let loading = null;

/** Plotly, unpacked when the first plot is wanted, once nothing else is to do; as a file it is parsed beside the page. */
function plotly() {
  loading ??= new Promise((resolve, reject) => {
    const load = async () => {
      const file = new Blob([await unpack("plotly")], { type: "text/javascript" });
      const script = make("script", "", { src: URL.createObjectURL(file) });
      script.addEventListener("load", () => resolve(window.Plotly));
      script.addEventListener("error", reject);
      document.head.append(script);
    };
    requestIdleCallback(load, { timeout: 1000 });
  });
  return loading;
}

/** A plot's data and layout in the colours of the page. */
function themed(spec) {
  const figure = structuredClone(spec);
  const [ink, muted, line] = ["ink", "muted", "line"].map(shade);
  for (const trace of figure.data) {
    if (trace.meta === "ink") trace.marker.line.color = ink;
    if (trace.type === "bar") trace.marker.pattern.bgcolor = shade("card");
    if (trace.type === "scatter" && trace.mode.includes("text") && !trace.textfont) trace.textfont = { color: ink };
  }
  for (const note of figure.layout.annotations ?? []) note.bgcolor = shade("card");
  const axis = { gridcolor: line, zerolinecolor: muted, linecolor: line, automargin: true, fixedrange: true };
  Object.assign(figure.layout, {
    font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: muted },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    dragmode: false,
    xaxis: { ...axis, ...figure.layout.xaxis },
    yaxis: { ...axis, ...figure.layout.yaxis },
  });
  return figure;
}

const plots = [...document.querySelectorAll(".plot")];
const inView = new Set();

async function draw(plot) {
  const view = find("view").value;
  const { figure: name, block } = plot.dataset;
  const [Plotly, text] = await Promise.all([plotly(), unpack(block ?? `figures-${view}`)]);
  if (view !== find("view").value) return;
  const content = JSON.parse(text);
  const { data, layout } = themed(name ? content[name] : content);
  await Plotly.react(plot, data, layout, { displayModeBar: false, responsive: true });
  plot.dataset.drawn = block ?? view;
}

const watcher = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (!isIntersecting) inView.delete(target);
    else {
      inView.add(target);
      if (target.dataset.drawn !== (target.dataset.block ?? find("view").value)) draw(target);
    }
  }
}, { rootMargin: "150px" });

/** Draw what is in view; the rest is drawn when it comes into view. */
function redraw() {
  for (const plot of plots) {
    if (inView.has(plot)) draw(plot);
    else delete plot.dataset.drawn;
  }
}

/** Paper does not scroll: what was never in view is drawn when there is time, and at the latest before printing. */
async function drawRest() {
  for (const plot of plots) {
    if (plot.dataset.drawn !== (plot.dataset.block ?? find("view").value)) await draw(plot);
  }
}

const whenIdle = window.requestIdleCallback ?? ((callback) => setTimeout(callback, 1000));
window.addEventListener("beforeprint", drawRest);

// --- scenario

function showView() {
  const { value, selectedOptions } = find("view");
  for (const table of document.querySelectorAll("[data-view]")) table.hidden = table.dataset.view !== value;
  for (const name of document.querySelectorAll(".of-view")) name.textContent = selectedOptions[0].textContent;
  redraw();
  whenIdle(drawRest);
}

find("view").addEventListener("change", showView);
darkness.addEventListener("change", redraw);
if (find("breakeven")) find("breakeven-link").hidden = false;
showView();
for (const plot of plots) watcher.observe(plot);
