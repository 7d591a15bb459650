//! The answer to an event.

use std::time::Duration;

use crate::{sys, Error, Outcome, Result};

/// What an event is answered with. Handlers may also give bytes, text or `()`, which become one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    body: Vec<u8>,
    content_type: Option<String>,
    status: Option<u16>,
    headers: Vec<(String, String)>,
    after: Option<Duration>,
    text: Option<String>,
    stop: bool,
}

impl Reply {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes. The content type is the operator's default, unless you say one.
    pub fn bytes(body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..Self::default() }
    }

    /// Text, as `text/plain; charset=utf-8`.
    pub fn text(body: impl Into<String>) -> Self {
        Self::bytes(body.into()).content_type("text/plain; charset=utf-8")
    }

    /// A value as JSON, as `application/json`.
    #[cfg(feature = "json")]
    pub fn json(value: &impl serde::Serialize) -> Result<Self> {
        Ok(Self::bytes(serde_json::to_vec(value)?).content_type("application/json"))
    }

    /// The content type: `TYPE/SUBTYPE`, with parameters.
    pub fn content_type(self, content_type: impl Into<String>) -> Self {
        Self { content_type: Some(content_type.into()), ..self }
    }

    /// This timer or reminder of an actor is not to fire again.
    pub fn stop(self) -> Self {
        Self { stop: true, ..self }
    }

    /// The HTTP status of an invocation's reply, 200 to 599. Dapr passes statuses from 200 to 299 on to HTTP callers as
    /// 200, with the header `wasm-status`; what it makes of the others is in the ABI's specification.
    pub fn status(self, status: u16) -> Self {
        Self { status: Some(status), ..self }
    }

    /// A header of an invocation's reply: a name in lower case, and printable ASCII.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// After what time the caller may try again; it counts for the statuses 408, 425, 429, 503 and 504.
    pub fn after(self, wait: Duration) -> Self {
        Self { after: Some(wait), ..self }
    }

    /// What a status from 300 on says. Without it, that is the body.
    pub fn reason(self, text: impl Into<String>) -> Self {
        Self { text: Some(text.into()), ..self }
    }

    /// Gives it to the host.
    pub(crate) fn send(self) -> Result<Outcome> {
        if let Some(content_type) = &self.content_type {
            taken(sys::reply_set(1, content_type), || format!("the content type '{content_type}'"))?;
        }
        if let Some(text) = &self.text {
            taken(sys::reply_set(2, text), || "the reason".into())?;
        }
        if let Some(status) = self.status {
            taken(sys::reply_status(status.into()), || format!("the status {status}"))?;
        }
        for (name, value) in &self.headers {
            taken(sys::reply_header(name, value), || format!("the header '{name}: {value}'"))?;
        }
        if let Some(wait) = self.after {
            taken(sys::retry_after(milliseconds(wait)), || "a time to wait".into())?;
        }
        write_reply(&self.body)?;
        Ok(if self.stop { Outcome::Stop } else { Outcome::Done })
    }
}

/// Appends to the reply's body at once. What the handler gives then comes after it. So a large reply need not be in the
/// guest's memory as a whole.
pub fn write_reply(bytes: &[u8]) -> Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    taken(sys::reply_write(bytes), || format!("{} bytes more of the reply", bytes.len()))
}

fn taken(number: i32, what: impl Fn() -> String) -> Result<()> {
    let why = match number {
        0 => return Ok(()),
        sys::LIMIT => "they are more than the guest may reply",
        sys::UNSUPPORTED => "an event of this kind has none",
        _ => "it is not valid",
    };
    Err(Error::failed(format!("the host does not take {}: {why}", what())))
}

pub(crate) fn milliseconds(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

impl From<()> for Reply {
    fn from((): ()) -> Self {
        Self::new()
    }
}

impl From<Vec<u8>> for Reply {
    fn from(body: Vec<u8>) -> Self {
        Self::bytes(body)
    }
}

impl From<String> for Reply {
    fn from(body: String) -> Self {
        Self::text(body)
    }
}

impl From<&str> for Reply {
    fn from(body: &str) -> Self {
        Self::text(body)
    }
}
