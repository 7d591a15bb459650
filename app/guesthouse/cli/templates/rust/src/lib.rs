//! Greets whoever is named in the body, and counts the visits of each in a state store.

use guesthouse_dapr::{self as dapr, state, Error, Event, Item, Reply, Result};

#[dapr::on_invoke]
fn greet(event: Event) -> Result<Reply> {
    let name = event.text()?;
    if name.is_empty() {
        return Err(Error::drop("the body is empty; write a name"));
    }

    let store = state("statestore");
    let key = format!("visits-{name}");
    let seen = store.get(&key).send()?;
    let visits = seen.text().parse().unwrap_or(0_u64) + 1;
    let item = Item::new(&key, visits.to_string()).etag(&seen.etag).first_write();
    store.save(item).send()?;

    dapr::info(format!("visit {visits} of {name}"));
    Ok(Reply::text(format!("Hello, {name}! This is visit {visits}.\n")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use dapr::{mock, Outcome};

    #[test]
    fn a_body_without_a_name_is_dropped() {
        assert_eq!(mock::invoke("@NAME@").run(greet).outcome, Outcome::Drop);
    }
}
