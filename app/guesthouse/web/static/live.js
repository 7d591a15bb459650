// What came in by itself: a card for each event, the newest first.

import { picture } from "./api.js";
import { ago, bytes, el, labelsOf, marked, ms, percent } from "./draw.js";

const MOST = 12; // cards; the operator’s view stays in reach

const find = (id) => document.getElementById(id);

/** Put new events on top; `first`: they were there when the page was opened, and are no news. */
export function add(events, first) {
  const feed = find("feed");
  for (const event of events) feed.prepend(card(event, !first));
  while (feed.children.length > MOST) feed.lastElementChild.remove();
  find("live-empty").hidden = feed.children.length > 0;
  if (!first && events.length) {
    const last = events.at(-1);
    find("live-news").textContent = events.length === 1 ? `New: ${last.name}, ${summary(last)}` : `${events.length} new events`;
  }
}

/** The host was started anew: its events before that are gone. */
export function clear() {
  find("feed").replaceChildren();
}

/** Why there is nothing. `status` is the host's, null where it is not known. */
export function explain(status, fault) {
  const empty = find("live-empty");
  if (fault) {
    // The banner says what to do, except where there is none.
    empty.replaceChildren(`${fault.title}. `, ...(fault.code === "not-shown" ? marked(fault.remedy) : []));
  } else if (status && !(status.bindings.length + status.topics.length + status.jobs.length)) {
    empty.replaceChildren("The host’s manifest has no [[binding]], [[topic]] or [[job]]: nothing can come by itself.");
  } else if (status) {
    const names = [
      ...status.bindings.map(({ name }) => `the binding ${name}`),
      ...status.topics.map(({ name }) => `the topic ${name}`),
      ...status.jobs.map(({ name }) => `the job ${name}`),
    ];
    empty.replaceChildren(`Nothing has come yet. What arrives by ${names.join(", ")} appears here by itself.`);
  }
}

/** Say anew how long ago each event was. */
export function tick() {
  for (const time of find("feed").querySelectorAll("time")) {
    time.textContent = ago(Date.now() / 1000 - Number(time.dataset.at));
  }
}

function summary(event) {
  if (event.failure) return `failed: ${event.failure.text}`;
  const labels = labelsOf(event.reply);
  if (labels) return `${labels[0].label}, ${percent(labels[0].probability)}`;
  if (event.reply_picture) return "a picture";
  return event.reply && !/[\u0000-\u0008\ufffd]/.test(event.reply) ? event.reply.slice(0, 120) : event.reply_type || "answered";
}

function card(event, isNew) {
  const { failure } = event;
  const labels = failure ? null : labelsOf(event.reply);
  const title = failure ? "Failed" : labels ? labels[0].label : summary(event);
  const at = el("time", { datetime: new Date(event.at * 1000).toISOString(), "data-at": event.at }, ago(Date.now() / 1000 - event.at));
  const cost = event.cost ? ` in ${ms(event.cost.queued + event.cost.total)}` : "";
  return el(
    "li",
    { class: [failure && "failed", isNew && "new"].filter(Boolean).join(" ") || null },
    pictures(event, labels),
    el(
      "div",
      { class: "facts" },
      el("p", { class: "what" }, el("span", {}, title), labels ? el("span", {}, percent(labels[0].probability)) : ""),
      failure ? el("p", {}, failure.text) : "",
      el("p", { class: "more" }, `${event.trigger} ${event.name}, ${bytes(event.bytes)}`),
      el("p", { class: "more" }, event.guest ? `${event.guest}${cost}, ` : "", at),
    ),
  );
}

function pictures(event, labels) {
  const alt = labels ? `What came: the guest sees ${labels[0].label}` : "What came";
  const found = [
    [event.picture, alt],
    [event.reply_picture, "The guest’s reply"],
  ].filter(([id]) => id);
  const box = el("div", { class: "pictures" });
  const blank = () => el("span", { class: "blank" }, "no picture");
  if (!found.length) box.append(blank());
  for (const [id, text] of found) {
    const image = el("img", { src: picture(id), alt: text, loading: "lazy" });
    image.addEventListener("error", () => image.replaceWith(blank()), { once: true });
    box.append(image);
  }
  return box;
}
