// Greets whoever is named in the body, and counts the visits of each in a state store.
import {
  DONE, Event, Level, Options, Reply, drop, getState, log, numberOf, pair, saveState, text, utf8,
} from "../sdk/assembly";

export function dapr_on_invoke(): i32 {
  const name = text(Event.body());
  if (name.length == 0) return drop("the body is empty; write a name");

  const key = "visits-" + name;
  const seen = getState("statestore", key);
  if (!seen.ok) return seen.outcome();

  const visits = (numberOf(seen.data, 0) + 1).toString();
  const options = new Options();
  options.etag = seen.etag;
  const saved = saveState("statestore", key, utf8(visits), options);
  if (!saved.ok) return saved.outcome();

  log(Level.Info, "a visit", pair("name", name).set("visits", visits));
  Reply.contentType("text/plain; charset=utf-8");
  Reply.text(`Hello, ${name}! This is visit ${visits}.\n`);
  return DONE;
}
