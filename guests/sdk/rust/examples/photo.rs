//! The example `photo` of ../../EXAMPLES.md: state with an etag, a picture, inference, publishing, a retry and a drop.

use guesthouse_dapr::{self as dapr, nn, picture, state, topic, Error, Event, Item, Result};

const SIDE: u32 = 96;

#[dapr::on_topic]
fn photo(event: Event) -> Result<()> {
    let store = state("statestore");
    let seen = store.get("people").send().map_err(Error::into_retry)?;
    let person = shows_a_person(&event.body())?;
    let people = seen.text().parse().unwrap_or(0_u64) + u64::from(person);
    let item = Item::new("people", people.to_string()).etag(&seen.etag).first_write();
    store.save(item).send().map_err(Error::into_retry)?;
    let found = format!(r#"{{"person":{person},"people":{people}}}"#);
    let publish = topic("pubsub", "results").publish(found).content_type("application/json");
    publish.send().map_err(Error::into_retry)
}

fn shows_a_person(photo: &[u8]) -> Result<bool> {
    let pixels: Vec<f32> = picture::rgb8(photo, SIDE, SIDE)?.into_iter().map(f32::from).collect();
    let model = nn::model("person")?.input(0, &[1, SIDE, SIDE, 3], &pixels)?;
    let scores: Vec<f32> = model.compute()?.output(0)?;
    Ok(scores.first().is_some_and(|&person| person > 0.5))
}

#[cfg(test)]
mod tests {
    use super::*;
    use dapr::{mock, Code, Outcome};

    /// A host on whose pictures there is a person if their first byte is above 100.
    fn host() -> mock::Mock {
        let decode = |body: &[u8], width, height| {
            let size = (width * height * 3) as usize;
            (body != b"text").then(|| vec![body[0]; size])
        };
        let model = |inputs: &[mock::Input]| {
            assert_eq!(inputs[0].shape, [1, 96, 96, 3]);
            let person = if inputs[0].floats()[0] > 100.0 { 0.9_f32 } else { 0.1 };
            vec![[person.to_le_bytes(), (1.0 - person).to_le_bytes()].concat()]
        };
        mock::topic("pubsub", "photos").pictures(decode).model("person", model)
    }

    fn read() -> dapr::Request<dapr::methods::GetState> {
        state("statestore").get("people")
    }

    fn result(person: bool, people: u64) -> dapr::Request<dapr::methods::PublishEvent> {
        let data = format!(r#"{{"person":{person},"people":{people}}}"#);
        topic("pubsub", "results").publish(data).content_type("application/json")
    }

    #[test]
    fn a_person_is_counted_with_the_etag_that_was_read() {
        let saved = Item::new("people", "5").etag("7").first_write();
        let answered = host()
            .body([200])
            .expect(read(), mock::value("4", "7"))
            .expect(state("statestore").save(saved), mock::ok([]))
            .expect(result(true, 5), mock::ok([]))
            .run(photo);
        assert_eq!(answered.outcome, Outcome::Done);
        assert_eq!(answered.body, b"");
    }

    #[test]
    fn the_first_photo_has_no_etag() {
        let answered = host()
            .body([1])
            .expect(read(), mock::value("", ""))
            .expect(state("statestore").save(Item::new("people", "0").first_write()), mock::ok([]))
            .expect(result(false, 0), mock::ok([]))
            .run(photo);
        assert_eq!(answered.outcome, Outcome::Done);
    }

    #[test]
    fn an_event_that_was_slower_than_another_is_tried_again() {
        let saved = Item::new("people", "1").etag("7").first_write();
        let answered = host()
            .body([200])
            .expect(read(), mock::value("none", "7"))
            .expect(state("statestore").save(saved), mock::failed(Code::Aborted, "the etag is stale"))
            .run(photo);
        assert_eq!(answered.outcome, Outcome::Retry);
        assert_eq!(answered.text.as_deref(), Some("the etag is stale"));
    }

    #[test]
    fn what_is_no_picture_is_dropped() {
        let answered = host().body("text").expect(read(), mock::value("4", "7")).run(photo);
        assert_eq!(answered.outcome, Outcome::Drop);
        assert_eq!(answered.text.as_deref(), Some("the body is not a picture"));
    }
}
