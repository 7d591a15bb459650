//! A guest as a kit of http-wasm has it: it answers, passes on, and changes both messages (tests/plugins).

use http_wasm_guest::host::{admin, feature, log, Request, Response};
use http_wasm_guest::{register, Guest};

struct Plugin;

impl Guest for Plugin {
    /// Passes on what goes to /pass, with one header more; answers all else itself.
    fn handle_request(&self, request: &Request, response: &Response) -> (bool, i32) {
        log::write(0, b"work");
        if request.uri().starts_with(b"/pass") {
            admin::enable(feature::BufferResponse);
            request.header.set(b"x-mark", b"set");
            return (true, 7);
        }
        let mark = request.header.get(b"x-mark").unwrap_or_default();
        let body = request.body.read();
        response.set_status(201);
        response.header.set(b"content-type", b"text/plain");
        response.header.add(b"x-method", &request.method());
        response.body.write(
            &[
                &admin::config()[..],
                b" ",
                &request.uri(),
                b" ",
                &mark,
                b" ",
                &body,
            ]
            .concat(),
        );
        (false, 0)
    }

    fn handle_response(
        &self,
        context: i32,
        _request: &Request,
        response: &Response,
        is_error: bool,
    ) {
        response.header.set(
            b"x-seen",
            format!("{context} {is_error} {}", response.status()).as_bytes(),
        );
    }
}

fn main() {
    register(Plugin);
}
