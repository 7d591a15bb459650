// Choosing a file, showing it to a guest, and the answer: who is asked and for how long, what came, what went wrong.

import * as api from "./api.js";
import { bytes, el, faultBox, fill, kinds, labelBars, labelsOf, legend, ms, now, percent, safe, stack } from "./draw.js";
import * as history from "./history.js";

const LARGEST = 16 * 2 ** 20; // bytes; the server's own limit
const PATIENCE = 30; // seconds; the server's own
const GREY = "api/grayscale";
const TEXT = 20000; // characters of a reply that are shown
const AWAY = new Set(["page-away", "sidecar-away", "host-away"]);
const AGAIN = [2, 3, 5, 8, 13, 20, 30, 30, 30, 30]; // seconds between tries that it makes by itself
const WAY = [
  ["browser", "Browser"],
  ["page", "Page"],
  ["sidecar", "Its sidecar"],
  ["host", "Host"],
  ["guest", "Guest"],
];
const BROKEN = { "page-away": 1, "page-failed": 1, "too-large": 1, "sidecar-away": 2, "sidecar-denied": 2, "over-sidecar-limit": 2, "host-away": 3, slow: 3, "unknown-method": 3, failed: 4 };

const find = (id) => document.getElementById(id);
const result = find("result");
let running = null; // an AbortController, while something is asked or to be asked again
let file = null; // {blob, name}
let methods = new Map([["api/image", null]]); // the guests behind the methods, as the host's status has them
let shown = []; // object URLs in use

/** Wire everything up. */
export function start() {
  const drop = find("drop");
  const input = find("file");
  input.addEventListener("change", () => input.files[0] && choose(input.files[0]));
  for (const kind of ["dragenter", "dragover"]) {
    drop.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.add("over");
    });
  }
  for (const kind of ["dragleave", "drop"]) drop.addEventListener(kind, () => drop.classList.remove("over"));
  // A file that is dropped beside the area must not replace the page.
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    const [dropped] = event.dataTransfer.files;
    if (dropped) choose(dropped);
  });
  document.addEventListener("paste", (event) => {
    const [pasted] = event.clipboardData?.files ?? [];
    if (!pasted) return;
    event.preventDefault();
    // Browsers call every picture of the clipboard image.png.
    choose(pasted, { name: /^image\.\w+$/.test(pasted.name) ? "pasted picture" : pasted.name });
  });
  for (const button of document.querySelectorAll("[data-example]")) {
    button.setAttribute("aria-pressed", "false");
    button.addEventListener("click", () => chooseExample(button));
  }
  find("method").addEventListener("change", () => {
    sayKinds();
    if (file) ask();
  });
  find("cancel").addEventListener("click", cancel);
  result.addEventListener("keydown", (event) => event.key === "Escape" && result.dataset.shows === "waiting" && cancel());
  way();
  history.start();
}

/** The methods and guests of the host's status; the choice stays. */
export function offer(status) {
  const guests = new Map(status.guests.map((guest) => [guest.name, guest]));
  const invoked = status.routes.filter(({ trigger, verbs }) => trigger === "invoke" && (!verbs.length || verbs.includes("POST")));
  methods = new Map(invoked.map(({ name, guest }) => [name, guests.get(guest) ?? { name: guest, takes: [] }]));
  const select = find("method");
  const kept = JSON.stringify([...methods].map(([method, guest]) => [method, guest.name, guest.takes]));
  if (!methods.size || kept === select.dataset.kept) return;
  select.dataset.kept = kept;
  const chosen = select.value;
  const groups = { "Guests that take pictures": [], "Other guests": [] };
  for (const [method, guest] of methods) {
    const [pictures, others] = Object.values(groups);
    (takesPictures(guest) ? pictures : others).push(el("option", { value: method }, `${method} – ${guest.name}`));
  }
  const made = Object.entries(groups).filter(([, options]) => options.length);
  select.replaceChildren(...made.map(([label, options]) => el("optgroup", { label }, ...options)));
  select.value = methods.has(chosen) ? chosen : [...select.options][0].value;
  sayKinds();
}

const takesPictures = (guest) => guest.takes.some((kind) => kind.startsWith("image/"));

/** Say what the guest takes that is chosen, and offer files of that kind. */
function sayKinds() {
  const guest = methods.get(find("method").value);
  const known = guest ? kinds(guest.takes) : "";
  fill(find("takes"), guest ? (known ? `${guest.name} takes ${known}.` : `What ${guest.name} takes, the host does not say: try any file.`) : "");
  const pictures = !guest || takesPictures(guest);
  find("file").accept = pictures ? "image/*" : "";
  const what = pictures ? "photo" : "file";
  fill(find("drop-title"), `Choose ${file ? "another" : "a"} ${what}`);
}

async function chooseExample(button) {
  const name = `${button.textContent.trim().toLowerCase()}.jpg`;
  try {
    const response = await fetch(`examples/${button.dataset.example}`);
    if (!response.ok) throw new Error(response.statusText);
    choose(await response.blob(), { name, button });
  } catch {
    running?.abort();
    fail(new api.Fault({ code: "page-away", title: "The example cannot be had", text: "The page’s own server is away.", remedy: "Start `guesthouse web` again, then choose it again." }), name);
  }
}

function choose(blob, { name = blob.name || "a file", button = null } = {}) {
  for (const other of document.querySelectorAll("[data-example]")) {
    other.setAttribute("aria-pressed", String(other === button));
  }
  if (button) find("file").value = "";
  shown.forEach((url) => URL.revokeObjectURL(url));
  shown = [];
  file = { blob, name };
  const preview = find("preview");
  const plain = find("plain");
  fill(plain, el("b", {}, name), ` ${bytes(blob.size)}`);
  // No picture, or one that this browser does not know: its name stands there instead.
  preview.onerror = () => {
    preview.hidden = true;
    find("drop").classList.add("no-picture");
  };
  preview.alt = `The photo that was chosen: ${safe(name)}`;
  preview.src = url(blob);
  preview.hidden = plain.hidden = false;
  find("drop").classList.add("chosen");
  find("drop").classList.remove("no-picture");
  sayKinds();
  ask();
}

function url(blob) {
  const made = URL.createObjectURL(blob);
  shown.push(made);
  return made;
}

/** Show one part of the panel. */
function state(shows) {
  result.dataset.shows = shows;
  result.setAttribute("aria-busy", String(shows === "waiting"));
  for (const part of ["result-empty", "waiting", "failed", "answer"]) {
    find(part).hidden = part !== { empty: "result-empty" }[shows] && part !== shows;
  }
  find("way").hidden = shows === "answer";
}

/** The stations of a photo; `broken` is the number of the one that failed. */
function way(broken = Infinity) {
  const said = (index) => (index === broken ? "failed" : index > broken ? "not reached" : broken === Infinity ? "" : "reached");
  const stations = WAY.map(([, name], index) => el("li", { "data-state": said(index) || null }, name, said(index) ? el("span", { class: "unseen" }, `: ${said(index)}`) : ""));
  fill(find("way"), ...stations);
}

const whoIs = (method) => methods.get(method)?.name ?? `the guest behind ${method}`;

/** Ask the guest that is chosen; then, so that none slows the other, for the grey copy where that is one of a picture. */
async function ask({ tries = 0 } = {}) {
  running?.abort();
  const mine = (running = new AbortController());
  const { blob, name } = file;
  const method = find("method").value;
  const began = performance.now();
  // Who holds the focus in the panel must not lose it with the button that goes away.
  const held = result.contains(document.activeElement);
  fill(find("asking"), "Asking ", el("b", {}, whoIs(method)), ` about ${name}`);
  const tick = () => fill(find("since"), `${((performance.now() - began) / 1000).toFixed(1)} s of at most ${PATIENCE} s`);
  tick();
  way();
  state("waiting");
  if (held) find("cancel").focus();
  fill(find("said"), `Asking ${whoIs(method)}.`);
  const clock = setInterval(tick, 100);
  try {
    tooLarge(method, name, blob);
    const answer = await api.call(method, blob, mine.signal);
    const reply = await read(answer.body);
    if (mine !== running) return;
    clearInterval(clock);
    const had = result.contains(document.activeElement);
    draw(method, name, answer, reply);
    if (had) focusOn(find("verdict"));
    const entry = { at: now(), name, size: blob.size, method, guest: answer.guest, elapsed: answer.elapsed, parts: answer.parts };
    history.add({ ...entry, text: reply.text ?? "", type: reply.type, replySize: answer.body.size }, blob, reply.picture);
    if (wantsGrey(method, reply)) {
      // An extra: without it the answer stands alone.
      const grey = await api.call(GREY, blob, mine.signal).catch((error) => error);
      if (mine === running) drawGrey(grey);
    }
  } catch (error) {
    if (mine !== running || error.name === "AbortError") return;
    const fault = api.faultOf(error);
    fail(fault, name, method);
    if (AWAY.has(fault.code)) askAgain(mine, tries);
  } finally {
    clearInterval(clock);
  }
}

/** As the panel says: once the host can be reached again, ask again. What fails time after time is left to the button. */
async function askAgain(mine, tries) {
  for (const seconds of AGAIN.slice(tries)) {
    tries += 1;
    await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
    if (mine !== running) return;
    const error = await api.status().then(() => null, (one) => one);
    if (mine !== running) return;
    if (!error || !AWAY.has(error.code)) return ask({ tries });
  }
  const text = find("failed").querySelector(".trying");
  if (text) fill(text, "It has stopped trying by itself.");
}

function cancel() {
  running?.abort();
  running = null;
  const method = find("method").value;
  // A host that does not show this page its status does not know its calls by name.
  const remedy = methods.has(method) ? "The page waits no longer, and has the host stop the guest." : "The page waits no longer. The guest itself may run on until its time is over.";
  const text = `${whoIs(method)} was asked for ${find("since").textContent.split(" of ")[0]}.`;
  fail(new api.Fault({ code: "canceled", title: "Canceled", text, remedy }), file.name);
}

function tooLarge(method, name, blob) {
  const own = methods.get(method)?.limits?.input ?? LARGEST;
  if (blob.size > Math.min(LARGEST, own)) {
    const whose = own < LARGEST ? `${whoIs(method)} takes up to ${bytes(own)} (limits.input)` : `the page takes up to ${bytes(LARGEST)}`;
    throw new api.Fault({ code: "too-large", title: "The file is too large", text: `It has ${bytes(blob.size)}; ${whose}.`, remedy: "Choose a smaller one." });
  }
}

/** A grey copy is one call more: only where a picture was shown to a guest that takes pictures and gave none itself. */
function wantsGrey(method, reply) {
  if (method === GREY || reply.picture) return false;
  const guest = methods.get(method);
  return guest ? methods.has(GREY) && takesPictures(guest) : method === "api/image";
}

function fail(fault, name = "", method = "") {
  const held = result.contains(document.activeElement);
  const again = el("button", { type: "button", class: "main" }, "Try again");
  again.addEventListener("click", () => file && ask());
  const trying = AWAY.has(fault.code) && method ? el("p", { class: "trying" }, "It tries again by itself.") : "";
  const size = file && file.name === name ? `, ${bytes(file.blob.size)}` : "";
  const who = { ...fault, guest: fault.guest || (method ? whoIs(method) : "") };
  fill(find("failed"), faultBox(who, name ? `${name}${size}` : "", trying), ...(file ? [el("p", { class: "actions" }, again)] : []));
  way(BROKEN[fault.code] ?? Infinity);
  state("failed");
  find("way").hidden = !(fault.code in BROKEN);
  if (held && file) again.focus();
  else if (held) focusOn(find("failed"));
  fill(find("said"), "");
}

function focusOn(element) {
  element.tabIndex = -1;
  element.focus();
}

const MAGIC = [
  ["image/jpeg", [0xff, 0xd8, 0xff]],
  ["image/png", [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]],
  ["image/gif", [0x47, 0x49, 0x46, 0x38]],
];

/** What a reply is, by its bytes and not by what it is called: {type, picture} or {type, text} or {type, head}. */
async function read(body) {
  const head = new Uint8Array(await body.slice(0, 64).arrayBuffer());
  const kind = MAGIC.find(([, magic]) => magic.every((byte, index) => head[index] === byte));
  if (kind) return { type: body.type, picture: body.slice(0, body.size, kind[0]) };
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(await body.arrayBuffer());
    if (!text.includes("\0")) return { type: body.type, text };
  } catch {
    // no text
  }
  return { type: body.type, head };
}

function draw(method, name, answer, reply) {
  state("answer");
  const labels = labelsOf(reply.text ?? "");
  fill(find("verdict"), labels ? `${labels[0].label}, ${percent(labels[0].probability)}` : "The guest has answered");
  const who = answer.guest ? ["Answered by ", el("b", {}, answer.guest)] : [`Answered by the guest behind ${method}`];
  fill(find("by"), ...who, ` in ${ms(answer.elapsed)}`);
  const grey = wantsGrey(method, reply);
  const sees = find("sees");
  sees.classList.toggle("wide", !grey);
  fill(sees, labels ? labelBars(labels) : said(answer.body, reply));
  find("grey").hidden = !grey;
  find("grey").classList.add("waiting");
  find("grey-picture").removeAttribute("src");
  find("grey-picture").alt = "";
  fill(find("grey-by"), "In grey …");
  fill(find("actions"), ...actions(method, name, answer, reply));
  fill(find("times"), ...times(answer));
  fill(find("said"), `${find("verdict").textContent}. ${find("by").textContent}.`);
}

function drawGrey(grey) {
  const failed = grey instanceof Error;
  find("grey").classList.toggle("waiting", failed);
  if (failed) {
    fill(find("grey-by"), `No grey copy: ${grey.text || grey.title || "it failed"}`);
    return;
  }
  find("grey-picture").src = url(grey.body);
  find("grey-picture").alt = "The photo in grey";
  fill(find("grey-by"), `In grey, by ${grey.guest || "the guest behind " + GREY} in ${ms(grey.elapsed)}`);
}

/** A reply that is no list of labels: a picture, text, or bytes. */
function said(body, reply) {
  if (reply.picture) return el("img", { src: url(reply.picture), alt: "The picture that the guest replied with" });
  if (reply.text) return el("pre", { class: "said", tabindex: "0" }, reply.text.slice(0, TEXT), reply.text.length > TEXT ? " …" : "");
  if (!body.size) return el("p", { class: "said" }, "An empty reply.");
  const hex = [...reply.head].map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
  return el("p", { class: "said" }, `${bytes(body.size)} of ${body.type || "no type"}: ${hex}${body.size > reply.head.length ? " …" : ""}`);
}

const ENDINGS = { "image/jpeg": "jpg", "image/png": "png", "image/gif": "gif", "application/json": "json", "text/plain": "txt" };

function actions(method, name, answer, reply) {
  const type = reply.picture?.type ?? reply.type.split(";")[0];
  const ending = ENDINGS[type] ?? (reply.text === undefined ? "bin" : "txt");
  const base = `${name.replace(/\.\w+$/, "")}-${answer.guest || method}`.replace(/[^\w.-]+/g, "-").slice(0, 80);
  const link = el("a", { href: url(answer.body), download: `${base}.${ending}` }, `Download the reply (${bytes(answer.body.size)})`);
  const again = el("button", { type: "button", class: "quiet" }, "Ask again");
  again.addEventListener("click", () => ask());
  return [link, again];
}

function times({ parts, elapsed }) {
  const title = el("h3", {}, el("span", {}, "Where the time went"), el("span", {}, ms(elapsed)));
  const known = parts.some(([name]) => name === "guest");
  const hint = known ? null : el("p", { class: "lead" }, "The host tells only applications that [page] apps names what an answer cost.");
  return [title, stack(parts), legend(parts), hint].filter(Boolean);
}
