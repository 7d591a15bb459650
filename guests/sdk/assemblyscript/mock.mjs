/**
 * A host and a sidecar for tests of guests, in Node:
 *
 *     import { Host } from "guesthouse-dapr/mock";
 *
 *     const host = new Host({ query: "name=Ada" });
 *     const got = host.run(readFileSync("build/hello.wasm"));
 *     assert.equal(got.body.toString(), "Hello, Ada!");
 *
 * It records what the guest does, and answers calls in the order in which they are begun. It knows no grants and few
 * limits: those are the host's. Imports of other modules than dapr_v1 are given to `run`.
 */

const [ABSENT, INVALID, BAD_HANDLE, LIMIT, UNSUPPORTED] = [-1, -2, -3, -4, -6];
const FIELDS = [
  null, "body", "trigger", "name", "contentType", "verb", "query", "path", "id", "pubsub", "topic", "source", "type",
  "actorId", "actorMethod", "callback",
];

const bytesOf = (value) => (typeof value === "string" ? Buffer.from(value) : Buffer.from(value ?? []));

/** A protobuf message of fields that are texts, bytes, numbers or messages: message([1, "key"], [2, [[1, "etag"]]]). */
export function message(...fields) {
  const varint = (value) => {
    const bytes = [];
    for (value = BigInt(value); value > 127n; value >>= 7n) bytes.push(Number(value & 127n) | 128);
    return Buffer.from([...bytes, Number(value)]);
  };
  return Buffer.concat(
    fields.map(([number, value]) => {
      if (typeof value === "number" || typeof value === "bigint")
        return Buffer.concat([varint(number << 3), varint(value)]);
      const inner = Array.isArray(value) ? message(...value) : bytesOf(value);
      return Buffer.concat([varint((number << 3) | 2), varint(inner.length), inner]);
    }),
  );
}

/** The answer to getState. */
export const state = (data, etag = "") => ({ message: message([1, data], [2, etag]) });

/** The answer of a call that fails. */
export const fails = (code, text) => ({ code, text });

function pairs(values) {
  return Buffer.concat(
    Object.entries(values).flatMap(([name, value]) => {
      const lengths = Buffer.alloc(8);
      lengths.writeUInt32LE(Buffer.byteLength(name), 0);
      lengths.writeUInt32LE(Buffer.byteLength(value), 4);
      return [lengths, Buffer.from(name), Buffer.from(value)];
    }),
  );
}

function readPairs(data) {
  const found = {};
  while (data.length >= 8) {
    const [name, value] = [data.readUInt32LE(0), data.readUInt32LE(4)];
    found[data.subarray(8, 8 + name).toString()] = data.subarray(8 + name, 8 + name + value).toString();
    data = data.subarray(8 + name + value);
  }
  return found;
}

export class Host {
  /** What the event has: trigger, name, body, contentType, verb, query, path, id, pubsub, topic, source, type, actorId,
   * actorMethod, callback and metadata; and config, answers (of the calls, in their order), limitCalls. */
  constructor(event = {}) {
    this.event = { trigger: "invoke", name: "", metadata: {}, config: {}, answers: [], ...event };
    this.calls = [];
    this.log = [];
    this.timeLeft = 10_000;
  }

  /** Runs one event in a fresh instance. */
  run(wasm, imports = {}) {
    const got = { body: Buffer.alloc(0), headers: {}, status: 200, contentType: "", failure: "", retryAfter: 0 };
    const module = new WebAssembly.Module(wasm);
    const instance = new WebAssembly.Instance(module, { dapr_v1: this.#functions(got), ...imports });
    this.memory = instance.exports.memory;
    const { _initialize: start, ...handlers } = instance.exports;
    start?.();
    const handler = handlers[`dapr_on_${this.event.trigger}`] ?? handlers.dapr_on_event;
    if (!handler) throw new Error(`the guest has no handler for ${this.event.trigger}`);
    got.outcome = ["DONE", "FAILED", "RETRY", "DROP", "STOP"][handler()];
    return got;
  }

  #read(at, size) {
    return Buffer.from(new Uint8Array(this.memory.buffer, at >>> 0, size >>> 0));
  }

  #give(data, offset, buffer, capacity) {
    if (data === undefined) return ABSENT;
    const piece = bytesOf(data).subarray(offset >>> 0, (offset >>> 0) + (capacity >>> 0));
    if (piece.length) new Uint8Array(this.memory.buffer, buffer >>> 0, piece.length).set(piece);
    return bytesOf(data).length;
  }

  #call(handle) {
    const call = this.calls[handle - 1];
    return call?.closed ? undefined : call;
  }

  #functions(got) {
    const { event } = this;
    const text = (at, size) => this.#read(at, size).toString();
    const invocation = event.trigger === "invoke";
    return {
      event_read: (field, ...to) => this.#give(field === 1 ? (event.body ?? "") : event[FIELDS[field]], ...to),
      event_metadata: (name, size, ...to) => this.#give(event.metadata[text(name, size)], ...to),
      event_metadata_all: (...to) => this.#give(pairs(event.metadata), ...to),
      reply_write: (data, size) => {
        got.body = Buffer.concat([got.body, this.#read(data, size)]);
        return 0;
      },
      reply_set: (field, data, size) => {
        if (field !== 1 && field !== 2) return INVALID;
        got[field === 1 ? "contentType" : "failure"] = text(data, size);
        return 0;
      },
      reply_status: (status) => {
        if (!invocation && event.trigger !== "actor") return UNSUPPORTED;
        if (status < 200 || status > 599) return INVALID;
        got.status = status;
        return 0;
      },
      reply_header: (name, nameSize, value, size) => {
        if (!invocation) return UNSUPPORTED;
        got.headers[text(name, nameSize)] = text(value, size);
        return 0;
      },
      retry_after: (milliseconds) => {
        got.retryAfter = milliseconds >>> 0;
        return 0;
      },
      log: (level, line, size, fields, fieldsSize) => {
        this.log.push({ level, text: text(line, size), fields: readPairs(this.#read(fields, fieldsSize)) });
        return 0;
      },
      time_left: () => BigInt(this.timeLeft),
      config_read: (name, size, ...to) => this.#give(event.config[text(name, size)], ...to),
      call_start: (method, methodSize, request, size, metadata, metadataSize, milliseconds) => {
        if (event.limitCalls !== undefined && this.calls.length >= event.limitCalls) return LIMIT;
        const answer = event.answers[this.calls.length] ?? {};
        return this.calls.push({
          method: text(method, methodSize),
          request: this.#read(request, size),
          headers: readPairs(this.#read(metadata, metadataSize)),
          milliseconds: milliseconds >>> 0,
          answer: { code: 0, message: "", text: "", ...answer },
        });
      },
      call_wait: (handles, count, mode) => {
        const wanted = Array.from({ length: count }, (_, i) => this.#read(handles + 4 * i, 4).readUInt32LE(0));
        if (wanted.some((handle) => !this.#call(handle))) return BAD_HANDLE;
        if (mode === 1) return count;
        return count ? wanted.indexOf(Math.min(...wanted)) : ABSENT;
      },
      call_status: (handle) => this.#call(handle)?.answer.code ?? BAD_HANDLE,
      call_read: (handle, part, ...to) => {
        const call = this.#call(handle);
        if (!call) return BAD_HANDLE;
        if (part === 0 && call.answer.code === 0) return this.#give(call.answer.message, ...to);
        return part === 1 ? this.#give(call.answer.text, ...to) : ABSENT;
      },
      call_close: (handle) => {
        const call = this.#call(handle);
        if (!call) return BAD_HANDLE;
        call.closed = true;
        return 0;
      },
    };
  }
}
