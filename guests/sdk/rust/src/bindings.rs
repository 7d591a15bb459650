//! Output bindings.

use std::collections::BTreeMap;

use crate::proto::{fields, Malformed, Writer};
use crate::request::methods::InvokeBinding;
use crate::{Request, Result};

/// An output binding, by its component's name.
pub fn binding(name: &str) -> Binding<'_> {
    Binding { name }
}

/// See [`binding`].
#[derive(Clone, Copy, Debug)]
pub struct Binding<'a> {
    name: &'a str,
}

impl Binding<'_> {
    /// Does an operation of the component, such as `create`.
    pub fn invoke(&self, operation: &str, data: impl AsRef<[u8]>) -> Request<InvokeBinding> {
        let message = Writer::new().text(1, self.name).bytes(2, data.as_ref()).text(4, operation);
        Request::new("InvokeBinding", message)
    }
}

impl Request<InvokeBinding> {
    /// A piece of metadata for the component.
    pub fn metadata(self, name: &str, value: &str) -> Self {
        self.with(|message| message.entry(3, name, value))
    }
}

/// What a component has answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BindingResponse {
    /// Its data.
    pub data: Vec<u8>,
    /// What it has told besides.
    pub metadata: BTreeMap<String, String>,
}

pub(crate) fn read(message: Vec<u8>) -> Result<BindingResponse, Malformed> {
    let mut response = BindingResponse::default();
    for field in fields(&message) {
        let field = field?;
        match field.number {
            1 => response.data = field.bytes()?.to_vec(),
            2 => response.metadata.extend([field.entry()?]),
            _ => {}
        }
    }
    Ok(response)
}
