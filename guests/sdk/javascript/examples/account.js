// A bank account for each customer, as an actor: the balance is a state, and so is each transfer, under its id.

import { CallError, Drop, Retry, actorState, invokeActor, reminders } from "dapr";

const UNAVAILABLE = 14, DEADLINE_EXCEEDED = 4;

// Where nobody has answered, the turn may succeed later.
const sent = (promise) =>
  promise.catch((error) => {
    const passing = error instanceof CallError && [UNAVAILABLE, DEADLINE_EXCEEDED].includes(error.code);
    throw passing ? new Retry(error.message) : error;
  });

const numberUnder = async (key) => Number((await sent(actorState.get(key)))?.text() ?? 0);
const keep = (key, value) => sent(actorState.set(key, String(value)));

const amountOf = (text) => {
  const amount = /^[0-9]+$/.test(text) ? Number(text) : 0;
  if (amount < 1 || amount > 1_000_000_000) throw new Drop("this is not an amount");
  return amount;
};

const splitAt = (text) => {
  const end = text.indexOf(" ");
  if (end < 1) throw new Drop("this is not a transfer");
  return [text.slice(0, end), text.slice(end + 1)];
};

const withBalance = async (balance) => {
  await keep("balance", balance);
  return String(balance);
};

const notEnough = (balance) => ({ status: 409, body: `not enough: the balance is ${balance}` });

export const onActor = {
  async balance() {
    return String(await numberUnder("balance"));
  },

  async deposit(event) {
    const amount = amountOf(event.text());
    return withBalance((await numberUnder("balance")) + amount);
  },

  async withdraw(event) {
    const amount = amountOf(event.text()), balance = await numberUnder("balance");
    return amount > balance ? notEnough(balance) : withBalance(balance - amount);
  },

  async transfer(event) {
    const [id, rest] = splitAt(event.text()), key = `sent-${id}`;
    const noted = await sent(actorState.get(key));
    const [to, sum] = splitAt(noted?.text() ?? rest);
    if (to === event.actorId) throw new Drop("this is not a transfer");
    let balance = await numberUnder("balance");
    if (!noted) {
      const amount = amountOf(sum);
      if (amount > balance) return notEnough(balance);
      balance -= amount;
      await keep(key, rest);
      await keep("balance", balance);
      await sent(actorState.saveNow()); // before the money is somewhere else
    }
    await sent(invokeActor(event.name, to, "receive", `${id} ${sum}`));
    return String(balance);
  },

  async receive(event) {
    const [id, sum] = splitAt(event.text()), amount = amountOf(sum), key = `received-${id}`;
    const balance = await numberUnder("balance");
    if (await sent(actorState.get(key))) return String(balance);
    await keep(key, amount);
    return withBalance(balance + amount);
  },

  async interest(event) {
    amountOf(event.text());
    await keep("interest", 0);
    await sent(reminders.set("interest", { dueTime: "1s", period: "1s", data: event.body }));
  },
};

export const onReminder = {
  async interest(event) {
    const times = amountOf(event.text());
    const balance = await numberUnder("balance"), paid = (await numberUnder("interest")) + 1;
    await keep("balance", balance + Math.floor(balance / 100));
    await keep("interest", paid);
    return { stop: paid >= times };
  },
};
