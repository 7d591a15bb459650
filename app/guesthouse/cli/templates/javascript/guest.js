// Greets whoever is named in the body, and counts the visits of each in a state store.

import { CallError, Drop, Retry, log, state } from "dapr";

const UNAVAILABLE = 14;
const store = state("statestore");

export async function onInvoke(event) {
  const name = event.text();
  if (!name) throw new Drop("the body is empty; write a name");
  try {
    const key = `visits-${name}`;
    const seen = await store.get(key);
    const visits = Number(seen?.text() ?? 0) + 1;
    await store.save(key, String(visits), { etag: seen?.etag });
    log.info("a visit", { name, visits });
    return `Hello, ${name}! This is visit ${visits}.\n`;
  } catch (error) {
    if (error instanceof CallError && error.code === UNAVAILABLE) throw new Retry(error.message);
    throw error;
  }
}
