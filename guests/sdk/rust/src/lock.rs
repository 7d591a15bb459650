//! Locks.

use crate::proto::{fields, Malformed, Writer};
use crate::request::methods::{TryLockAlpha1, UnlockAlpha1};
use crate::{Request, Result};

/// A lock store, by its component's name.
pub fn lock(store: &str) -> Lock<'_> {
    Lock { store }
}

/// See [`lock`].
#[derive(Clone, Copy, Debug)]
pub struct Lock<'a> {
    store: &'a str,
}

impl Lock<'_> {
    /// Takes the lock on a resource for `owner`, who has it for at most so many seconds. The answer is whether it was
    /// free.
    pub fn take(&self, resource: &str, owner: &str, seconds: u32) -> Request<TryLockAlpha1> {
        Request::new("TryLockAlpha1", self.of(resource, owner).number(4, seconds.into()))
    }

    /// Gives it back.
    pub fn give_back(&self, resource: &str, owner: &str) -> Request<UnlockAlpha1> {
        Request::new("UnlockAlpha1", self.of(resource, owner))
    }

    fn of(&self, resource: &str, owner: &str) -> Writer {
        Writer::new().text(1, self.store).text(2, resource).text(3, owner)
    }
}

/// What became of a lock that was given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unlocked {
    /// It is free.
    Done,
    /// There was no such lock.
    NotLocked,
    /// Another one has it.
    OfAnother,
    /// The store failed.
    StoreFailed,
}

pub(crate) fn read_taken(message: Vec<u8>) -> Result<bool, Malformed> {
    Ok(number(&message)? != 0)
}

pub(crate) fn read_unlocked(message: Vec<u8>) -> Result<Unlocked, Malformed> {
    Ok(match number(&message)? {
        0 => Unlocked::Done,
        1 => Unlocked::NotLocked,
        2 => Unlocked::OfAnother,
        _ => Unlocked::StoreFailed,
    })
}

/// Field 1 of a message; 0 where it is not there.
fn number(message: &[u8]) -> Result<u64, Malformed> {
    let mut found = 0;
    for field in fields(message) {
        let field = field?;
        if field.number == 1 {
            found = field.number()?;
        }
    }
    Ok(found)
}
