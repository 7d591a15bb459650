//! A component for the world `wasi:http/proxy`: it answers a request with its own body.
//!
//! The body goes through in pieces, whatever the path is, but for these: `/facts` is answered with what the request says
//! of itself, one line a fact, `/headers` with the headers that begin with `x-`, too; `/status/NNN` has that status;
//! `/none` sets no response; `/unfinished` does not finish its body; `/ask/APP/PATH` sends the body on to another
//! application and is answered with the response, as lines; `/twice/APP/PATH` does that twice at once; `/half/APP/PATH`
//! never finishes the request.

use wasip2::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, IncomingBody, IncomingRequest, Method, OutgoingBody, OutgoingRequest,
    OutgoingResponse, ResponseOutparam,
};
use wasip2::io::poll::poll;
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
            _ if path.starts_with("/ask/") => Some(told(ask(&target[5..], &whole(&request), true))),
            _ if path.starts_with("/half/") => Some(told(ask(&target[6..], b"half", false))),
            _ if path.starts_with("/twice/") => {
                let body = whole(&request);
                let (first, second) = (ask(&target[7..], &body, true), ask(&target[7..], b"second", true));
                if let (Ok(first), Ok(second)) = (&first, &second) {
                    poll(&[&first.subscribe(), &second.subscribe()]);
                }
                Some([told(first), told(second)].concat())
            }
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
    read(request.consume().expect("the only body"), |part| write(output, part));
}

fn whole(request: &IncomingRequest) -> Vec<u8> {
    let mut body = Vec::new();
    read(request.consume().expect("the only body"), |part| body.extend_from_slice(part));
    body
}

fn read(body: IncomingBody, mut take: impl FnMut(&[u8])) {
    let input = body.stream().expect("the only stream");
    loop {
        match input.blocking_read(1 << 16) {
            Ok(part) => take(&part),
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

/// A request to another application: `target` is its id, and a path behind it.
fn ask(target: &str, data: &[u8], whole: bool) -> Result<FutureIncomingResponse, ErrorCode> {
    let (authority, path) = target.split_at(target.find('/').unwrap_or(target.len()));
    let headers = Fields::new();
    headers.append("content-type", b"text/asked").expect("a header");
    headers.append("X-Asked", b"1").expect("a header");
    let request = OutgoingRequest::new(headers);
    request.set_method(&Method::Put).expect("a method");
    request.set_authority(Some(authority)).expect("an authority");
    request.set_path_with_query(Some(path)).expect("a path");
    let body = request.body().expect("the only body");
    let future = wasip2::http::outgoing_handler::handle(request, None)?;
    let output = body.write().expect("the only stream");
    write(&output, data);
    drop(output);
    if whole {
        OutgoingBody::finish(body, None).expect("finished");
    }
    Ok(future)
}

/// A response, or why there is none.
fn told(future: Result<FutureIncomingResponse, ErrorCode>) -> Vec<u8> {
    let answered = future.and_then(|future| {
        future.subscribe().block();
        let answered = future.get().expect("it is there").expect("it was not taken");
        assert!(matches!(future.get(), Some(Err(()))));
        answered
    });
    match answered {
        Err(error) => format!("{error:?}\n").into_bytes(),
        Ok(response) => {
            let mut lines = vec![response.status().to_string()];
            let mut headers = response.headers().entries();
            headers.sort();
            for (name, value) in headers {
                lines.push(format!("{name}: {}", String::from_utf8_lossy(&value)));
            }
            let mut found = (lines.join("\n") + "\n").into_bytes();
            read(response.consume().expect("the only body"), |part| found.extend_from_slice(part));
            found
        }
    }
}
