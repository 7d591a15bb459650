//! What the attributes export: a handler is called, and what it gives becomes the event's outcome.

use crate::error::{Error, Outcome};
use crate::event::Trigger;
use crate::reply::milliseconds;
use crate::{sys, Event, Reply, Result};

/// What a handler may give: a [`Reply`], what becomes one (bytes, text, nothing), or a [`Result`] of it.
pub trait Answer {
    /// The reply, or why there is none.
    fn into_reply(self) -> Result<Reply>;
}

macro_rules! answers {
    ($($kind:ty),*) => {$(
        impl Answer for $kind {
            fn into_reply(self) -> Result<Reply> {
                Ok(self.into())
            }
        }
    )*};
}

answers!(Reply, (), Vec<u8>, String, &str);

impl<T: Into<Reply>> Answer for Result<T> {
    fn into_reply(self) -> Result<Reply> {
        self.map(Into::into)
    }
}

/// Runs a handler on the event of this guest, and gives the ABI's number of the outcome. The attributes call it.
pub fn answer<A: Answer>(handler: impl FnOnce(Event) -> A) -> i32 {
    let given = handler(Event::of_this_guest()).into_reply();
    number(given.and_then(Reply::send).unwrap_or_else(fail))
}

fn fail(error: Error) -> Outcome {
    sys::reply_set(2, &error.text);
    if let Some(wait) = error.after {
        sys::retry_after(milliseconds(wait));
    }
    match error.status {
        Some(status) if sys::reply_status(status.into()) == 0 => {
            if Event::of_this_guest().trigger() == Trigger::Actor {
                sys::reply_write(error.text.as_bytes()); // of an actor's answer, callers see the body alone
            }
            Outcome::Done
        }
        _ => error.outcome,
    }
}

fn number(outcome: Outcome) -> i32 {
    match outcome {
        Outcome::Done => 0,
        Outcome::Failed => 1,
        Outcome::Retry => 2,
        Outcome::Drop => 3,
        Outcome::Stop => 4,
    }
}
