import { log_line } from "./abi";

const ERROR: u32 = 3;

/** What ends the guest where AssemblyScript finds an error, instead of the import env.abort: the error is logged, and
 * the guest traps. asconfig.json names it. It stands alone, as it is compiled before all else. */
// @ts-ignore: decorator
@global
export function dapr_abort(message: string | null, file: string | null, line: u32, column: u32): void {
  const what = message === null ? "abort" : message, where = file === null ? "" : file;
  const text = String.UTF8.encode(`${what} (${where}:${line}:${column})`);
  log_line(ERROR, changetype<usize>(text), text.byteLength, 0, 0);
  unreachable();
}
