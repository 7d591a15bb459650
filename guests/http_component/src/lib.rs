//! A component for the world `wasi:http/proxy`: it answers a request with its own body.
//!
//! The body goes through in pieces, whatever the path is, but for these: `/facts` is answered with what the request says
//! of itself, one line a fact, `/headers` with the headers that begin with `x-`, too; `/status/NNN` has that status;
//! `/none` sets no response; `/unfinished` does not finish its body; `/late` asks another host, which it may not.

use wasip2::http::types::{
    Fields, IncomingBody, IncomingRequest, Method, OutgoingBody, OutgoingRequest, OutgoingResponse, ResponseOutparam,
};
use wasip2::io::streams::{OutputStream, StreamError};

struct Guest;

wasip2::http::proxy::export!(Guest);

impl wasip2::exports::http::incoming_handler::Guest for Guest {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let target = request.path_with_query().unwrap_or_default();
        let path = target.split('?').next().unwrap_or_default();
        if path == "/none" {
            return;
        }
        let headers = Fields::new();
        if path == "/headers" {
            for (name, value) in request.headers().entries() {
                if name.starts_with("x-") {
                    headers.append(&name, &value).expect("a header that came");
                }
            }
        }
        if let Some(kind) = request.headers().get("content-type").first() {
            headers.set("content-type", &[kind.clone()]).expect("a type that came");
        }
        let answer = match path {
            "/facts" => Some(facts(&request, &target)),
            "/late" => Some(elsewhere()),
            _ => None,
        };
        let response = OutgoingResponse::new(headers);
        if let Some(status) = path.strip_prefix("/status/") {
            response.set_status_code(status.parse().expect("a number")).expect("a status");
        }
        let body = response.body().expect("the only body");
        ResponseOutparam::set(out, Ok(response));
        let output = body.write().expect("the only stream");
        match answer {
            Some(answer) => write(&output, &answer),
            None => echo(&request, &output),
        }
        drop(output);
        if path != "/unfinished" {
            OutgoingBody::finish(body, None).expect("finished");
        }
    }
}

fn echo(request: &IncomingRequest, output: &OutputStream) {
    let body = request.consume().expect("the only body");
    let input = body.stream().expect("the only stream");
    loop {
        match input.blocking_read(1 << 16) {
            Ok(part) => write(output, &part),
            Err(StreamError::Closed) => break,
            Err(error) => panic!("{error:?}"),
        }
    }
    drop(input);
    drop(IncomingBody::finish(body));
}

/// As much at a time as the host takes.
fn write(output: &OutputStream, mut rest: &[u8]) {
    while !rest.is_empty() {
        let most = output.check_write().expect("open") as usize;
        let (part, later) = rest.split_at(most.min(rest.len()));
        output.write(part).expect("written");
        rest = later;
    }
}

fn facts(request: &IncomingRequest, target: &str) -> Vec<u8> {
    let mut lines = vec![format!("{:?} {target}", request.method())];
    lines.push(format!("authority {:?} scheme {:?}", request.authority(), request.scheme()));
    let mut headers = request.headers().entries();
    headers.sort();
    for (name, value) in headers {
        lines.push(format!("{name}: {}", String::from_utf8_lossy(&value)));
    }
    lines.join("\n").into_bytes()
}

fn elsewhere() -> Vec<u8> {
    let request = OutgoingRequest::new(Fields::new());
    request.set_method(&Method::Get).expect("a method");
    request.set_authority(Some("example.org")).expect("an authority");
    match wasip2::http::outgoing_handler::handle(request, None) {
        Ok(_) => b"answered".to_vec(),
        Err(error) => format!("{error:?}").into_bytes(),
    }
}
