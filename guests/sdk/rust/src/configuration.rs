//! Configuration stores.

use std::collections::BTreeMap;

use crate::proto::{fields, Malformed, Writer};
use crate::request::methods::GetConfiguration;
use crate::{Request, Result};

/// A configuration store, by its component's name. What the operator gives to the guest itself is
/// [`config`](crate::config).
pub fn configuration(store: &str) -> Configuration<'_> {
    Configuration { store }
}

/// See [`configuration`].
#[derive(Clone, Copy, Debug)]
pub struct Configuration<'a> {
    store: &'a str,
}

impl Configuration<'_> {
    /// The items with these keys; without any, all.
    pub fn get<'k>(&self, keys: impl IntoIterator<Item = &'k str>) -> Request<GetConfiguration> {
        let message = Writer::new().text(1, self.store);
        Request::new("GetConfiguration", keys.into_iter().fold(message, |message, key| message.text(2, key)))
    }
}

impl Request<GetConfiguration> {
    /// A piece of metadata for the component.
    pub fn metadata(self, name: &str, value: &str) -> Self {
        self.with(|message| message.entry(3, name, value))
    }
}

/// An item of a configuration store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigurationItem {
    /// Its value.
    pub value: String,
    /// Its version; may be empty.
    pub version: String,
}

pub(crate) fn read(message: Vec<u8>) -> Result<BTreeMap<String, ConfigurationItem>, Malformed> {
    let mut found = BTreeMap::new();
    for field in fields(&message) {
        let field = field?;
        if field.number == 1 {
            let (key, item) = field.entry_of()?;
            found.insert(key, read_item(item)?);
        }
    }
    Ok(found)
}

fn read_item(message: &[u8]) -> Result<ConfigurationItem, Malformed> {
    let mut item = ConfigurationItem::default();
    for field in fields(message) {
        let field = field?;
        match field.number {
            1 => item.value = field.text()?,
            2 => item.version = field.text()?,
            _ => {}
        }
    }
    Ok(item)
}
