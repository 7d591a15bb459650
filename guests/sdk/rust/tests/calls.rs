//! Calls under way: waiting, joining, the first of many, and giving up.

use std::time::Duration;

use guesthouse_dapr::{
    arrivals, call, first, join, join_all, methods, mock, state, topic, Code, Event, Outcome, Request, Result,
};

fn read(key: &str) -> Request<methods::GetState> {
    state("store").get(key)
}

#[test]
fn a_call_gives_its_answer() {
    let answered = mock::invoke("m").expect(read("a"), mock::value("1", "7")).run(|_: Event| {
        let call = read("a").start()?;
        assert!(call.has_ended());
        assert!(call.wait_at_most(Duration::ZERO));
        assert_eq!(call.metadata(), Some(vec![]));
        assert_eq!(call.details(), None);
        let value = call.wait()?;
        assert_eq!((value.text(), value.etag), ("1".into(), "7".into()));
        Result::Ok(())
    });
    assert_eq!(answered.outcome, Outcome::Done);
}

#[test]
fn a_failure_tells_its_code_and_may_be_handled() {
    let given = mock::failed(Code::PermissionDenied, "write read_state");
    let answered = mock::invoke("m").expect(read("a"), given).run(|_: Event| {
        let error = read("a").send().unwrap_err();
        assert_eq!(error.code(), Some(Code::PermissionDenied));
        assert_eq!(error.outcome(), Outcome::Failed);
        error.text().to_owned()
    });
    assert_eq!(answered.body, b"write read_state");
}

#[test]
fn a_call_that_does_not_end_is_a_retry() {
    let answered = mock::invoke("m").expect(read("a"), mock::never()).run(|_: Event| {
        let call = read("a").start()?;
        assert!(!call.has_ended());
        assert!(!call.wait_at_most(Duration::from_millis(1)));
        assert_eq!(call.metadata(), None);
        call.wait().map(drop).inspect_err(|error| assert_eq!(error.code(), Some(Code::DeadlineExceeded)))
    });
    assert_eq!(answered.outcome, Outcome::Retry);
    assert_eq!(answered.text.as_deref(), Some("GetState: no answer within the event's time"));
}

#[test]
fn a_call_too_many_for_the_event_is_not_begun() {
    let answered = mock::invoke("m").expect(read("a"), mock::too_many()).run(|_: Event| read("a").send().map(drop));
    assert_eq!(answered.outcome, Outcome::Failed);
    let text = "GetState: this event has too many calls, or too many bytes in them";
    assert_eq!(answered.text.as_deref(), Some(text));
}

#[test]
fn an_answer_that_is_no_message_is_a_failure() {
    let answered = mock::invoke("m").expect(read("a"), mock::ok([0x0b])).run(|_: Event| read("a").send().map(drop));
    assert_eq!(answered.outcome, Outcome::Failed);
    assert_eq!(answered.text.as_deref(), Some("GetState: the answer is not readable"));
}

#[test]
fn calls_of_different_types_are_joined() {
    let publish = || topic("pubsub", "results").publish("x");
    let answered = mock::job("m")
        .expect(read("a"), mock::value("1", ""))
        .expect(publish(), mock::failed(Code::Internal, "no topic"))
        .run(|_: Event| {
            let (value, published) = join((read("a").start()?, publish().start()?));
            assert_eq!(value?.data, b"1");
            published
        });
    assert_eq!(answered.text.as_deref(), Some("no topic"));
}

#[test]
fn results_stand_in_the_order_of_their_calls() {
    let host = (0..3).fold(mock::job("m"), |host, n| host.expect(read(&n.to_string()), mock::value([n], "")));
    host.run(|_: Event| {
        let calls: Vec<_> = (0..3).map(|n| read(&n.to_string()).start()).collect::<Result<_>>()?;
        let found: Vec<_> = join_all(calls).into_iter().map(|value| value.unwrap().data).collect();
        assert_eq!(found, [[0], [1], [2]]);
        assert!(join_all::<()>([]).is_empty());
        Result::Ok(())
    });
}

#[test]
fn the_first_that_ends_is_given_and_the_others_are_given_up() {
    let host = || {
        mock::job("m")
            .expect(read("slow"), mock::never())
            .expect(read("fast"), mock::value("1", ""))
            .expect(read("last"), mock::value("2", ""))
    };
    let start = || ["slow", "fast", "last"].into_iter().map(|key| read(key).start()).collect::<Result<Vec<_>>>();
    host().run(|_: Event| {
        let (position, value) = first(start()?).unwrap();
        assert_eq!((position, value?.data), (1, b"1".to_vec()));
        assert!(first::<()>([]).is_none());
        Result::Ok(())
    });
    host().run(|_: Event| {
        let found: Vec<_> = arrivals(start()?).map(|(position, value)| (position, value.is_ok())).collect();
        assert_eq!(found, [(1, true), (2, true), (0, false)]);
        Result::Ok(())
    });
}

#[test]
fn any_method_can_be_called_by_its_name() {
    let answered = mock::job("m")
        .expect(call("GetMetadata", []).header("x-a", "b"), mock::ok([8, 1]))
        .run(|_: Event| call("GetMetadata", []).header("x-a", "b").send());
    assert_eq!(answered.body, [8, 1]);
}

#[test]
#[should_panic(expected = r#"the call GetState "\n\x05store\x12\x01b" was made where this was expected: GetState"#)]
fn another_call_than_the_expected_one_is_a_panic() {
    mock::job("m").expect(read("a"), mock::value("", "")).run(|_: Event| read("b").send().map(drop));
}

#[test]
#[should_panic(expected = "was made where none was expected")]
fn a_call_too_many_is_a_panic_also_while_others_are_open() {
    mock::job("m").expect(read("a"), mock::value("", "")).run(|_: Event| {
        let _open = read("a").start()?;
        read("a").send().map(drop)
    });
}

#[test]
#[should_panic(expected = "the handler did not make the call GetState")]
fn a_call_too_few_is_a_panic() {
    mock::job("m").expect(read("a"), mock::value("", "")).run(|_: Event| ());
}
