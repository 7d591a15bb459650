// Starts the page, and keeps it up to date: it asks for the host's status and for new events while it is looked at.

import * as api from "./api.js";
import { faultBox } from "./draw.js";
import * as live from "./live.js";
import * as operator from "./operator.js";
import * as photo from "./photo.js";

const EVERY = 1500; // milliseconds between two questions
const SLOWEST = 12000; // … when it goes on failing
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
  if (asking || paused || document.hidden) return;
  asking = true;
  try {
    const status = await api.status();
    const news = await api.events(cursor);
    connected(status, news);
    pause = EVERY;
  } catch (error) {
    disconnected(error);
    pause = Math.min(SLOWEST, pause * 1.5);
  } finally {
    asking = false;
    live.tick();
    timer = setTimeout(refresh, pause);
  }
}

function connected(status, news) {
  state("good", `Connected to ${status.app}`);
  banner(null);
  photo.offer(status.methods);
  operator.draw(status);
  const first = !cursor || cursor.split("-")[0] !== news.cursor.split("-")[0];
  if (first) live.clear();
  cursor = news.cursor;
  live.explain(status, null);
  live.add(news.events, first);
}

function disconnected(error) {
  const fault = error instanceof api.Fault ? error : new api.Fault({ title: "The page failed", text: String(error), remedy: "Reload it." });
  const partly = fault.code === "not-shown"; // photos work: no alarm
  state(partly ? "wait" : "bad", STATES[fault.code] ?? "Not connected");
  banner(partly ? null : fault);
  live.explain(null, fault);
  operator.explain(fault);
}

function state(kind, text) {
  const pill = find("state");
  if (pill.textContent === text) return; // it is announced when it changes
  pill.dataset.state = kind;
  pill.textContent = text;
}

let bannered = "";

function banner(fault) {
  const text = fault ? fault.title + fault.text : "";
  if (text === bannered) return;
  bannered = text;
  find("banner").replaceChildren(...(fault ? [faultBox(fault)] : []));
}

find("pause").addEventListener("click", (event) => {
  paused = !paused;
  event.currentTarget.setAttribute("aria-pressed", String(paused));
  event.currentTarget.textContent = paused ? "Go on" : "Pause";
  refresh();
});
document.addEventListener("visibilitychange", refresh);
photo.start();
refresh();
