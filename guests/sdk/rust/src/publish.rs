//! Publishing to topics.

use crate::proto::{fields, Malformed, Writer};
use crate::request::methods::{BulkPublishEvent, PublishEvent};
use crate::{Request, Result};

/// A topic of a pub/sub component.
pub fn topic<'a>(pubsub: &'a str, topic: &'a str) -> Topic<'a> {
    Topic { pubsub, topic }
}

/// See [`topic`].
#[derive(Clone, Copy, Debug)]
pub struct Topic<'a> {
    pubsub: &'a str,
    topic: &'a str,
}

impl Topic<'_> {
    /// Publishes one message.
    pub fn publish(&self, data: impl AsRef<[u8]>) -> Request<PublishEvent> {
        Request::new("PublishEvent", self.named().bytes(3, data.as_ref()))
    }

    /// Publishes a value as JSON.
    #[cfg(feature = "json")]
    pub fn publish_json(&self, value: &impl serde::Serialize) -> Result<Request<PublishEvent>> {
        Ok(self.publish(serde_json::to_vec(value)?).content_type("application/json"))
    }

    /// Publishes several messages by one call. The answer has those that were not published.
    pub fn publish_bulk(&self, messages: impl IntoIterator<Item = Message>) -> Request<BulkPublishEvent> {
        let entries = messages.into_iter().enumerate().fold(self.named(), |written, (position, message)| {
            let entry = Writer::new().text(1, &position.to_string()).bytes(2, &message.data);
            written.message(3, entry.text(3, &message.content_type))
        });
        Request::new("BulkPublishEvent", entries)
    }

    fn named(&self) -> Writer {
        Writer::new().text(1, self.pubsub).text(2, self.topic)
    }
}

impl Request<PublishEvent> {
    /// The content type of the data.
    pub fn content_type(self, content_type: &str) -> Self {
        self.with(|message| message.text(4, content_type))
    }

    /// A piece of metadata for the component, such as `ttlInSeconds` or `cloudevent.id`.
    pub fn metadata(self, name: &str, value: &str) -> Self {
        self.with(|message| message.entry(5, name, value))
    }
}

impl Request<BulkPublishEvent> {
    /// A piece of metadata for the component.
    pub fn metadata(self, name: &str, value: &str) -> Self {
        self.with(|message| message.entry(4, name, value))
    }
}

/// One of several messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What is published.
    pub data: Vec<u8>,
    /// Its content type.
    pub content_type: String,
}

impl Message {
    /// Data with their content type.
    pub fn new(data: impl Into<Vec<u8>>, content_type: impl Into<String>) -> Self {
        Self { data: data.into(), content_type: content_type.into() }
    }
}

/// A message that was not published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotPublished {
    /// Its position in what was given to [`Topic::publish_bulk`].
    pub position: usize,
    /// Why.
    pub error: String,
}

pub(crate) fn read_bulk(message: Vec<u8>) -> Result<Vec<NotPublished>, Malformed> {
    let mut found = Vec::new();
    for field in fields(&message) {
        let field = field?;
        if field.number == 1 {
            let (position, error) = field.entry()?; // it has the same form
            found.push(NotPublished { position: position.parse().map_err(|_| Malformed)?, error });
        }
    }
    Ok(found)
}
