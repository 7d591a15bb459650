//! An actor's own turn: its state, its timers and reminders, and how its methods are called.

#[cfg(feature = "json")]
use std::cell::RefCell;
use std::ops::Deref;

use crate::proto::Writer;
use crate::request::methods::{
    ExecuteActorStateTransaction, GetActorState, RegisterActorReminder, RegisterActorTimer, UnregisterActorReminder,
    UnregisterActorTimer,
};
use crate::{Event, Request};

/// The turn of an actor: an event with the actor's type, its id, and the name of the method, timer or reminder. All that
/// an [`Event`] has, it has too.
///
/// The state is the actor's own. What is written in a turn is saved when the turn has ended well, all of it at once, and
/// is given up when it has not; [`save_now`](Self::save_now) saves earlier.
#[derive(Debug)]
pub struct Turn {
    event: Event,
    kind: String,
    id: String,
    method: String,
    #[cfg(feature = "json")]
    whole: RefCell<Vec<u8>>, // the actor's value, as it was read or saved
}

impl Deref for Turn {
    type Target = Event;

    fn deref(&self) -> &Event {
        &self.event
    }
}

impl From<Event> for Turn {
    fn from(event: Event) -> Self {
        let (id, method) = (event.actor_id().unwrap_or_default(), event.actor_method().unwrap_or_default());
        Self { kind: event.name(), id, method, ..Self::new(event) }
    }
}

impl Turn {
    /// A turn of any actor, for the requests that a test expects.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn of(kind: &str, id: &str) -> Self {
        Self { kind: kind.into(), id: id.into(), ..Self::new(Event::of_this_guest()) }
    }

    fn new(event: Event) -> Self {
        Self {
            kind: String::new(),
            id: String::new(),
            method: String::new(),
            event,
            #[cfg(feature = "json")]
            whole: RefCell::default(),
        }
    }

    /// The actor's type.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The actor's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The method, the timer or the reminder.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// Reads what is under a key of the actor's state. A key that does not exist gives no bytes.
    pub fn read(&self, key: &str) -> Request<GetActorState> {
        Request::new("GetActorState", self.own().text(3, key))
    }

    /// Writes to the actor's state: `turn.write([Change::set("total", "3"), Change::remove("draft")])`.
    pub fn write(&self, changes: impl IntoIterator<Item = Change>) -> Request<ExecuteActorStateTransaction> {
        let message = changes.into_iter().fold(self.own(), |message, change| message.message(3, change.written()));
        Request::new("ExecuteActorStateTransaction", message)
    }

    /// Saves at once what was written until now, and does not wait for the end of the turn. It stays saved, also where
    /// the turn fails.
    pub fn save_now(&self) -> Request<ExecuteActorStateTransaction> {
        self.write([])
    }

    /// Saves at once the value of a type with the attribute [`actor`](macro@crate::actor), and all that was written
    /// until now.
    #[cfg(feature = "json")]
    pub fn save_state_now<A: Actor>(&self, state: &A) -> crate::Result<()> {
        self.keep(state)?;
        self.save_now().send()
    }

    #[cfg(feature = "json")]
    fn keep<A: Actor>(&self, state: &A) -> crate::Result<()> {
        let value = serde_json::to_vec(state)?;
        if *self.whole.borrow() != value {
            self.write([Change::set(WHOLE, &value)]).send()?;
            self.whole.replace(value);
        }
        Ok(())
    }

    /// The value under a key of the actor's state, from JSON; `None` where there is none.
    #[cfg(feature = "json")]
    pub fn get<T: serde::de::DeserializeOwned>(&self, key: &str) -> crate::Result<Option<T>> {
        let value = self.read(key).send()?;
        if value.is_empty() {
            return Ok(None);
        }
        let read = serde_json::from_slice(&value).map(Some);
        read.map_err(|error| {
            crate::Error::failed(format!("what is under {key:?} in the actor's state is not what is expected: {error}"))
        })
    }

    /// Puts a value under a key of the actor's state, as JSON.
    #[cfg(feature = "json")]
    pub fn set(&self, key: &str, value: &impl serde::Serialize) -> crate::Result<()> {
        self.write([Change::set(key, serde_json::to_vec(value)?)]).send()
    }

    /// Takes a key out of the actor's state.
    pub fn remove(&self, key: &str) -> crate::Result<()> {
        self.write([Change::remove(key)]).send()
    }

    /// Sets a timer, or another one of the same name anew. It fires after `due` (`10s`), and lasts as long as the
    /// actor is in memory.
    pub fn set_timer(&self, name: &str, due: &str) -> Request<RegisterActorTimer> {
        Request::new("RegisterActorTimer", self.own().text(3, name).text(4, due))
    }

    /// Takes a timer out.
    pub fn clear_timer(&self, name: &str) -> Request<UnregisterActorTimer> {
        Request::new("UnregisterActorTimer", self.own().text(3, name))
    }

    /// Sets a reminder, or another one of the same name anew. It fires after `due` (`10s`), or at a time (RFC 3339), and
    /// outlasts restarts.
    pub fn set_reminder(&self, name: &str, due: &str) -> Request<RegisterActorReminder> {
        Request::new("RegisterActorReminder", self.own().text(3, name).text(4, due))
    }

    /// Takes a reminder out. A reminder's own turn does that by [`Reply::stop`](crate::Reply::stop).
    pub fn clear_reminder(&self, name: &str) -> Request<UnregisterActorReminder> {
        Request::new("UnregisterActorReminder", self.own().text(3, name))
    }

    fn own(&self) -> Writer {
        Writer::new().text(1, &self.kind).text(2, &self.id)
    }
}

/// A change of an actor's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change(Writer);

impl Change {
    /// Puts a value under a key.
    pub fn set(key: &str, value: impl AsRef<[u8]>) -> Self {
        let value = Writer::new().bytes(2, value.as_ref());
        Self(Writer::new().text(1, "upsert").text(2, key).message(3, value))
    }

    /// Takes a key out.
    pub fn remove(key: &str) -> Self {
        Self(Writer::new().text(1, "delete").text(2, key))
    }

    /// A piece of metadata for the state store, such as `ttlInSeconds`.
    pub fn metadata(self, name: &str, value: &str) -> Self {
        Self(self.0.entry(4, name, value))
    }

    fn written(self) -> Writer {
        self.0
    }
}

impl Request<RegisterActorTimer> {
    /// After what time it fires again and again (`1m`). Without it, it fires once.
    pub fn every(self, period: &str) -> Self {
        self.with(|message| message.text(5, period))
    }

    /// A text that comes with its events: [`Event::callback`].
    pub fn callback(self, text: &str) -> Self {
        self.with(|message| message.text(6, text))
    }

    /// What its events have as their body.
    pub fn data(self, data: impl AsRef<[u8]>) -> Self {
        self.with(|message| message.bytes(7, data.as_ref()))
    }

    /// When it ends for good: after a time, or at one.
    pub fn ttl(self, ttl: &str) -> Self {
        self.with(|message| message.text(8, ttl))
    }
}

impl Request<RegisterActorReminder> {
    /// After what time it fires again and again (`1h`). Without it, it fires once.
    pub fn every(self, period: &str) -> Self {
        self.with(|message| message.text(5, period))
    }

    /// What its events have as their body.
    pub fn data(self, data: impl AsRef<[u8]>) -> Self {
        self.with(|message| message.bytes(6, data.as_ref()))
    }

    /// When it ends for good: after a time, or at one.
    pub fn ttl(self, ttl: &str) -> Self {
        self.with(|message| message.text(7, ttl))
    }
}

/// What the attribute [`actor`](macro@crate::actor) makes of a type: its value is the actor's state.
#[cfg(feature = "json")]
pub trait Actor: Default + serde::Serialize + serde::de::DeserializeOwned {
    /// Calls what the turn is for: a method, a timer's or a reminder's. `None` where there is no such thing.
    fn take(&mut self, turn: &Turn) -> Option<crate::Result<crate::Reply>>;
}

/// The key of the actor's state that has the value of the type with the attribute.
#[cfg(feature = "json")]
const WHOLE: &str = "state";

/// Takes a turn: the state is read, the method is called, and the state is written if it has changed and the method has
/// given no error. The attribute [`actor`](macro@crate::actor) calls it.
#[cfg(feature = "json")]
pub fn take_turn<A: Actor>(event: Event) -> crate::Result<crate::Reply> {
    let turn = Turn::from(event);
    let mut state: A = turn.get(WHOLE)?.unwrap_or_default();
    turn.whole.replace(serde_json::to_vec(&state)?);
    let Some(given) = state.take(&turn) else { return nothing_to_take(&turn) };
    let reply = given?;
    turn.keep(&state)?;
    Ok(reply)
}

#[cfg(feature = "json")]
fn nothing_to_take(turn: &Turn) -> crate::Result<crate::Reply> {
    use crate::{Error, Reply, Trigger};
    match turn.trigger() {
        Trigger::Actor => Err(Error::status(404, format!("there is no method {}", turn.method()))),
        Trigger::Timer => Err(Error::drop(format!("there is no timer {}", turn.method()))),
        Trigger::Reminder => Err(Error::drop(format!("there is no reminder {}", turn.method()))),
        _ => Ok(Reply::new()),
    }
}
