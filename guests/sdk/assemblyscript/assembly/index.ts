/**
 * Guests that answer Dapr's events and call Dapr's API, by the ABI dapr_v1. A guest exports a handler for each trigger:
 * dapr_on_invoke, dapr_on_topic, dapr_on_binding, dapr_on_job, dapr_on_operation, or dapr_on_event for all others.
 */
import "./abort";
export * from "./event";
export * from "./call";
export * from "./requests";
export * from "./models";
export { Message, Reader, find, findNumber, findText } from "./proto";
export { numberOf, text, utf8 } from "./bytes";
export { ABSENT, BAD_HANDLE, INVALID, LIMIT, PENDING, UNSUPPORTED } from "./abi";

export const VERSION = "0.1.0";
