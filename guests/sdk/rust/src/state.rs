//! State stores.

use crate::proto::{fields, Malformed, Writer};
use crate::request::methods::{DeleteState, ExecuteStateTransaction, GetBulkState, GetState, SaveState};
use crate::{Request, Result};

const FIRST_WRITE: i64 = 1;
const LAST_WRITE: i64 = 2;
const STRONG: i64 = 2;

/// A state store, by its component's name.
pub fn state(store: &str) -> State<'_> {
    State { store }
}

/// See [`state`].
#[derive(Clone, Copy, Debug)]
pub struct State<'a> {
    store: &'a str,
}

impl State<'_> {
    /// Reads one value. A key that does not exist gives an empty one.
    pub fn get(&self, key: &str) -> Request<GetState> {
        Request::new("GetState", Writer::new().text(1, self.store).text(2, key))
    }

    /// Reads several values by one call.
    pub fn get_bulk<'k>(&self, keys: impl IntoIterator<Item = &'k str>) -> Request<GetBulkState> {
        let message = Writer::new().text(1, self.store);
        Request::new("GetBulkState", keys.into_iter().fold(message, |message, key| message.text(2, key)))
    }

    /// Saves one item: an [`Item`], or a key and a value.
    pub fn save(&self, item: impl Into<Item>) -> Request<SaveState> {
        self.save_all([item.into()])
    }

    /// Saves several items. This is no transaction.
    pub fn save_all(&self, items: impl IntoIterator<Item = Item>) -> Request<SaveState> {
        let message = Writer::new().text(1, self.store);
        Request::new("SaveState", items.into_iter().fold(message, |message, item| message.message(2, item.written())))
    }

    /// Deletes one key.
    pub fn delete(&self, key: &str) -> Request<DeleteState> {
        Request::new("DeleteState", Writer::new().text(1, self.store).text(2, key))
    }

    /// Does all of it, or nothing of it. The store must be one with transactions.
    pub fn transaction(&self, operations: impl IntoIterator<Item = Operation>) -> Request<ExecuteStateTransaction> {
        let message = operations.into_iter().fold(Writer::new().text(1, self.store), |message, operation| {
            let (kind, item) = match operation {
                Operation::Upsert(item) => ("upsert", item),
                Operation::Delete(item) => ("delete", item),
            };
            message.message(2, Writer::new().text(1, kind).message(2, item.written()))
        });
        Request::new("ExecuteStateTransaction", message)
    }
}

impl Request<GetState> {
    /// Reads the newest value where the store has several copies.
    pub fn strong(self) -> Self {
        self.with(|message| message.number(3, STRONG))
    }

    /// A piece of metadata for the component.
    pub fn metadata(self, name: &str, value: &str) -> Self {
        self.with(|message| message.entry(4, name, value))
    }
}

impl Request<GetBulkState> {
    /// How many values the sidecar reads at the same time.
    pub fn parallelism(self, count: u32) -> Self {
        self.with(|message| message.number(3, count.into()))
    }

    /// A piece of metadata for the component.
    pub fn metadata(self, name: &str, value: &str) -> Self {
        self.with(|message| message.entry(4, name, value))
    }
}

impl Request<DeleteState> {
    /// Deletes only what still has this etag; else the call ends with `Aborted`. An empty one is none.
    pub fn etag(self, etag: &str) -> Self {
        if etag.is_empty() {
            return self;
        }
        self.with(|message| message.message(3, Writer::new().text(1, etag)))
    }

    /// The first one who writes wins: with an etag, of two who have read the same value.
    pub fn first_write(self) -> Self {
        self.with(|message| message.message(4, Writer::new().number(1, FIRST_WRITE)))
    }

    /// Returns when all copies have it.
    pub fn strong(self) -> Self {
        self.with(|message| message.message(4, Writer::new().number(2, STRONG)))
    }

    /// A piece of metadata for the component.
    pub fn metadata(self, name: &str, value: &str) -> Self {
        self.with(|message| message.entry(5, name, value))
    }
}

impl Request<ExecuteStateTransaction> {
    /// A piece of metadata for the component.
    pub fn metadata(self, name: &str, value: &str) -> Self {
        self.with(|message| message.entry(3, name, value))
    }
}

/// One operation of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Saves the item.
    Upsert(Item),
    /// Deletes the item's key. Its value does not count.
    Delete(Item),
}

/// What is saved under a key. A key with a value becomes one by itself: `store.save(("key", "value"))`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    key: String,
    value: Vec<u8>,
    more: Writer,
}

impl Item {
    /// A key and its value.
    pub fn new(key: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        Self { key: key.into(), value: value.into(), more: Writer::new() }
    }

    /// A key and a value as JSON.
    #[cfg(feature = "json")]
    pub fn json(key: impl Into<String>, value: &impl serde::Serialize) -> Result<Self> {
        Ok(Self::new(key, serde_json::to_vec(value)?))
    }

    /// Saves only over what still has this etag; else the call ends with `Aborted`. An empty one is none.
    pub fn etag(self, etag: &str) -> Self {
        if etag.is_empty() {
            return self;
        }
        self.with(|message| message.message(3, Writer::new().text(1, etag)))
    }

    /// The first one who writes wins: with an etag, of two who have read the same value.
    pub fn first_write(self) -> Self {
        self.with(|message| message.message(5, Writer::new().number(1, FIRST_WRITE)))
    }

    /// The last one who writes wins.
    pub fn last_write(self) -> Self {
        self.with(|message| message.message(5, Writer::new().number(1, LAST_WRITE)))
    }

    /// Returns when all copies have it.
    pub fn strong(self) -> Self {
        self.with(|message| message.message(5, Writer::new().number(2, STRONG)))
    }

    /// A piece of metadata for the component, such as `ttlInSeconds`.
    pub fn metadata(self, name: &str, value: &str) -> Self {
        self.with(|message| message.entry(4, name, value))
    }

    fn with(mut self, more: impl FnOnce(Writer) -> Writer) -> Self {
        self.more = more(self.more);
        self
    }

    fn written(self) -> Writer {
        let mut message = Writer::new().text(1, &self.key).bytes(2, &self.value).done();
        message.extend(self.more.done());
        Writer::from_bytes(message)
    }
}

impl<K: Into<String>, V: Into<Vec<u8>>> From<(K, V)> for Item {
    fn from((key, value): (K, V)) -> Self {
        Self::new(key, value)
    }
}

/// A value that was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Value {
    /// Its bytes. They are empty where there is none.
    pub data: Vec<u8>,
    /// Its version, to save over it later; empty where there is none.
    pub etag: String,
}

impl Value {
    /// The value as text. What is not UTF-8 becomes U+FFFD.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.data).into_owned()
    }

    /// The value from JSON; `None` where there is no value.
    #[cfg(feature = "json")]
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> Result<Option<T>> {
        if self.data.is_empty() {
            return Ok(None);
        }
        Ok(Some(serde_json::from_slice(&self.data)?))
    }
}

/// One of several values that were read by one call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// Its key.
    pub key: String,
    /// The value.
    pub value: Value,
    /// Why it could not be read; empty where it could.
    pub error: String,
}

pub(crate) fn read_value(message: Vec<u8>) -> Result<Value, Malformed> {
    let mut value = Value::default();
    for field in fields(&message) {
        let field = field?;
        match field.number {
            1 => value.data = field.bytes()?.to_vec(),
            2 => value.etag = field.text()?,
            _ => {}
        }
    }
    Ok(value)
}

pub(crate) fn read_bulk(message: Vec<u8>) -> Result<Vec<Read>, Malformed> {
    let mut found = Vec::new();
    for field in fields(&message) {
        let field = field?;
        if field.number == 1 {
            found.push(read_item(field.bytes()?)?);
        }
    }
    Ok(found)
}

fn read_item(message: &[u8]) -> Result<Read, Malformed> {
    let mut item = Read::default();
    for field in fields(message) {
        let field = field?;
        match field.number {
            1 => item.key = field.text()?,
            2 => item.value.data = field.bytes()?.to_vec(),
            3 => item.value.etag = field.text()?,
            4 => item.error = field.text()?,
            _ => {}
        }
    }
    Ok(item)
}
