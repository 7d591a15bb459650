// Calls to the sidecar: begun, waited for, and how they ended.

import * as abi from "./abi";
import { NOTHING, encodePairs, text, utf8 } from "./bytes";
import { RETRY, FAILED, Reply } from "./event";
import { Message, Reader, find, findNumber, findText } from "./proto";

/** gRPC's codes, by which calls end. */
export enum Code {
  OK,
  Cancelled,
  Unknown,
  InvalidArgument,
  DeadlineExceeded,
  NotFound,
  AlreadyExists,
  PermissionDenied,
  ResourceExhausted,
  FailedPrecondition,
  Aborted,
  OutOfRange,
  Unimplemented,
  Internal,
  Unavailable,
  DataLoss,
  Unauthenticated,
}

/** How the response of a call is read. */
export enum Kind {
  Other,
  Data,
  State,
  States,
  Invoked,
  Secret,
  Configuration,
  Number,
  Job,
}

/** One of several things in a response. */
export class Item {
  constructor(
    public key: string,
    public data: Uint8Array,
    public etag: string = "", // of configuration: the version
    public error: string = "", // why a state could not be read
  ) {}

  get text(): string {
    return text(this.data);
  }
}

/** How a call ended, and what came back. */
export class Result {
  /** Code.OK, another of gRPC's codes, or a number below 0: there was no call. */
  code: i32 = Code.OK;
  /** Why, where the code is not OK. */
  error: string = "";
  /** The value, the reply, the secret; empty where there is none. */
  data: Uint8Array = NOTHING;
  /** Of a state. */
  etag: string = "";
  /** Of an invocation's reply. */
  contentType: string = "";
  /** Of a lock: 1 where it was taken. Of its giving back: 0 where it was held by you. */
  number: u64 = 0;
  /** Of getBulkState, getSecret and getConfiguration. */
  items: Item[] = [];
  /** The whole response, as protobuf. */
  message: Uint8Array = NOTHING;

  get ok(): bool {
    return this.code == Code.OK;
  }

  get text(): string {
    return text(this.data);
  }

  /** Whether the same call may succeed later: nobody answered, or not in time. */
  get temporary(): bool {
    return this.code == Code.Unavailable || this.code == Code.DeadlineExceeded;
  }

  /** return result.outcome(): RETRY where the same call may succeed later, else FAILED, with the call's error. */
  outcome(): i32 {
    Reply.failure(this.error);
    return this.temporary ? RETRY : FAILED;
  }
}

/** What a request may have besides; see each request for what it takes. */
export class Options {
  /** For the component. */
  metadata: Map<string, string> | null = null;
  /** gRPC metadata; of an invocation what the other application sees as headers. */
  headers: Map<string, string> | null = null;
  /** Of saveState and deleteState: what the state must have; empty: it must be absent; null: anything. */
  etag: string | null = null;
  contentType: string = "";
  query: string = "";
  /** How long the call may take; 0: as long as the event may. */
  milliseconds: u32 = 0;
}

/** A call that was begun. What was begun before the first is waited for is under way at once. */
export class Call {
  private result: Result | null = null;

  constructor(public handle: i32, private kind: Kind) {}

  /** Waits for the end. It may be called again, and gives the same. */
  wait(): Result {
    const before = this.result;
    if (before !== null) return before;
    const result = new Result();
    this.result = result;
    result.code = this.handle;
    if (this.handle > 0) {
      handles[0] = this.handle;
      result.code = abi.call_wait(changetype<usize>(handles), 1, 1, -1);
      if (result.code > 0) result.code = abi.call_status(this.handle);
      if (result.code == Code.OK) {
        result.message = this.read(0);
        this.decode(result);
      } else if (result.code > 0) {
        result.error = text(this.read(1));
      }
      abi.call_close(this.handle);
    }
    if (result.code < 0) result.error = `dapr_v1 gave ${result.code} (${name(result.code)})`;
    return result;
  }

  /** Gives the call up. Whether it is carried out then is not known. */
  cancel(): void {
    if (this.result !== null) return;
    const result = new Result();
    result.code = Code.Cancelled;
    result.error = "the guest gave it up";
    this.result = result;
    if (this.handle > 0) abi.call_close(this.handle);
  }

  /** Whether wait() was not called yet. */
  get open(): bool {
    return this.result === null;
  }

  private read(part: u32): Uint8Array {
    const size = abi.call_read(this.handle, part, 0, 0, 0);
    if (size <= 0) return NOTHING;
    const data = new Uint8Array(size);
    abi.call_read(this.handle, part, 0, data.dataStart, size);
    return data;
  }

  private decode(result: Result): void {
    const message = result.message;
    switch (this.kind) {
      case Kind.State: {
        result.data = find(message, 1);
        result.etag = findText(message, 2);
        break;
      }
      case Kind.Data: result.data = find(message, 1); break;
      case Kind.Invoked: {
        result.data = find(find(message, 1), 2);
        result.contentType = findText(message, 2);
        break;
      }
      case Kind.Number: result.number = findNumber(message, 1); break;
      case Kind.Job: result.data = find(find(find(message, 1), 6), 2); break;
      case Kind.States:
      case Kind.Secret:
      case Kind.Configuration: {
        this.decodeItems(result);
        if (result.items.length > 0) result.data = result.items[0].data;
        break;
      }
      default: break;
    }
  }

  private decodeItems(result: Result): void {
    const reader = new Reader(result.message);
    while (reader.next()) {
      if (reader.number != 1) continue;
      const bytes = reader.bytes, value = find(bytes, 2);
      let item = new Item(findText(bytes, 1), value);
      if (this.kind == Kind.States) {
        item.etag = findText(bytes, 3);
        item.error = findText(bytes, 4);
      } else if (this.kind == Kind.Configuration) {
        item = new Item(item.key, find(value, 1), findText(value, 2));
      }
      result.items.push(item);
    }
  }
}

const handles = new StaticArray<u32>(1);

function name(number: i32): string {
  if (number == abi.LIMIT) return "LIMIT: this event has as many calls, or bytes in them, as it may";
  if (number == abi.INVALID) return "INVALID";
  return number == abi.BAD_HANDLE ? "BAD_HANDLE" : "unknown";
}

export function begin(kind: Kind, method: string, request: Message, options: Options): Call {
  const named = utf8(method), message = request.bytes, pairs = encodePairs(options.headers);
  const handle = abi.call_start(
    named.dataStart, named.length, message.dataStart, message.length, pairs.dataStart, pairs.length,
    options.milliseconds,
  );
  return new Call(handle, kind);
}

/** Begins any method of the sidecar, with Dapr's own protobuf message. */
export function startCall(method: string, request: Message, options: Options = new Options()): Call {
  return begin(Kind.Other, method, request, options);
}

/** Makes such a call; the response is in `message`. */
export function call(method: string, request: Message, options: Options = new Options()): Result {
  return startCall(method, request, options).wait();
}

/** Waits for the first of the calls to end, and gives its position; -1 where none is left. Calls that were waited for
 * are left out, so results come in order of arrival. */
export function first(calls: Call[]): i32 {
  const open = new StaticArray<u32>(calls.length);
  const positions = new Array<i32>();
  for (let i = 0; i < calls.length; i++) {
    if (!calls[i].open) continue;
    if (calls[i].handle < 0) return i;
    open[positions.length] = calls[i].handle;
    positions.push(i);
  }
  const found = abi.call_wait(changetype<usize>(open), positions.length, 0, -1);
  return found < 0 ? -1 : positions[found];
}
