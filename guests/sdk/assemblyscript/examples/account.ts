// A bank account for each customer, as an actor: the balance is a state, and so is each transfer, under its id.
import {
  DONE, Event, Fires, Named, Reply, Result, STOP, drop, getActorState, invokeActor, numberOf, refuse, saveActorState,
  setActorState, setReminder, text, utf8,
} from "../assembly";

const MOST: i64 = 1000000000;

export function dapr_on_actor(): i32 {
  return new Named()
    .on("balance", balance)
    .on("deposit", deposit)
    .on("withdraw", withdraw)
    .on("transfer", transfer)
    .on("receive", receive)
    .on("interest", startInterest)
    .call();
}

export function dapr_on_reminder(): i32 {
  return new Named().on("interest", payInterest).call();
}

function noAmount(): i32 {
  return drop("this is not an amount");
}

function noTransfer(): i32 {
  return drop("this is not a transfer");
}

/** The number that digits are, or 0 where it is no amount. */
function amountOf(digits: Uint8Array): i64 {
  const amount = numberOf(digits, 0);
  return amount <= MOST ? amount : 0;
}

function keep(key: string, value: string): Result {
  return setActorState(key, utf8(value));
}

/** Saves the balance and replies with it. */
function withBalance(balance: i64): i32 {
  const kept = keep("balance", balance.toString());
  if (!kept.ok) return kept.outcome();
  Reply.text(balance.toString());
  return DONE;
}

function notEnough(balance: i64): i32 {
  return refuse(409, `not enough: the balance is ${balance}`);
}

function balance(): i32 {
  const read = getActorState("balance");
  if (!read.ok) return read.outcome();
  Reply.text(numberOf(read.data, 0).toString());
  return DONE;
}

function deposit(): i32 {
  const amount = amountOf(Event.body()), read = getActorState("balance");
  if (!read.ok) return read.outcome();
  return amount ? withBalance(numberOf(read.data, 0) + amount) : noAmount();
}

function withdraw(): i32 {
  const amount = amountOf(Event.body()), read = getActorState("balance");
  if (!read.ok) return read.outcome();
  if (!amount) return noAmount();
  const balance = numberOf(read.data, 0);
  return amount > balance ? notEnough(balance) : withBalance(balance - amount);
}

function transfer(): i32 {
  const body = text(Event.body()), end = body.indexOf(" ");
  if (end < 1) return noTransfer();
  const id = body.substring(0, end), key = "sent-" + id;
  const sent = getActorState(key), read = getActorState("balance");
  if (!sent.ok || !read.ok) return (sent.ok ? read : sent).outcome();

  let balance = numberOf(read.data, 0);
  const rest = sent.data.length > 0 ? text(sent.data) : body.substring(end + 1), split = rest.indexOf(" ");
  if (split < 1) return noTransfer();
  const to = rest.substring(0, split), sum = rest.substring(split + 1);
  if (to == Event.actorId()) return noTransfer();
  if (sent.data.length == 0) { // the money is taken out, and that is saved, before it is somewhere else
    const amount = amountOf(utf8(sum));
    if (!amount) return noAmount();
    if (amount > balance) return notEnough(balance);
    balance -= amount;
    let kept = keep(key, rest);
    if (kept.ok) kept = keep("balance", balance.toString());
    if (kept.ok) kept = saveActorState();
    if (!kept.ok) return kept.outcome();
  }
  const received = invokeActor(Event.name(), to, "receive", utf8(`${id} ${sum}`));
  if (!received.ok) return received.outcome();
  Reply.text(balance.toString());
  return DONE;
}

function receive(): i32 {
  const body = text(Event.body()), end = body.indexOf(" ");
  if (end < 1) return noTransfer();
  const key = "received-" + body.substring(0, end), amount = amountOf(utf8(body.substring(end + 1)));
  if (!amount) return noAmount();
  const received = getActorState(key), read = getActorState("balance");
  if (!received.ok || !read.ok) return (received.ok ? read : received).outcome();
  const balance = numberOf(read.data, 0);
  if (received.data.length > 0) return withBalance(balance);
  const kept = keep(key, amount.toString());
  return kept.ok ? withBalance(balance + amount) : kept.outcome();
}

function startInterest(): i32 {
  if (!amountOf(Event.body())) return noAmount();
  const kept = keep("interest", "0");
  if (!kept.ok) return kept.outcome();
  const each = new Fires("1s");
  each.period = "1s";
  each.data = Event.body();
  const set = setReminder("interest", each);
  return set.ok ? DONE : set.outcome();
}

function payInterest(): i32 {
  const times = amountOf(Event.body()), read = getActorState("balance"), interest = getActorState("interest");
  if (!read.ok || !interest.ok) return (read.ok ? interest : read).outcome();
  if (!times) return noAmount();
  const balance = numberOf(read.data, 0), paid = numberOf(interest.data, 0) + 1;
  let kept = keep("balance", (balance + balance / 100).toString());
  if (kept.ok) kept = keep("interest", paid.toString());
  if (!kept.ok) return kept.outcome();
  return paid >= times ? STOP : DONE;
}
