// Choosing a photo, showing it to the guests, and their answers.

import { call, Fault } from "./api.js";
import { bytes, el, faultBox, labelBars, labelsOf, ms, percent, stack } from "./draw.js";

const LARGEST = 16 * 2 ** 20; // bytes; the server's own limit
const GREY = "api/grayscale";
const NAMES = {
  guest: "Guest (Wasm)",
  host: "Decoding, host",
  inference: "Inference",
  queued: "Waiting",
  sidecar: "Transport: sidecars",
  browser: "Transport: browser",
};

const find = (id) => document.getElementById(id);
const result = find("result");
let running = null; // an AbortController, while a photo is being answered
let photo = null;
let shown = []; // object URLs in use

/** Wire everything up. */
export function start() {
  const drop = find("drop");
  const file = find("file");
  file.addEventListener("change", () => file.files[0] && choose(file.files[0]));
  for (const kind of ["dragenter", "dragover"]) {
    drop.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.add("over");
    });
  }
  for (const kind of ["dragleave", "drop"]) drop.addEventListener(kind, () => drop.classList.remove("over"));
  // A photo that is dropped beside the area must not replace the page.
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    const [dropped] = event.dataTransfer.files;
    if (dropped) choose(dropped);
  });
  for (const button of document.querySelectorAll("[data-example]")) {
    button.setAttribute("aria-pressed", "false");
    button.addEventListener("click", () => chooseExample(button));
  }
  find("method").addEventListener("change", () => photo && show());
}

/** The methods of the host's status; the choice stays. */
export function offer(methods) {
  const select = find("method");
  const names = methods.filter(({ verbs }) => !verbs.length || verbs.includes("POST")).map(({ method }) => method);
  if (!names.length || names.join() === [...select.options].map((option) => option.value).join()) return;
  const chosen = select.value;
  const guests = new Map(methods.map(({ method, guest }) => [method, guest]));
  select.replaceChildren(...names.map((name) => el("option", { value: name }, `${name} – ${guests.get(name)}`)));
  select.value = names.includes(chosen) ? chosen : names[0];
}

async function chooseExample(button) {
  try {
    const response = await fetch(`examples/${button.dataset.example}`);
    if (!response.ok) throw new Error(response.statusText);
    choose(await response.blob(), button);
  } catch {
    fail(new Fault({ title: "The example cannot be had", text: "The page’s own server is away.", remedy: "Start `guesthouse web` again." }));
  }
}

function choose(blob, button = null) {
  for (const other of document.querySelectorAll("[data-example]")) {
    other.setAttribute("aria-pressed", String(other === button));
  }
  if (button) find("file").value = "";
  shown.forEach((url) => URL.revokeObjectURL(url));
  shown = [];
  photo = blob;
  const preview = find("preview");
  preview.onerror = () => (preview.hidden = true); // no picture, or one that this browser does not know
  preview.alt = "The photo that was chosen";
  preview.src = url(blob);
  preview.hidden = false;
  find("drop").classList.add("chosen");
  find("drop-title").textContent = "Choose another photo";
  show();
}

function url(blob) {
  const made = URL.createObjectURL(blob);
  shown.push(made);
  return made;
}

/** Ask the guests about the photo: the method that is chosen, then, so that none slows the other, for the grey picture. */
async function show() {
  running?.abort();
  const mine = (running = new AbortController());
  find("said").textContent = "";
  result.setAttribute("aria-busy", "true");
  const method = find("method").value;
  try {
    if (photo.size > LARGEST) {
      throw new Fault({ title: "The photo is too large", text: `It has ${bytes(photo.size)}; the page takes up to 16 MiB.`, remedy: "Choose a smaller one." });
    }
    const answer = await call(method, photo, mine.signal);
    const text = answer.body.type.startsWith("image/") ? "" : await answer.body.text();
    if (mine !== running) return;
    draw(method, answer, text);
    if (method === GREY) return;
    // The grey picture is an extra: without it the answer stands alone.
    const grey = await call(GREY, photo, mine.signal).catch(() => null);
    if (mine === running) drawGrey(grey);
  } catch (error) {
    if (mine !== running || error.name === "AbortError") return;
    fail(error);
  } finally {
    if (mine === running) result.setAttribute("aria-busy", "false");
  }
}

function fail(error) {
  find("result-empty").hidden = true;
  find("answer").hidden = true;
  result.querySelector(".fault")?.remove();
  const fault = error instanceof Fault ? error : new Fault({ title: "The page failed", text: String(error), remedy: "Reload it." });
  result.prepend(faultBox(fault));
}

function draw(method, answer, text) {
  result.querySelector(".fault")?.remove();
  find("result-empty").hidden = true;
  find("answer").hidden = false;
  const labels = labelsOf(text);
  find("verdict").textContent = labels ? `${labels[0].label}, ${percent(labels[0].probability)}` : "The guest has answered";
  const who = answer.guest ? ["Answered by ", el("b", {}, answer.guest)] : [`Answered by the guest behind ${method}`];
  find("by").replaceChildren(...who, ` in ${ms(answer.elapsed)}`);
  const sees = find("sees");
  const alone = method === GREY;
  sees.classList.toggle("wide", alone);
  sees.replaceChildren(labels ? labelBars(labels) : said(answer.body, text));
  find("grey").hidden = alone;
  find("grey").classList.add("waiting");
  find("grey-picture").removeAttribute("src");
  find("grey-by").textContent = "In grey …";
  find("times").replaceChildren(...times(answer));
  find("said").textContent = `${find("verdict").textContent}. ${find("by").textContent}.`;
}

function drawGrey(grey) {
  find("grey").hidden = !grey;
  find("sees").classList.toggle("wide", !grey);
  if (!grey) return;
  find("grey").classList.remove("waiting");
  find("grey-picture").src = url(grey.body);
  find("grey-picture").alt = "The photo in grey";
  find("grey-by").textContent = `In grey, by ${grey.guest || "the guest behind " + GREY} in ${ms(grey.elapsed)}`;
}

/** A reply that is no list of labels: a picture, text, or a number of bytes. */
function said(body, text) {
  if (body.type.startsWith("image/")) return el("img", { src: url(body), alt: "The picture that the guest replied with" });
  if (/^(text\/|application\/json)/.test(body.type)) return el("pre", { class: "said", tabindex: "0" }, text.slice(0, 20000));
  return el("p", { class: "said" }, `${bytes(body.size)} of ${body.type || "no type"}`);
}

function times({ parts, elapsed }) {
  const title = el("h3", {}, el("span", {}, "Where the time went"), el("span", {}, ms(elapsed)));
  const rows = parts.map(([name, value]) =>
    el("div", { class: name }, el("dt", {}, NAMES[name]), el("dd", {}, ms(value))),
  );
  const known = parts.some(([name]) => name === "guest");
  const hint = known ? null : el("p", { class: "lead" }, "The host tells only applications that [page] apps names what an answer cost.");
  return [title, stack(parts), el("dl", { class: "legend" }, ...rows), hint].filter(Boolean);
}
