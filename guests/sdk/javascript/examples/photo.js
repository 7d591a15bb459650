// A photo on a topic: how many people were seen so far is kept as state, and published.

import { Drop, Retry, publish, state } from "dapr";
import { model } from "models";
import { pixels } from "pictures";

const SIDE = 96;
const store = state("statestore");

// The sidecar could not do it now: the event is wanted again.
const orRetry = (promise) =>
  promise.catch((error) => {
    throw new Retry(error.message);
  });

export async function onTopic(event) {
  const seen = await orRetry(store.get("people"));
  const picture = pixels(event.body, SIDE, SIDE);
  if (!picture) throw new Drop("the body is not a picture");
  const [scores] = model("person").run([{ shape: [1, SIDE, SIDE, 3], data: Float32Array.from(picture) }]);
  const person = scores[0] > 0.5;
  const before = /^[0-9]+$/.test(seen?.text() ?? "") ? Number(seen.text()) : 0;
  const people = before + (person ? 1 : 0);
  await orRetry(store.save("people", String(people), { etag: seen?.etag, firstWrite: true }));
  await orRetry(publish("pubsub", "results", { person, people }));
}
