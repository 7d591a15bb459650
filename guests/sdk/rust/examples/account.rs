//! The example `account` of ../../EXAMPLES.md: a bank account for each customer, as an actor.

use std::collections::{BTreeMap, BTreeSet};

use guesthouse_dapr::{self as dapr, Error, Reply, Result, Turn};
use serde::{Deserialize, Serialize};

#[derive(Default, Serialize, Deserialize)]
struct Account {
    balance: u64,
    sent: BTreeMap<String, String>, // transfers: to whom, and how much
    received: BTreeSet<String>,
    interest: u64, // how often it was paid
}

#[dapr::actor]
impl Account {
    #[method]
    fn balance(&mut self, _turn: &Turn) -> String {
        self.balance.to_string()
    }

    #[method]
    fn deposit(&mut self, turn: &Turn) -> Result<String> {
        self.balance += amount(&turn.text()?)?;
        Ok(self.balance.to_string())
    }

    #[method]
    fn withdraw(&mut self, turn: &Turn) -> Result<String> {
        self.take_out(amount(&turn.text()?)?)?;
        Ok(self.balance.to_string())
    }

    #[method]
    fn transfer(&mut self, turn: &Turn) -> Result<String> {
        let body = turn.text()?;
        let (id, rest) = body.split_once(' ').ok_or_else(no_transfer)?;
        let to_whom = self.sent.get(id).map_or(rest, String::as_str).to_owned();
        let (to, sum) = to_whom.split_once(' ').ok_or_else(no_transfer)?;
        if id.is_empty() || to.is_empty() || to == turn.id() {
            return Err(no_transfer());
        }
        if !self.sent.contains_key(id) {
            self.take_out(amount(sum)?)?;
            self.sent.insert(id.into(), to_whom.clone());
            turn.save_state_now(self)?; // before the money is somewhere else
        }
        dapr::actor(turn.kind(), to).invoke("receive", format!("{id} {sum}")).send()?;
        Ok(self.balance.to_string())
    }

    #[method]
    fn receive(&mut self, turn: &Turn) -> Result<String> {
        let body = turn.text()?;
        let (id, sum) = body.split_once(' ').filter(|(id, _)| !id.is_empty()).ok_or_else(no_transfer)?;
        let sum = amount(sum)?;
        if self.received.insert(id.into()) {
            self.balance += sum;
        }
        Ok(self.balance.to_string())
    }

    #[method("interest")]
    fn start_interest(&mut self, turn: &Turn) -> Result<()> {
        let times = turn.text()?;
        amount(&times)?;
        self.interest = 0;
        turn.set_reminder("interest", "1s").every("1s").data(times).send()
    }

    #[reminder("interest")]
    fn pay_interest(&mut self, turn: &Turn) -> Result<Reply> {
        self.balance += self.balance / 100;
        self.interest += 1;
        let last = self.interest >= amount(&turn.text()?)?;
        Ok(if last { Reply::new().stop() } else { Reply::new() })
    }

    fn take_out(&mut self, sum: u64) -> Result<()> {
        let left = self.balance.checked_sub(sum);
        self.balance =
            left.ok_or_else(|| Error::status(409, format!("not enough: the balance is {}", self.balance)))?;
        Ok(())
    }
}

fn amount(text: &str) -> Result<u64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let amount = text.parse().ok().filter(|amount| digits && (1..=1_000_000_000).contains(amount));
    amount.ok_or_else(|| Error::drop("this is not an amount"))
}

fn no_transfer() -> Error {
    Error::drop("this is not a transfer")
}

#[cfg(test)]
mod tests {
    use super::*;
    use dapr::mock::{self, Answered, Mock};
    use dapr::{actor, take_turn, Code, Outcome};

    fn after(earlier: &Answered, method: &str, body: &str) -> Mock {
        mock::actor("Account", "ann", method).state_of(earlier).body(body)
    }

    fn with_five() -> Answered {
        mock::actor("Account", "ann", "deposit").body("5").run(take_turn::<Account>)
    }

    #[test]
    fn money_comes_and_goes() {
        let five = with_five();
        assert_eq!(five.body, b"5");
        let two = after(&five, "withdraw", "3").run(take_turn::<Account>);
        assert_eq!(two.body, b"2");
        assert_eq!(after(&two, "balance", "").run(take_turn::<Account>).body, b"2");
        for wrong in ["", "0", "-1", "+1", "1x", "1000000001"] {
            let answered = after(&two, "deposit", wrong).run(take_turn::<Account>);
            assert_eq!((answered.outcome, answered.text.as_deref()), (Outcome::Drop, Some("this is not an amount")));
        }
    }

    #[test]
    fn more_than_there_is_is_refused() {
        let five = with_five();
        let refused = after(&five, "withdraw", "6").run(take_turn::<Account>);
        assert_eq!((refused.outcome, refused.status), (Outcome::Done, 409));
        assert_eq!(refused.body, b"not enough: the balance is 5");
        assert_eq!(refused.state, five.state);
    }

    #[test]
    fn a_transfer_takes_the_money_out_once() {
        let receive = || actor("Account", "bob").invoke("receive", "t1 4");
        let five = with_five();
        let lost = after(&five, "transfer", "t1 bob 4");
        let lost = lost.expect(receive(), mock::failed(Code::Unavailable, "no answer")).run(take_turn::<Account>);
        assert_eq!(lost.outcome, Outcome::Retry);
        // It was saved before the call, so the money is not taken out again.
        let again = after(&lost, "transfer", "t1 bob 4").expect(receive(), mock::data("4")).run(take_turn::<Account>);
        assert_eq!((again.outcome, again.body), (Outcome::Done, b"1".to_vec()));
        let to_itself = after(&five, "transfer", "t1 ann 4").run(take_turn::<Account>);
        assert_eq!(to_itself.text.as_deref(), Some("this is not a transfer"));
    }

    #[test]
    fn what_was_received_is_not_received_again() {
        let once = mock::actor("Account", "bob", "receive").body("t1 4").run(take_turn::<Account>);
        let twice = mock::actor("Account", "bob", "receive").state_of(&once).body("t1 4").run(take_turn::<Account>);
        assert_eq!((once.body, twice.body), (b"4".to_vec(), b"4".to_vec()));
    }

    #[test]
    fn interest_is_paid_as_often_as_was_said() {
        let rich = mock::actor("Account", "ann", "deposit").body("1000").run(take_turn::<Account>);
        let set = Turn::of("Account", "ann").set_reminder("interest", "1s").every("1s").data("2");
        let mut last = after(&rich, "interest", "2").expect(set, mock::ok([])).run(take_turn::<Account>);
        for (outcome, balance) in [(Outcome::Done, "1010"), (Outcome::Stop, "1020")] {
            last = mock::reminder("Account", "ann", "interest").state_of(&last).body("2").run(take_turn::<Account>);
            assert_eq!(last.outcome, outcome);
            assert_eq!(after(&last, "balance", "").run(take_turn::<Account>).body, balance.as_bytes());
        }
    }

    #[test]
    fn other_names_are_not_there() {
        let answered = mock::actor("Account", "ann", "rob").run(take_turn::<Account>);
        assert_eq!((answered.status, answered.body.as_slice()), (404, &b"there is no method rob"[..]));
        let answered = mock::reminder("Account", "ann", "deposit").run(take_turn::<Account>);
        assert_eq!((answered.outcome, answered.text.as_deref()), (Outcome::Drop, Some("there is no reminder deposit")));
    }
}
