//! Secret stores.

use std::collections::BTreeMap;

use crate::proto::{fields, Malformed, Writer};
use crate::request::methods::{GetBulkSecret, GetSecret};
use crate::{Request, Result};

/// A secret store, by its component's name.
pub fn secrets(store: &str) -> Secrets<'_> {
    Secrets { store }
}

/// See [`secrets`].
#[derive(Clone, Copy, Debug)]
pub struct Secrets<'a> {
    store: &'a str,
}

impl Secrets<'_> {
    /// One secret. It may have several values, by name; most stores have one, under the secret's own name.
    pub fn get(&self, name: &str) -> Request<GetSecret> {
        Request::new("GetSecret", Writer::new().text(1, self.store).text(2, name))
    }

    /// All secrets of the store, by name.
    pub fn all(&self) -> Request<GetBulkSecret> {
        Request::new("GetBulkSecret", Writer::new().text(1, self.store))
    }
}

impl Request<GetSecret> {
    /// A piece of metadata for the component. Hosts take only those that choose a version of the same secret.
    pub fn metadata(self, name: &str, value: &str) -> Self {
        self.with(|message| message.entry(3, name, value))
    }
}

pub(crate) fn read(message: Vec<u8>) -> Result<BTreeMap<String, String>, Malformed> {
    entries(&message)
}

pub(crate) fn read_all(message: Vec<u8>) -> Result<BTreeMap<String, BTreeMap<String, String>>, Malformed> {
    let mut found = BTreeMap::new();
    for field in fields(&message) {
        let field = field?;
        if field.number == 1 {
            let (name, secret) = field.entry_of()?;
            found.insert(name, entries(secret)?);
        }
    }
    Ok(found)
}

fn entries(message: &[u8]) -> Result<BTreeMap<String, String>, Malformed> {
    let mut found = BTreeMap::new();
    for field in fields(message) {
        let field = field?;
        if field.number == 1 {
            found.extend([field.entry()?]);
        }
    }
    Ok(found)
}
