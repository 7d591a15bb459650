// The operator's view: guests, models, calls, failures and latencies, as the host's status tells them.

import { ago, bytes, callsChart, duration, el, latencyChart, marked, ms, stack, whole } from "./draw.js";

const PARTS = ["guest", "host", "inference", "queued"];
const PART_NAMES = { guest: "guest", host: "decoding and host", inference: "inference", queued: "waiting" };

const find = (id) => document.getElementById(id);

/** Draw it anew. */
export function draw(status) {
  find("operator-empty").hidden = true;
  find("operator").classList.remove("stale");
  const minutes = (status.step * status.steps) / 60;
  const sum = (read) => status.guests.reduce((all, guest) => all + read(guest), 0);
  const calls = sum((guest) => guest.window.calls);
  const failures = sum((guest) => guest.window.failures);
  const busy = sum((guest) => guest.slots.busy);
  const queued = sum((guest) => guest.slots.queued);
  find("versions").textContent =
    `${status.app}: Guesthouse ${status.version}, ${status.engine}, ONNX Runtime ${status.onnxruntime}`;
  find("tiles").replaceChildren(
    tile("Calls", whole(calls), `in ${minutes} min`),
    tile("Failures", whole(failures), calls ? `${((failures / calls) * 100).toFixed(1)} %` : "", failures > 0),
    tile("Slots busy", whole(busy), `of ${whole(sum((guest) => guest.slots.limit))}`),
    tile("Waiting", whole(queued), "callers"),
    tile("Unrouted", whole(status.unrouted), "since the start", status.unrouted > 0),
    tile("Up for", duration(status.uptime), ""),
  );
  const order = [...status.guests].sort((a, b) => (b.calls > 0) - (a.calls > 0)); // else in the manifest's order
  find("guests").replaceChildren(...order.map((guest) => guestCard(guest, status)));
  find("models").replaceChildren(...status.models.map(modelCard));
}

/** Why there is nothing to draw, or nothing newer than what is drawn. */
export function explain(fault) {
  const section = find("operator");
  if (find("guests").children.length) {
    if (!section.classList.contains("stale")) {
      find("versions").textContent += `, as it was at ${new Date().toLocaleTimeString()}`;
    }
    section.classList.add("stale");
    return;
  }
  const empty = find("operator-empty");
  empty.hidden = false;
  empty.replaceChildren(`${fault.title}. `, ...(fault.code === "not-shown" ? marked(fault.remedy) : []));
}

function tile(name, value, small, bad = false) {
  return el("div", { class: bad ? "bad" : null }, el("dt", {}, name), el("dd", {}, value, small ? el("small", {}, ` ${small}`) : ""));
}

function guestCard(guest, status) {
  const { window: last, series } = guest;
  const ways = [
    ...status.methods.filter((one) => one.guest === guest.name).map((one) => one.method),
    ...["bindings", "topics", "jobs"].flatMap((kind) => status[kind].filter((one) => one.guest === guest.name).map((one) => one.name)),
  ];
  const name = el("div", { class: "name" }, el("h4", {}, guest.name), el("span", {}, ways.join(", ") || "no route"));
  if (!guest.calls) return el("li", {}, name, el("p", { class: "none" }, "Not called yet."));
  const figures = el(
    "dl",
    { class: "figures" },
    figure("calls", whole(guest.calls)),
    figure("failed", whole(guest.failures), guest.failures > 0),
    figure("p50", ms(last.latency.p50)),
    figure("p95", ms(last.latency.p95)),
    figure("p99", ms(last.latency.p99)),
  );
  const charts = last.calls
    ? [callsChart(series.calls, series.failures, status.step), ...(last.latency.p50 === null ? [] : [latencyChart(series.p50, series.p95), ...means(last.mean)])]
    : [el("p", { class: "none" }, "No call lately.")];
  return el("li", {}, name, figures, ...charts, failure(guest));
}

function figure(name, value, bad = false) {
  return el("div", { class: bad ? "bad" : null }, el("dt", {}, name), el("dd", {}, value));
}

function means(mean) {
  const parts = PARTS.map((name) => [name, mean[name]]);
  const text = parts.filter(([, value]) => value > 0).map(([name, value]) => `${PART_NAMES[name]} ${ms(value)}`);
  return [stack(parts), el("p", { class: "mean" }, `A call on average: ${text.join(", ")}`)];
}

function failure(guest) {
  const last = guest.last_failure;
  if (!last) return "";
  return el("p", { class: "last" }, `Last failure ${ago(Date.now() / 1000 - last.at)}, ${last.reason}: ${last.text}`);
}

function modelCard(model) {
  const row = (name, value) => [el("dt", {}, name), el("dd", {}, value)];
  return el(
    "li",
    {},
    el("h4", {}, model.name),
    el(
      "dl",
      {},
      ...row("takes", model.inputs.join(", ")),
      ...row("gives", model.outputs.join(", ")),
      ...row("size", bytes(model.bytes)),
      ...row("used by", model.guests.join(", ") || "nobody"),
    ),
  );
}
