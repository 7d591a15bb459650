// The event, the reply, the log and the configuration.

import * as abi from "./abi";
import { NOTHING, decodePairs, encodePairs, text, unescaped, utf8 } from "./bytes";

/** What a handler gives. */
export const DONE: i32 = 0;
export const FAILED: i32 = 1;
export const RETRY: i32 = 2;
export const DROP: i32 = 3;
/** As DONE; and this timer or reminder of an actor is not to fire again. */
export const STOP: i32 = 4;

const BODY: u32 = 1;

function readEvent(field: u32): Uint8Array | null {
  const size = abi.event_read(field, 0, 0, 0);
  if (size < 0) return null;
  const data = new Uint8Array(size);
  abi.event_read(field, 0, data.dataStart, size);
  return data;
}

function readText(field: u32): string {
  const data = readEvent(field);
  return data === null ? "" : text(data);
}

/** The event that the guest answers. A text is empty where the event has none. */
export namespace Event {
  export function body(): Uint8Array {
    const data = readEvent(BODY);
    return data === null ? NOTHING : data;
  }

  export function bodySize(): i32 {
    return abi.event_read(BODY, 0, 0, 0);
  }

  /** Reads a piece of the body into a buffer; the result is how many bytes these are, 0 at the end. */
  export function bodyInto(buffer: Uint8Array, offset: u32): i32 {
    const left = <i64>abi.event_read(BODY, offset, buffer.dataStart, buffer.length) - offset;
    return <i32>max<i64>(0, min<i64>(left, buffer.length));
  }

  /** "invoke", "topic", "binding", "job" or "operation"; of actors "actor" (a method), "timer", "reminder", "activate" or
   * "deactivate". */
  export function trigger(): string {
    return readText(2);
  }

  /** The method, PUBSUB/TOPIC, the binding, the job, the operation, or the actor's type. */
  export function name(): string {
    return readText(3);
  }

  export function contentType(): string {
    return readText(4);
  }

  /** HTTP's, of an invocation over HTTP. */
  export function verb(): string {
    return readText(5);
  }

  /** The query string as the caller wrote it. */
  export function rawQuery(): string {
    return readText(6);
  }

  /** The route that a message of a topic matched. */
  export function path(): string {
    return readText(7);
  }

  /** The same when a message of a topic is sent again. */
  export function id(): string {
    return readText(8);
  }

  export function pubsub(): string {
    return readText(9);
  }

  export function topic(): string {
    return readText(10);
  }

  /** The CloudEvent's source. */
  export function source(): string {
    return readText(11);
  }

  /** The CloudEvent's type. */
  export function type(): string {
    return readText(12);
  }

  /** The id of the actor whose turn this is. */
  export function actorId(): string {
    return readText(13);
  }

  /** The actor's method, the timer or the reminder. */
  export function actorMethod(): string {
    return readText(14);
  }

  /** The text that a timer was set with. */
  export function callback(): string {
    return readText(15);
  }

  /** A piece of metadata by its name in lower case (of an invocation: a header), or null. */
  export function metadata(name: string): string | null {
    const key = utf8(name);
    const size = abi.event_metadata(key.dataStart, key.length, 0, 0, 0);
    if (size < 0) return null;
    const data = new Uint8Array(size);
    abi.event_metadata(key.dataStart, key.length, 0, data.dataStart, size);
    return text(data);
  }

  export function allMetadata(): Map<string, string> {
    const data = new Uint8Array(max(0, abi.event_metadata_all(0, 0, 0)));
    abi.event_metadata_all(0, data.dataStart, data.length);
    return decodePairs(data);
  }

  /** The first parameter of this name in the query string, decoded, or null. */
  export function query(name: string): string | null {
    const found = readEvent(6);
    if (found === null) return null;
    let start = 0;
    while (start < found.length) {
      let end = start, split = -1;
      while (end < found.length && found[end] != 38) {
        if (found[end] == 61 && split < 0) split = end;
        end++;
      }
      if (split < 0) split = end;
      if (end > start && unescaped(found.subarray(start, split)) == name)
        return split < end ? unescaped(found.subarray(split + 1, end)) : "";
      start = end + 1;
    }
    return null;
  }
}

/** What the guest answers. Each function gives 0, or a number below 0: LIMIT for a reply that is too large, INVALID for
 * a value that no reply can have, UNSUPPORTED for status and headers of an event that has none. */
export namespace Reply {
  /** Appends to the body. */
  export function write(data: Uint8Array): i32 {
    return abi.reply_write(data.dataStart, data.length);
  }

  /** Appends to the body. */
  export function text(value: string): i32 {
    return write(utf8(value));
  }

  export function contentType(value: string): i32 {
    const data = utf8(value);
    return abi.reply_set(1, data.dataStart, data.length);
  }

  /** Why the event failed, or what a status from 300 on says. */
  export function failure(value: string): i32 {
    const data = utf8(value);
    return abi.reply_set(2, data.dataStart, data.length);
  }

  /** HTTP's, from 200 to 599. */
  export function status(value: u32): i32 {
    return abi.reply_status(value);
  }

  /** A header; its name has lower-case letters. */
  export function header(name: string, value: string): i32 {
    const key = utf8(name), data = utf8(value);
    return abi.reply_header(key.dataStart, key.length, data.dataStart, data.length);
  }

  /** When the event may be sent again, with RETRY or a status as 503. */
  export function retryAfter(milliseconds: u32): i32 {
    return abi.retry_after(milliseconds);
  }
}

/** return fail("why"): the guest failed. */
export function fail(why: string): i32 {
  Reply.failure(why);
  return FAILED;
}

/** return retry("why"): the same event may succeed later. */
export function retry(why: string): i32 {
  Reply.failure(why);
  return RETRY;
}

/** return drop("why"): the event is at fault, and sending it again cannot help. */
export function drop(why: string): i32 {
  Reply.failure(why);
  return DROP;
}

/** return refuse(409, "not enough"): a status for the caller of a method of an actor, or of an invocation. The text is the
 * body, too: an actor's caller sees nothing else. */
export function refuse(status: u32, why: string): i32 {
  Reply.status(status);
  Reply.failure(why);
  Reply.text(why);
  return DONE;
}

export enum Level {
  Debug,
  Info,
  Warning,
  Error,
}

/** A line of the guest's log, with fields. */
export function log(level: Level, line: string, fields: Map<string, string> | null = null): i32 {
  const data = utf8(line), pairs = encodePairs(fields);
  return abi.log_line(level, data.dataStart, data.length, pairs.dataStart, pairs.length);
}

/** Milliseconds until the event's deadline. */
export function timeLeft(): i64 {
  return abi.time_left();
}

/** A value that the operator has given to this guest, or null. */
export function config(name: string): string | null {
  const key = utf8(name);
  const size = abi.config_read(key.dataStart, key.length, 0, 0, 0);
  if (size < 0) return null;
  const data = new Uint8Array(size);
  abi.config_read(key.dataStart, key.length, 0, data.dataStart, size);
  return text(data);
}
