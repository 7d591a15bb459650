//! The example `hello` of ../../EXAMPLES.md: the query, headers of the event and the reply, a status.

use guesthouse_dapr::{self as dapr, Event, Reply};

#[dapr::on_invoke]
fn hello(event: Event) -> Reply {
    let name = event.parameter("name").filter(|name| !name.is_empty());
    let name = name.as_deref().unwrap_or("world");
    let greeting = event.metadata("x-greeting").unwrap_or("Hello".into());
    Reply::text(format!("{greeting}, {name}!")).status(201).header("x-guest", "hello")
}

#[cfg(test)]
mod tests {
    use super::*;
    use dapr::mock;

    #[test]
    fn greets_by_the_query_and_a_header() {
        let answered = mock::invoke("hello").query("a=b&name=Ann+Lee").metadata("x-greeting", "Good day").run(hello);
        assert_eq!(answered.body, b"Good day, Ann Lee!");
        assert_eq!(answered.content_type.as_deref(), Some("text/plain; charset=utf-8"));
        assert_eq!(answered.status, 201);
        assert_eq!(answered.headers, [("x-guest".into(), "hello".into())]);
    }

    #[test]
    fn greets_the_world_without_a_name() {
        assert_eq!(mock::invoke("hello").run(hello).body, b"Hello, world!");
        assert_eq!(mock::invoke("hello").query("name=&name=x").run(hello).body, b"Hello, world!");
    }
}
