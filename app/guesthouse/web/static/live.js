// What came in by itself: a card for each event, the newest first. A card opens and shows all that the host tells of it.

import { picture } from "./api.js";
import { show } from "./card.js";
import { bytes, calls, callTable, count, el, fill, labelBars, labelsOf, legend, marked, ms, partsOf, percent, row, since, stack, time } from "./draw.js";

const KEPT = 100; // events, as many as the host keeps
const narrow = matchMedia("(max-width: 48rem)");
const atOnce = () => (narrow.matches ? 6 : 12); // cards; what is below stays in reach

const find = (id) => document.getElementById(id);
let events = []; // the newest first
let cards = new Map(); // by the event's number
let fresh = new Set(); // numbers of those that came while the page was open
let guest = ""; // the one whose events are shown; "" for all
let most = atOnce();
let empty = ["Waiting for the first event …"];

/** Wire everything up. */
export function start() {
  find("live-guest").addEventListener("change", (event) => {
    guest = event.currentTarget.value;
    most = atOnce();
    draw();
  });
  find("live-more").addEventListener("click", () => {
    const before = most;
    most += 12;
    draw();
    find("feed").children[before]?.firstElementChild.focus(); // the first of those that are new
  });
}

/** Put new events on top; `first`: they were there when the page was opened, and are no news. */
export function add(news, first) {
  if (!news.length) return;
  if (!first) fresh = new Set(news.map(({ number }) => number));
  events = [...news.toReversed(), ...events].slice(0, KEPT);
  draw();
  const told = news.filter((event) => !guest || event.guest === guest);
  if (!first && told.length) {
    const last = told.at(-1);
    fill(find("live-news"), told.length === 1 ? `New: ${last.name}, ${summary(last)}` : count(told.length, "new event"));
  }
}

/** The host was started anew: its events before that are gone. */
export function clear() {
  events = [];
  cards.clear();
  draw();
}

/** The events of one guest, the newest first. */
export const of = (name) => events.filter((event) => event.guest === name);

/** Guests to choose from, and why there is nothing. `status` is the host's, null where it is not known. */
export function explain(status, fault) {
  if (status) offer(status.guests.map(({ name }) => name));
  if (fault) {
    // The banner says what to do, except where there is none.
    empty = [`${fault.title}. `, ...(fault.code === "not-shown" ? [`${fault.text} `, ...marked(fault.remedy)] : [])];
  } else if (status && !status.routes.some(({ arrives }) => arrives)) {
    empty = ["The host’s manifest has no route, such as a [[binding]] or a [[topic]], by which events come by themselves."];
  } else if (status) {
    const names = status.routes.filter(({ arrives }) => arrives).map(({ trigger, name }) => `the ${trigger} ${name}`);
    empty = [`Nothing has come yet. What arrives by ${names.join(", ")} appears here by itself.`];
  }
  explainEmpty();
}

function offer(names) {
  const select = find("live-guest");
  if (select.dataset.names === names.join()) return;
  select.dataset.names = names.join();
  select.replaceChildren(el("option", { value: "" }, "all guests"), ...names.map((name) => el("option", { value: name }, name)));
  if (!names.includes(guest)) guest = "";
  select.value = guest;
  draw();
}

function explainEmpty() {
  const note = find("live-empty");
  note.hidden = find("feed").children.length > 0;
  fill(note, ...(events.length && guest ? [`None of the last ${count(events.length, "event")} was answered by ${guest}.`] : empty));
}

function draw() {
  const wanted = guest ? of(guest) : events;
  const made = new Map(wanted.slice(0, most).map((event) => [event.number, cards.get(event.number) ?? card(event, fresh.has(event.number))]));
  cards = made;
  const feed = find("feed");
  // In place, so that a card that has the focus keeps it.
  [...feed.children].filter((one) => ![...made.values()].includes(one)).forEach((one) => one.remove());
  [...made.values()].forEach((one, index) => feed.children[index] !== one && feed.insertBefore(one, feed.children[index] ?? null));
  const more = find("live-more");
  const left = wanted.length - made.size;
  more.hidden = left <= 0;
  fill(more, `Show ${Math.min(12, left)} more`);
  explainEmpty();
}

function summary(event) {
  if (event.failure) return `failed: ${event.failure.text}`;
  const labels = labelsOf(event.reply);
  if (labels) return `${labels[0].label}, ${percent(labels[0].probability)}`;
  if (event.reply_picture) return "a picture";
  return event.reply ? event.reply.slice(0, 120) : event.reply === null ? `${bytes(event.reply_bytes)} of ${event.reply_type || "no type"}` : "an empty reply";
}

/** A list item with a card that opens. */
export function card(event, isNew = false) {
  const { failure } = event;
  const labels = failure ? null : labelsOf(event.reply);
  const title = failure ? "Failed" : labels ? labels[0].label : summary(event);
  const made = event.calls ? `, ${calls(event.calls, " made")}` : "";
  const cost = event.cost ? ` in ${ms(event.cost.queued + event.cost.total)}` : "";
  const button = el(
    "button",
    { type: "button", "aria-haspopup": "dialog" },
    seen(event, labels),
    el(
      "span",
      { class: "facts" },
      el("span", { class: "what" }, el("span", {}, title), labels ? el("span", {}, percent(labels[0].probability)) : ""),
      el("span", { class: "why" }, failure ? failure.text : ""),
      el("span", { class: "more" }, `${event.trigger} ${event.name}, ${bytes(event.bytes)}`),
      el("span", { class: "more" }, event.guest ? `${event.guest}${cost}${made}, ` : "", since(event.at)),
    ),
  );
  button.addEventListener("click", () => open(event));
  return el("li", { class: [failure && "failed", isNew && "new"].filter(Boolean).join(" ") || null }, button);
}

/** What there is to see of an event: its pictures, else what it said. */
function seen(event, labels) {
  const alt = labels ? `What came: the guest sees ${labels[0].label}` : "What came";
  const found = [
    [event.picture, alt],
    [event.reply_picture, "The guest’s reply"],
  ].filter(([id]) => id);
  const box = el("span", { class: "seen" });
  if (!found.length) box.append(instead(event));
  for (const [id, text] of found) {
    const image = el("img", { src: picture(id), alt: text, loading: "lazy" });
    image.addEventListener("error", () => image.replaceWith(instead(event)), { once: true });
    box.append(image);
  }
  return box;
}

function instead(event) {
  if (event.text) return el("span", { class: "text" }, event.text.slice(0, 400));
  const what = !event.bytes ? "an empty event" : event.picture || event.text === "" ? "a picture that is not kept, or none" : `${bytes(event.bytes)} of ${event.type || "no type"}`;
  return el("span", { class: "blank" }, what);
}

function open(event) {
  const { failure } = event;
  const labels = failure ? null : labelsOf(event.reply);
  const parts = event.cost ? partsOf(event.cost) : null;
  const large = (id, alt) => (id ? el("img", { src: picture(id, true), alt }) : "");
  show(
    failure ? `Failed: ${failure.reason}` : labels ? `${labels[0].label}, ${percent(labels[0].probability)}` : event.reply_picture ? "A picture" : "Answered",
    failure ? el("p", { class: "fault" }, failure.text) : "",
    event.picture || event.reply_picture
      ? el("div", { class: "pictures" }, large(event.picture, "What came"), large(event.reply_picture, "The guest’s reply"))
      : "",
    text("What came", event.text, event.text_cut, event.bytes),
    labels ? labelBars(labels, Infinity) : text("What the guest replied", event.reply, event.cut, event.reply_bytes),
    el(
      "dl",
      { class: "facts" },
      row("Came by", `${event.trigger} ${event.name}`),
      row("When", time(event.at)),
      row("Guest", event.guest ? el("a", { href: `#guest/${event.guest}` }, event.guest) : ""),
      row("Event", `${bytes(event.bytes)}${event.type ? ` of ${event.type}` : ""}`),
      row("Reply", failure ? "" : `${bytes(event.reply_bytes)}${event.reply_type ? ` of ${event.reply_type}` : ""}`),
      row("Event’s id", event.id),
      row("Trace", event.trace ? el("code", {}, event.trace) : ""),
      row("Took", event.cost ? ms(event.cost.queued + event.cost.total) : ""),
    ),
    parts ? stack(parts) : "",
    parts ? legend(parts) : "",
    event.calls ? el("div", {}, el("h3", {}, "Calls to the sidecar"), callTable(event.calls.kinds, event.calls.count)) : "",
  );
}

function text(title, said, cut, size) {
  if (!said) return "";
  const tail = cut ? el("p", { class: "lead" }, `The beginning of ${bytes(size)}.`) : "";
  return el("div", {}, el("h3", {}, title), el("pre", { class: "said", tabindex: "0" }, said), tail);
}
