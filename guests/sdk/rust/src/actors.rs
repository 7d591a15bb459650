//! Calls to actors, of any type.

use crate::proto::{fields, Malformed, Writer};
use crate::request::methods::InvokeActor;
use crate::{Request, Result};

/// An actor, by its type and its id.
pub fn actor<'a>(kind: &'a str, id: &'a str) -> ActorRef<'a> {
    ActorRef { kind, id }
}

/// See [`actor`].
#[derive(Clone, Copy, Debug)]
pub struct ActorRef<'a> {
    kind: &'a str,
    id: &'a str,
}

impl ActorRef<'_> {
    /// Invokes a method of it. The answer is the method's.
    pub fn invoke(&self, method: &str, data: impl AsRef<[u8]>) -> Request<InvokeActor> {
        let message = Writer::new().text(1, self.kind).text(2, self.id).text(3, method);
        Request::new("InvokeActor", message.bytes(4, data.as_ref()))
    }

    /// Invokes a method with a value as JSON, and reads its answer from JSON. What is not the JSON that is expected is
    /// an error: a sidecar does not tell a refusal from an answer, so the text of a refusal comes here, too.
    #[cfg(feature = "json")]
    pub fn call<T: serde::de::DeserializeOwned>(&self, method: &str, argument: &impl serde::Serialize) -> Result<T> {
        let told = self.invoke(method, serde_json::to_vec(argument)?).send()?;
        serde_json::from_slice(&told).map_err(|_| {
            let told = String::from_utf8_lossy(&told[..told.len().min(256)]).into_owned();
            crate::Error::failed(format!("{method} of the actor {}/{} answered: {told}", self.kind, self.id))
        })
    }
}

impl Request<InvokeActor> {
    /// A piece of metadata for the actor.
    pub fn metadata(self, name: &str, value: &str) -> Self {
        self.with(|message| message.entry(5, name, value))
    }
}

/// The data of an answer, which is its first field.
pub(crate) fn read_data(message: Vec<u8>) -> Result<Vec<u8>, Malformed> {
    let mut data = Vec::new();
    for field in fields(&message) {
        let field = field?;
        if field.number == 1 {
            data = field.bytes()?.to_vec();
        }
    }
    Ok(data)
}
