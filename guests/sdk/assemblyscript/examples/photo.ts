// Counts the photos that show a person. The count is a state, saved with its etag: where another event was faster, this
// one comes again.
import {
  DONE, Event, Options, drop, fail, getState, infer, loadImage, numberOf, publish, retry, saveState, utf8,
} from "../assembly";

const SIDE: u32 = 96;
const SHAPE: StaticArray<u32> = [1, SIDE, SIDE, 3];

export function dapr_on_topic(): i32 {
  const people = getState("statestore", "people");
  if (!people.ok) return retry(people.error);

  const pixels = loadImage(Event.body(), SIDE, SIDE);
  if (pixels === null) return drop("the body is not a picture");
  const input = new Float32Array(pixels.length);
  for (let i = 0; i < pixels.length; i++) input[i] = <f32>pixels[i];
  const person = new Float32Array(2);
  const error = infer("person", SHAPE, input, person);
  if (error) return fail(`the model person does not run: wasi-nn's error ${error}`);

  const isPerson = person[0] > 0.5;
  const count = numberOf(people.data, 0) + <i64>isPerson;
  const options = new Options();
  options.etag = people.etag;
  const saved = saveState("statestore", "people", utf8(count.toString()), options);
  if (!saved.ok) return retry(saved.error);

  const json = new Options();
  json.contentType = "application/json";
  const sent = publish("pubsub", "results", utf8(`{"person":${isPerson},"people":${count}}`), json);
  if (!sent.ok) return retry(sent.error);
  return DONE;
}
