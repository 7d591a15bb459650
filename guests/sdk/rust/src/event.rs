//! The event that a guest answers.

use std::io;

use crate::{pairs, sys, Error, Result};

/// What an event is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Trigger {
    /// A service invocation.
    Invoke,
    /// A message of a topic.
    Topic,
    /// An event of an input binding.
    Binding,
    /// A job.
    Job,
    /// An operation of an output binding that the host itself is.
    Operation,
    /// A method of an actor.
    Actor,
    /// A timer of an actor.
    Timer,
    /// A reminder of an actor.
    Reminder,
    /// An actor, before its first turn on this host.
    Activate,
    /// An actor that the sidecar lets go.
    Deactivate,
    /// Something that this version does not know.
    Other,
}

/// The event. It holds nothing: what you ask for is read from the host.
#[derive(Debug)]
pub struct Event(());

impl Event {
    /// The event for which this guest was made. Handlers are given it; a program with a `main` asks for it here.
    pub fn of_this_guest() -> Self {
        Self(())
    }

    /// The whole body.
    pub fn body(&self) -> Vec<u8> {
        self.read(1).unwrap_or_default()
    }

    /// The body in pieces, for one that need not be in the guest's memory as a whole.
    pub fn body_reader(&self) -> BodyReader {
        BodyReader { offset: 0 }
    }

    /// The body as text. Where it is not UTF-8, the event is at fault (`Drop`).
    pub fn text(&self) -> Result<String> {
        String::from_utf8(self.body()).map_err(|error| Error::drop(format!("the body is not text: {error}")))
    }

    /// The body as JSON. Where it is not, the event is at fault (`Drop`).
    #[cfg(feature = "json")]
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T> {
        let read = serde_json::from_slice(&self.body());
        read.map_err(|error| Error::drop(format!("the body is not the JSON that is expected: {error}")))
    }

    /// What the event is of.
    pub fn trigger(&self) -> Trigger {
        match self.read(2).as_deref() {
            Some(b"invoke") => Trigger::Invoke,
            Some(b"topic") => Trigger::Topic,
            Some(b"binding") => Trigger::Binding,
            Some(b"job") => Trigger::Job,
            Some(b"operation") => Trigger::Operation,
            Some(b"actor") => Trigger::Actor,
            Some(b"timer") => Trigger::Timer,
            Some(b"reminder") => Trigger::Reminder,
            Some(b"activate") => Trigger::Activate,
            Some(b"deactivate") => Trigger::Deactivate,
            _ => Trigger::Other,
        }
    }

    /// The method, `PUBSUB/TOPIC`, the binding, the job, the operation, or the actor's type.
    pub fn name(&self) -> String {
        self.field(3).unwrap_or_default()
    }

    /// The content type, where one was given.
    pub fn content_type(&self) -> Option<String> {
        self.field(4)
    }

    /// The HTTP verb of an invocation over HTTP.
    pub fn verb(&self) -> Option<String> {
        self.field(5)
    }

    /// The query of an invocation, as the caller wrote it, without `?`.
    pub fn query(&self) -> Option<String> {
        self.field(6)
    }

    /// The value of the first parameter of the query with that name, decoded. What is not UTF-8 then becomes U+FFFD.
    pub fn parameter(&self, name: &str) -> Option<String> {
        let query = self.query()?;
        let mut parameters = query.split('&').map(|one| one.split_once('=').unwrap_or((one, "")));
        parameters.find(|(key, _)| decoded(key) == name).map(|(_, value)| decoded(value))
    }

    /// The route that a message of a topic matched.
    pub fn path(&self) -> Option<String> {
        self.field(7)
    }

    /// The message's id, which is the same when it is sent again.
    pub fn id(&self) -> Option<String> {
        self.field(8)
    }

    /// The pub/sub component of a message.
    pub fn pubsub(&self) -> Option<String> {
        self.field(9)
    }

    /// The topic of a message.
    pub fn topic(&self) -> Option<String> {
        self.field(10)
    }

    /// The CloudEvent's source.
    pub fn source(&self) -> Option<String> {
        self.field(11)
    }

    /// The CloudEvent's type.
    pub fn cloud_event_type(&self) -> Option<String> {
        self.field(12)
    }

    /// The id of the actor whose turn this is.
    pub fn actor_id(&self) -> Option<String> {
        self.field(13)
    }

    /// The actor's method, the timer or the reminder.
    pub fn actor_method(&self) -> Option<String> {
        self.field(14)
    }

    /// What a timer was registered with as its callback.
    pub fn callback(&self) -> Option<String> {
        self.field(15)
    }

    /// A field by the ABI's number, as text.
    pub fn field(&self, number: u32) -> Option<String> {
        self.read(number).map(text)
    }

    /// One piece of metadata, by its name in lower case: a header of an invocation, an attribute of a CloudEvent
    /// (`ce_NAME`), what a binding's component has told.
    pub fn metadata(&self, name: &str) -> Option<String> {
        sys::read_all(&|offset, buffer| sys::event_metadata(name, offset, buffer)).ok().map(text)
    }

    /// All metadata.
    pub fn all_metadata(&self) -> Vec<(String, String)> {
        let list = sys::read_all(&|offset, buffer| sys::event_metadata_all(offset, buffer)).unwrap_or_default();
        pairs::read(&list).into_iter().map(|(name, value)| (name, text(value))).collect()
    }

    fn read(&self, field: u32) -> Option<Vec<u8>> {
        sys::read_all(&|offset, buffer| sys::event_read(field, offset, buffer)).ok()
    }
}

/// Reads the body in pieces. See [`Event::body_reader`].
#[derive(Debug)]
pub struct BodyReader {
    offset: u32,
}

impl io::Read for BodyReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let size = sys::event_read(1, self.offset, buffer);
        let left = u32::try_from(size).unwrap_or(0).saturating_sub(self.offset);
        let read = buffer.len().min(left as usize);
        self.offset += read as u32;
        Ok(read)
    }
}

pub(crate) fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// `%XX` and `+` decoded. A `%` without two hexadecimal digits stays as it is.
fn decoded(value: &str) -> String {
    let bytes = value.as_bytes();
    let mut found = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let digits = (bytes[at] == b'%').then(|| Some((digit(bytes, at + 1)?, digit(bytes, at + 2)?))).flatten();
        match digits {
            Some((high, low)) => {
                found.push(high << 4 | low);
                at += 3;
            }
            None => {
                found.push(if bytes[at] == b'+' { b' ' } else { bytes[at] });
                at += 1;
            }
        }
    }
    text(found)
}

fn digit(bytes: &[u8], at: usize) -> Option<u8> {
    (*bytes.get(at)? as char).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::decoded;

    #[test]
    fn queries_are_decoded() {
        for (given, wanted) in [
            ("Ann+Lee", "Ann Lee"),
            ("%41%6e%6E", "Ann"),
            ("100%", "100%"),
            ("%4", "%4"),
            ("%zz", "%zz"),
            ("%%41", "%A"),
            ("%C3%A4ä", "ää"),
            ("%ff", "\u{fffd}"),
        ] {
            assert_eq!(decoded(given), wanted);
        }
    }
}
