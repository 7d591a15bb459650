// The server's API. Whatever goes wrong becomes a `Fault` with a title, a text and a remedy.

export class Fault extends Error {
  constructor(fault) {
    super(fault.title);
    Object.assign(this, { code: "unknown", text: "", remedy: "", guest: "", reason: "" }, fault);
  }
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
      text: "This browser reaches nothing at the address of this page.",
      remedy: "Start it again with `guesthouse web`, and check the network. This page tries again by itself.",
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
export const picture = (id) => `/api/pictures/${encodeURIComponent(id)}`;

/** Show a guest a photo: its reply, who answered, and where the milliseconds went ([name, ms]). */
export async function call(method, photo, signal) {
  const began = performance.now();
  const path = method.split("/").map(encodeURIComponent).join("/");
  const headers = photo.type ? { "content-type": photo.type } : {};
  const response = await ask(`/api/call/${path}`, { method: "POST", body: photo, headers, signal });
  const body = await response.blob();
  const elapsed = performance.now() - began;
  const timing = parse(response.headers.get("server-timing") ?? "");
  return { body, guest: response.headers.get("guesthouse-guest") ?? "", elapsed, parts: partsOf(timing, elapsed) };
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

function partsOf({ queued = 0, guest = 0, host = 0, inference = 0, total = 0, sidecar = 0 }, elapsed) {
  // What is left of the host's total is the sandbox being made and cleared away: the guest's own cost.
  const sandbox = Math.max(0, total - guest - host - inference);
  return [
    ["guest", guest + sandbox],
    ["host", host],
    ["inference", inference],
    ["queued", queued],
    ["sidecar", Math.max(0, sidecar - queued - total)],
    ["browser", Math.max(0, elapsed - sidecar)],
  ].filter(([name, value]) => total || name === "sidecar" || name === "browser");
}
