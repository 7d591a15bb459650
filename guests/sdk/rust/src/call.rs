//! Calls to the sidecar that are under way.

use std::borrow::Cow;
use std::time::Duration;

use crate::event::text;
use crate::proto::Malformed;
use crate::reply::milliseconds;
use crate::{pairs, sys, Code, Error, Result};

const FOREVER: u32 = u32::MAX; // until the event's deadline
const ANY: u32 = 0;
const ALL: u32 = 1;
const MOST: usize = 1024; // handles that the host waits for at once

/// A call that is under way, or has ended. [`Request::start`](crate::Request::start) gives it. A call that is dropped is
/// given up: whether it is carried out then is not known.
#[derive(Debug)]
pub struct Call<T> {
    handle: u32,
    method: Cow<'static, str>,
    read: fn(Vec<u8>) -> Result<T, Malformed>,
}

impl<T> Call<T> {
    pub(crate) fn new(handle: u32, method: Cow<'static, str>, read: fn(Vec<u8>) -> Result<T, Malformed>) -> Self {
        Self { handle, method, read }
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        sys::call_status(self.handle) != sys::PENDING
    }

    /// Waits for its end, at most that long; whether it has ended.
    pub fn wait_at_most(&self, time: Duration) -> bool {
        sys::call_wait(&[self.handle], ANY, milliseconds(time).min(FOREVER - 1)) >= 0
    }

    /// Waits for its end, and gives what has come of it.
    pub fn wait(self) -> Result<T> {
        sys::call_wait(&[self.handle], ANY, FOREVER);
        self.result()
    }

    /// The metadata that came with the answer, first those before it and then those after it. `None` before its end.
    pub fn metadata(&self) -> Option<Vec<(String, Vec<u8>)>> {
        let mut found = pairs::read(&self.part(2).ok()?);
        found.extend(pairs::read(&self.part(3).ok()?));
        Some(found)
    }

    /// `google.rpc.Status` as protobuf bytes, where the sidecar gave one.
    pub fn details(&self) -> Option<Vec<u8>> {
        self.part(4).ok()
    }

    fn result(self) -> Result<T> {
        let status = sys::call_status(self.handle);
        if status == sys::PENDING {
            let text = format!("{}: no answer within the event's time", self.method);
            return Err(Error::of_call(Code::DeadlineExceeded, text));
        }
        if status != 0 {
            return Err(Error::of_call(Code::from_number(status), text(self.part(1).unwrap_or_default())));
        }
        let message = self.part(0).unwrap_or_default();
        (self.read)(message)
            .map_err(|_| Error::of_call(Code::Internal, format!("{}: the answer is not readable", self.method)))
    }

    fn part(&self, part: u32) -> Result<Vec<u8>, i32> {
        sys::read_all(&|offset, buffer| sys::call_read(self.handle, part, offset, buffer))
    }
}

impl<T> Drop for Call<T> {
    fn drop(&mut self) {
        sys::call_close(self.handle);
    }
}

/// Waits for all these calls; what has come of each, in the order in which they are given.
pub fn join_all<T>(calls: impl IntoIterator<Item = Call<T>>) -> Vec<Result<T>> {
    let calls: Vec<_> = calls.into_iter().collect();
    wait_all(&calls.iter().map(|call| call.handle).collect::<Vec<_>>());
    calls.into_iter().map(Call::result).collect()
}

/// Waits for calls with answers of different types: `let (saved, published) = join((save, publish));`.
pub fn join<J: Join>(calls: J) -> J::Results {
    calls.join()
}

fn wait_all(handles: &[u32]) {
    for some in handles.chunks(MOST) {
        sys::call_wait(some, ALL, FOREVER);
    }
}

/// What [`join`] takes: two, three or four calls.
pub trait Join {
    /// What has come of each.
    type Results;

    /// Waits for all.
    fn join(self) -> Self::Results;
}

macro_rules! joins {
    ($($kind:ident $index:tt),*) => {
        impl<$($kind),*> Join for ($(Call<$kind>,)*) {
            type Results = ($(Result<$kind>,)*);

            fn join(self) -> Self::Results {
                wait_all(&[$(self.$index.handle),*]);
                ($(self.$index.result(),)*)
            }
        }
    };
}

joins!(A 0, B 1);
joins!(A 0, B 1, C 2);
joins!(A 0, B 1, C 2, D 3);

/// What has come of each of these calls, in the order in which they end, with the position at which it was given.
pub fn arrivals<T>(calls: impl IntoIterator<Item = Call<T>>) -> Arrivals<T> {
    Arrivals(calls.into_iter().enumerate().collect())
}

/// The call that ends first: its position, and what has come of it. The others are given up. `None` without calls.
pub fn first<T>(calls: impl IntoIterator<Item = Call<T>>) -> Option<(usize, Result<T>)> {
    arrivals(calls).next()
}

/// See [`arrivals`].
#[derive(Debug)]
pub struct Arrivals<T>(Vec<(usize, Call<T>)>);

impl<T> Iterator for Arrivals<T> {
    type Item = (usize, Result<T>);

    fn next(&mut self) -> Option<Self::Item> {
        let handles: Vec<u32> = self.0.iter().take(MOST).map(|(_, call)| call.handle).collect();
        if handles.is_empty() {
            return None;
        }
        // Where the time is over, the first one says so.
        let ended = usize::try_from(sys::call_wait(&handles, ANY, FOREVER)).unwrap_or(0);
        let (position, call) = self.0.remove(ended);
        Some((position, call.result()))
    }
}
