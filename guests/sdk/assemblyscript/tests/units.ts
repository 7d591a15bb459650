// A guest that checks the SDK from inside. The body says which check; what is wrong is a line of the reply.
import {
  BAD_HANDLE, Call, DONE, Event, INVALID, LIMIT, Level, Message, Reader, Reply, UNSUPPORTED, config, find, findNumber,
  findText, first, log, numberOf, pair, startGetState, text, timeLeft, utf8,
} from "../assembly";

function check(condition: bool, what: string): void {
  if (!condition) Reply.text(what + "\n");
}

function messages(): void {
  const large = new Uint8Array(300).fill(120);
  const made = new Message().number(1, u64.MAX_VALUE).message(16, new Message().blob(3, large)).text(5, "");
  made.map(6, pair("a", "")).text(7, "ü€😀");
  const bytes = made.bytes;
  check(findNumber(bytes, 1) == u64.MAX_VALUE, "a large number");
  check(find(find(bytes, 16), 3).length == 300, "a message in a message");
  check(find(bytes, 5).length == 0 && findText(find(bytes, 6), 1) == "a", "a map");
  check(findText(bytes, 7) == "ü€😀", "a text");
  const fixed = new Message().number(1, 1);
  check(findNumber(fixed.bytes, 2) == 0, "no field");
  for (let size = 0; size < bytes.length; size++) {
    const reader = new Reader(bytes.subarray(0, size));
    while (reader.next()) check(reader.bytes.length <= size, "a torn message");
  }
  const forged = new Uint8Array(6);
  forged.set([0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f]);
  check(!new Reader(forged).next(), "a length beyond the end");
  forged.set([0x0b, 0, 0, 0, 0, 0]);
  check(!new Reader(forged).next(), "a type that there is not");
}

function numbers(): void {
  check(numberOf(utf8("9223372036854775807"), -1) == i64.MAX_VALUE, "the largest number");
  check(numberOf(utf8("9223372036854775808"), -1) == -1, "a larger number");
  check(numberOf(utf8(""), 7) == 7 && numberOf(utf8("1x"), 7) == 7 && numberOf(utf8("-1"), 7) == 7, "no number");
}

function event(): void {
  check(Event.trigger() == "invoke" && Event.verb() == "PUT" && Event.id() == "", "texts of the event");
  check(Event.bodySize() == 5, "the size of the body");
  const piece = new Uint8Array(3);
  check(Event.bodyInto(piece, 0) == 3 && text(piece) == "eve", "the first piece of the body");
  check(Event.bodyInto(piece, 3) == 2 && piece[0] == 110, "the last piece of the body");
  check(Event.bodyInto(piece, 5) == 0 && Event.bodyInto(piece, 99) == 0, "the end of the body");
  check(Event.query("name") == "Jü rgen" && Event.query("a") == "1%2" && Event.query("b") == "", "parameters");
  check(Event.query("c") === null && Event.query("") == "empty", "absent parameters");
  check(Event.metadata("x-a") == "1" && Event.metadata("x-c") === null, "metadata");
  const all = Event.allMetadata();
  check(all.size == 2 && all.get("x-b") == "", "all metadata");
  check(config("colour") == "blue" && config("size") === null, "configuration");
  check(timeLeft() == 10000, "the time left");
  log(Level.Warning, "careful", pair("key", "value"));
  check(Reply.status(99) == INVALID && Reply.status(404) == 0, "a status");
}

function calls(): void {
  const begun: Call[] = [startGetState("s", "a"), startGetState("none", "b"), startGetState("s", "c")];
  check(first([begun[0], begun[1]]) == 0 && first(begun) == 2, "the first that ended");
  const a = begun[0].wait();
  check(a.ok && a.text == "A" && a.etag == "1" && begun[0].wait() === a, "a state");
  check(first([begun[0], begun[1]]) == 1, "the first that is left");
  const b = begun[1].wait();
  check(b.code == 5 && b.error == "no store" && b.outcome() == 1, "an error");
  const c = begun[2].wait();
  check(c.code == LIMIT && c.error.includes("LIMIT"), "a limit");
  check(first(begun) == -1, "none is left");
  check(new Call(99, 0).wait().code == BAD_HANDLE, "a handle that there is not");
}

export function dapr_on_invoke(): i32 {
  const which = text(Event.body());
  if (which == "messages") messages();
  else if (which == "numbers") numbers();
  else if (which == "event") event();
  else if (which == "calls") calls();
  else if (which == "abort") new Array<i32>(1)[1];
  else Reply.text("no such check");
  return DONE;
}

export function dapr_on_job(): i32 {
  check(Reply.status(200) == UNSUPPORTED, "a job has no status");
  return DONE;
}
