// Elements, texts and numbers: what the parts of the page are drawn with. Text only ever becomes text.

// What would steer a terminal, hide, or turn the direction of what follows: controls (all but tab and line feed), marks
// of direction, what has no width, and what is no character.
const UNSAFE = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]/gu;

/** Text with everything shown that could not be seen, or would move what stands beside it: U+202E as ⟨202E⟩. */
export function safe(text) {
  return String(text).replace(UNSAFE, (char) => `⟨${char.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`);
}

/** An element: `tag`, its attributes, its children (elements or text; null and "" are left out). */
export function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : safe(value));
  }
  return fill(made, ...children);
}

/** Replace what is in an element; nothing is touched where it is the same text already. */
export function fill(element, ...children) {
  const kept = children.filter((child) => child !== null && child !== undefined && child !== "");
  const texts = kept.every((child) => !(child instanceof Node));
  const text = texts ? kept.map(safe).join("") : "";
  if (texts && !element.childElementCount && element.textContent === text) return element;
  element.replaceChildren(...kept.map((child) => (child instanceof Node ? child : safe(child))));
  return element;
}

const percentFormat = new Intl.NumberFormat("en", { style: "percent", minimumFractionDigits: 1, maximumFractionDigits: 1 });
const wholeFormat = new Intl.NumberFormat("en");

export const percent = (part) => percentFormat.format(part);
export const whole = (number) => wholeFormat.format(number);
export const count = (number, what, many = `${what}s`) => `${whole(number)} ${number === 1 ? what : many}`;

/** Milliseconds for people: three digits at most. */
export function ms(value) {
  if (value === null || value === undefined) return "–";
  if (value >= 10000) return `${(value / 1000).toFixed(0)}\u00a0s`;
  if (value >= 1000) return `${(value / 1000).toFixed(1)}\u00a0s`;
  if (value >= 10) return `${value.toFixed(0)}\u00a0ms`;
  return `${value.toFixed(value >= 0.1 || value === 0 ? 1 : 2)}\u00a0ms`;
}

export function bytes(count) {
  if (count >= 1 << 30) return `${(count / (1 << 30)).toFixed(1)}\u00a0GiB`;
  if (count >= 1 << 20) return `${(count / (1 << 20)).toFixed(1)}\u00a0MiB`;
  return count >= 1024 ? `${(count / 1024).toFixed(0)}\u00a0KiB` : `${whole(count)}\u00a0${count === 1 ? "byte" : "bytes"}`;
}

/** How long ago, in the largest unit that says enough. */
export function ago(seconds) {
  if (seconds < 5) return "just now";
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86400)} days ago`;
}

export function duration(seconds) {
  if (seconds < 120) return `${Math.floor(seconds)} s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min`;
  return seconds < 172800 ? `${Math.floor(seconds / 3600)} h` : `${Math.floor(seconds / 86400)} days`;
}

export const now = () => Date.now() / 1000;

/** A time of day (seconds since 1970), to be read by people and programs. */
export function time(at) {
  const date = new Date(at * 1000);
  return el("time", { datetime: date.toISOString() }, date.toLocaleString());
}

/** How long ago a time was; `tick` says it anew. */
export function since(at) {
  const date = new Date(at * 1000);
  return el("time", { datetime: date.toISOString(), "data-at": at, title: date.toLocaleString() }, ago(now() - at));
}

export function tick() {
  for (const one of document.querySelectorAll("time[data-at]")) fill(one, ago(now() - Number(one.dataset.at)));
}

/** Text with what stands in `backticks` as code. */
export function marked(text) {
  return text.split("`").map((part, index) => (index % 2 ? el("code", {}, part) : part));
}

/** A fault as the API tells it: what happened, to which file, and what to do; `more` are lines and buttons below it. */
export function faultBox(fault, file = "", ...more) {
  const facts = [file, fault.guest, fault.reason].filter(Boolean).join(" · ");
  return el(
    "div",
    { class: "fault", role: "alert" },
    el("strong", {}, fault.title),
    facts ? el("p", { class: "facts" }, facts) : "",
    el("p", {}, fault.text),
    el("p", { class: "remedy" }, ...marked(fault.remedy)),
    ...more,
  );
}

/** That the host's last reload was refused, when and why; nothing where it was not. */
export function refusedReload({ reload }) {
  if (reload?.outcome !== "refused") return "";
  const why = [el("strong", {}, "The last reload failed"), " ", since(reload.at), ". What was loaded before goes on."];
  return el("div", { class: "fault refused", role: "status" }, el("p", {}, ...why), el("p", {}, reload.why));
}

/** A row of a list of facts: nothing where there is no value. */
export function row(name, ...value) {
  const kept = value.filter((one) => one !== null && one !== undefined && one !== "");
  return kept.length ? el("div", {}, el("dt", {}, name), el("dd", {}, ...kept)) : "";
}

/** What a guest replied, where it is a list of labels: [{label, probability}], or null. */
export function labelsOf(text) {
  try {
    const found = JSON.parse(text);
    const fits = (one) => one && typeof one.label === "string" && Number.isFinite(one.probability);
    return Array.isArray(found) && found.length && found.length <= 1000 && found.every(fits) ? found : null;
  } catch {
    return null;
  }
}

export function labelBars(labels, most = 8) {
  return el(
    "ol",
    { class: "labels" },
    ...labels.slice(0, most).map(({ label, probability }) => {
      const bar = el("div", { class: "fill" });
      bar.style.width = `${Math.min(100, Math.max(0, probability * 100))}%`;
      const track = el("div", { class: "track", "aria-hidden": "true" }, bar);
      return el("li", {}, el("span", {}, label), el("span", {}, percent(probability)), track);
    }),
  );
}

export const PARTS = {
  guest: "Guest (Wasm)",
  host: "Decoding, host",
  inference: "Inference",
  dapr: "Sidecar calls",
  queued: "Waiting",
  sidecar: "Transport: sidecars",
  browser: "Transport: browser",
};

/** A bar of parts ([name, milliseconds]), each in its own colour. */
export function stack(parts) {
  const sum = parts.reduce((all, [, value]) => all + value, 0);
  const spans = parts
    .filter(([, value]) => value > 0)
    .map(([name, value]) => {
      const span = el("span", { class: `is-${name}` });
      span.style.flexGrow = String(value / sum);
      return span;
    });
  return el("div", { class: "stack", "aria-hidden": "true" }, ...spans);
}

/** What the colours of a `stack` mean, and how long each part took. */
export function legend(parts) {
  const rows = parts.map(([name, value]) => el("div", { class: name }, el("dt", {}, PARTS[name]), el("dd", {}, ms(value))));
  return el("dl", { class: "legend" }, ...rows);
}

/** The parts of an event's cost, as the host tells it. */
export function partsOf({ queued = 0, guest = 0, host = 0, inference = 0, dapr = 0, total = 0 }) {
  // What is left of the host's total is the sandbox being made and cleared away: the guest's own cost.
  const sandbox = Math.max(0, total - guest - host - inference - dapr);
  return [["guest", guest + sandbox], ["host", host], ["inference", inference], ...waited(dapr), ["queued", queued]];
}

/** How long a guest waited for the sidecar, as a part of its time; no part where it made no calls. */
export const waited = (milliseconds) => (milliseconds ? [["dapr", milliseconds]] : []);

/** How many calls there were, `where`, and how many of them did not end well. */
export const calls = ({ count: many, failed }, where = "") => `${count(many, "call")}${where}${failed ? `, ${whole(failed)} not OK` : ""}`;

/** Calls to the sidecar by method and status, as the host tells them: `kinds` of `many` calls, which may be more. */
export function callTable(kinds, many = 0) {
  const head = el("tr", {}, ...["Building block", "Method", "Status", "How often", "Each took", "Together"].map((name) => el("th", { scope: "col" }, name)));
  const rows = kinds.map(({ block, method, status, count: often, ms: took }) =>
    el("tr", { class: status === "OK" ? null : "bad" }, el("td", {}, block), el("th", { scope: "row" }, method), el("td", {}, status), el("td", {}, whole(often)), el("td", {}, ms(took / often)), el("td", {}, ms(took))),
  );
  const left = many - kinds.reduce((sum, one) => sum + one.count, 0);
  const more = left > 0 ? el("p", { class: "lead" }, `And ${count(left, "call")} more.`) : "";
  // A narrow screen scrolls it sideways, by keyboard too.
  return el("div", { class: "calls", role: "region", "aria-label": "Calls to the sidecar", tabindex: "0" }, el("table", {}, el("thead", {}, head), el("tbody", {}, ...rows)), more);
}

const KINDS = { "image/jpeg": "JPEG", "image/png": "PNG", "application/octet-stream": "raw bytes", "text/plain": "text" };

/** What a guest takes, in words; "" where it does not say. */
export function kinds(takes) {
  const named = takes.map((kind) => KINDS[kind] ?? kind);
  return named.length > 1 ? `${named.slice(0, -1).join(", ")} and ${named.at(-1)}` : (named[0] ?? "");
}
