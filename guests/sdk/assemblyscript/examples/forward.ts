// Asks another application for a price, and hands the answer to an output binding.
import { DONE, Event, Options, Verb, invoke, invokeBinding, pair } from "../assembly";

export function dapr_on_binding(): i32 {
  const plain = new Options();
  plain.contentType = "text/plain";
  const price = invoke("other", "price", Event.body(), Verb.POST, plain);
  if (!price.ok) return price.outcome();
  const named = new Options();
  named.metadata = pair("fileName", "price");
  const stored = invokeBinding("store", "create", price.data, named);
  return stored.ok ? DONE : stored.outcome();
}
