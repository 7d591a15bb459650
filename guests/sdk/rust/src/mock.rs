//! A host for `cargo test`: an event as you write it, the calls that you expect with what they give, and what the
//! handler has made of it. It is there on all targets but wasm32.
//!
//! ```
//! use guesthouse_dapr::{mock, state, Code, Event, Outcome, Result};
//!
//! fn read(event: Event) -> Result<Vec<u8>> {
//!     Ok(state("statestore").get(&event.name()).send()?.data)
//! }
//!
//! let wanted = || state("statestore").get("cart");
//! let answered = mock::invoke("cart").expect(wanted(), mock::value("3 apples", "7")).run(read);
//! assert_eq!(answered.outcome, Outcome::Done);
//! assert_eq!(answered.body, b"3 apples");
//!
//! let answered = mock::invoke("cart").expect(wanted(), mock::failed(Code::Unavailable, "no store")).run(read);
//! assert_eq!(answered.outcome, Outcome::Retry);
//! assert_eq!(answered.text.as_deref(), Some("no store"));
//! ```
//!
//! The calls must be made in the order in which they are expected, and all of them; else `run` panics. All of them end
//! at once, but for those that [`never()`] do.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::proto::{fields, Writer};
use crate::{answer, Answer, Code, Event, Level, Method, Outcome, Request};

type Model = Box<dyn Fn(&[Input]) -> Vec<Vec<u8>>>;
type Pictures = Box<dyn Fn(&[u8], u32, u32) -> Option<Vec<u8>>>;

/// An event and its host, before it is run.
#[must_use = "nothing happens until it is run"]
#[derive(Default)]
pub struct Mock {
    fields: BTreeMap<u32, String>,
    body: Vec<u8>,
    metadata: BTreeMap<String, String>,
    config: BTreeMap<String, String>,
    time_left: Duration,
    expected: VecDeque<(Made, Given)>,
    state: BTreeMap<String, Vec<u8>>,
    models: BTreeMap<String, Model>,
    pictures: Option<Pictures>,
}

/// An invocation of a method.
pub fn invoke(method: &str) -> Mock {
    event("invoke", method)
}

/// A message of a topic. Its id is `1`, unless you say another.
pub fn topic(pubsub: &str, topic: &str) -> Mock {
    event("topic", &format!("{pubsub}/{topic}")).field(8, "1").field(9, pubsub).field(10, topic)
}

/// An event of an input binding.
pub fn binding(name: &str) -> Mock {
    event("binding", name)
}

/// A job.
pub fn job(name: &str) -> Mock {
    event("job", name)
}

/// A turn of an actor: a method.
pub fn actor(kind: &str, id: &str, method: &str) -> Mock {
    event("actor", kind).field(13, id).field(14, method)
}

/// A timer of an actor.
pub fn timer(kind: &str, id: &str, name: &str) -> Mock {
    event("timer", kind).field(13, id).field(14, name)
}

/// A reminder of an actor.
pub fn reminder(kind: &str, id: &str, name: &str) -> Mock {
    event("reminder", kind).field(13, id).field(14, name)
}

/// An actor, before its first turn.
pub fn activation(kind: &str, id: &str) -> Mock {
    event("activate", kind).field(13, id)
}

/// An actor that the sidecar lets go.
pub fn deactivation(kind: &str, id: &str) -> Mock {
    event("deactivate", kind).field(13, id)
}

fn event(trigger: &str, name: &str) -> Mock {
    Mock { time_left: Duration::from_secs(10), ..Mock::default() }.field(2, trigger).field(3, name)
}

impl Mock {
    /// The event's body.
    pub fn body(self, body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..self }
    }

    /// A field of the event by the ABI's number.
    pub fn field(mut self, number: u32, value: &str) -> Self {
        self.fields.insert(number, value.into());
        self
    }

    /// The content type.
    pub fn content_type(self, value: &str) -> Self {
        self.field(4, value)
    }

    /// The verb of an invocation.
    pub fn verb(self, value: &str) -> Self {
        self.field(5, value)
    }

    /// The query of an invocation.
    pub fn query(self, value: &str) -> Self {
        self.field(6, value)
    }

    /// The id of a message.
    pub fn id(self, value: &str) -> Self {
        self.field(8, value)
    }

    /// A piece of metadata of the event: a header, say.
    pub fn metadata(mut self, name: &str, value: &str) -> Self {
        self.metadata.insert(name.into(), value.into());
        self
    }

    /// A value that the operator gives to the guest.
    pub fn config(mut self, name: &str, value: &str) -> Self {
        self.config.insert(name.into(), value.into());
        self
    }

    /// How long it is until the deadline: 10 seconds, unless you say another.
    pub fn time_left(self, time: Duration) -> Self {
        Self { time_left: time, ..self }
    }

    /// What is under a key of the actor's state before its turn. In a turn, the mock itself answers the calls for that
    /// state, unless they are expected; [`Answered::state`] is what has become of it.
    pub fn state(mut self, key: &str, value: impl Into<Vec<u8>>) -> Self {
        self.state.insert(key.into(), value.into());
        self
    }

    /// All of the state, as an earlier turn has left it.
    pub fn state_of(self, earlier: &Answered) -> Self {
        Self { state: earlier.state.clone(), ..self }
    }

    /// The next call, and what it gives.
    pub fn expect<M: Method>(mut self, request: Request<M>, given: Given) -> Self {
        let made =
            Made { method: request.name.into_owned(), message: request.message.done(), headers: request.headers };
        self.expected.push_back((made, given));
        self
    }

    /// A model: what it gives for its inputs, as the bytes of each output.
    pub fn model(mut self, name: &str, run: impl Fn(&[Input]) -> Vec<Vec<u8>> + 'static) -> Self {
        self.models.insert(name.into(), Box::new(run));
        self
    }

    /// How pictures are decoded: the pixels for a body, a width and a height, or `None` for what is no picture.
    pub fn pictures(self, decode: impl Fn(&[u8], u32, u32) -> Option<Vec<u8>> + 'static) -> Self {
        Self { pictures: Some(Box::new(decode)), ..self }
    }

    /// Runs the handler on the event.
    ///
    /// # Panics
    ///
    /// Where the handler makes another call than the next one that is expected, or not all of them.
    pub fn run<A: Answer>(self, handler: impl FnOnce(Event) -> A) -> Answered {
        let _after = TakeAway; // also where a handler panics
        HOST.set(Some(Host::new(self)));
        let outcome = match answer(handler) {
            0 => Outcome::Done,
            2 => Outcome::Retry,
            3 => Outcome::Drop,
            4 => Outcome::Stop,
            _ => Outcome::Failed,
        };
        let host = HOST.take().expect("nobody else takes it");
        if let Some((wanted, _)) = host.mock.expected.front() {
            panic!("the handler did not make the call {wanted:?}");
        }
        let mut answered = host.answered;
        answered.outcome = outcome;
        if matches!(outcome, Outcome::Done | Outcome::Stop) {
            answered.state = host.written;
        } else {
            answered.body.clear();
        }
        answered
    }
}

/// What a handler has made of its event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// What becomes of the event.
    pub outcome: Outcome,
    /// The reply's body. It is empty after any outcome but `Done` and `Stop`, for then it is not sent.
    pub body: Vec<u8>,
    /// The reply's content type.
    pub content_type: Option<String>,
    /// Why the event failed, or what a status from 300 on says.
    pub text: Option<String>,
    /// The status of the reply to an invocation or to a method of an actor.
    pub status: u16,
    /// The headers of an invocation's reply.
    pub headers: Vec<(String, String)>,
    /// After what time the event may be sent again.
    pub after: Option<Duration>,
    /// The actor's state after its turn: with what was written, if the turn has ended well; else as it was, but for
    /// what was saved at once.
    pub state: BTreeMap<String, Vec<u8>>,
    /// The guest's log.
    pub log: Vec<LogLine>,
}

/// A line of the guest's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// How much it matters.
    pub level: Level,
    /// Its text.
    pub text: String,
    /// Its fields.
    pub fields: Vec<(String, String)>,
}

/// What a call gives.
#[derive(Clone, Debug)]
pub struct Given(End);

#[derive(Clone, Debug)]
enum End {
    Ended(Code, String, Vec<u8>),
    Never,
    NotBegun,
}

/// A response message, as protobuf bytes; empty for methods that give nothing.
pub fn ok(message: impl Into<Vec<u8>>) -> Given {
    Given(End::Ended(Code::Ok, String::new(), message.into()))
}

/// The answer of `GetState`.
pub fn value(data: impl AsRef<[u8]>, etag: &str) -> Given {
    ok(Writer::new().bytes(1, data.as_ref()).text(2, etag).done())
}

/// The answer of `InvokeService`.
pub fn response(data: impl AsRef<[u8]>, content_type: &str) -> Given {
    ok(Writer::new().message(1, Writer::new().bytes(2, data.as_ref())).text(2, content_type).done())
}

/// The answer of `InvokeBinding` and `InvokeActor`.
pub fn data(data: impl AsRef<[u8]>) -> Given {
    ok(Writer::new().bytes(1, data.as_ref()).done())
}

/// A call that fails.
pub fn failed(code: Code, text: &str) -> Given {
    Given(End::Ended(code, text.into(), Vec::new()))
}

/// A call that does not end within the event's time.
pub fn never() -> Given {
    Given(End::Never)
}

/// A call that the host does not begin: the event has too many calls, or too many bytes in them.
pub fn too_many() -> Given {
    Given(End::NotBegun)
}

/// An input that a guest has given to a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// wasi-nn's number of its type: 1 is float32, 3 is uint8.
    pub kind: u8,
    /// Its dimensions.
    pub shape: Vec<u32>,
    /// Its bytes.
    pub data: Vec<u8>,
}

impl Input {
    /// The numbers of an input of float32.
    pub fn floats(&self) -> Vec<f32> {
        self.data.chunks_exact(4).map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])).collect()
    }
}

#[derive(PartialEq, Eq)]
struct Made {
    method: String,
    message: Vec<u8>,
    headers: Vec<u8>,
}

impl std::fmt::Debug for Made {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} \"{}\"", self.method, self.message.escape_ascii())?;
        for (name, value) in crate::pairs::read(&self.headers) {
            write!(formatter, " {name}: {}", value.escape_ascii())?;
        }
        Ok(())
    }
}

struct Host {
    mock: Mock,
    answered: Answered,
    open: BTreeMap<u32, Given>,
    made: u32,
    written: BTreeMap<String, Vec<u8>>, // the actor's state, with what the turn has written
    graphs: Vec<String>,
    contexts: Vec<Context>,
}

#[derive(Default)]
struct Context {
    graph: String,
    inputs: Vec<Input>,
    outputs: Vec<Vec<u8>>,
}

impl Host {
    fn new(mock: Mock) -> Self {
        let answered = Answered {
            outcome: Outcome::Done,
            body: Vec::new(),
            content_type: None,
            text: None,
            status: 200,
            headers: Vec::new(),
            after: None,
            state: mock.state.clone(),
            log: Vec::new(),
        };
        Self {
            written: mock.state.clone(),
            mock,
            answered,
            open: BTreeMap::new(),
            made: 0,
            graphs: Vec::new(),
            contexts: Vec::new(),
        }
    }

    fn trigger(&self) -> &str {
        self.mock.fields.get(&2).map_or("", String::as_str)
    }

    fn is_invocation(&self) -> bool {
        self.trigger() == "invoke"
    }

    fn is_turn(&self) -> bool {
        self.mock.fields.contains_key(&13)
    }

    /// The answer to a call for the state of the actor whose turn it is. None for another call.
    fn own_state(&mut self, made: &Made) -> Option<Given> {
        let of = Writer::new().text(1, self.mock.fields.get(&3)?).text(2, self.mock.fields.get(&13)?).done();
        let rest: Vec<_> = fields(made.message.strip_prefix(&of[..])?).map(|field| field.expect("a message")).collect();
        match made.method.as_str() {
            "GetActorState" => {
                let key = rest[0].text().expect("a key");
                Some(self.written.get(&key).map_or_else(|| ok([]), data))
            }
            "ExecuteActorStateTransaction" => {
                for change in &rest {
                    let (kind, key, value) = change_of(change.bytes().expect("an operation"));
                    match kind.as_str() {
                        "upsert" => self.written.insert(key, value),
                        _ => self.written.remove(&key),
                    };
                }
                if rest.is_empty() {
                    self.answered.state = self.written.clone();
                }
                Some(ok([]))
            }
            _ => None,
        }
    }
}

/// Of an operation of `ExecuteActorStateTransaction`: what it does, the key, and the value.
fn change_of(message: &[u8]) -> (String, String, Vec<u8>) {
    let (mut kind, mut key, mut value) = (String::new(), String::new(), Vec::new());
    for field in fields(message).map(|field| field.expect("a message")) {
        match field.number {
            1 => kind = field.text().expect("a text"),
            2 => key = field.text().expect("a text"),
            3 => value = crate::app::any(field.bytes().expect("a message")).expect("a message"),
            _ => {}
        }
    }
    (kind, key, value)
}

struct TakeAway;

impl Drop for TakeAway {
    fn drop(&mut self) {
        HOST.set(None);
    }
}

thread_local! {
    static HOST: RefCell<Option<Host>> = const { RefCell::new(None) };
}

/// The host's functions, as `sys` has them.
pub(crate) mod host {
    use super::*;

    const ABSENT: i32 = -1;
    const INVALID: i32 = -2;
    const BAD_HANDLE: i32 = -3;
    const LIMIT: i32 = -4;
    const PENDING: i32 = -5;
    const UNSUPPORTED: i32 = -6;

    fn with<T>(use_host: impl FnOnce(&mut Host) -> T) -> T {
        HOST.with_borrow_mut(|host| {
            use_host(host.as_mut().expect("outside wasm, a host is there inside mock::Mock::run alone"))
        })
    }

    fn give(data: Option<&[u8]>, offset: u32, buffer: &mut [u8]) -> i32 {
        let Some(data) = data else { return ABSENT };
        let rest = data.get(offset as usize..).unwrap_or(b"");
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        data.len() as i32
    }

    pub fn event_read(field: u32, offset: u32, buffer: &mut [u8]) -> i32 {
        with(|host| {
            let found = host.mock.fields.get(&field).map(String::as_bytes);
            give(if field == 1 { Some(&host.mock.body) } else { found }, offset, buffer)
        })
    }

    pub fn event_metadata(name: &str, offset: u32, buffer: &mut [u8]) -> i32 {
        with(|host| give(host.mock.metadata.get(name).map(String::as_bytes), offset, buffer))
    }

    pub fn event_metadata_all(offset: u32, buffer: &mut [u8]) -> i32 {
        let mut list = Vec::new();
        with(|host| {
            for (name, value) in &host.mock.metadata {
                crate::pairs::push(&mut list, name.as_bytes(), value.as_bytes());
            }
        });
        give(Some(&list), offset, buffer)
    }

    pub fn reply_write(data: &[u8]) -> i32 {
        with(|host| host.answered.body.extend(data));
        0
    }

    pub fn reply_set(field: u32, text: &str) -> i32 {
        let printable = text.len() <= 256 && text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        with(|host| {
            match field {
                1 if printable => host.answered.content_type = Some(text.into()),
                2 => host.answered.text = Some(text.into()),
                _ => return INVALID,
            }
            0
        })
    }

    pub fn reply_status(status: u32) -> i32 {
        with(|host| match u16::try_from(status) {
            _ if !host.is_invocation() && host.trigger() != "actor" => UNSUPPORTED,
            Ok(status @ 200..=599) => {
                host.answered.status = status;
                0
            }
            _ => INVALID,
        })
    }

    const NOT_SET: [&str; 9] = [
        "connection",
        "content-length",
        "content-type",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "wasm-status",
    ];

    pub fn reply_header(name: &str, value: &str) -> i32 {
        let plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-');
        let may = !name.is_empty()
            && name.bytes().all(plain)
            && value.bytes().all(|byte| (b' '..=b'~').contains(&byte))
            && !NOT_SET.contains(&name)
            && !["grpc-", "dapr-", "guesthouse-"].iter().any(|prefix| name.starts_with(prefix))
            && !name.ends_with("-bin");
        with(|host| {
            if !host.is_invocation() {
                return UNSUPPORTED;
            }
            if !may {
                return INVALID;
            }
            host.answered.headers.push((name.into(), value.into()));
            0
        })
    }

    pub fn retry_after(milliseconds: u32) -> i32 {
        with(|host| host.answered.after = Some(Duration::from_millis(milliseconds.into())));
        0
    }

    pub fn log(level: u32, text: &str, fields: &[u8]) -> i32 {
        let levels = [Level::Debug, Level::Info, Level::Warning, Level::Error];
        let fields = crate::pairs::read(fields).into_iter();
        let fields = fields.map(|(name, value)| (name, String::from_utf8_lossy(&value).into_owned())).collect();
        let line = LogLine { level: levels[level as usize], text: text.into(), fields };
        with(|host| host.answered.log.push(line));
        0
    }

    pub fn time_left() -> i64 {
        with(|host| host.mock.time_left.as_millis() as i64)
    }

    pub fn config_read(name: &str, offset: u32, buffer: &mut [u8]) -> i32 {
        with(|host| give(host.mock.config.get(name).map(String::as_bytes), offset, buffer))
    }

    pub fn call_start(method: &str, request: &[u8], metadata: &[u8], _milliseconds: u32) -> i32 {
        let made = Made { method: method.into(), message: request.into(), headers: metadata.into() };
        let expected = with(|host| host.mock.expected.front().is_some_and(|(wanted, _)| *wanted == made));
        if !expected && with(|host| host.is_turn()) {
            if let Some(given) = with(|host| host.own_state(&made)) {
                return with(|host| open(host, given));
            }
        }
        // The host is free again before a panic: what is dropped then closes its calls.
        let wrong = match with(|host| host.mock.expected.pop_front()) {
            Some((wanted, given)) if wanted == made => return with(|host| open(host, given)),
            Some((wanted, _)) => format!("the call {made:?} was made where this was expected: {wanted:?}"),
            None => format!("the call {made:?} was made where none was expected"),
        };
        panic!("{wrong}");
    }

    fn open(host: &mut Host, given: Given) -> i32 {
        if let End::NotBegun = given.0 {
            return LIMIT;
        }
        host.made += 1;
        host.open.insert(host.made, given);
        host.made as i32
    }

    pub fn call_wait(handles: &[u32], mode: u32, _milliseconds: u32) -> i32 {
        with(|host| {
            let mut ended = Vec::new();
            for handle in handles {
                match host.open.get(handle) {
                    Some(given) => ended.push(matches!(given.0, End::Ended(..))),
                    None => return BAD_HANDLE,
                }
            }
            match (mode, ended.iter().position(|&one| one)) {
                (1, _) if ended.iter().all(|&one| one) => ended.len() as i32,
                (0, _) if ended.is_empty() => ABSENT,
                (0, Some(position)) => position as i32,
                _ => PENDING,
            }
        })
    }

    pub fn call_status(handle: u32) -> i32 {
        with(|host| match host.open.get(&handle) {
            None => BAD_HANDLE,
            Some(Given(End::Ended(code, _, _))) => *code as i32,
            Some(_) => PENDING,
        })
    }

    pub fn call_read(handle: u32, part: u32, offset: u32, buffer: &mut [u8]) -> i32 {
        with(|host| match host.open.get(&handle) {
            None => BAD_HANDLE,
            Some(Given(End::Ended(code, text, message))) => match part {
                0 if *code == Code::Ok => give(Some(message), offset, buffer),
                1 => give(Some(text.as_bytes()), offset, buffer),
                2 | 3 => give(Some(b""), offset, buffer),
                _ => ABSENT,
            },
            Some(_) => PENDING,
        })
    }

    pub fn call_close(handle: u32) {
        HOST.with_borrow_mut(|host| host.as_mut().map(|host| host.open.remove(&handle)));
    }

    pub fn nn_load(name: &str) -> Result<u32, u32> {
        with(|host| {
            if !host.mock.models.contains_key(name) {
                return Err(8);
            }
            host.graphs.push(name.into());
            Ok(host.graphs.len() as u32 - 1)
        })
    }

    pub fn nn_context(graph: u32) -> Result<u32, u32> {
        with(|host| {
            let graph = host.graphs.get(graph as usize).ok_or(1_u32)?.clone();
            host.contexts.push(Context { graph, ..Context::default() });
            Ok(host.contexts.len() as u32 - 1)
        })
    }

    pub fn nn_set_input(context: u32, index: u32, kind: u8, shape: &[u32], data: &[u8]) -> Result<(), u32> {
        with(|host| {
            let inputs = &mut host.contexts.get_mut(context as usize).ok_or(1_u32)?.inputs;
            let input = Input { kind, shape: shape.into(), data: data.into() };
            match index as usize {
                at if at < inputs.len() => inputs[at] = input,
                at if at == inputs.len() => inputs.push(input),
                _ => return Err(1), // the mock takes inputs in order
            }
            Ok(())
        })
    }

    pub fn nn_compute(context: u32) -> Result<(), u32> {
        with(|host| {
            let context = host.contexts.get_mut(context as usize).ok_or(1_u32)?;
            context.outputs = host.mock.models[&context.graph](&context.inputs);
            Ok(())
        })
    }

    pub fn nn_output(context: u32, index: u32, buffer: &mut [u8]) -> (u32, usize) {
        with(|host| {
            let outputs = host.contexts.get(context as usize).map(|context| &context.outputs);
            let Some(output) = outputs.and_then(|outputs| outputs.get(index as usize)) else {
                return (1, 0);
            };
            if buffer.len() < output.len() {
                return (7, output.len());
            }
            buffer[..output.len()].copy_from_slice(output);
            (0, output.len())
        })
    }

    pub fn load_image(picture: &[u8], width: u32, height: u32, _kind: u32, buffer: &mut [u8]) -> u32 {
        with(|host| {
            let pixels = host.mock.pictures.as_ref().and_then(|decode| decode(picture, width, height));
            match pixels {
                Some(pixels) if pixels.len() == buffer.len() => {
                    buffer.copy_from_slice(&pixels);
                    0
                }
                _ => 1,
            }
        })
    }
}
