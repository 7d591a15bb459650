//! Requests to the sidecar, before they are sent.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use crate::proto::{Malformed, Writer};
use crate::reply::milliseconds;
use crate::{pairs, sys, Call, Code, Error, Result};

/// A method of Dapr's API: its name, and what its answer becomes. The types that have it are in [`methods`].
pub trait Method {
    /// What a successful call gives.
    type Reply;

    /// Reads the answer.
    fn read(message: Vec<u8>) -> Result<Self::Reply, Malformed>;
}

macro_rules! methods {
    ($($name:ident $reply:ty = $read:expr;)*) => {
        /// The methods of Dapr's API that have a client here, as types: what a [`Request`] is for.
        pub mod methods {
            #[allow(unused_imports)]
            use super::*;
            $(
                #[doc = concat!("The method `", stringify!($name), "`.")]
                #[derive(Clone, Copy, Debug)]
                pub struct $name;

                impl Method for $name {
                    type Reply = $reply;

                    fn read(message: Vec<u8>) -> Result<$reply, Malformed> {
                        $read(message)
                    }
                }
            )*
        }
    };
}

methods! {
    Any Vec<u8> = Ok;
    GetState crate::Value = crate::state::read_value;
    GetBulkState Vec<crate::Read> = crate::state::read_bulk;
    SaveState () = nothing;
    DeleteState () = nothing;
    ExecuteStateTransaction () = nothing;
    PublishEvent () = nothing;
    BulkPublishEvent Vec<crate::NotPublished> = crate::publish::read_bulk;
    InvokeService crate::Response = crate::app::read;
    InvokeBinding crate::BindingResponse = crate::bindings::read;
    GetSecret std::collections::BTreeMap<String, String> = crate::secrets::read;
    GetBulkSecret std::collections::BTreeMap<String, std::collections::BTreeMap<String, String>> = crate::secrets::read_all;
    GetConfiguration std::collections::BTreeMap<String, crate::ConfigurationItem> = crate::configuration::read;
    TryLockAlpha1 bool = crate::lock::read_taken;
    UnlockAlpha1 crate::Unlocked = crate::lock::read_unlocked;
    ScheduleJob () = nothing;
    GetJob crate::JobDetails = crate::jobs::read;
    DeleteJob () = nothing;
    InvokeActor Vec<u8> = crate::actors::read_data;
    GetActorState Vec<u8> = crate::actors::read_data;
    ExecuteActorStateTransaction () = nothing;
    RegisterActorTimer () = nothing;
    UnregisterActorTimer () = nothing;
    RegisterActorReminder () = nothing;
    UnregisterActorReminder () = nothing;
}

fn nothing(_message: Vec<u8>) -> Result<(), Malformed> {
    Ok(())
}

/// A call to the sidecar that is not made yet. [`send`](Self::send) makes it and waits for its answer;
/// [`start`](Self::start) makes it and goes on, so that several are under way at once.
#[must_use = "a request does nothing until it is sent or started"]
pub struct Request<M: Method> {
    pub(crate) name: Cow<'static, str>,
    pub(crate) message: Writer,
    pub(crate) headers: Vec<u8>,
    milliseconds: u32,
    method: PhantomData<M>,
}

impl<M: Method> Request<M> {
    pub(crate) fn new(name: impl Into<Cow<'static, str>>, message: Writer) -> Self {
        Self { name: name.into(), message, headers: Vec::new(), milliseconds: 0, method: PhantomData }
    }

    /// The same request with more fields. Those of a message inside it are merged with what is there.
    pub(crate) fn with(mut self, more: impl FnOnce(Writer) -> Writer) -> Self {
        self.message = more(self.message);
        self
    }

    /// A piece of gRPC metadata of the call. An invocation's reach the other application as headers.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        pairs::push(&mut self.headers, name.as_bytes(), value.as_bytes());
        self
    }

    /// How long it may take. Without it, as long as the event may.
    pub fn timeout(self, time: Duration) -> Self {
        Self { milliseconds: milliseconds(time).max(1), ..self }
    }

    /// Makes the call, and does not wait for its answer.
    pub fn start(self) -> Result<Call<M::Reply>> {
        let started = sys::call_start(&self.name, &self.message.done(), &self.headers, self.milliseconds);
        match u32::try_from(started) {
            Ok(handle) => Ok(Call::new(handle, self.name, M::read)),
            Err(_) if started == sys::LIMIT => Err(Error::of_call(
                Code::ResourceExhausted,
                format!("{}: this event has too many calls, or too many bytes in them", self.name),
            )),
            Err(_) => {
                Err(Error::of_call(Code::InvalidArgument, format!("{}: the host does not take the request", self.name)))
            }
        }
    }

    /// Makes the call and waits for its answer.
    ///
    /// A call that ends with `Unavailable` or `DeadlineExceeded` gives an error with the outcome `Retry`, all others
    /// with `Failed`; [`Error::code`] tells which it was.
    pub fn send(self) -> Result<M::Reply> {
        self.start()?.wait()
    }
}

impl<M: Method> fmt::Debug for Request<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} \"{}\"", self.name, self.message.clone().done().escape_ascii())
    }
}

/// Any method of `dapr.proto.runtime.v1.Dapr` by its name, with its request message; the answer is the response
/// message. [`proto`](crate::proto) writes and reads such messages.
pub fn call(method: impl Into<Cow<'static, str>>, request: impl Into<Vec<u8>>) -> Request<methods::Any> {
    Request::new(method, Writer::from_bytes(request.into()))
}
