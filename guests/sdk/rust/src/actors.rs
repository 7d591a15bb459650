//! Actors of any application.

use crate::proto::{fields, Malformed, Writer};
use crate::request::methods::InvokeActor;
use crate::{Request, Result};

/// An actor, by its type and its id.
pub fn actor<'a>(kind: &'a str, id: &'a str) -> Actor<'a> {
    Actor { kind, id }
}

/// See [`actor`].
#[derive(Clone, Copy, Debug)]
pub struct Actor<'a> {
    kind: &'a str,
    id: &'a str,
}

impl Actor<'_> {
    /// Invokes a method of it. The answer is the method's.
    pub fn invoke(&self, method: &str, data: impl AsRef<[u8]>) -> Request<InvokeActor> {
        let message = Writer::new().text(1, self.kind).text(2, self.id).text(3, method);
        Request::new("InvokeActor", message.bytes(4, data.as_ref()))
    }
}

impl Request<InvokeActor> {
    /// A piece of metadata for the actor.
    pub fn metadata(self, name: &str, value: &str) -> Self {
        self.with(|message| message.entry(5, name, value))
    }
}

pub(crate) fn read(message: Vec<u8>) -> Result<Vec<u8>, Malformed> {
    let mut data = Vec::new();
    for field in fields(&message) {
        let field = field?;
        if field.number == 1 {
            data = field.bytes()?.to_vec();
        }
    }
    Ok(data)
}
