// Reads ten states at once.
import { Call, DONE, Reply, fail, startGetState } from "../assembly";

export function dapr_on_invoke(): i32 {
  const reads = new Array<Call>();
  for (let i = 0; i < 10; i++) reads.push(startGetState("statestore", `item-${i}`));
  for (let i = 0; i < 10; i++) {
    const item = reads[i].wait();
    if (!item.ok) return fail(`item-${i}: ${item.error}`);
    if (i > 0) Reply.text("\n");
    Reply.write(item.data);
  }
  Reply.contentType("text/plain");
  return DONE;
}
