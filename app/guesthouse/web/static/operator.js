// The operator's view: guests, models, calls, failures and latencies, as the host's status tells them.

import { Traffic } from "./charts.js";
import { bytes, calls as counted, count, duration, el, fill, legend, marked, ms, refusedReload, row, since, stack, waited, whole } from "./draw.js";

const narrow = matchMedia("(max-width: 48rem)");
const find = (id) => document.getElementById(id);
const cards = new Map(); // by the guest's name
let models = "";
let reload = "";

/** Draw it anew, in place: what is unfolded or has the focus stays so. */
export function draw(status) {
  find("operator-empty").hidden = true;
  find("operator").classList.remove("stale");
  const minutes = (status.step * status.steps) / 60;
  const sum = (read) => status.guests.reduce((all, guest) => all + read(guest), 0);
  const calls = sum((guest) => guest.window.calls);
  const failures = sum((guest) => guest.window.failures);
  fill(find("versions"), `${status.app}: Guesthouse ${status.version}, ${status.engine}, ONNX Runtime ${status.onnxruntime}`);
  const refused = JSON.stringify(status.reload ?? null);
  if (refused !== reload) fill(find("reload"), refusedReload(status));
  reload = refused;
  fill(
    find("tiles"),
    tile("Calls", whole(calls), `in ${minutes} min`),
    tile("Failures", whole(failures), calls ? `${((failures / calls) * 100).toFixed(1)} %` : "", failures > 0),
    tile("Slots busy", whole(sum((guest) => guest.slots.busy)), `of ${whole(sum((guest) => guest.slots.limit))}`),
    tile("Waiting", whole(sum((guest) => guest.slots.queued)), "callers"),
    tile("Unrouted", whole(status.unrouted), "since the start", status.unrouted > 0),
    tile("Up for", duration(status.uptime), el("span", {}, "loaded ", since(status.loaded))),
  );
  const order = [...status.guests].sort((a, b) => (b.calls > 0) - (a.calls > 0)); // else in the manifest's order
  for (const name of cards.keys()) if (!order.some((guest) => guest.name === name)) cards.delete(name);
  const list = find("guests");
  order.forEach((guest) => {
    if (!cards.has(guest.name)) cards.set(guest.name, new GuestCard(guest));
    cards.get(guest.name).draw(guest, status);
  });
  const wanted = order.map((guest) => cards.get(guest.name).element);
  [...list.children].filter((one) => !wanted.includes(one)).forEach((one) => one.remove());
  wanted.forEach((one, index) => list.children[index] !== one && list.insertBefore(one, list.children[index] ?? null));
  const told = JSON.stringify(status.models);
  if (told !== models) fill(find("models"), ...status.models.map(modelCard));
  models = told;
}

/** Why there is nothing to draw, or nothing newer than what is drawn. */
export function explain(fault) {
  const section = find("operator");
  if (find("guests").children.length) {
    if (!section.classList.contains("stale")) {
      fill(find("versions"), `${find("versions").textContent}, as it was at ${new Date().toLocaleTimeString()}`);
    }
    section.classList.add("stale");
    return;
  }
  const empty = find("operator-empty");
  empty.hidden = false;
  fill(empty, `${fault.title}. `, ...(fault.code === "not-shown" ? [`${fault.text} `, ...marked(fault.remedy)] : []));
}

function tile(name, value, small, bad = false) {
  return el("div", { class: bad ? "bad" : null }, el("dt", {}, name), el("dd", {}, value, " ", small ? el("small", {}, small) : ""));
}

/** The names of the routes that lead to a guest. */
export const routesTo = (name, status) => status.routes.filter(({ guest }) => guest === name).map((route) => route.name);

/** Calls, failures and percentiles of a guest. */
export function figures(guest) {
  const { latency } = guest.window;
  const one = (name, value, bad = false) => el("div", { class: bad ? "bad" : null }, el("dt", {}, name), el("dd", {}, value));
  return [
    one("calls", whole(guest.calls)),
    one("failed", whole(guest.failures), guest.failures > 0),
    ...["p50", "p95", "p99"].map((part) => one(part, ms(latency[part]))),
  ];
}

/** Where the time of a call went on average; nothing where there was none. */
export function means({ mean, latency }) {
  if (latency.p50 === null) return [];
  const parts = [...["guest", "host", "inference"].map((name) => [name, mean[name]]), ...waited(mean.dapr), ["queued", mean.queued]];
  return [el("p", { class: "mean" }, "A call on average"), stack(parts), legend(parts)];
}

/** What a guest called of the sidecar since the start; nothing where it called nothing. */
export function called({ sidecar }) {
  if (!sidecar.length) return [];
  const one = (block) => `${block.block} ${counted(block)}, ${ms(block.ms / block.count)} each`;
  return ["Called the sidecar: ", sidecar.map(one).join("; ")];
}

/** A guest's card: folded it says the most important, unfolded it has charts. */
class GuestCard {
  #short = el("span", { class: "short" });
  #ways = el("p", { class: "ways" });
  #figures = el("dl", { class: "figures" });
  #means = el("div", { class: "means" });
  #called = el("p", { class: "called" });
  #last = el("p", { class: "last" });
  #traffic;
  #touched = false;

  constructor({ name }) {
    this.#traffic = new Traffic(name);
    const summary = el("summary", {}, el("h4", {}, name), this.#short);
    const more = el("p", { class: "more" }, el("a", { href: `#guest/${name}` }, `All about ${name}`));
    this.fold = el("details", {}, summary, this.#ways, this.#figures, this.#traffic.element, this.#means, this.#called, this.#last, more);
    summary.addEventListener("click", () => (this.#touched = true));
    this.element = el("li", {}, this.fold);
  }

  draw(guest, status) {
    const { calls, failures, latency } = guest.window;
    const lately = calls ? `${count(calls, "call")}${failures ? `, ${whole(failures)} failed` : ""}${latency.p95 === null ? "" : `, p95 ${ms(latency.p95)}`}` : "no call lately";
    fill(this.#short, guest.calls ? lately : "not called yet");
    this.#short.classList.toggle("bad", failures > 0);
    fill(this.#ways, routesTo(guest.name, status).join(", ") || "no route");
    fill(this.#figures, ...figures(guest));
    this.#traffic.update(guest.series, status.step);
    fill(this.#means, ...means(guest.window));
    fill(this.#called, ...called(guest));
    const last = guest.last_failure;
    fill(this.#last, ...(last ? ["Last failure ", since(last.at), `, ${last.reason}: ${last.text.slice(0, 200)}`] : []));
    // On a phone the reader unfolds what is wanted; elsewhere what has been called is open, until the reader folds it.
    if (!this.#touched) this.fold.open = guest.calls > 0 && !narrow.matches;
  }
}

/** A model: what it takes and gives. On a phone it is folded. */
export function modelCard(model) {
  const facts = [
    row("takes", model.inputs.join(", ")),
    row("gives", model.outputs.join(", ")),
    row("size", bytes(model.bytes)),
    row("used by", model.guests.join(", ") || "nobody"),
  ];
  const summary = el("summary", {}, el("h4", {}, model.name), el("span", { class: "short" }, bytes(model.bytes)));
  return el("li", {}, el("details", { open: !narrow.matches }, summary, el("dl", {}, ...facts)));
}
