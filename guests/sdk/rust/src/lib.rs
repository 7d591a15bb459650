#![cfg_attr(any(feature = "json", not(doctest)), doc = include_str!("../README.md"))]
#![warn(missing_docs)]

mod actors;
mod answer;
mod app;
mod bindings;
mod call;
mod code;
mod configuration;
mod error;
mod event;
mod jobs;
mod lock;
mod log;
pub mod nn;
mod pairs;
pub mod picture;
pub mod proto;
mod publish;
mod reply;
mod request;
mod secrets;
mod state;
mod sys;
mod turn;

#[cfg(not(target_arch = "wasm32"))]
pub mod mock;

pub use actors::{actor, ActorRef};
pub use answer::{answer, Answer};
pub use app::{app, App, Response};
pub use bindings::{binding, Binding, BindingResponse};
pub use call::{arrivals, first, join, join_all, Arrivals, Call, Join};
pub use code::Code;
pub use configuration::{configuration, Configuration, ConfigurationItem};
pub use error::{Error, Outcome, Result};
pub use event::{BodyReader, Event, Trigger};
#[cfg(feature = "json")]
pub use guesthouse_dapr_macros::actor;
pub use guesthouse_dapr_macros::{
    on_activate, on_actor, on_binding, on_deactivate, on_event, on_invoke, on_job, on_operation, on_reminder, on_timer,
    on_topic,
};
pub use jobs::{job, Job, JobDetails};
pub use lock::{lock, Lock, Unlocked};
pub use log::{config, debug, error, info, log, time_left, warning, Level};
pub use publish::{topic, Message, NotPublished, Topic};
pub use reply::{write_reply, Reply};
pub use request::{call, methods, Method, Request};
pub use secrets::{secrets, Secrets};
pub use state::{state, Item, Operation, Read, State, Value};
#[cfg(feature = "json")]
pub use turn::{take_turn, Actor};
pub use turn::{Change, Turn};

/// An attribute goes on a function.
///
/// ```compile_fail
/// #[guesthouse_dapr::on_invoke]
/// struct Handler;
/// ```
///
/// It has no arguments: the route is the operator's business.
///
/// ```compile_fail
/// #[guesthouse_dapr::on_invoke("hello")]
/// fn handler(_: guesthouse_dapr::Event) {}
/// ```
///
/// ```
/// #[guesthouse_dapr::on_invoke]
/// fn handler(_: guesthouse_dapr::Event) {}
/// ```
///
/// What is no answer is refused by the compiler.
///
/// ```compile_fail
/// #[guesthouse_dapr::on_invoke]
/// fn handler(_: guesthouse_dapr::Event) -> f32 { 1.0 }
/// ```
///
/// An actor has methods, and each name of a turn once.
///
/// ```compile_fail
/// #[derive(Default, serde::Serialize, serde::Deserialize)]
/// struct Cart;
/// #[guesthouse_dapr::actor]
/// impl Cart {
///     fn add(&mut self, _: &guesthouse_dapr::Turn) {}
/// }
/// ```
///
/// ```compile_fail
/// #[derive(Default, serde::Serialize, serde::Deserialize)]
/// struct Cart;
/// #[guesthouse_dapr::actor]
/// impl Cart {
///     #[method]
///     fn add(&mut self, _: &guesthouse_dapr::Turn) {}
///     #[method("add")]
///     fn put(&mut self, _: &guesthouse_dapr::Turn) {}
/// }
/// ```
///
/// ```
/// # #[cfg(feature = "json")] {
/// #[derive(Default, serde::Serialize, serde::Deserialize)]
/// struct Cart;
/// #[guesthouse_dapr::actor]
/// impl Cart {
///     #[method]
///     fn add(&mut self, _: &guesthouse_dapr::Turn) {}
/// }
/// # }
/// ```
#[cfg(doctest)]
struct Misuse;
