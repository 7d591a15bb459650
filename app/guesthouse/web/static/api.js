// The server's API. Whatever goes wrong becomes a `Fault` with a title, a text and a remedy.

import { partsOf } from "./draw.js";

export class Fault extends Error {
  constructor(fault) {
    super(fault.title);
    Object.assign(this, { code: "unknown", text: "", remedy: "", guest: "", reason: "" }, fault);
  }
}

/** A `Fault`, whatever was thrown. */
export function faultOf(error) {
  return error instanceof Fault ? error : new Fault({ title: "The page failed", text: String(error), remedy: "Reload it." });
}

async function ask(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Fault({
      code: "page-away",
      title: "The page’s own server is away",
      text: `This browser reaches nothing at ${location.origin}.`,
      remedy: `Start it again with \`guesthouse web${location.port ? ` --port ${location.port}` : ""}\`, and check the network. This page tries again by itself.`,
    });
  }
  if (response.ok) return response;
  const answer = await response.json().catch(() => null);
  throw new Fault(
    answer?.error ?? {
      code: "page-failed",
      title: "The page’s own server failed",
      text: `It answered ${response.status} ${response.statusText}.`,
      remedy: "Try again; the log of `guesthouse web` says more.",
    },
  );
}

export const status = async () => (await ask("/api/status")).json();
export const events = async (after) => (await ask(`/api/events?${new URLSearchParams({ after })}`)).json();
export const guest = async (name) => (await ask(`/api/guests/${encodeURIComponent(name)}`)).json();
export const picture = (id, large = false) => `/api/pictures/${encodeURIComponent(id)}${large ? "?large" : ""}`;

/** Show a guest a file: its reply, who answered, and where the milliseconds went ([name, ms]). */
export async function call(method, file, signal) {
  const began = performance.now();
  const path = method.split("/").map(encodeURIComponent).join("/");
  const headers = file.type ? { "content-type": file.type } : {};
  const response = await ask(`/api/call/${path}`, { method: "POST", body: file, headers, signal });
  const body = await response.blob();
  const elapsed = performance.now() - began;
  const timing = parse(response.headers.get("server-timing") ?? "");
  return { body, guest: response.headers.get("guesthouse-guest") ?? "", elapsed, parts: withTransport(timing, elapsed) };
}

/** `name;dur=1.5, …` as {name: milliseconds}. */
function parse(timing) {
  const found = {};
  for (const entry of timing.split(",")) {
    const [, name, value] = entry.match(/^\s*([\w-]+)\s*;\s*dur=([\d.e+-]+)/) ?? [];
    if (name) found[name] = Number(value);
  }
  return found;
}

function withTransport(timing, elapsed) {
  const { queued = 0, total = 0, sidecar = 0 } = timing;
  return [
    ...(total ? partsOf(timing) : []),
    ["sidecar", Math.max(0, sidecar - queued - total)],
    ["browser", Math.max(0, elapsed - sidecar)],
  ];
}
