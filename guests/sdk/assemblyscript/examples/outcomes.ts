// Fails, asks for a retry, or drops the event, as its body says.
import { DONE, Event, Reply, drop, fail, retry, text } from "../assembly";

export function dapr_on_event(): i32 {
  const wish = text(Event.body());
  if (wish == "error") return fail("the body asks for an error");
  if (wish == "drop") return drop("the body asks to be dropped");
  if (wish == "retry") {
    Reply.retryAfter(1500);
    return retry("the body asks for a retry");
  }
  Reply.text("done");
  return DONE;
}
