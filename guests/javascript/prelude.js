// What scripts import: the modules `dapr`, `models` and `pictures`, on the host's functions (javascript.c). It also calls
// the script's handler and makes a reply of what that returns. Dapr's messages are written here as protobuf, by the field
// numbers of dapr/proto/runtime/v1 and dapr/proto/common/v1; only the fields below are known.
(() => {
  const host = globalThis.__host;
  delete globalThis.__host;
  const OK = 0;
  Math.random = () => host.random();
  const DONE = 0, FAILED = 1, RETRY = 2, DROP = 3, STOP = 4;
  const EMPTY = new ArrayBuffer(0);

  // ---- bytes ----

  // Half of a character, which text of JavaScript may have, is no UTF-8: each becomes U+FFFD, as with TextEncoder.
  const whole = (text) => String(text).toWellFormed();
  const encode = (text) => new Uint8Array(host.encode(whole(text)));
  const buffer = (bytes) =>
    bytes.byteLength === bytes.buffer.byteLength ? bytes.buffer : bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
  const decode = (bytes) => host.decode(buffer(bytes));
  const text = (value) => (value === null ? "" : host.decode(value));

  // What a script hands over as data: bytes as they are, text as UTF-8, anything else as JSON.
  const bytesOf = (value) => {
    if (value === undefined || value === null) return new Uint8Array(0);
    if (value instanceof Uint8Array) return value;
    if (value instanceof ArrayBuffer) return new Uint8Array(value);
    if (ArrayBuffer.isView(value)) return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
    return encode(typeof value === "string" ? value : JSON.stringify(value));
  };

  const joined = (parts) => {
    const all = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
    let at = 0;
    for (const part of parts) {
      all.set(part, at);
      at += part.length;
    }
    return all;
  };

  // Names with values in one piece of memory: section 1 of the specification.
  const pairsOf = (object) => {
    const parts = [];
    for (const [name, value] of Object.entries(object ?? {})) {
      const key = encode(name), content = encode(String(value));
      parts.push(new Uint8Array(new Uint32Array([key.length, content.length]).buffer), key, content);
    }
    return buffer(joined(parts));
  };

  const objectOf = (pairs) => {
    const found = {};
    const view = new DataView(pairs);
    for (let at = 0; at < pairs.byteLength; ) {
      const name = view.getUint32(at, true), value = view.getUint32(at + 4, true);
      const key = host.decode(pairs.slice(at + 8, at + 8 + name));
      at += 8 + name + value;
      found[key] = host.decode(pairs.slice(at - value, at));
    }
    return found;
  };

  // ---- protobuf: a message is a table of fields, NAME: [number, type, "repeated"] ----
  // Types: "text", "bytes", "number" (integers, booleans and enumerations), "map" (of text to text), or another table.

  const varint = (number) => {
    const found = [];
    for (let left = BigInt.asUintN(64, BigInt(number)); ; left >>= 7n) {
      if (left < 128n) return found.push(Number(left)), Uint8Array.from(found);
      found.push(Number(left & 127n) | 128);
    }
  };
  const block = (number, bytes) => joined([varint((number << 3) | 2), varint(bytes.length), bytes]);

  const write = (fields, message) => {
    const parts = [];
    for (const [name, value] of Object.entries(message)) {
      if (value === undefined || value === null) continue;
      const [number, type, repeated] = fields[name];
      for (const one of repeated ? value : [value]) {
        if (type === "number") parts.push(varint(number << 3), varint(one));
        else if (type === "text") parts.push(block(number, encode(String(one))));
        else if (type === "bytes") parts.push(block(number, bytesOf(one)));
        else if (type === "map")
          for (const [key, content] of Object.entries(one))
            parts.push(block(number, joined([block(1, encode(key)), block(2, encode(String(content)))])));
        else parts.push(block(number, write(type, one)));
      }
    }
    return joined(parts);
  };

  const read = (fields, bytes) => {
    const found = {};
    for (const [name, [, type, repeated]] of Object.entries(fields))
      found[name] = repeated ? [] : type === "number" ? 0 : type === "text" ? "" : type === "bytes" ? new Uint8Array(0) : type === "map" ? {} : undefined;
    let at = 0;
    const next = () => {
      let number = 0n;
      for (let shift = 0n; at < bytes.length; shift += 7n) {
        const byte = bytes[at++];
        number |= BigInt(byte & 127) << shift;
        if (byte < 128) return number;
      }
      throw new Error("a message of the sidecar's ends within a number");
    };
    while (at < bytes.length) {
      const key = Number(next()), wire = key & 7;
      let value;
      if (wire === 0) value = next();
      else if (wire === 2) {
        const size = Number(next());
        value = bytes.subarray(at, (at += size));
      } else if (wire === 1) at += 8;
      else if (wire === 5) at += 4;
      else throw new Error("a message of the sidecar's has an unknown field type");
      const entry = Object.entries(fields).find(([, [number]]) => number === key >> 3);
      if (!entry || value === undefined) continue;
      const [name, [, type, repeated]] = entry;
      if (type === "map") {
        const pair = read({ key: [1, "text"], value: [2, "text"] }, value);
        found[name][pair.key] = pair.value;
        continue;
      }
      const one = type === "number" ? Number(BigInt.asIntN(64, value)) : type === "text" ? decode(value) : type === "bytes" ? value.slice() : read(type, value);
      if (repeated) found[name].push(one);
      else found[name] = one;
    }
    return found;
  };

  const ANY = { type_url: [1, "text"], value: [2, "bytes"] };
  const ETAG = { value: [1, "text"] };
  const OPTIONS = { concurrency: [1, "number"], consistency: [2, "number"] };
  const ITEM = { key: [1, "text"], value: [2, "bytes"], etag: [3, ETAG], metadata: [4, "map"], options: [5, OPTIONS] };
  const JOB = { name: [1, "text"], schedule: [2, "text"], repeats: [3, "number"], due_time: [4, "text"], ttl: [5, "text"], data: [6, ANY] };
  const ACTOR = { actor_type: [1, "text"], actor_id: [2, "text"] };
  const REMINDER = { ...ACTOR, name: [3, "text"], due_time: [4, "text"], period: [5, "text"] };
  const MESSAGES = {
    GetState: [{ store_name: [1, "text"], key: [2, "text"], consistency: [3, "number"], metadata: [4, "map"] }, { data: [1, "bytes"], etag: [2, "text"], metadata: [3, "map"] }],
    GetBulkState: [
      { store_name: [1, "text"], keys: [2, "text", "repeated"], parallelism: [3, "number"], metadata: [4, "map"] },
      { items: [1, { key: [1, "text"], data: [2, "bytes"], etag: [3, "text"], error: [4, "text"], metadata: [5, "map"] }, "repeated"] },
    ],
    SaveState: [{ store_name: [1, "text"], states: [2, ITEM, "repeated"] }, {}],
    DeleteState: [{ store_name: [1, "text"], key: [2, "text"], etag: [3, ETAG], options: [4, OPTIONS], metadata: [5, "map"] }, {}],
    ExecuteStateTransaction: [
      { storeName: [1, "text"], operations: [2, { operationType: [1, "text"], request: [2, ITEM] }, "repeated"], metadata: [3, "map"] },
      {},
    ],
    PublishEvent: [{ pubsub_name: [1, "text"], topic: [2, "text"], data: [3, "bytes"], data_content_type: [4, "text"], metadata: [5, "map"] }, {}],
    InvokeService: [
      {
        id: [1, "text"],
        message: [3, { method: [1, "text"], data: [2, ANY], content_type: [3, "text"], http_extension: [4, { verb: [1, "number"], querystring: [2, "text"] }] }],
      },
      { data: [1, ANY], content_type: [2, "text"] },
    ],
    InvokeBinding: [{ name: [1, "text"], data: [2, "bytes"], metadata: [3, "map"], operation: [4, "text"] }, { data: [1, "bytes"], metadata: [2, "map"] }],
    GetSecret: [{ store_name: [1, "text"], key: [2, "text"], metadata: [3, "map"] }, { data: [1, "map"] }],
    GetConfiguration: [
      { store_name: [1, "text"], keys: [2, "text", "repeated"], metadata: [3, "map"] },
      { items: [1, { key: [1, "text"], value: [2, { value: [1, "text"], version: [2, "text"] }] }, "repeated"] },
    ],
    TryLockAlpha1: [{ store_name: [1, "text"], resource_id: [2, "text"], lock_owner: [3, "text"], expiry_in_seconds: [4, "number"] }, { success: [1, "number"] }],
    UnlockAlpha1: [{ store_name: [1, "text"], resource_id: [2, "text"], lock_owner: [3, "text"] }, { status: [1, "number"] }],
    ScheduleJob: [{ job: [1, JOB], overwrite: [2, "number"] }, {}],
    GetJob: [{ name: [1, "text"] }, { job: [1, JOB] }],
    DeleteJob: [{ name: [1, "text"] }, {}],
    InvokeActor: [{ ...ACTOR, method: [3, "text"], data: [4, "bytes"], metadata: [5, "map"] }, { data: [1, "bytes"] }],
    GetActorState: [{ ...ACTOR, key: [3, "text"] }, { data: [1, "bytes"] }],
    ExecuteActorStateTransaction: [
      { ...ACTOR, operations: [3, { operationType: [1, "text"], key: [2, "text"], value: [3, ANY], metadata: [4, "map"] }, "repeated"] },
      {},
    ],
    RegisterActorTimer: [{ ...REMINDER, callback: [6, "text"], data: [7, "bytes"], ttl: [8, "text"] }, {}],
    UnregisterActorTimer: [{ ...ACTOR, name: [3, "text"] }, {}],
    RegisterActorReminder: [{ ...REMINDER, data: [6, "bytes"], ttl: [7, "text"] }, {}],
    UnregisterActorReminder: [{ ...ACTOR, name: [3, "text"] }, {}],
  };
  const VERBS = ["NONE", "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

  // ---- calls ----

  const waiting = new Map(); // by handle: what resolves the promise of the call

  /** A call of the sidecar that did not end well. `code` is gRPC's, `details` google.rpc.Status as bytes. */
  class CallError extends Error {
    constructor(method, code, message, details) {
      super(message);
      this.name = "CallError";
      this.method = method;
      this.code = code;
      this.details = details;
    }
  }

  // Wait for one of the calls under way and settle its promise. Gives false where there is none.
  const wait = () => {
    if (waiting.size === 0) return false;
    const handles = [...waiting.keys()];
    const position = host.wait(new Uint32Array(handles).buffer, 0xffffffff);
    if (position < 0) throw new Error(`waiting for calls gave ${position}`);
    const handle = handles[position], { method, resolve, reject } = waiting.get(handle);
    waiting.delete(handle);
    const code = host.callStatus(handle);
    if (code === OK) resolve(new Uint8Array(host.callRead(handle, 0)));
    else {
      const details = host.callRead(handle, 4);
      reject(new CallError(method, code, text(host.callRead(handle, 1)), details && new Uint8Array(details)));
    }
    host.close(handle);
    return true;
  };

  const LIMITS = { "-2": "its method is not text, or its metadata are too large", "-4": "too many calls, or too many bytes: see limits and the table dapr in the manifest" };

  /** Call a method of dapr.proto.runtime.v1.Dapr by its name, with its request as bytes; a promise of the response. */
  const call = (method, request = EMPTY, { metadata, timeout = 0 } = {}) => {
    const handle = host.start(method, buffer(bytesOf(request)), pairsOf(metadata), timeout);
    if (handle < 0) return Promise.reject(new Error(`${method} was not begun: ${LIMITS[handle] ?? handle}`));
    return new Promise((resolve, reject) => waiting.set(handle, { method, resolve, reject }));
  };

  const made = async (method, request, options) => {
    const [from, to] = MESSAGES[method];
    return read(to, await call(method, write(from, request), options));
  };

  /** Data that came back: `bytes`, and as text or JSON. */
  class Data {
    constructor(bytes, more = {}) {
      this.bytes = bytes;
      Object.assign(this, more);
    }
    text() {
      return decode(this.bytes);
    }
    json() {
      return JSON.parse(this.text());
    }
  }

  const optionsOf = ({ firstWrite, strong }) =>
    firstWrite || strong ? { concurrency: firstWrite ? 1 : 0, consistency: strong ? 2 : 0 } : undefined;
  const itemOf = (key, value, { etag, metadata, ...options } = {}) => ({
    key,
    value: bytesOf(value),
    etag: etag ? { value: etag } : undefined,
    metadata,
    options: optionsOf(options),
  });

  const state = (store) => ({
    /** What is under a key, with its etag; undefined where there is nothing. */
    async get(key, { metadata, strong } = {}) {
      const found = await made("GetState", { store_name: store, key, consistency: strong ? 2 : undefined, metadata });
      return found.data.length || found.etag ? new Data(found.data, { etag: found.etag }) : undefined;
    },
    async getBulk(keys, { metadata } = {}) {
      const { items } = await made("GetBulkState", { store_name: store, keys, metadata });
      return items.map(({ key, data, etag, error }) => new Data(data, { key, etag, error }));
    },
    async save(key, value, options) {
      await made("SaveState", { store_name: store, states: [itemOf(key, value, options)] });
    },
    async delete(key, { etag, metadata, ...options } = {}) {
      await made("DeleteState", { store_name: store, key, etag: etag ? { value: etag } : undefined, options: optionsOf(options), metadata });
    },
    /** Operations are { save: KEY, value } and { delete: KEY }; all of them are done, or none. */
    async transaction(operations, { metadata } = {}) {
      await made("ExecuteStateTransaction", {
        storeName: store,
        operations: operations.map((one) =>
          "delete" in one
            ? { operationType: "delete", request: itemOf(one.delete, "", one) }
            : { operationType: "upsert", request: itemOf(one.save, one.value, one) },
        ),
        metadata,
      });
    },
  });

  const contentTypeOf = (data) =>
    data instanceof Uint8Array || data instanceof ArrayBuffer || ArrayBuffer.isView(data)
      ? "application/octet-stream"
      : typeof data === "string"
        ? "text/plain"
        : "application/json";

  const publish = async (pubsub, topic, data, { contentType = contentTypeOf(data), metadata } = {}) => {
    await made("PublishEvent", { pubsub_name: pubsub, topic, data: bytesOf(data), data_content_type: contentType, metadata });
  };

  const invoke = async (app, method, data, { verb = "POST", query = "", contentType = contentTypeOf(data), metadata, timeout } = {}) => {
    const number = VERBS.indexOf(verb);
    if (number < 0) throw new TypeError(`${verb} is no verb`);
    const message = { method, data: { value: bytesOf(data) }, content_type: contentType, http_extension: { verb: number, querystring: query } };
    const answer = await made("InvokeService", { id: app, message }, { metadata, timeout });
    return new Data(answer.data?.value ?? new Uint8Array(0), { contentType: answer.content_type });
  };

  const binding = async (name, operation, data, metadata) => {
    const answer = await made("InvokeBinding", { name, operation, data: bytesOf(data), metadata });
    return new Data(answer.data, { metadata: answer.metadata });
  };

  const secret = async (store, key, metadata) => (await made("GetSecret", { store_name: store, key, metadata })).data;

  const configuration = async (store, keys = [], metadata) => {
    const { items } = await made("GetConfiguration", { store_name: store, keys, metadata });
    return Object.fromEntries(items.map(({ key, value }) => [key, value?.value ?? ""]));
  };

  const lock = async (store, resource, owner, seconds) =>
    (await made("TryLockAlpha1", { store_name: store, resource_id: resource, lock_owner: owner, expiry_in_seconds: seconds })).success !== 0;
  const unlock = async (store, resource, owner) =>
    (await made("UnlockAlpha1", { store_name: store, resource_id: resource, lock_owner: owner })).status === 0;

  const jobs = {
    async schedule(name, { schedule, repeats, dueTime, ttl, data, overwrite } = {}) {
      const packed = data === undefined ? undefined : { type_url: "type.googleapis.com/google.protobuf.BytesValue", value: block(1, bytesOf(data)) };
      await made("ScheduleJob", { job: { name, schedule, repeats, due_time: dueTime, ttl, data: packed }, overwrite: overwrite ? 1 : undefined });
    },
    async get(name) {
      return (await made("GetJob", { name })).job;
    },
    async delete(name) {
      await made("DeleteJob", { name });
    },
  };

  const invokeActor = async (type, id, method, data) =>
    new Data((await made("InvokeActor", { actor_type: type, actor_id: id, method, data: bytesOf(data) })).data);

  // Of the actor whose turn this is.
  const own = (method, request) => made(method, { actor_type: text(host.event(3)), actor_id: text(host.event(13)), ...request });
  const change = (...operations) => own("ExecuteActorStateTransaction", { operations });

  const actorState = {
    /** What is under a key; undefined where there is nothing. */
    async get(key) {
      const { data } = await own("GetActorState", { key });
      return data.length ? new Data(data) : undefined;
    },
    async set(key, value, { metadata } = {}) {
      await change({ operationType: "upsert", key, value: { value: bytesOf(value) }, metadata });
    },
    async delete(key) {
      await change({ operationType: "delete", key });
    },
    /** Saves at once what was written until now; else that is done when the turn has ended well. */
    async saveNow() {
      await change();
    },
  };

  const timers = {
    async set(name, { dueTime, period, callback, data, ttl } = {}) {
      await own("RegisterActorTimer", { name, due_time: dueTime, period, callback, data, ttl });
    },
    async clear(name) {
      await own("UnregisterActorTimer", { name });
    },
  };

  const reminders = {
    async set(name, { dueTime, period, data, ttl } = {}) {
      await own("RegisterActorReminder", { name, due_time: dueTime, period, data, ttl });
    },
    async clear(name) {
      await own("UnregisterActorReminder", { name });
    },
  };

  // ---- the event and the reply ----

  /** Throw it: the same event may succeed later, `after` so many milliseconds. */
  class Retry extends Error {
    constructor(message, { after } = {}) {
      super(message);
      this.name = "Retry";
      this.after = after;
    }
  }

  /** Throw it: the event is at fault, and sending it again cannot help. */
  class Drop extends Error {
    constructor(message) {
      super(message);
      this.name = "Drop";
    }
  }

  const LEVELS = { debug: 0, info: 1, warning: 2, error: 3 };
  const log = Object.fromEntries(
    Object.entries(LEVELS).map(([name, level]) => [name, (message, fields) => void host.log(level, whole(message), pairsOf(fields))]),
  );
  const shown = (values) => values.map((value) => (typeof value === "string" ? value : JSON.stringify(value) ?? String(value))).join(" ");
  globalThis.console = {
    log: (...values) => log.info(shown(values)),
    info: (...values) => log.info(shown(values)),
    debug: (...values) => log.debug(shown(values)),
    warn: (...values) => log.warning(shown(values)),
    error: (...values) => log.error(shown(values)),
  };

  const FIELDS = { trigger: 2, name: 3, contentType: 4, verb: 5, query: 6, path: 7, id: 8, pubsub: 9, topic: 10, source: 11, type: 12, actorId: 13, actorMethod: 14, callback: 15 };

  /** The event of the handler. Its fields are read when they are asked for; one that it does not have is "". */
  class Event {
    #body;
    #metadata;
    get body() {
      return (this.#body ??= new Uint8Array(host.event(1)));
    }
    text() {
      return decode(this.body);
    }
    json() {
      return JSON.parse(this.text());
    }
    get metadata() {
      return (this.#metadata ??= objectOf(host.metadata()));
    }
  }
  for (const [name, field] of Object.entries(FIELDS))
    Object.defineProperty(Event.prototype, name, { get: () => text(host.event(field)), enumerable: true });

  const is = (result) => result !== undefined && result !== null;
  const RESPONSE = ["status", "headers", "body", "contentType", "stop"];

  // Writes what a handler has returned: nothing, data, or a response { status, headers, contentType, body, stop }. Gives the
  // outcome.
  const reply = (result) => {
    if (!is(result)) return DONE;
    const plain = typeof result === "object" && !ArrayBuffer.isView(result) && !(result instanceof ArrayBuffer);
    const response = plain && RESPONSE.some((key) => key in result) ? result : { body: result };
    const { status, headers, body } = response;
    if (is(status) && host.status(status) < 0) throw new RangeError(`${status} is no status that this event may have`);
    for (const [name, value] of Object.entries(headers ?? {}))
      if (host.header(name.toLowerCase(), String(value)) < 0) throw new RangeError(`the header ${name} may not be set, or not to this value`);
    if (is(body)) {
      const kind = contentTypeOf(body);
      host.set(1, response.contentType ?? (kind === "text/plain" ? "text/plain; charset=utf-8" : kind));
      if (host.write(buffer(bytesOf(body))) < 0) throw new RangeError("the reply is larger than limits.output");
    } else if (is(response.contentType)) host.set(1, response.contentType);
    return response.stop ? STOP : DONE;
  };

  const failed = (error) => {
    if (error instanceof Retry) {
      host.set(2, whole(error.message));
      if (error.after !== undefined) host.after(error.after);
      return RETRY;
    }
    if (error instanceof Drop) return host.set(2, whole(error.message)), DROP;
    // An Error that the script throws says what its author wants to say; any other says also what it is, and where in
    // the script: places in this file say nothing to its author.
    const plain = error instanceof CallError || error?.constructor === Error;
    const places = !plain && error instanceof Error ? (error.stack ?? "").split("\n").map((place) => place.trim()) : [];
    const where = places.find((place) => place && !place.includes("guesthouse:"));
    const what = plain ? error.message : String(error);
    host.set(2, whole(where ? `${what} (${where})` : what));
    return FAILED;
  };

  const HANDLERS = ["onInvoke", "onTopic", "onBinding", "onJob", "onOperation", "onActor", "onTimer", "onReminder"];

  // Of actors a script may export functions by the names of methods, timers and reminders.
  const handlerOf = (script, own, { trigger, actorMethod }) => {
    const table = script[own];
    if (!["actor", "timer", "reminder"].includes(trigger) || typeof table !== "object" || table === null) {
      const other = trigger === "timer" || trigger === "reminder" ? script.onActor : undefined;
      return table ?? (typeof other === "function" ? other : undefined) ?? script.onEvent;
    }
    if (Object.hasOwn(table, actorMethod) && typeof table[actorMethod] === "function") return (event) => table[actorMethod](event);
    if (trigger === "actor") return () => ({ status: 404, body: `there is no method ${actorMethod}` });
    throw new Drop(`there is no ${trigger} ${actorMethod}`);
  };

  const run = async (script, loaded) => {
    try {
      await loaded;
      const event = new Event();
      const own = "on" + event.trigger[0].toUpperCase() + event.trigger.slice(1);
      const handler = handlerOf(script, own, event);
      if (typeof handler !== "function")
        throw new Error(`the script exports no function ${own}, nor onEvent for all events; handlers are ${HANDLERS.join(", ")} and onEvent`);
      return reply(await handler(event));
    } catch (error) {
      return failed(error);
    }
  };

  // ---- models and pictures ----

  const ARRAYS = { f32: [1, Float32Array], f64: [2, Float64Array], u8: [3, Uint8Array], i32: [4, Int32Array], i64: [5, BigInt64Array] };
  const NN = { 1: "a tensor that does not fit", 4: "a limit was reached", 5: "the run failed", 8: "there is no such model, or it is not granted" };
  const check = (result, what) => {
    if (result < 0) throw new Error(`${what}: ${NN[-result] ?? `error ${-result}`}; the log says more`);
    return result;
  };

  /** A model of the host's by its name. `run` takes tensors { shape, data, type } and gives typed arrays of `types`. */
  const model = (name) => {
    const context = check(host.loadModel(name), `model ${name}`);
    return {
      run(inputs, types = ["f32"]) {
        inputs.forEach(({ shape, data, type = "f32" }, index) => {
          const [number, kind] = ARRAYS[type];
          const values = data instanceof kind ? data : kind.from(data);
          check(host.setInput(context, index, Uint32Array.from(shape).buffer, number, buffer(bytesOf(values))), `input ${index} of ${name}`);
        });
        check(host.compute(context), `model ${name}`);
        return types.map((type, index) => {
          const bytes = host.output(context, index);
          if (typeof bytes === "number") check(bytes, `output ${index} of ${name}`);
          return new ARRAYS[type][1](bytes);
        });
      },
    };
  };

  const LAYOUTS = { rgb8: 0, bgr8: 1, rgb32f: 2, bgr32f: 3 };

  /** The pixels of a picture's file, decoded and resized by the host; undefined where it is no picture. */
  const pixels = (data, width, height, layout = "rgb8") => {
    const found = host.pixels(buffer(bytesOf(data)), width, height, LAYOUTS[layout]);
    return found === null ? undefined : layout.endsWith("8") ? new Uint8Array(found) : new Float32Array(found);
  };

  const config = (name) => {
    const found = host.config(name);
    return found === null ? undefined : host.decode(found);
  };

  globalThis.__modules = {
    dapr: {
      state, publish, invoke, binding, secret, configuration, lock, unlock, jobs, invokeActor, actorState, timers, reminders,
      call, config, log,
      timeLeft: () => host.timeLeft(), encode, decode, CallError, Retry, Drop,
    },
    models: { model },
    pictures: { pixels },
    wait,
  };
  return run;
})();
