// The usual requests, each in two forms: getState() makes the call and waits; startGetState() only begins it, so that
// several are under way at once.

import { Call, Kind, Options, Result, begin } from "./call";
import { NOTHING } from "./bytes";
import { Message } from "./proto";

/** A map with one name; more with `.set(name, value)`. */
export function pair(name: string, value: string): Map<string, string> {
  const made = new Map<string, string>();
  made.set(name, value);
  return made;
}

// ---- state ----

/** The value of a state, and its etag. An absent key has neither. */
export function getState(store: string, key: string, options: Options = new Options()): Result {
  return startGetState(store, key, options).wait();
}

export function startGetState(store: string, key: string, options: Options = new Options()): Call {
  const request = new Message().text(1, store).text(2, key).map(4, options.metadata);
  return begin(Kind.State, "GetState", request, options);
}

/** Several states by one call, in any order: result.items. */
export function getBulkState(store: string, keys: string[], options: Options = new Options()): Result {
  return startGetBulkState(store, keys, options).wait();
}

export function startGetBulkState(store: string, keys: string[], options: Options = new Options()): Call {
  const request = new Message().text(1, store);
  for (let i = 0; i < keys.length; i++) request.text(2, keys[i]);
  return begin(Kind.States, "GetBulkState", request.map(4, options.metadata), options);
}

function putEtag(request: Message, etagField: u32, optionsField: u32, etag: string | null): void {
  if (etag === null) return;
  if (etag.length > 0) request.message(etagField, new Message().text(1, etag));
  request.message(optionsField, new Message().number(1, 1)); // first write wins
}

function stateItem(key: string, value: Uint8Array, etag: string | null, metadata: Map<string, string> | null): Message {
  const item = new Message().text(1, key).blob(2, value);
  putEtag(item, 3, 5, etag);
  return item.map(4, metadata);
}

/** Saves a state. With `options.etag`, as getState gave it, only if the state is still the same, and with an empty one
 * only if it is still absent; the code is Aborted otherwise. */
export function saveState(store: string, key: string, value: Uint8Array, options: Options = new Options()): Result {
  return startSaveState(store, key, value, options).wait();
}

export function startSaveState(store: string, key: string, value: Uint8Array, options: Options = new Options()): Call {
  const item = stateItem(key, value, options.etag, options.metadata);
  return begin(Kind.Other, "SaveState", new Message().text(1, store).message(2, item), options);
}

/** Deletes a state; `options.etag` as for saveState. */
export function deleteState(store: string, key: string, options: Options = new Options()): Result {
  return startDeleteState(store, key, options).wait();
}

export function startDeleteState(store: string, key: string, options: Options = new Options()): Call {
  const request = new Message().text(1, store).text(2, key);
  putEtag(request, 3, 4, options.etag);
  return begin(Kind.Other, "DeleteState", request.map(5, options.metadata), options);
}

/** A part of a transaction: StateOperation.save(...) or StateOperation.remove(...). */
export class StateOperation {
  private constructor(
    public kind: string,
    public key: string,
    public value: Uint8Array,
    public etag: string | null,
    public metadata: Map<string, string> | null,
  ) {}

  static save(
    key: string, value: Uint8Array, etag: string | null = null, metadata: Map<string, string> | null = null,
  ): StateOperation {
    return new StateOperation("upsert", key, value, etag, metadata);
  }

  static remove(key: string, etag: string | null = null): StateOperation {
    return new StateOperation("delete", key, NOTHING, etag, null);
  }
}

/** All operations, or none of them. */
export function stateTransaction(
  store: string, operations: StateOperation[], options: Options = new Options(),
): Result {
  return startStateTransaction(store, operations, options).wait();
}

export function startStateTransaction(
  store: string, operations: StateOperation[], options: Options = new Options(),
): Call {
  const request = new Message().text(1, store);
  for (let i = 0; i < operations.length; i++) {
    const one = operations[i], item = stateItem(one.key, one.value, one.etag, one.metadata);
    request.message(2, new Message().text(1, one.kind).message(2, item));
  }
  return begin(Kind.Other, "ExecuteStateTransaction", request.map(3, options.metadata), options);
}

// ---- other building blocks ----

/** Sends a message to a topic; `options.contentType` is that of the data. */
export function publish(pubsub: string, topic: string, data: Uint8Array, options: Options = new Options()): Result {
  return startPublish(pubsub, topic, data, options).wait();
}

export function startPublish(pubsub: string, topic: string, data: Uint8Array, options: Options = new Options()): Call {
  const request = new Message().text(1, pubsub).text(2, topic).blob(3, data).text(4, options.contentType);
  return begin(Kind.Other, "PublishEvent", request.map(5, options.metadata), options);
}

export enum Verb {
  GET = 1,
  HEAD,
  POST,
  PUT,
  DELETE,
  CONNECT,
  OPTIONS,
  TRACE,
  PATCH,
}

/** Calls a method of another application, with `options.contentType`, `.query` and `.headers`. */
export function invoke(
  app: string, method: string, data: Uint8Array, verb: Verb = Verb.POST, options: Options = new Options(),
): Result {
  return startInvoke(app, method, data, verb, options).wait();
}

export function startInvoke(
  app: string, method: string, data: Uint8Array, verb: Verb = Verb.POST, options: Options = new Options(),
): Call {
  const message = new Message().text(1, method).message(2, new Message().blob(2, data)).text(3, options.contentType);
  message.message(4, new Message().number(1, verb).text(2, options.query));
  return begin(Kind.Invoked, "InvokeService", new Message().text(1, app).message(3, message), options);
}

/** Uses an output binding. */
export function invokeBinding(
  name: string, operation: string, data: Uint8Array, options: Options = new Options(),
): Result {
  return startInvokeBinding(name, operation, data, options).wait();
}

export function startInvokeBinding(
  name: string, operation: string, data: Uint8Array, options: Options = new Options(),
): Call {
  const request = new Message().text(1, name).blob(2, data).map(3, options.metadata).text(4, operation);
  return begin(Kind.Data, "InvokeBinding", request, options);
}

/** A secret. Most have one value; `items` has all. */
export function getSecret(store: string, key: string, options: Options = new Options()): Result {
  return startGetSecret(store, key, options).wait();
}

export function startGetSecret(store: string, key: string, options: Options = new Options()): Call {
  const request = new Message().text(1, store).text(2, key).map(3, options.metadata);
  return begin(Kind.Secret, "GetSecret", request, options);
}

/** Values of a configuration store: `items`. Without keys, all. */
export function getConfiguration(store: string, keys: string[], options: Options = new Options()): Result {
  return startGetConfiguration(store, keys, options).wait();
}

export function startGetConfiguration(store: string, keys: string[], options: Options = new Options()): Call {
  const request = new Message().text(1, store);
  for (let i = 0; i < keys.length; i++) request.text(2, keys[i]);
  return begin(Kind.Configuration, "GetConfiguration", request.map(3, options.metadata), options);
}

/** Takes a lock for some seconds; `number` is 1 where it was taken, 0 where another owner has it. */
export function tryLock(
  store: string, resource: string, owner: string, seconds: u32, options: Options = new Options(),
): Result {
  return startTryLock(store, resource, owner, seconds, options).wait();
}

export function startTryLock(
  store: string, resource: string, owner: string, seconds: u32, options: Options = new Options(),
): Call {
  const request = new Message().text(1, store).text(2, resource).text(3, owner).number(4, seconds);
  return begin(Kind.Number, "TryLockAlpha1", request, options);
}

/** Gives a lock back; `number` is 0, 1 where there is no such lock, 2 where it is another owner's, 3 for an error of
 * the store. */
export function unlock(store: string, resource: string, owner: string, options: Options = new Options()): Result {
  return startUnlock(store, resource, owner, options).wait();
}

export function startUnlock(store: string, resource: string, owner: string, options: Options = new Options()): Call {
  const request = new Message().text(1, store).text(2, resource).text(3, owner);
  return begin(Kind.Number, "UnlockAlpha1", request, options);
}

/** A job, which comes back as an event: with a schedule ("@every 5m"), or a due time ("30s"). */
export class Job {
  schedule: string = "";
  dueTime: string = "";
  ttl: string = "";
  repeats: u32 = 0;
  data: Uint8Array = NOTHING;
  overwrite: bool = false;
}

export function scheduleJob(name: string, job: Job, options: Options = new Options()): Result {
  return startScheduleJob(name, job, options).wait();
}

export function startScheduleJob(name: string, job: Job, options: Options = new Options()): Call {
  const details = new Message().text(1, name).text(2, job.schedule);
  if (job.repeats > 0) details.number(3, job.repeats);
  details.text(4, job.dueTime).text(5, job.ttl).message(6, new Message().blob(2, job.data));
  const request = new Message().message(1, details);
  if (job.overwrite) request.number(2, 1);
  return begin(Kind.Other, "ScheduleJob", request, options);
}

/** A job's data; `message` has the rest of it. */
export function getJob(name: string, options: Options = new Options()): Result {
  return startGetJob(name, options).wait();
}

export function startGetJob(name: string, options: Options = new Options()): Call {
  return begin(Kind.Job, "GetJob", new Message().text(1, name), options);
}

export function deleteJob(name: string, options: Options = new Options()): Result {
  return startDeleteJob(name, options).wait();
}

export function startDeleteJob(name: string, options: Options = new Options()): Call {
  return begin(Kind.Other, "DeleteJob", new Message().text(1, name), options);
}

/** Calls a method of an actor. */
export function invokeActor(
  type: string, id: string, method: string, data: Uint8Array, options: Options = new Options(),
): Result {
  return startInvokeActor(type, id, method, data, options).wait();
}

export function startInvokeActor(
  type: string, id: string, method: string, data: Uint8Array, options: Options = new Options(),
): Call {
  const request = new Message().text(1, type).text(2, id).text(3, method).blob(4, data).map(5, options.metadata);
  return begin(Kind.Data, "InvokeActor", request, options);
}
