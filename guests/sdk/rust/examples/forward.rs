//! The example `forward` of ../../EXAMPLES.md: calling another application, an output binding.

use guesthouse_dapr::{self as dapr, app, binding, Event, Result};

#[dapr::on_binding]
fn forward(event: Event) -> Result<()> {
    let price = app("other").post("price", event.body()).content_type("text/plain").send()?;
    binding("store").invoke("create", price.data).metadata("fileName", "price").send()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use dapr::{mock, Code, Outcome};

    #[test]
    fn the_answer_of_the_application_goes_to_the_binding() {
        let answered = mock::binding("orders")
            .body("tea")
            .expect(app("other").post("price", "tea").content_type("text/plain"), mock::response("3", "text/plain"))
            .expect(binding("store").invoke("create", "3").metadata("fileName", "price"), mock::data(""))
            .run(forward);
        assert_eq!(answered.outcome, Outcome::Done);
    }

    #[test]
    fn an_application_that_is_away_is_asked_again_later() {
        for (code, outcome) in [
            (Code::Unavailable, Outcome::Retry),
            (Code::DeadlineExceeded, Outcome::Retry),
            (Code::PermissionDenied, Outcome::Failed),
        ] {
            let request = app("other").post("price", "tea").content_type("text/plain");
            let answered =
                mock::binding("orders").body("tea").expect(request, mock::failed(code, "no price")).run(forward);
            assert_eq!(answered.outcome, outcome);
            assert_eq!(answered.text.as_deref(), Some("no price"));
        }
    }
}
