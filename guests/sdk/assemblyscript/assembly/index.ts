/**
 * Guests that answer Dapr's events and call Dapr's API, by the ABI dapr_v1. A guest exports a handler for each trigger:
 * dapr_on_invoke, dapr_on_topic, dapr_on_binding, dapr_on_job, dapr_on_operation, or dapr_on_event for all others. An
 * actor exports dapr_on_actor, and may export dapr_on_timer, dapr_on_reminder, dapr_on_activate and dapr_on_deactivate.
 */
import "./abort";
export * from "./event";
export * from "./call";
export * from "./requests";
export * from "./actor";
export * from "./models";
export { Message, Reader, find, findNumber, findText } from "./proto";
export { numberOf, text, utf8 } from "./bytes";
export { ABSENT, BAD_HANDLE, INVALID, LIMIT, PENDING, UNSUPPORTED } from "./abi";

export const VERSION = "0.2.0";
