//! Other applications.

use crate::proto::{fields, Malformed, Writer};
use crate::request::methods::InvokeService;
use crate::{Request, Result};

/// Another application, by its id.
pub fn app(id: &str) -> App<'_> {
    App { id }
}

/// See [`app`].
#[derive(Clone, Copy, Debug)]
pub struct App<'a> {
    id: &'a str,
}

const VERBS: [&str; 10] = ["", "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

impl App<'_> {
    /// Invokes a method with GET.
    pub fn get(&self, method: &str) -> Request<InvokeService> {
        self.invoke("GET", method, b"")
    }

    /// Invokes a method with POST.
    pub fn post(&self, method: &str, body: impl AsRef<[u8]>) -> Request<InvokeService> {
        self.invoke("POST", method, body)
    }

    /// Invokes a method with a verb of HTTP. One that Dapr does not know is left out.
    pub fn invoke(&self, verb: &str, method: &str, body: impl AsRef<[u8]>) -> Request<InvokeService> {
        let number = VERBS.iter().position(|known| *known == verb).unwrap_or(0);
        let message = Writer::new().text(1, method).message(2, Writer::new().bytes(2, body.as_ref()));
        let message = message.message(4, Writer::new().number(1, number as i64));
        Request::new("InvokeService", Writer::new().text(1, self.id).message(3, message))
    }
}

impl Request<InvokeService> {
    /// The content type of the body.
    pub fn content_type(self, content_type: &str) -> Self {
        self.with(|message| message.message(3, Writer::new().text(3, content_type)))
    }

    /// The query, without `?`, as it goes into the address.
    pub fn query(self, query: &str) -> Self {
        let extension = Writer::new().message(4, Writer::new().text(2, query));
        self.with(|message| message.message(3, extension))
    }
}

/// What the other application has answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// Its body.
    pub data: Vec<u8>,
    /// Its content type; may be empty.
    pub content_type: String,
}

impl Response {
    /// The body from JSON.
    #[cfg(feature = "json")]
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T> {
        Ok(serde_json::from_slice(&self.data)?)
    }
}

pub(crate) fn read(message: Vec<u8>) -> Result<Response, Malformed> {
    let mut response = Response::default();
    for field in fields(&message) {
        let field = field?;
        match field.number {
            1 => response.data = any(field.bytes()?)?,
            2 => response.content_type = field.text()?,
            _ => {}
        }
    }
    Ok(response)
}

/// The value of a `google.protobuf.Any`.
pub(crate) fn any(message: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut value = Vec::new();
    for field in fields(message) {
        let field = field?;
        if field.number == 2 {
            value = field.bytes()?.to_vec();
        }
    }
    Ok(value)
}
