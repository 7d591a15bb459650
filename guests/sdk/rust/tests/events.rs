//! Events and replies: what is read, what is written, and what becomes of both.

use std::io::Read;
use std::time::Duration;

use guesthouse_dapr::{
    config, log, mock, nn, picture, time_left, write_reply, Error, Event, Level, Outcome, Reply, Result, Trigger,
};

#[test]
fn all_fields_of_an_event_are_read() {
    let host = mock::topic("pubsub", "photos")
        .body("body")
        .content_type("text/plain")
        .id("1-a")
        .field(7, "/big")
        .field(11, "camera")
        .field(12, "shot")
        .field(1000, "mine")
        .metadata("ce_a", "b")
        .metadata("long", &"x".repeat(2000));
    host.run(|event: Event| {
        assert_eq!(event.body(), b"body");
        assert_eq!(event.text()?, "body");
        assert_eq!(event.trigger(), Trigger::Topic);
        assert_eq!(event.name(), "pubsub/photos");
        assert_eq!(event.content_type().as_deref(), Some("text/plain"));
        assert_eq!(event.verb(), None);
        assert_eq!(event.query(), None);
        assert_eq!(event.parameter("a"), None);
        assert_eq!(event.path().as_deref(), Some("/big"));
        assert_eq!(event.id().as_deref(), Some("1-a"));
        assert_eq!(event.pubsub().as_deref(), Some("pubsub"));
        assert_eq!(event.topic().as_deref(), Some("photos"));
        assert_eq!(event.source().as_deref(), Some("camera"));
        assert_eq!(event.cloud_event_type().as_deref(), Some("shot"));
        assert_eq!(event.field(1000).as_deref(), Some("mine"));
        assert_eq!(event.metadata("ce_a").as_deref(), Some("b"));
        assert_eq!(event.metadata("none"), None);
        assert_eq!(event.all_metadata(), [("ce_a".into(), "b".into()), ("long".into(), "x".repeat(2000))]);
        Result::Ok(())
    });
}

#[test]
fn a_parameter_of_the_query_is_found_by_its_decoded_name() {
    mock::invoke("m").query("a&b%20c=1&b+c=2&d=x=y").run(|event: Event| {
        assert_eq!(event.parameter("a").as_deref(), Some(""));
        assert_eq!(event.parameter("b c").as_deref(), Some("1"));
        assert_eq!(event.parameter("d").as_deref(), Some("x=y"));
        assert_eq!(event.parameter("e"), None);
    });
}

#[test]
fn a_body_is_read_in_pieces() {
    let body: Vec<u8> = (0..3000_u32).map(|n| n as u8).collect();
    mock::binding("m").body(body.clone()).run(|event: Event| {
        let mut reader = event.body_reader();
        let mut piece = [0; 700];
        assert_eq!(reader.read(&mut piece)?, 700);
        let mut rest = piece.to_vec();
        reader.read_to_end(&mut rest)?;
        assert_eq!(rest, body);
        assert_eq!(reader.read(&mut piece)?, 0);
        Result::Ok(())
    });
}

#[test]
fn a_body_that_is_not_text_is_the_events_fault() {
    let answered = mock::invoke("m").body([0xff]).run(|event: Event| event.text());
    assert_eq!(answered.outcome, Outcome::Drop);
    assert!(answered.text.unwrap().starts_with("the body is not text: invalid utf-8"));
}

#[test]
fn a_handler_may_give_bytes_text_or_nothing() {
    assert_eq!(mock::job("m").run(|_: Event| vec![1]).body, [1]);
    assert_eq!(mock::job("m").run(|_: Event| "text").content_type.as_deref(), Some("text/plain; charset=utf-8"));
    assert_eq!(mock::job("m").run(|_: Event| String::from("text")).body, b"text");
    assert_eq!(mock::job("m").run(|_: Event| ()).outcome, Outcome::Done);
}

#[test]
fn a_reply_is_written_in_pieces() {
    let answered = mock::job("m").run(|_: Event| write_reply(b"a").and_then(|()| write_reply(b"b")).map(|()| "c"));
    assert_eq!(answered.body, b"abc");
}

#[test]
fn any_error_of_rust_is_a_failure() {
    let answered = mock::job("m").run(|_: Event| Result::Ok("x".parse::<u8>()?.to_string()));
    assert_eq!(answered.outcome, Outcome::Failed);
    assert_eq!(answered.text.as_deref(), Some("invalid digit found in string"));
}

#[test]
fn after_a_failure_nothing_of_the_reply_is_sent() {
    let answered = mock::job("m").run(|_: Event| {
        write_reply(b"half")?;
        Result::<()>::Err(Error::retry("later").after(Duration::from_secs(2)).context("store"))
    });
    assert_eq!((answered.outcome, answered.body), (Outcome::Retry, vec![]));
    assert_eq!(answered.text.as_deref(), Some("store: later"));
    assert_eq!(answered.after, Some(Duration::from_secs(2)));
}

#[test]
fn a_status_is_an_answer_to_an_invocation_and_a_failure_of_another_event() {
    let absent = |_: Event| Result::<()>::Err(Error::status(404, "no such cart"));
    let answered = mock::invoke("m").run(absent);
    assert_eq!((answered.outcome, answered.status), (Outcome::Done, 404));
    assert_eq!(answered.text.as_deref(), Some("no such cart"));
    let answered = mock::topic("pubsub", "carts").run(absent);
    assert_eq!((answered.outcome, answered.status), (Outcome::Failed, 200));
    assert_eq!(answered.text.as_deref(), Some("no such cart"));
}

#[test]
fn a_reply_says_all_that_it_can() {
    let later = Duration::from_millis(1500);
    let reply = Reply::bytes("busy").status(503).reason("too many carts").after(later).header("x-a", "b");
    let answered = mock::invoke("m").run(|_: Event| reply);
    assert_eq!((answered.status, answered.after), (503, Some(later)));
    assert_eq!(answered.text.as_deref(), Some("too many carts"));
    assert_eq!(answered.headers, [("x-a".into(), "b".into())]);
}

#[test]
fn what_the_host_does_not_take_fails_the_event_and_is_named() {
    for (reply, text) in [
        (Reply::new().header("X-A", "b"), "the host does not take the header 'X-A: b': it is not valid"),
        (Reply::new().header("te", "b"), "the host does not take the header 'te: b': it is not valid"),
        (Reply::new().status(199), "the host does not take the status 199: it is not valid"),
        (Reply::new().content_type("ä"), "the host does not take the content type 'ä': it is not valid"),
    ] {
        let answered = mock::invoke("m").run(|_: Event| reply);
        assert_eq!(answered.outcome, Outcome::Failed);
        assert_eq!(answered.text.as_deref(), Some(text));
    }
    let answered = mock::job("m").run(|_: Event| Reply::new().status(201));
    let text = "the host does not take the status 201: an event of this kind has none";
    assert_eq!(answered.text.as_deref(), Some(text));
}

#[test]
fn the_log_the_time_and_the_configuration_are_the_hosts() {
    let answered = mock::job("m").config("colour", "blue").time_left(Duration::from_secs(3)).run(|_: Event| {
        assert_eq!(time_left(), Duration::from_secs(3));
        assert_eq!(config("colour").as_deref(), Some("blue"));
        assert_eq!(config("size"), None);
        log(Level::Warning, "odd", &[("cart", "7")]);
        guesthouse_dapr::info("plain");
    });
    let odd = mock::LogLine { level: Level::Warning, text: "odd".into(), fields: vec![("cart".into(), "7".into())] };
    assert_eq!(answered.log[0], odd);
    assert_eq!((answered.log[1].level, &*answered.log[1].text), (Level::Info, "plain"));
}

#[test]
fn a_model_is_run_by_its_name() {
    let double = |inputs: &[mock::Input]| {
        assert_eq!((inputs[0].kind, &*inputs[0].shape), (1, &[1, 2][..]));
        vec![inputs[0].floats().iter().flat_map(|number| (2.0 * number).to_le_bytes()).collect()]
    };
    let answered = mock::job("m").model("double", double).run(|_: Event| {
        let computed = nn::model("double")?.input(0, &[1, 2], &[1.5_f32, -2.0])?.compute()?;
        assert_eq!(computed.output::<f32>(0)?, [3.0, -4.0]);
        assert_eq!(computed.output::<u8>(0)?.len(), 8);
        assert!(computed.output::<f32>(1).is_err());
        nn::model("other").map(drop)
    });
    let text = answered.text.unwrap();
    assert!(text.contains("load_by_name of 'other': not found, or not granted to this guest (error 8)"), "{text}");
}

#[test]
fn a_picture_is_decoded_by_the_host() {
    let decode = |body: &[u8], width, height| (body == b"png").then(|| vec![7; (width * height * 3) as usize]);
    let handler = |event: Event| picture::rgb8(&event.body(), 2, 1);
    assert_eq!(mock::job("m").pictures(decode).body("png").run(handler).body, [7; 6]);
    assert_eq!(mock::job("m").pictures(decode).body("text").run(handler).outcome, Outcome::Drop);
}
