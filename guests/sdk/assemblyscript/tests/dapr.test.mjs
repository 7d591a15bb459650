import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import { Host, fails, message, state } from "../mock.mjs";

const built = (name) => readFileSync(new URL(`../build/${name}.wasm`, import.meta.url));
const units = built("units");

for (const check of ["messages", "numbers"]) {
  test(`${check} are read as they were written`, () => {
    assert.equal(new Host({ body: check }).run(units).body.toString(), "");
  });
}

test("the event is read", () => {
  const host = new Host({
    body: "event",
    verb: "PUT",
    query: "b&a=1%2&name=J%C3%BC+rgen&name=x&=empty",
    metadata: { "x-a": "1", "x-b": "" },
    config: { colour: "blue" },
  });
  const got = host.run(units);
  assert.equal(got.body.toString(), "");
  assert.equal(got.status, 404);
  assert.deepEqual(host.log, [{ level: 2, text: "careful", fields: { key: "value" } }]);
});

test("calls end in order of arrival", () => {
  const host = new Host({ body: "calls", answers: [state("A", "1"), fails(5, "no store")], limitCalls: 2 });
  const got = host.run(units);
  assert.equal(got.body.toString(), "");
  assert.equal(got.failure, "no store");
  assert.ok(host.calls.every((call) => call.closed));
});

test("a job has no status", () => {
  assert.equal(new Host({ trigger: "job" }).run(units).body.toString(), "");
});

const turn = (trigger, actorMethod, more) => ({ trigger, name: "Account", actorId: "ann", actorMethod, ...more });

test("a method of an actor reads and writes its state", () => {
  const host = new Host(turn("actor", "deposit", { body: "3", answers: [state("4")] }));
  const got = host.run(built("account"));
  assert.deepEqual([got.outcome, got.body.toString()], ["DONE", "7"]);
  const own = [[1, "Account"], [2, "ann"]];
  assert.deepEqual(host.calls[0].request, message(...own, [3, "balance"]));
  const written = [[1, "upsert"], [2, "balance"], [3, [[2, "7"]]]];
  assert.deepEqual(host.calls[1].request, message(...own, [3, written]));
});

test("an actor refuses with a status, and has no other methods", () => {
  const got = new Host(turn("actor", "withdraw", { body: "3" })).run(built("account"));
  assert.deepEqual([got.status, got.body.toString()], [409, "not enough: the balance is 0"]);
  assert.equal(new Host(turn("actor", "rob")).run(built("account")).status, 404);
});

test("a reminder stops, and is dropped where there is none of its name", () => {
  assert.equal(new Host(turn("reminder", "interest", { body: "1" })).run(built("account")).outcome, "STOP");
  const got = new Host(turn("reminder", "deposit")).run(built("account"));
  assert.deepEqual([got.outcome, got.failure], ["DROP", "there is no reminder deposit"]);
});

test("an error of the guest is logged, and ends it", () => {
  const host = new Host({ body: "abort" });
  assert.throws(() => host.run(units), WebAssembly.RuntimeError);
  assert.match(host.log[0].text, /^Index out of range \(~lib\/array\.ts:/);
});

test("hello greets by query and header", () => {
  const got = new Host({ query: "name=Ann+Lee", metadata: { "x-greeting": "Good day" } }).run(built("hello"));
  assert.equal(got.body.toString(), "Good day, Ann Lee!");
  assert.deepEqual([got.status, got.headers], [201, { "x-guest": "hello" }]);
});

test("forward asks for a price and stores it", () => {
  const price = { message: message([1, [[2, "12"]]]) };
  const host = new Host({ trigger: "binding", body: "apple", answers: [price] });
  assert.equal(host.run(built("forward")).outcome, "DONE");
  const request = message([1, "store"], [2, "12"], [3, [[1, "fileName"], [2, "price"]]], [4, "create"]);
  assert.deepEqual(host.calls[1].request, request);
});
