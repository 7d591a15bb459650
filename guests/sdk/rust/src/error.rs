//! Why an event is not answered, and what is to become of it.

use std::fmt;
use std::time::Duration;

use crate::Code;

/// What handlers and calls give. In a handler, any [`std::error::Error`] becomes an [`Error`] by `?`.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What becomes of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is answered.
    Done,
    /// The guest failed. A topic sends the message again.
    Failed,
    /// The same event may succeed later, and is sent again where its trigger does that.
    Retry,
    /// The event is at fault: it is not sent again.
    Drop,
    /// It is answered, and this timer or reminder does not fire again.
    Stop,
}

/// Why an event is not answered. Make one with [`failed`](Self::failed), [`retry`](Self::retry), [`drop`](Self::drop) or
/// [`status`](Self::status).
///
/// It does not implement [`std::error::Error`] itself, so that all errors which do become one by `?`, with the outcome
/// `Failed` and their own text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    pub(crate) outcome: Outcome,
    pub(crate) status: Option<u16>,
    pub(crate) text: String,
    pub(crate) after: Option<Duration>,
    code: Option<Code>,
}

impl Error {
    fn new(outcome: Outcome, text: impl Into<String>) -> Self {
        Self { outcome, status: None, text: text.into(), after: None, code: None }
    }

    /// The guest failed.
    pub fn failed(text: impl Into<String>) -> Self {
        Self::new(Outcome::Failed, text)
    }

    /// The same event may succeed later.
    pub fn retry(text: impl Into<String>) -> Self {
        Self::new(Outcome::Retry, text)
    }

    /// The event is at fault, and sending it again cannot help.
    pub fn drop(text: impl Into<String>) -> Self {
        Self::new(Outcome::Drop, text)
    }

    /// An answer to an invocation or to a method of an actor, with an HTTP status from 300 to 599. The text is the body
    /// of an actor's answer. For other events, which have no status, it is the same as [`failed`](Self::failed).
    pub fn status(status: u16, text: impl Into<String>) -> Self {
        Self { status: Some(status), ..Self::failed(text) }
    }

    pub(crate) fn of_call(code: Code, text: String) -> Self {
        let outcome = if code.is_transient() { Outcome::Retry } else { Outcome::Failed };
        Self { code: Some(code), ..Self::new(outcome, text) }
    }

    /// The same text and code, as a failure: it is not sent again unless its trigger always does that.
    pub fn into_failed(self) -> Self {
        Self { outcome: Outcome::Failed, status: None, ..self }
    }

    /// The same text and code, as a retry.
    pub fn into_retry(self) -> Self {
        Self { outcome: Outcome::Retry, status: None, ..self }
    }

    /// The same text and code, as a drop.
    pub fn into_drop(self) -> Self {
        Self { outcome: Outcome::Drop, status: None, ..self }
    }

    /// After what time the event may be sent again. It counts for retries, and for the statuses 408, 425, 429, 503, 504.
    pub fn after(self, wait: Duration) -> Self {
        Self { after: Some(wait), ..self }
    }

    /// The same, with other words before the text.
    pub fn context(self, words: impl fmt::Display) -> Self {
        Self { text: format!("{words}: {}", self.text), ..self }
    }

    /// What becomes of the event.
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// The words.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// How the call to the sidecar ended that this error is from.
    pub fn code(&self) -> Option<Code> {
        self.code
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl<E: std::error::Error> From<E> for Error {
    fn from(error: E) -> Self {
        Self::failed(error.to_string())
    }
}
