//! A component for the world `wasi:http/proxy`: it answers a request with its own body.
//!
//! `/echo` is the body as it came, `/facts` what the request says of itself, one line a fact; `/status/NNN` has that
//! status; `/none` sets no response; `/late` asks another host, which it may not.

use wasip2::http::types::{
    Fields, IncomingBody, IncomingRequest, Method, OutgoingBody, OutgoingRequest, OutgoingResponse, ResponseOutparam,
};
use wasip2::io::streams::StreamError;

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
        for (name, value) in request.headers().entries() {
            if name.starts_with("x-") {
                headers.append(&name, &value).expect("a header that came");
            }
        }
        let kind = request.headers().get("content-type");
        if let Some(kind) = kind.first() {
            headers.set("content-type", &[kind.clone()]).expect("a type that came");
        }
        let answer = match path {
            "/facts" => facts(&request, &target),
            "/late" => elsewhere(),
            _ => body_of(&request),
        };
        let response = OutgoingResponse::new(headers);
        if let Some(status) = path.strip_prefix("/status/") {
            response.set_status_code(status.parse().expect("a number")).expect("a status");
        }
        let body = response.body().expect("the only body");
        ResponseOutparam::set(out, Ok(response));
        let stream = body.write().expect("the only stream");
        for part in answer.chunks(4096) {
            stream.blocking_write_and_flush(part).expect("written");
        }
        drop(stream);
        OutgoingBody::finish(body, None).expect("finished");
    }
}

fn body_of(request: &IncomingRequest) -> Vec<u8> {
    let body = request.consume().expect("the only body");
    let stream = body.stream().expect("the only stream");
    let mut all = Vec::new();
    loop {
        match stream.blocking_read(1 << 20) {
            Ok(part) => all.extend_from_slice(&part),
            Err(StreamError::Closed) => break,
            Err(error) => panic!("{error:?}"),
        }
    }
    drop(stream);
    drop(IncomingBody::finish(body));
    all
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
