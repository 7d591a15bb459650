// No example: each request once, and a line of the reply for what came back. Dapr's own protobuf code reads the
// requests in the SDKs' tests.
import {
  DONE, FAILED, Fires, Job, Message, Options, Reply, Result, StateOperation, Verb, call, clearReminder, clearTimer, deleteJob, deleteState, getActorState, getBulkState,
  getConfiguration, getJob, getSecret, getState, invoke, invokeActor, invokeBinding, pair, publish, removeActorState,
  saveActorState, saveState,
  scheduleJob, setActorState, setReminder, setTimer, stateTransaction, tryLock, unlock, utf8,
} from "../assembly";

let failed = false;

function tell(result: Result, what: string): void {
  if (!result.ok) failed = true;
  Reply.text((result.ok ? what : result.error) + "\n");
}

function items(result: Result): string {
  const lines = new Array<string>();
  for (let i = 0; i < result.items.length; i++) {
    const item = result.items[i];
    if (item.error.length > 0) lines.push(`${item.key}!${item.error}`);
    else lines.push(`${item.key}=${item.text}${item.etag.length > 0 ? "@" : ""}${item.etag}`);
  }
  return lines.join(" ");
}

function withMetadata(name: string, value: string, etag: string | null = null): Options {
  const options = new Options();
  options.metadata = pair(name, value);
  options.etag = etag;
  return options;
}

export function dapr_on_invoke(): i32 {
  const ab = withMetadata("a", "b"), v = utf8("v"), data = utf8("data");
  const got = getState("store", "k", ab);
  tell(got, `${got.text} ${got.etag}`);
  const states = getBulkState("store", ["k", "l"], ab);
  tell(states, items(states));
  tell(saveState("store", "k", v, withMetadata("ttlInSeconds", "9", got.etag)), "ok");
  tell(saveState("store", "k", v), "ok");
  const absent = new Options();
  absent.etag = "";
  tell(saveState("store", "k", v, absent), "ok");
  tell(deleteState("store", "k", withMetadata("a", "b", "7")), "ok");
  tell(stateTransaction("store", [StateOperation.save("k", v, "7"), StateOperation.remove("l")], ab), "ok");
  const raw = withMetadata("rawPayload", "true");
  raw.contentType = "text/plain";
  tell(publish("pubsub", "results", data, raw), "ok");
  const options = new Options();
  options.contentType = "text/plain";
  options.query = "a=b";
  options.headers = pair("x-a", "b");
  options.milliseconds = 5000;
  const invoked = invoke("other", "price", data, Verb.PATCH, options);
  tell(invoked, `${invoked.text} ${invoked.contentType}`);
  const bound = invokeBinding("mail", "create", data, ab);
  tell(bound, bound.text);
  const secret = getSecret("vault", "key", withMetadata("version_id", "2"));
  tell(secret, items(secret));
  const configuration = getConfiguration("config", ["k", "l"], ab);
  tell(configuration, items(configuration));
  const locked = tryLock("locks", "r", "me", 60);
  tell(locked, locked.number.toString());
  const unlocked = unlock("locks", "r", "me");
  tell(unlocked, unlocked.number.toString());
  const job = new Job();
  job.schedule = "@daily";
  job.dueTime = "10s";
  job.ttl = "1h";
  job.repeats = 3;
  job.data = data;
  job.overwrite = true;
  tell(scheduleJob("sweep", job), "ok");
  const scheduled = getJob("sweep");
  tell(scheduled, scheduled.text);
  tell(deleteJob("sweep"), "ok");
  const added = invokeActor("Cart", "7", "add", data, ab);
  tell(added, added.text);
  tell(call("GetWorkflowBeta1", new Message().text(1, "any")), "ok");
  return failed ? FAILED : DONE;
}

/** The calls of an actor's own turn. */
export function dapr_on_actor(): i32 {
  const got = getActorState("k");
  tell(got, got.text);
  tell(setActorState("k", utf8("v"), pair("ttlInSeconds", "9")), "ok");
  tell(removeActorState("l"), "ok");
  tell(saveActorState(), "ok");
  const fires = new Fires("1s");
  fires.period = "2s";
  fires.data = utf8("data");
  fires.ttl = "9s";
  fires.callback = "again";
  tell(setTimer("tick", fires), "ok");
  tell(clearTimer("tick"), "ok");
  tell(setReminder("daily", fires), "ok");
  tell(clearReminder("daily"), "ok");
  return failed ? FAILED : DONE;
}
