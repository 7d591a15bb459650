//! Bodies, values and replies as JSON.
#![cfg(feature = "json")]

use std::collections::BTreeMap;

use guesthouse_dapr::{app, mock, state, topic, Event, Item, Outcome, Reply, Result};

fn add(event: Event) -> Result<Reply> {
    let added: BTreeMap<String, u32> = event.json()?;
    let store = state("store");
    let mut cart: BTreeMap<String, u32> = store.get("cart").send()?.json()?.unwrap_or_default();
    cart.extend(added);
    store.save(Item::json("cart", &cart)?).send()?;
    topic("pubsub", "carts").publish_json(&cart)?.send()?;
    let price: f64 = app("other").get("price").send()?.json()?;
    Reply::json(&price)
}

#[test]
fn values_are_read_and_written() {
    for (before, after) in [("", r#"{"apples":3}"#), (r#"{"pears":1}"#, r#"{"apples":3,"pears":1}"#)] {
        let answered = mock::invoke("m")
            .body(r#"{"apples": 3}"#)
            .expect(state("store").get("cart"), mock::value(before, ""))
            .expect(state("store").save(("cart", after)), mock::ok([]))
            .expect(topic("pubsub", "carts").publish(after).content_type("application/json"), mock::ok([]))
            .expect(app("other").get("price"), mock::response("4.5", "application/json"))
            .run(add);
        assert_eq!(answered.outcome, Outcome::Done);
        assert_eq!(answered.body, b"4.5");
        assert_eq!(answered.content_type.as_deref(), Some("application/json"));
    }
}

#[test]
fn a_body_that_is_not_the_expected_json_is_the_events_fault() {
    let answered = mock::invoke("m").body("[]").run(add);
    assert_eq!(answered.outcome, Outcome::Drop);
    assert!(answered.text.unwrap().starts_with("the body is not the JSON that is expected: invalid type"));
}

#[test]
fn a_value_that_is_no_json_is_the_guests_failure() {
    let value = mock::value("{", "");
    let answered = mock::invoke("m").body("{}").expect(state("store").get("cart"), value).run(add);
    assert_eq!(answered.outcome, Outcome::Failed);
}
