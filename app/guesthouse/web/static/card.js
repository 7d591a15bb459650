// The dialog in which a card opens. The browser keeps the focus in it, closes it by Escape and gives the focus back.

import { el, fill } from "./draw.js";

const card = document.getElementById("card");

/** Open it with a title and what belongs below. */
export function show(title, ...parts) {
  const close = el("button", { type: "button", class: "quiet" }, "Close");
  close.addEventListener("click", () => card.close());
  fill(card, el("div", { class: "head" }, el("h2", { id: "card-title" }, title), close), ...parts);
  if (!card.open) card.showModal();
  card.scrollTop = 0;
}

card.addEventListener("click", (event) => event.target === card && card.close()); // beside what is in it
