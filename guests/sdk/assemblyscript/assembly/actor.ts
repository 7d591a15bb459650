// The own turn of an actor: its state, its timers and reminders, and functions by the names of its methods.
//
// The actor is Event.name() (its type) and Event.actorId(). What is written in a turn is saved when the turn has ended
// well, all of it at once, and is given up when it has not.

import { Kind, Options, Result, begin } from "./call";
import { DROP, Event, Reply, refuse } from "./event";
import { NOTHING } from "./bytes";
import { Message } from "./proto";

function own(): Message {
  return new Message().text(1, Event.name()).text(2, Event.actorId());
}

/** What is under a key of the actor's state. An absent key has no data. */
export function getActorState(key: string): Result {
  return begin(Kind.Data, "GetActorState", own().text(3, key), new Options()).wait();
}

function change(operation: Message | null): Result {
  const request = own();
  if (operation !== null) request.message(3, operation);
  return begin(Kind.Other, "ExecuteActorStateTransaction", request, new Options()).wait();
}

/** Puts a value under a key of the actor's state. `metadata` is for the state store, such as ttlInSeconds. */
export function setActorState(key: string, value: Uint8Array, metadata: Map<string, string> | null = null): Result {
  const any = new Message().blob(2, value);
  return change(new Message().text(1, "upsert").text(2, key).message(3, any).map(4, metadata));
}

/** Takes a key out of the actor's state. */
export function removeActorState(key: string): Result {
  return change(new Message().text(1, "delete").text(2, key));
}

/** Saves at once what was written until now. It stays saved, also where the turn fails. */
export function saveActorState(): Result {
  return change(null);
}

/** When a timer or a reminder fires: after `dueTime` ("10s"), and then again after each `period`, if there is one. */
export class Fires {
  period: string = "";
  /** The body of its events. */
  data: Uint8Array = NOTHING;
  /** When it ends for good. */
  ttl: string = "";
  /** A text that comes with a timer's events: Event.callback(). */
  callback: string = "";

  constructor(public dueTime: string) {}
}

function fires(name: string, when: Fires): Message {
  return own().text(3, name).text(4, when.dueTime).text(5, when.period);
}

/** Sets a timer, which lasts as long as the actor is in memory. */
export function setTimer(name: string, when: Fires): Result {
  const request = fires(name, when).text(6, when.callback).blob(7, when.data).text(8, when.ttl);
  return begin(Kind.Other, "RegisterActorTimer", request, new Options()).wait();
}

export function clearTimer(name: string): Result {
  return begin(Kind.Other, "UnregisterActorTimer", own().text(3, name), new Options()).wait();
}

/** Sets a reminder, which outlasts restarts. */
export function setReminder(name: string, when: Fires): Result {
  const request = fires(name, when).blob(6, when.data).text(7, when.ttl);
  return begin(Kind.Other, "RegisterActorReminder", request, new Options()).wait();
}

/** Takes a reminder out. In its own turn, the outcome STOP does that. */
export function clearReminder(name: string): Result {
  return begin(Kind.Other, "UnregisterActorReminder", own().text(3, name), new Options()).wait();
}

/** Functions by the names of methods, timers or reminders:
 *
 *     export function dapr_on_actor(): i32 {
 *       return new Named().on("deposit", deposit).on("withdraw", withdraw).call();
 *     }
 */
export class Named {
  private functions: Map<string, () => i32> = new Map();

  on(name: string, called: () => i32): Named {
    this.functions.set(name, called);
    return this;
  }

  /** Calls the one whose turn it is. Another method is answered with the status 404; another timer or reminder is
   * dropped. */
  call(): i32 {
    const name = Event.actorMethod();
    if (this.functions.has(name)) return this.functions.get(name)();
    const trigger = Event.trigger();
    if (trigger == "actor") return refuse(404, `there is no method ${name}`);
    Reply.failure(`there is no ${trigger} ${name}`);
    return DROP;
  }
}
