// A guest as the kit of waPC has it, in AssemblyScript: the operations of guests/wapc_plugin.
import { consoleLog, handleAbort, handleCall, hostCall, register, Result } from "@wapc/as-guest";

register("echo", (body: ArrayBuffer): Result<ArrayBuffer> => Result.ok(body));

register("work", (body: ArrayBuffer): Result<ArrayBuffer> => {
  consoleLog("work: " + body.byteLength.toString() + " bytes");
  const request = String.UTF8.encode("\x0a\x05state\x12\x03key");
  const message = hostCall("dapr", "dapr.proto.runtime.v1.Dapr", "GetState", request);
  if (!message.isOk) return message;
  const state = message.get();
  return Result.ok(String.UTF8.encode(String.UTF8.decode(body) + " " + String.UTF8.decode(state.slice(min(2, state.byteLength)))));
});

register("refuse", (body: ArrayBuffer): Result<ArrayBuffer> => {
  return Result.error<ArrayBuffer>(new Error("no " + String.UTF8.decode(body)));
});

export function __guest_call(operation_size: usize, payload_size: usize): bool {
  return handleCall(operation_size, payload_size);
}

function abort(message: string | null, fileName: string | null, lineNumber: u32, columnNumber: u32): void {
  handleAbort(message, fileName, lineNumber, columnNumber);
}
