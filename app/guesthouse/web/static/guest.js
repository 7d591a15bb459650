// A guest's own page: its traffic, failures by reason, log lines, limits, memory, models and latest events.

import { Traffic } from "./charts.js";
import { bytes, callTable, count, el, faultBox, fill, kinds, ms, refusedReload, row, since, whole } from "./draw.js";
import * as live from "./live.js";
import { figures, means, modelCard, routesTo } from "./operator.js";

const EVENTS = 8; // of the latest that came by themselves

const section = document.getElementById("guest");
const LIMITS = {
  memory: ["Memory", bytes],
  host_memory: ["Host’s memory for an event", bytes],
  time: ["Time", (seconds) => ms(seconds * 1000)],
  concurrency: ["Events at once", whole],
  queue: ["Events that wait", whole],
  queue_wait: ["How long they wait", (seconds) => ms(seconds * 1000)],
  input: ["Event", bytes],
  output: ["Reply", bytes],
  pixels: ["Pixels of a picture", whole],
  log: ["Log of an event", bytes],
};

let view = null;

/** Show the page of a guest, empty until `draw`; null for none. */
export function open(name) {
  section.hidden = name === null;
  if (name === null) {
    view = null;
    section.replaceChildren();
  } else if (view?.name !== name) {
    view = new View(name);
  }
}

/** Its name, null where none is open. */
export const opened = () => view?.name ?? null;

/** Draw what the host tells of it. */
export const draw = (guest, status) => view?.name === guest.name && view.draw(guest, status);

/** Say why there is nothing, or nothing newer. */
export const explain = (fault) => view?.explain(fault);

class View {
  #note = el("div");
  #reload = el("div");
  #facts = el("p", { class: "lead" });
  #tiles = el("dl", { class: "tiles" });
  #means = el("div", { class: "means" });
  #failed = el("div");
  #calls = el("div", { class: "sheet" });
  #limits = el("div", { class: "sheet" });
  #log = el("ol", { class: "log", tabindex: "0", "aria-label": "Log lines, the newest last" });
  #logNote = el("p", { class: "lead" });
  #models = el("ul", { class: "models" });
  #events = el("ol", { class: "feed" });
  #about = el("dl", { class: "facts" });
  #traffic;
  #drawn = {};

  constructor(name) {
    this.name = name;
    this.#traffic = new Traffic(name);
    const block = (title, ...parts) => el("div", { class: "block" }, el("h2", {}, title), ...parts);
    const back = el("p", { class: "back" }, el("a", { href: "#operator" }, "← All guests"));
    this.body = el(
      "div",
      { class: "blocks", hidden: true },
      el("div", { class: "block wide" }, this.#tiles, el("div", { class: "sheet" }, this.#traffic.element, this.#means)),
      block("Failures by reason", this.#failed),
      block("Limits and memory", this.#limits),
      block("Models", this.#models),
      el("div", { class: "block wide" }, el("h2", {}, "Calls to the sidecar"), this.#calls),
      block("About it", el("div", { class: "sheet" }, this.#about)),
      el("div", { class: "block wide" }, el("h2", {}, "Log"), this.#logNote, this.#log),
      el("div", { class: "block wide" }, el("h2", {}, "Latest events"), this.#events),
    );
    section.replaceChildren(back, el("h1", { id: "guest-title", tabindex: "-1" }, name), this.#facts, this.#note, this.#reload, this.body);
  }

  explain(fault) {
    this.#note.replaceChildren(faultBox(fault));
    this.body.classList.add("stale");
  }

  draw(guest, status) {
    this.#note.replaceChildren();
    this.body.hidden = false;
    this.body.classList.remove("stale");
    this.#part("reload", status.reload, () => fill(this.#reload, refusedReload(status)));
    const takes = kinds(guest.takes);
    fill(this.#facts, [routesTo(guest.name, status).join(", ") || "no route", takes && `takes ${takes}`, guest.reply_type && `gives ${guest.reply_type}`].filter(Boolean).join(" · "));
    this.#part("tiles", [guest.calls, guest.failures, guest.window, guest.slots], () => {
      const { slots } = guest;
      const tile = (name, value) => el("div", {}, el("dt", {}, name), el("dd", {}, value));
      fill(this.#tiles, ...figures(guest), tile("slots busy", `${whole(slots.busy)} of ${whole(slots.limit)}`), tile("waiting", `${whole(slots.queued)} of ${whole(slots.queue)}`));
      fill(this.#means, ...means(guest.window));
    });
    this.#traffic.update(guest.series, status.step);
    this.#part("failed", guest.failed, () => fill(this.#failed, failures(guest.failed)));
    this.#part("calls", guest.sidecar_calls, () => fill(this.#calls, guest.sidecar_calls.length ? callTable(guest.sidecar_calls) : "None since the start."));
    this.#part("limits", [guest.limits, guest.peak], () => fill(this.#limits, ...limits(guest)));
    this.#part("log", [guest.log, guest.log_dropped], () => this.#drawLog(guest));
    const models = status.models.filter((model) => guest.models.includes(model.name));
    this.#part("models", models, () => fill(this.#models, ...(models.length ? models.map(modelCard) : [el("li", { class: "none" }, "It may use none.")])));
    this.#part("about", [guest.loaded, status.loaded, status.reload, guest.sha256], () => fill(this.#about, ...about(guest, status)));
    const events = live.of(guest.name).slice(0, EVENTS);
    this.#part("events", events.map(({ number }) => number), () =>
      fill(this.#events, ...(events.length ? events.map((event) => live.card(event)) : [el("li", { class: "none" }, "None came by itself lately.")])),
    );
  }

  /** Draw a part where what it shows has changed: else the focus and what is marked in it would be lost. */
  #part(name, shows, drawing) {
    const now = JSON.stringify(shows);
    if (this.#drawn[name] === now) return;
    this.#drawn[name] = now;
    drawing();
  }

  #drawLog({ log, log_dropped: dropped }) {
    const below = this.#log.scrollHeight - this.#log.scrollTop - this.#log.clientHeight < 8;
    const lost = dropped ? ` ${count(dropped, "line")} came too fast and were dropped.` : "";
    fill(this.#logNote, log.length ? `The last ${count(log.length, "line")}; long ones are cut.${lost}` : `It has written no line yet.${lost}`);
    this.#log.hidden = !log.length;
    fill(
      this.#log,
      ...log.map(({ at, stream, text, cut }) => {
        const date = new Date(at * 1000);
        const when = el("time", { datetime: date.toISOString() }, date.toLocaleTimeString());
        return el("li", { class: stream }, when, el("span", { class: "stream" }, stream), el("span", { class: "line" }, text, cut ? " …" : ""));
      }),
    );
    if (below) this.#log.scrollTop = this.#log.scrollHeight;
  }
}

function failures(failed) {
  if (!failed.length) return el("p", { class: "sheet" }, "None since the start.");
  const head = el("tr", {}, ...["Reason", "How often", "The last of them"].map((name) => el("th", { scope: "col" }, name)));
  const rows = failed.map(({ reason, count: often, text, at }) =>
    el("tr", {}, el("th", { scope: "row" }, reason), el("td", {}, whole(often)), el("td", {}, since(at), ": ", text.slice(0, 400))),
  );
  return el("div", { class: "sheet" }, el("table", {}, el("thead", {}, head), el("tbody", {}, ...rows)));
}

function limits({ limits: all, peak }) {
  const used = ["memory", "host_memory"].map((name) => {
    const part = Math.min(1, peak[name] / all[name]);
    const bar = el("div", { class: "fill" });
    bar.style.width = `${part * 100}%`;
    const track = el("div", { class: "track", "aria-hidden": "true" }, bar);
    const text = `${bytes(peak[name])} of ${bytes(all[name])}`;
    return el("li", { class: part > 0.9 ? "bad" : null }, el("span", {}, `${LIMITS[name][0]}, the most so far`), el("span", {}, text), track);
  });
  const others = Object.entries(LIMITS).map(([name, [text, format]]) => row(el("span", {}, text, " ", el("code", {}, `limits.${name}`)), format(all[name])));
  return [el("ol", { class: "labels even" }, ...used), el("dl", { class: "facts limits" }, ...others)];
}

function lastReload({ reload }) {
  if (!reload) return ["none since the start"];
  return reload.outcome === "done" ? [since(reload.at)] : ["failed ", since(reload.at), `: ${reload.why}`];
}

function about(guest, status) {
  return [
    row("Loaded", since(guest.loaded)),
    row("Host’s last reload", ...lastReload(status)),
    row("Called as", guest.calling === "bindgen" ? `bindgen, function ${guest.function}` : guest.calling),
    row("Runs in a", guest.isolation),
    row("Module’s sha256", el("code", {}, guest.sha256)),
  ];
}
