//! Actors: what the attributes call, what becomes of the state, and the requests for timers, reminders and others.
#![cfg(feature = "json")]

use std::collections::BTreeMap;

use guesthouse_dapr::{self as dapr, actor, mock, take_turn, Change, Code, Error, Event, Outcome, Reply, Result, Turn};
use serde::{Deserialize, Serialize};

#[derive(Default, Serialize, Deserialize)]
struct Counter {
    total: u64,
}

#[dapr::actor]
impl Counter {
    #[method]
    fn add(&mut self, turn: &Turn) -> Result<Reply> {
        self.total += turn.json::<u64>()?;
        Reply::json(&self.total)
    }

    /// Attributes of other kinds stay.
    #[method("add-and-fail")]
    #[allow(unreachable_code)]
    fn add_and_fail(&mut self, turn: &Turn) -> Result<()> {
        self.total += 1;
        turn.set("other", &1)?;
        return Err(Error::failed("no"));
    }

    #[method]
    fn save(&mut self, turn: &Turn) -> Result<()> {
        self.total += 1;
        turn.save_state_now(self)?;
        turn.set("other", &1)?;
        Err(Error::failed("no"))
    }

    #[timer]
    fn tick(&mut self, turn: &Turn) -> String {
        self.total += 1;
        format!("{} {} {} {:?}", turn.kind(), turn.id(), turn.method(), turn.callback())
    }

    #[reminder("every-day")]
    fn every_day(&mut self, _turn: &Turn) -> Reply {
        Reply::bytes("last").stop()
    }

    #[activate]
    fn begin(&mut self, _turn: &Turn) {
        self.total += Self::first();
    }

    #[deactivate]
    fn end(&mut self, turn: &Turn) -> Result<()> {
        turn.remove("other")
    }

    fn first() -> u64 {
        100
    }
}

fn state(entries: &[(&str, &str)]) -> BTreeMap<String, Vec<u8>> {
    entries.iter().map(|(key, value)| (key.to_string(), value.as_bytes().to_vec())).collect()
}

#[test]
fn methods_timers_and_reminders_are_called_by_name() {
    let three = mock::actor("Counter", "a", "add").body("3").run(take_turn::<Counter>);
    assert_eq!((three.outcome, three.body.as_slice()), (Outcome::Done, &b"3"[..]));
    assert_eq!(three.state, state(&[("state", r#"{"total":3}"#)]));
    let ticked = mock::timer("Counter", "a", "tick").field(15, "again").state_of(&three).run(take_turn::<Counter>);
    assert_eq!(ticked.body, br#"Counter a tick Some("again")"#);
    assert_eq!(ticked.state, state(&[("state", r#"{"total":4}"#)]));
    let stopped = mock::reminder("Counter", "a", "every-day").state_of(&three).run(take_turn::<Counter>);
    assert_eq!((stopped.outcome, stopped.body.as_slice()), (Outcome::Stop, &b"last"[..]));
    let begun = mock::activation("Counter", "b").run(take_turn::<Counter>);
    assert_eq!(begun.state, state(&[("state", r#"{"total":100}"#)]));
    let ended = mock::deactivation("Counter", "b").state("other", "1").run(take_turn::<Counter>);
    assert_eq!(ended.state, state(&[]));
}

#[test]
fn a_name_of_another_kind_of_turn_is_not_there() {
    let answered = mock::actor("Counter", "a", "every-day").run(take_turn::<Counter>);
    assert_eq!((answered.outcome, answered.status), (Outcome::Done, 404));
    assert_eq!(answered.body, b"there is no method every-day");
    let answered = mock::timer("Counter", "a", "add").run(take_turn::<Counter>);
    assert_eq!((answered.outcome, answered.text.as_deref()), (Outcome::Drop, Some("there is no timer add")));
    let answered = mock::reminder("Counter", "a", "add").run(take_turn::<Counter>);
    assert_eq!((answered.outcome, answered.text.as_deref()), (Outcome::Drop, Some("there is no reminder add")));
}

#[test]
fn a_turn_that_fails_writes_nothing_but_what_it_saved_at_once() {
    let before = || mock::actor("Counter", "a", "add-and-fail").state("state", r#"{"total":3}"#);
    let failed = before().run(take_turn::<Counter>);
    assert_eq!((failed.outcome, failed.text.as_deref()), (Outcome::Failed, Some("no")));
    assert_eq!(failed.state, state(&[("state", r#"{"total":3}"#)]));
    let saved = mock::actor("Counter", "a", "save").state("state", r#"{"total":3}"#).run(take_turn::<Counter>);
    assert_eq!(saved.outcome, Outcome::Failed);
    assert_eq!(saved.state, state(&[("state", r#"{"total":4}"#)]));
}

#[test]
fn a_state_that_is_not_the_types_is_an_error() {
    let failed = mock::actor("Counter", "a", "add").state("state", "[]").body("1").run(take_turn::<Counter>);
    assert_eq!(failed.outcome, Outcome::Failed);
    assert!(failed.text.unwrap().starts_with(r#"what is under "state" in the actor's state is not what is expected"#));
}

#[test]
fn values_are_read_and_written_by_key() {
    let answered = mock::actor("Any", "a", "any").state("old", "7").run(|event: Event| -> Result<String> {
        let turn = Turn::from(event);
        turn.set("list", &[1, 2])?;
        turn.write([Change::set("raw", b"\xff"), Change::remove("old").metadata("a", "b")]).send()?;
        let (list, old) = (turn.get::<Vec<u8>>("list")?, turn.get::<u8>("old")?);
        Ok(format!("{list:?} {old:?} {:?}", turn.read("raw").send()?))
    });
    assert_eq!(answered.body, b"Some([1, 2]) None [255]");
    assert_eq!(answered.state, BTreeMap::from([("list".into(), b"[1,2]".to_vec()), ("raw".into(), vec![0xff])]));
}

#[test]
fn a_test_may_expect_calls_for_the_state_too() {
    let turn = || Turn::of("Counter", "a");
    let lost = mock::actor("Counter", "a", "save")
        .expect(turn().read("state"), mock::ok([]))
        .expect(turn().write([Change::set("state", r#"{"total":1}"#)]), mock::ok([]))
        .expect(turn().save_now(), mock::failed(Code::Unavailable, "no store"))
        .run(take_turn::<Counter>);
    assert_eq!((lost.outcome, lost.text.as_deref()), (Outcome::Retry, Some("no store")));
}

#[test]
fn a_typed_call_reads_the_answer_and_tells_a_refusal() {
    let call =
        |event: Event| -> Result<Reply> { Reply::json(&actor("Counter", &event.text()?).call::<u64>("add", &3)?) };
    let wanted = || actor("Counter", "b").invoke("add", "3");
    let answered = mock::invoke("x").body("b").expect(wanted(), mock::data("10")).run(call);
    assert_eq!(answered.body, b"10");
    let refused = mock::invoke("x").body("b").expect(wanted(), mock::data("not now")).run(call);
    assert_eq!(refused.text.as_deref(), Some("add of the actor Counter/b answered: not now"));
}
