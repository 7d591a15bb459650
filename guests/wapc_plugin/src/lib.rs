//! A guest as the kit of waPC has it: the same three operations as in the other languages (tests/plugins).

use wapc_guest::prelude::*;

#[no_mangle]
pub fn wapc_init() {
    register_function("echo", |body| Ok(body.to_vec()));
    register_function("work", work);
    register_function("refuse", |body| {
        Err(format!("no {}", String::from_utf8_lossy(body)).into())
    });
}

/// The body, and the state `key` of the store `state`.
fn work(body: &[u8]) -> CallResult {
    console_log(&format!("work: {} bytes", body.len()));
    let message = host_call(
        "dapr",
        "dapr.proto.runtime.v1.Dapr",
        "GetState",
        b"\x0a\x05state\x12\x03key",
    )?;
    Ok([body, b" ", message.get(2..).unwrap_or_default()].concat())
}
