// Starts the page, and keeps it up to date: it asks for the host's status and for new events while it is looked at.

import * as api from "./api.js";
import { faultBox, fill, tick } from "./draw.js";
import * as guest from "./guest.js";
import * as live from "./live.js";
import * as operator from "./operator.js";
import * as photo from "./photo.js";

const EVERY = 1500; // milliseconds between two questions
const SLOWEST = 8000; // … when it goes on failing
const STATES = {
  "page-away": "Server away",
  "sidecar-away": "Sidecar away",
  "sidecar-denied": "Sidecar refuses",
  "host-away": "Host away",
  "not-shown": "Photos only",
};

const find = (id) => document.getElementById(id);
let cursor = "";
let paused = false;
let pause = EVERY;
let timer = 0;
let asking = false;

async function refresh() {
  clearTimeout(timer);
  const name = guest.opened();
  if (asking || (paused && name === null) || document.hidden) return;
  asking = true;
  try {
    const status = await api.status();
    const news = paused ? null : await api.events(cursor);
    connected(status, news);
    if (name !== null) await look(name, status);
    pause = EVERY;
  } catch (error) {
    disconnected(error);
    pause = Math.min(SLOWEST, pause * 1.5);
  } finally {
    asking = false;
    tick();
    // Another page was opened meanwhile: at once.
    timer = setTimeout(refresh, guest.opened() === name ? pause : 0);
  }
}

async function look(name, status) {
  try {
    guest.draw(await api.guest(name), status);
  } catch (error) {
    if (error.code !== "unknown-guest") throw error;
    guest.explain(error);
  }
}

function connected(status, news) {
  state("good", `Connected to ${status.app}`);
  banner(null);
  photo.offer(status);
  operator.draw(status);
  live.explain(status, null);
  if (news === null) return;
  const first = !cursor || cursor.split("-")[0] !== news.cursor.split("-")[0];
  if (first) live.clear();
  cursor = news.cursor;
  live.add(news.events, first);
}

function disconnected(error) {
  const fault = api.faultOf(error);
  const partly = fault.code === "not-shown"; // photos work: no alarm
  state(partly ? "wait" : "bad", STATES[fault.code] ?? "Not connected");
  banner(partly ? null : fault);
  live.explain(null, fault);
  operator.explain(fault);
  guest.explain(fault);
}

function state(kind, text) {
  const pill = find("state");
  pill.dataset.state = kind;
  fill(pill, text); // it is announced when it changes
}

let bannered = "";

function banner(fault) {
  const text = fault ? fault.title + fault.text : "";
  if (text === bannered) return;
  bannered = text;
  find("banner").replaceChildren(...(fault ? [faultBox(fault)] : []));
}

// ---- where the reader is ----

const links = [...document.querySelectorAll(".top nav a")];

/** Show what the address says: a part of the page, or a guest's own page (#guest/NAME). */
function go(first) {
  const [where, name] = location.hash.slice(1).split("/");
  const one = where === "guest" && /^[\w-]+$/.test(name ?? "") ? name : null;
  const before = guest.opened();
  find("card").close();
  find("home").hidden = one !== null;
  guest.open(one);
  document.title = one === null ? "Guesthouse" : `${one} – Guesthouse`;
  if (one !== null) {
    mark("operator");
    if (one !== before) {
      scrollTo(0, 0);
      find("guest-title").focus({ preventScroll: true });
      refresh();
    }
  } else if (!first && before !== null) {
    // It was hidden when the browser looked for it.
    const section = find(where || "photo") ?? find("photo");
    section.scrollIntoView();
    section.focus({ preventScroll: true });
  }
  markSeen();
}

function mark(id) {
  for (const link of links) {
    if (link.hash === `#${id}`) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
}

/** The last section whose begin has been scrolled past the middle of the window. */
function markSeen() {
  if (guest.opened() !== null) return;
  const begun = links.filter((link) => find(link.hash.slice(1)).getBoundingClientRect().top < innerHeight / 2);
  mark((begun.at(-1) ?? links[0]).hash.slice(1));
}

find("pause").addEventListener("click", (event) => {
  paused = !paused;
  event.currentTarget.setAttribute("aria-pressed", String(paused));
  fill(event.currentTarget, paused ? "Go on" : "Pause");
  refresh();
});
document.addEventListener("visibilitychange", refresh);
addEventListener("hashchange", () => go(false));
addEventListener("scroll", markSeen, { passive: true });
live.start();
photo.start();
go(true);
refresh();
