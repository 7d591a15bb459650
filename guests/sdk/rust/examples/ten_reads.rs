//! The example `ten_reads` of ../../EXAMPLES.md: ten calls under way at once.

use guesthouse_dapr::{self as dapr, join_all, state, Event, Reply, Result};

#[dapr::on_invoke]
fn ten_reads(_event: Event) -> Result<Reply> {
    let store = state("statestore");
    let calls: Vec<_> = (0..10).map(|n| store.get(&format!("item-{n}")).start()).collect::<Result<_>>()?;
    let mut lines = Vec::new();
    for (n, read) in join_all(calls).into_iter().enumerate() {
        lines.push(read.map_err(|error| error.context(format_args!("item-{n}")).into_failed())?.data);
    }
    Ok(Reply::bytes(lines.join(&b'\n')).content_type("text/plain"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use dapr::{mock, Code, Outcome};

    fn host(failing: &[usize]) -> mock::Mock {
        (0..10).fold(mock::invoke("ten"), |host, n| {
            let given = match n {
                n if failing.contains(&n) => mock::failed(Code::Unavailable, "no store"),
                4 => mock::value("", ""),
                n => mock::value(format!("<{n}>"), "1"),
            };
            host.expect(state("statestore").get(&format!("item-{n}")), given)
        })
    }

    #[test]
    fn values_stand_in_the_order_of_their_keys() {
        let answered = host(&[]).run(ten_reads);
        assert_eq!(answered.body, b"<0>\n<1>\n<2>\n<3>\n\n<5>\n<6>\n<7>\n<8>\n<9>");
        assert_eq!(answered.content_type.as_deref(), Some("text/plain"));
    }

    #[test]
    fn the_first_failure_is_told() {
        let answered = host(&[8, 3]).run(ten_reads);
        assert_eq!(answered.outcome, Outcome::Failed);
        assert_eq!(answered.text.as_deref(), Some("item-3: no store"));
    }
}
