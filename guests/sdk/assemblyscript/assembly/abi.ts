// The functions of the module dapr_v1, as the specification has them. Functions that read copy what fits from `offset`
// on, and give the whole size; numbers below 0 are ABSENT and the others here.

export const ABSENT: i32 = -1;
export const INVALID: i32 = -2;
export const BAD_HANDLE: i32 = -3;
export const LIMIT: i32 = -4;
export const PENDING: i32 = -5;
export const UNSUPPORTED: i32 = -6;

@external("dapr_v1", "event_read")
export declare function event_read(field: u32, offset: u32, buffer: usize, capacity: u32): i32;
@external("dapr_v1", "event_metadata")
export declare function event_metadata(name: usize, size: u32, offset: u32, buffer: usize, capacity: u32): i32;
@external("dapr_v1", "event_metadata_all")
export declare function event_metadata_all(offset: u32, buffer: usize, capacity: u32): i32;
@external("dapr_v1", "reply_write")
export declare function reply_write(data: usize, size: u32): i32;
@external("dapr_v1", "reply_set")
export declare function reply_set(field: u32, text: usize, size: u32): i32;
@external("dapr_v1", "reply_status")
export declare function reply_status(status: u32): i32;
@external("dapr_v1", "reply_header")
export declare function reply_header(name: usize, nameSize: u32, value: usize, valueSize: u32): i32;
@external("dapr_v1", "retry_after")
export declare function retry_after(milliseconds: u32): i32;
@external("dapr_v1", "log")
export declare function log_line(level: u32, text: usize, size: u32, fields: usize, fieldsSize: u32): i32;
@external("dapr_v1", "time_left")
export declare function time_left(): i64;
@external("dapr_v1", "config_read")
export declare function config_read(name: usize, size: u32, offset: u32, buffer: usize, capacity: u32): i32;
@external("dapr_v1", "call_start")
export declare function call_start(
  method: usize, methodSize: u32, request: usize, size: u32, metadata: usize, metadataSize: u32, milliseconds: u32,
): i32;
@external("dapr_v1", "call_wait")
export declare function call_wait(handles: usize, count: u32, mode: u32, milliseconds: i32): i32;
@external("dapr_v1", "call_status")
export declare function call_status(handle: u32): i32;
@external("dapr_v1", "call_read")
export declare function call_read(handle: u32, part: u32, offset: u32, buffer: usize, capacity: u32): i32;
@external("dapr_v1", "call_close")
export declare function call_close(handle: u32): i32;
