"""Guests of http-wasm for tests, as WAT."""

from __future__ import annotations

import wasmtime

from guesthouse_abi.imports import host_modules


def http_wasm(request: str, response: str = "", *, texts: tuple[str, ...] = ()) -> bytes:
    """A module with these bodies of `handle_request` and `handle_response`, which has all imports by their names.

    `{0}` in a body is pointer and length of the first text, and so on. Memory from 1024 on is free.
    """
    imports, data, places, at = [], [], [], 16
    for name, host in host_modules()["http_handler"].functions.items():
        params = " ".join(kind.value for kind in host.signature.params)
        results = " ".join(kind.value for kind in host.signature.results)
        imports.append(f'(import "http_handler" "{name}" (func ${name} (param {params}) (result {results})))')
    for text in texts:
        data.append(f'(data (i32.const {at}) "{text}")')
        places.append(f"(i32.const {at}) (i32.const {len(text)})")
        at += len(text)
    bodies = [body.format(*places) for body in (request, response)]
    wat = f"""(module {" ".join(imports)} (memory (export "memory") 4) {" ".join(data)}
      (func (export "handle_request") (result i64) (local $n i32) {bodies[0]})
      (func (export "handle_response") (param $context i32) (param $failed i32) (local $n i32) {bodies[1]}))"""
    return bytes(wasmtime.wat2wasm(wat))


#: Answers with its URI, `|`, the values of x-mark, `|`, and its body; and with the header x-shown.
SHOWS = http_wasm(
    """(call $write_body (i32.const 1) (i32.const 1024) (call $get_uri (i32.const 1024) (i32.const 1024)))
    (call $write_body (i32.const 1) {0})
    (call $write_body (i32.const 1) (i32.const 1024)
      (i32.wrap_i64 (call $get_header_values (i32.const 0) {1} (i32.const 1024) (i32.const 1024))))
    (call $write_body (i32.const 1) {0})
    (call $write_body (i32.const 1) (i32.const 1024)
      (i32.wrap_i64 (call $read_body (i32.const 0) (i32.const 1024) (i32.const 65536))))
    (call $set_header_value (i32.const 1) {2} {3})
    (i64.const 0)""",
    texts=("|", "x-mark", "x-shown", "yes"),
)
#: Adds x-mark to the request, replaces its body, and puts `!` behind the reply, whose status becomes 201.
MARKS = http_wasm(
    """(call $add_header_value (i32.const 0) {0} {1})
    (call $write_body (i32.const 0) {2})
    (drop (call $enable_features (i32.const 2)))
    (i64.const 1)""",
    """(local.set $n (i32.wrap_i64 (call $read_body (i32.const 1) (i32.const 1024) (i32.const 65536))))
    (call $write_body (i32.const 1) (i32.const 1024) (local.get $n))
    (call $write_body (i32.const 1) {3})
    (call $set_status_code (i32.const 201))""",
    texts=("X-Mark", "a", "changed", "!"),
)
#: Passes on and changes nothing.
PASSES = http_wasm("(i64.const 1)")
#: Answers 403 itself.
REFUSES = http_wasm(
    "(call $set_status_code (i32.const 403)) (call $write_body (i32.const 1) {0}) (i64.const 0)", texts=("no entry",)
)
#: Sends everything to another method.
MOVES = http_wasm("(call $set_uri {0}) (call $set_method {1}) (i64.const 1)", texts=("/moved?to=here", "PUT"))
TRAPS = http_wasm("unreachable")
TRAPS_LATE = http_wasm("(i64.const 1)", "unreachable")
LOOPS = http_wasm("(loop $more (br $more)) unreachable")
#: Ends with a trap where what stands behind has failed, and answers 200 else.
NOTICES = http_wasm(
    "(i64.const 1)", "(if (local.get $failed) (then (call $log (i32.const 2) {0})))", texts=("noticed",)
)
#: Takes the metadata of the host and of Dapr away, and forges it.
FORGES = http_wasm(
    """(call $remove_header (i32.const 0) {0}) (call $set_header_value (i32.const 0) {1} {2})
    (call $remove_header (i32.const 0) {3}) (i64.const 1)""",
    texts=("guesthouse-depth", "dapr-caller-app-id", "admin", "x-own"),
)
