// What was asked from this browser: the last photos, small, with their answers. Kept by this browser alone (IndexedDB),
// never sent anywhere. Where a browser keeps nothing, it is kept as long as the page is open.

import { show } from "./card.js";
import { bytes, count, el, fill, labelBars, labelsOf, legend, ms, percent, row, since, stack, time } from "./draw.js";

const MOST = 24; // photos
const SIDE = 320; // pixels of what is kept of a picture
const TEXT = 4096; // characters of an answer
const FLAG = "guesthouse-keep";

const find = (id) => document.getElementById(id);
let entries = []; // the newest first
let store = null; // the database, where there is one
let urls = [];

/** Show what is kept. */
export async function start() {
  find("own-clear").addEventListener("click", clear);
  const keep = find("own-keep");
  keep.checked = remembered() !== "no";
  keep.addEventListener("change", () => remember(keep.checked ? "yes" : "no"));
  try {
    store = await open();
    const kept = await done(store.transaction("photos").objectStore("photos").getAll());
    entries = [...entries, ...kept.reverse()].slice(0, MOST);
  } catch {
    store = null;
  }
  draw();
}

/** Keep an answer: {at, name, size, guest, method, elapsed, parts, text, type, replySize}, and the pictures as blobs. */
export async function add(entry, photo, reply) {
  if (!find("own-keep").checked) return;
  const kept = { ...entry, text: entry.text.slice(0, TEXT), cut: entry.text.length > TEXT, photo: await small(photo), reply: await small(reply) };
  entries = [kept, ...entries].slice(0, MOST);
  draw();
  if (!store) return;
  try {
    const photos = store.transaction("photos", "readwrite").objectStore("photos");
    await done(photos.add(kept));
    const keys = await done(photos.getAllKeys());
    for (const key of keys.slice(0, Math.max(0, keys.length - MOST))) photos.delete(key);
  } catch {
    store = null; // the disk is full, or the browser has thrown it away
    draw();
  }
}

async function clear() {
  entries = [];
  draw();
  find("own-keep").focus(); // the button is gone
  try {
    if (store) await done(store.transaction("photos", "readwrite").objectStore("photos").clear());
  } catch {
    indexedDB.deleteDatabase("guesthouse");
  }
}

function remembered() {
  try {
    return localStorage.getItem(FLAG);
  } catch {
    return null;
  }
}

function remember(value) {
  try {
    localStorage.setItem(FLAG, value);
  } catch {
    // it holds as long as the page is open
  }
}

function open() {
  const request = indexedDB.open("guesthouse", 1);
  request.onupgradeneeded = () => request.result.createObjectStore("photos", { autoIncrement: true });
  return done(request);
}

function done(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/** A picture as a small JPEG; null where it is none that this browser knows. */
async function small(blob) {
  if (!blob) return null;
  try {
    const picture = await createImageBitmap(blob);
    const scale = Math.min(1, SIDE / Math.max(picture.width, picture.height));
    const canvas = el("canvas", { width: Math.max(1, Math.round(picture.width * scale)), height: Math.max(1, Math.round(picture.height * scale)) });
    canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
    picture.close();
    return await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.8));
  } catch {
    return null;
  }
}

function verdict(entry) {
  const labels = labelsOf(entry.text);
  if (labels) return `${labels[0].label}, ${percent(labels[0].probability)}`;
  return entry.reply ? "a picture" : entry.text ? entry.text.slice(0, 60) : bytes(entry.replySize);
}

function url(blob) {
  const made = URL.createObjectURL(blob);
  urls.push(made);
  return made;
}

function draw() {
  urls.forEach((one) => URL.revokeObjectURL(one));
  urls = [];
  fill(find("own"), ...entries.map(item));
  find("own-clear").hidden = !entries.length;
  const where = store ? "In this browser alone" : "Until this page is closed, for this browser keeps nothing";
  const what = entries.length ? `${count(entries.length, "photo")} of at most ${MOST}` : `the last ${MOST} that you ask about`;
  fill(find("own-text"), `${where}: ${what}, small, with the answers. Whoever uses this browser can see them; no server keeps them.`);
}

function item(entry) {
  const thumb = entry.photo ? el("img", { src: url(entry.photo), alt: "", loading: "lazy" }) : el("span", { class: "plain" }, entry.name);
  const text = el("span", { class: "text" }, el("b", {}, verdict(entry)), el("span", {}, `${entry.guest || entry.method}, `, since(entry.at)));
  const button = el("button", { type: "button", "aria-haspopup": "dialog" }, thumb, text);
  button.addEventListener("click", () => look(entry));
  return el("li", {}, button);
}

function look(entry) {
  const labels = labelsOf(entry.text);
  const sum = entry.parts.reduce((all, [, value]) => all + value, 0);
  show(
    verdict(entry),
    el(
      "div",
      { class: "pictures" },
      entry.photo ? el("img", { src: url(entry.photo), alt: "The photo that was asked about" }) : "",
      entry.reply ? el("img", { src: url(entry.reply), alt: "The picture that the guest replied with" }) : "",
    ),
    labels ? labelBars(labels, Infinity) : entry.text ? el("pre", { class: "said", tabindex: "0" }, entry.text, entry.cut ? " …" : "") : "",
    el(
      "dl",
      { class: "facts" },
      row("File", `${entry.name}, ${bytes(entry.size)}`),
      row("Guest", entry.guest),
      row("Method", entry.method),
      row("Reply", `${bytes(entry.replySize)} of ${entry.type || "no type"}`),
      row("When", time(entry.at)),
      row("Took", ms(entry.elapsed)),
    ),
    sum ? stack(entry.parts) : "",
    sum ? legend(entry.parts) : "",
  );
}
