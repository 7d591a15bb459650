// Elements, numbers and small charts: what the parts of the page are drawn with. Text only ever becomes text.

/** An element: `tag`, its attributes, its children (elements or text; null and "" are left out). */
export function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return made;
}

const SVG = "http://www.w3.org/2000/svg";

function svg(tag, attributes, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

const percentFormat = new Intl.NumberFormat("en", { style: "percent", minimumFractionDigits: 1, maximumFractionDigits: 1 });
const wholeFormat = new Intl.NumberFormat("en");

export const percent = (part) => percentFormat.format(part);
export const whole = (number) => wholeFormat.format(number);

/** Milliseconds for people: three digits at most. */
export function ms(value) {
  if (value === null || value === undefined) return "–";
  if (value >= 10000) return `${(value / 1000).toFixed(0)}\u00a0s`;
  if (value >= 1000) return `${(value / 1000).toFixed(1)}\u00a0s`;
  if (value >= 10) return `${value.toFixed(0)}\u00a0ms`;
  return `${value.toFixed(value >= 0.1 || value === 0 ? 1 : 2)}\u00a0ms`;
}

export function bytes(count) {
  if (count >= 1 << 20) return `${(count / (1 << 20)).toFixed(1)} MiB`;
  return count >= 1024 ? `${(count / 1024).toFixed(0)} KiB` : `${count} bytes`;
}

/** How long ago, in the largest unit that says enough. */
export function ago(seconds) {
  if (seconds < 5) return "just now";
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  return `${Math.floor(seconds / 3600)} h ago`;
}

export function duration(seconds) {
  if (seconds < 120) return `${Math.floor(seconds)} s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min`;
  return seconds < 172800 ? `${Math.floor(seconds / 3600)} h` : `${Math.floor(seconds / 86400)} days`;
}

/** Text with what stands in `backticks` as code. */
export function marked(text) {
  return text.split("`").map((part, index) => (index % 2 ? el("code", {}, part) : part));
}

/** A fault as the API tells it: what happened, and what to do. */
export function faultBox(fault) {
  return el(
    "div",
    { class: "fault", role: "alert" },
    el("strong", {}, fault.title),
    el("p", {}, fault.guest ? `${fault.text} (${fault.reason})` : fault.text),
    el("p", { class: "remedy" }, ...marked(fault.remedy)),
  );
}

/** What a guest replied, where it is a list of labels: [{label, probability}], or null. */
export function labelsOf(text) {
  try {
    const found = JSON.parse(text);
    const fits = (one) => one && typeof one.label === "string" && Number.isFinite(one.probability);
    return Array.isArray(found) && found.length && found.every(fits) ? found : null;
  } catch {
    return null;
  }
}

export function labelBars(labels) {
  return el(
    "ol",
    { class: "labels" },
    ...labels.slice(0, 8).map(({ label, probability }) => {
      const fill = el("div", { class: "fill" });
      fill.style.width = `${Math.min(100, Math.max(0, probability * 100))}%`;
      const track = el("div", { class: "track", "aria-hidden": "true" }, fill);
      return el("li", {}, el("span", {}, label), el("span", {}, percent(probability)), track);
    }),
  );
}

/** A bar of parts ([name, milliseconds]), each in its own colour. */
export function stack(parts) {
  const whole = parts.reduce((sum, [, value]) => sum + value, 0);
  const spans = parts
    .filter(([, value]) => value > 0)
    .map(([name, value]) => {
      const span = el("span", { class: `is-${name}` });
      span.style.flexGrow = String(value / whole);
      return span;
    });
  return el("div", { class: "stack", "aria-hidden": "true" }, ...spans);
}

/** A figure with a chart in it. `text` says for those who do not see it what it shows. */
function figure(title, right, text, drawing) {
  drawing.setAttribute("role", "img");
  drawing.setAttribute("aria-label", text);
  return el("figure", { class: "chart" }, el("figcaption", {}, el("span", {}, title), el("span", {}, right)), drawing);
}

const WIDTH = 240;
const HEIGHT = 48;

function canvas() {
  return svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none" });
}

/** Calls in each step of time, the failed ones at the foot of each bar. */
export function callsChart(calls, failures, step) {
  const drawing = canvas();
  const most = Math.max(1, ...calls);
  const width = WIDTH / calls.length;
  const bar = (index, from, count, kind) => {
    const height = (count / most) * (HEIGHT - 2);
    const y = HEIGHT - (from / most) * (HEIGHT - 2) - height;
    drawing.append(svg("rect", { class: kind, x: index * width + 0.4, width: width - 0.8, y, height }));
  };
  calls.forEach((count, index) => {
    if (failures[index]) bar(index, 0, failures[index], "failures");
    if (count > failures[index]) bar(index, failures[index], count - failures[index], "calls");
  });
  const sum = calls.reduce((a, b) => a + b, 0);
  const failed = failures.reduce((a, b) => a + b, 0);
  const minutes = (calls.length * step) / 60;
  const text = `Calls in the last ${minutes} minutes: ${sum}, of which ${failed} failed`;
  return figure(`Calls, last ${minutes} min`, `most: ${whole(most)} in ${step} s`, text, drawing);
}

/** Percentiles of latency in each step of time (milliseconds, null where there was no call). */
export function latencyChart(p50, p95) {
  const drawing = canvas();
  const most = Math.max(...p95.filter((value) => value !== null), 0.001);
  const width = WIDTH / p50.length;
  const y = (value) => HEIGHT - 3 - (value / most) * (HEIGHT - 6);
  for (const [kind, values] of [["95", p95], ["50", p50]]) {
    for (const run of runs(values)) {
      const points = run.map(([index, value]) => [(index + 0.5) * width, y(value)]);
      if (points.length > 1) {
        drawing.append(svg("polyline", { class: `p${kind}`, points: points.map((point) => point.join(",")).join(" ") }));
      } else {
        drawing.append(svg("rect", { class: `dot${kind}`, x: points[0][0] - 2, y: points[0][1] - 2, width: 4, height: 4 }));
      }
    }
  }
  const text = `Latency over time: the 95th percentile is ${ms(most)} at most`;
  return figure("Latency: p50, p95 (grey)", `most: ${ms(most)}`, text, drawing);
}

/** Stretches without a gap: lists of [index, value]. */
function runs(values) {
  const found = [];
  values.forEach((value, index) => {
    if (value === null) return;
    const last = found.at(-1);
    if (last && last.at(-1)[0] === index - 1) last.push([index, value]);
    else found.push([[index, value]]);
  });
  return found;
}
