//! The guest's log, its time, and what the operator has given to it.

use std::time::Duration;

use crate::event::text;
use crate::{pairs, sys};

/// How much a line of the log matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Level {
    /// For who looks for a fault.
    Debug = 0,
    /// For everybody.
    Info,
    /// Something is odd.
    Warning,
    /// Something failed.
    Error,
}

/// Writes a line of the log, with fields. The host may cut it or drop it.
pub fn log(level: Level, text: impl AsRef<str>, fields: &[(&str, &str)]) {
    let mut list = Vec::new();
    for (name, value) in fields {
        pairs::push(&mut list, name.as_bytes(), value.as_bytes());
    }
    sys::log(level as u32, text.as_ref(), &list);
}

/// A line of the level `Debug`.
pub fn debug(text: impl AsRef<str>) {
    log(Level::Debug, text, &[]);
}

/// A line of the level `Info`.
pub fn info(text: impl AsRef<str>) {
    log(Level::Info, text, &[]);
}

/// A line of the level `Warning`.
pub fn warning(text: impl AsRef<str>) {
    log(Level::Warning, text, &[]);
}

/// A line of the level `Error`.
pub fn error(text: impl AsRef<str>) {
    log(Level::Error, text, &[]);
}

/// How long it is until the event's deadline.
pub fn time_left() -> Duration {
    Duration::from_millis(sys::time_left().try_into().unwrap_or(0))
}

/// What the operator has given to this guest under that name (`config` in the manifest).
pub fn config(name: &str) -> Option<String> {
    sys::read_all(&|offset, buffer| sys::config_read(name, offset, buffer)).ok().map(text)
}
