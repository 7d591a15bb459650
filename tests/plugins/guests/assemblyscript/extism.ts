// A plug-in as the kit of Extism has it, in AssemblyScript: the functions of guests/extism_plugin.
import { Config, Host, LogLevel, Memory, Var } from "@extism/as-pdk";
import { error_set, length } from "@extism/as-pdk/lib/env";

@external("extism:host/user", "dapr_call")
declare function dapr_call(request: u64): u64;

export function echo(): i32 {
  Host.output(Host.input());
  return 0;
}

export function work(): i32 {
  const colour = Config.get("colour"), body = Host.input();
  Var.set("body", body);
  const kept = Var.getString("body");
  const absent = Var.get("absent");
  Host.log(LogLevel.Info, "work: " + body.length.toString() + " bytes");
  const request = Memory.allocateString("GetState\n\x0a\x05state\x12\x03key");
  const offset = dapr_call(request.offset);
  const answer = new Memory(offset, length(offset)).toUint8Array();
  if (answer[0] != 0) {
    return fail(answer[0].toString() + ": " + String.UTF8.decode(answer.buffer.slice(1)));
  }
  const state = String.UTF8.decode(answer.buffer.slice(min(3, answer.length)));
  const told = (colour || "") + " " + (kept || "") + " " + (absent == null).toString() + " " + state;
  Host.output(Uint8Array.wrap(String.UTF8.encode(told))); // outputString() takes the length of a string for that of its UTF-8
  return 0;
}

export function refuse(): i32 {
  return fail("no " + Host.inputString());
}

function fail(text: string): i32 {
  error_set(Memory.allocateString(text).offset);
  return 1;
}
