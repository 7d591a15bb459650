//! The example `outcomes` of ../../EXAMPLES.md: an error, a retry, a drop.

use std::time::Duration;

use guesthouse_dapr::{self as dapr, Error, Event, Result};

#[dapr::on_event]
fn outcomes(event: Event) -> Result<&'static str> {
    match event.body().as_slice() {
        b"error" => Err(Error::failed("the body asks for an error")),
        b"retry" => Err(Error::retry("the body asks for a retry").after(Duration::from_millis(1500))),
        b"drop" => Err(Error::drop("the body asks to be dropped")),
        _ => Ok("done"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dapr::{mock, Outcome};

    #[test]
    fn the_body_says_what_becomes_of_the_event() {
        let after = Some(Duration::from_millis(1500));
        for (body, outcome, text, after) in [
            ("error", Outcome::Failed, "the body asks for an error", None),
            ("retry", Outcome::Retry, "the body asks for a retry", after),
            ("drop", Outcome::Drop, "the body asks to be dropped", None),
        ] {
            let answered = mock::topic("pubsub", "any").body(body).run(outcomes);
            assert_eq!(answered.outcome, outcome);
            assert_eq!(answered.text.as_deref(), Some(text));
            assert_eq!(answered.after, after);
        }
        assert_eq!(mock::job("any").run(outcomes).body, b"done");
    }
}
