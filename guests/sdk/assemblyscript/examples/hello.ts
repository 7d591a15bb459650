// Greets by the query and a header: name=Ada gives "Hello, Ada!".
import { DONE, Event, Reply } from "../assembly";

export function dapr_on_invoke(): i32 {
  let name = Event.query("name");
  if (name === null || name.length == 0) name = "world";
  const greeting = Event.metadata("x-greeting");
  Reply.text(`${greeting === null ? "Hello" : greeting}, ${name}!`);
  Reply.contentType("text/plain; charset=utf-8");
  Reply.header("x-guest", "hello");
  Reply.status(201);
  return DONE;
}
