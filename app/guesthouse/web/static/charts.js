// Charts of one guest's calls and latencies: axes, and the values of a moment under the pointer or by the arrow keys.

import { count, el, fill, ms, whole } from "./draw.js";

const SVG = "http://www.w3.org/2000/svg";
const HEIGHTS = { calls: 56, latency: 64 }; // pixels

function svg(tag, attributes) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

/** The next of 1, 2, 5, 10, 20, 50 … that is no less. */
function round(value) {
  const unit = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * unit).find((step) => step >= value * (1 - 1e-9)) ?? 10 * unit;
}

/** How far back a step is, in words. */
function back(seconds) {
  if (!seconds) return "now";
  const minutes = Math.floor(seconds / 60);
  return `${[minutes && `${minutes} min`, seconds % 60 && `${seconds % 60} s`].filter(Boolean).join(" ")} ago`;
}

/** Calls and latencies over the same time, with one cursor. `element` is put into the page once; `update` draws it. */
export class Traffic {
  #calls = new Plot("calls");
  #latency = new Plot("latency");
  #readout = el("p", { class: "readout" });
  #series = null;
  #step = 5;
  #at = null; // the step that the cursor is on
  #drawn = "";

  constructor(guest) {
    const plots = el("div", { class: "plots" }, this.#calls.element, this.#latency.element);
    this.slider = el("div", { class: "traffic", role: "slider", tabindex: "0", "aria-orientation": "horizontal" }, plots);
    this.slider.setAttribute("aria-label", `Calls and latency of ${guest} over time`);
    this.element = el("figure", { class: "chart" }, el("figcaption", {}, this.#readout, key()), this.slider);
    const area = this.#calls.area;
    const under = (event) => {
      const { left, width } = area.getBoundingClientRect();
      const steps = this.#series?.calls.length ?? 0;
      this.#move(Math.min(steps - 1, Math.max(0, Math.floor(((event.clientX - left) / width) * steps))));
    };
    plots.addEventListener("pointermove", under);
    plots.addEventListener("pointerdown", under);
    plots.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && this.#move(null));
    this.slider.addEventListener("blur", () => this.#move(null));
    this.slider.addEventListener("keydown", (event) => this.#key(event));
  }

  update(series, step) {
    const drawn = JSON.stringify(series);
    if (drawn === this.#drawn) return;
    // A cursor stays where it is in time on its own: steps move under it as they do under a pointer that rests.
    [this.#drawn, this.#series, this.#step] = [drawn, series, step];
    const seconds = series.calls.length * step;
    this.slider.setAttribute("aria-valuemin", "0");
    this.slider.setAttribute("aria-valuemax", String(series.calls.length - 1));
    this.#calls.frame(round(Math.max(1, ...series.calls)), whole, seconds);
    this.#latency.frame(round(Math.max(0.1, ...series.p95.filter((value) => value !== null))), ms, seconds);
    this.#calls.bars(series.calls, series.failures);
    this.#latency.ranges(series.p50, series.p95);
    this.#move(this.#at);
  }

  #key(event) {
    const last = (this.#series?.calls.length ?? 1) - 1;
    const at = this.#at ?? last;
    const to = { ArrowLeft: at - 1, ArrowDown: at - 1, ArrowRight: at + 1, ArrowUp: at + 1, PageDown: at - 12, PageUp: at + 12, Home: 0, End: last }[event.key];
    if (to !== undefined) this.#move(Math.min(last, Math.max(0, to)));
    else if (event.key === "Escape" && this.#at !== null) this.#move(null);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  #move(at) {
    this.#at = at;
    const steps = this.#series?.calls.length ?? 0;
    for (const plot of [this.#calls, this.#latency]) plot.cursor(at, steps);
    const text = at === null ? this.#summary() : this.#values(at);
    fill(this.#readout, text);
    this.#readout.classList.toggle("at", at !== null);
    this.slider.setAttribute("aria-valuenow", String(at ?? steps - 1));
    this.slider.setAttribute("aria-valuetext", text);
  }

  #summary() {
    if (!this.#series) return "";
    const sum = (values) => values.reduce((a, b) => a + b, 0);
    const minutes = (this.#series.calls.length * this.#step) / 60;
    return `Last ${minutes} min: ${count(sum(this.#series.calls), "call")}, ${whole(sum(this.#series.failures))} failed`;
  }

  #values(at) {
    const { calls, failures, p50, p95 } = this.#series;
    const when = back((calls.length - 1 - at) * this.#step);
    const times = p50[at] === null ? "" : `, p50 ${ms(p50[at])}, p95 ${ms(p95[at])}`;
    return `${when}: ${count(calls[at], "call")}, ${whole(failures[at])} failed${times}`;
  }
}

function key() {
  const entry = (kind, text) => el("span", { class: `key ${kind}` }, text);
  return el("span", { class: "keys", "aria-hidden": "true" }, entry("calls", "calls"), entry("failures", "failed"), entry("p50", "p50"), entry("p95", "to p95"));
}

/** One plot with its axes. Positions across are parts of its width, so it fits every width without being drawn anew. */
class Plot {
  #kind;
  #most = 1;
  #axis = ["most", "middle", "least"].map(() => el("span"));
  #begin = el("span");
  #marks = svg("g", {});
  #line = svg("line", { class: "cursor", y1: 0, y2: "100%", visibility: "hidden" });

  constructor(kind) {
    this.#kind = kind;
    const height = HEIGHTS[kind];
    this.area = svg("svg", { height, width: "100%", "aria-hidden": "true", focusable: "false" });
    const grid = [0.5, height / 2, height - 0.5].map((y) => svg("line", { class: "grid", x1: 0, x2: "100%", y1: y, y2: y }));
    this.area.append(...grid, this.#marks, this.#line);
    const ends = kind === "latency" ? [el("div", { class: "x", "aria-hidden": "true" }, this.#begin, el("span", {}, "now"))] : [];
    this.element = el("div", { class: `plot ${kind}` }, el("div", { class: "y", "aria-hidden": "true" }, ...this.#axis), el("div", { class: "area" }, this.area), ...ends);
  }

  frame(most, format, seconds) {
    this.#most = most;
    const middle = this.#kind === "calls" && most % 2 ? "" : format(most / 2); // there is no half call
    [format(most), middle, "0"].forEach((text, index) => fill(this.#axis[index], text));
    fill(this.#begin, `${seconds / 60} min ago`);
  }

  #y(value) {
    const height = HEIGHTS[this.#kind];
    return height - 0.5 - (value / this.#most) * (height - 3);
  }

  bars(calls, failures) {
    const width = 100 / calls.length;
    const made = [];
    const bar = (index, from, to, kind) => {
      const [y, foot] = [this.#y(to), this.#y(from)];
      made.push(svg("rect", { class: kind, x: `${index * width + width * 0.12}%`, width: `${width * 0.76}%`, y, height: Math.max(1, foot - y) }));
    };
    calls.forEach((number, index) => {
      if (failures[index]) bar(index, 0, failures[index], "failures");
      if (number > failures[index]) bar(index, failures[index], number, "calls");
    });
    this.#marks.replaceChildren(...made);
  }

  ranges(p50, p95) {
    const middle = (index) => `${((index + 0.5) * 100) / p50.length}%`;
    const made = [];
    p50.forEach((value, index) => {
      if (value === null) return;
      const x = middle(index);
      const before = index ? p50[index - 1] : null;
      if (before !== null) made.push(svg("line", { class: "trend", x1: middle(index - 1), x2: x, y1: this.#y(before), y2: this.#y(value) }));
      made.unshift(svg("line", { class: "p95", x1: x, x2: x, y1: this.#y(p95[index]), y2: this.#y(value) }));
      made.push(svg("circle", { class: "p50", cx: x, cy: this.#y(value), r: 2.4 }));
    });
    this.#marks.replaceChildren(...made);
  }

  cursor(at, steps) {
    this.#line.setAttribute("visibility", at === null ? "hidden" : "visible");
    if (at === null) return;
    const x = `${((at + 0.5) * 100) / steps}%`;
    this.#line.setAttribute("x1", x);
    this.#line.setAttribute("x2", x);
  }
}
