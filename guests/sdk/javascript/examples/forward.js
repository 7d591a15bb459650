// A binding's event: another application is asked, and its answer goes to an output binding.

import { Retry, binding, invoke } from "dapr";

const DEADLINE_EXCEEDED = 4, UNAVAILABLE = 14;

export async function onBinding(event) {
  try {
    const price = await invoke("other", "price", event.body, { contentType: "text/plain" });
    await binding("store", "create", price.bytes, { fileName: "price" });
  } catch (error) {
    if (error.code === UNAVAILABLE || error.code === DEADLINE_EXCEEDED) throw new Retry(error.message);
    throw error;
  }
}
