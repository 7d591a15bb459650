// Ten calls that are under way at the same time.

import { state } from "dapr";

export async function onInvoke() {
  const store = state("statestore");
  const reads = Array.from({ length: 10 }, (_, number) => store.get(`item-${number}`));
  const results = await Promise.allSettled(reads);
  const failed = results.findIndex((result) => result.status === "rejected");
  if (failed >= 0) throw new Error(`item-${failed}: ${results[failed].reason.message}`);
  return { contentType: "text/plain", body: results.map((result) => result.value?.text() ?? "").join("\n") };
}
