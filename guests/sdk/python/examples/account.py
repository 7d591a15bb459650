"""A bank account for each customer, as an actor: the balance is a state, and so is each transfer, under its id."""

from guesthouse import CallError, Drop, Reply, Retry, actor_state, invoke_actor, reminders

UNAVAILABLE, DEADLINE_EXCEEDED = 14, 4


def sent(call, *arguments, **options):
    """Where nobody has answered, the turn may succeed later."""
    try:
        return call(*arguments, **options)
    except CallError as error:
        if error.code in (UNAVAILABLE, DEADLINE_EXCEEDED):
            raise Retry(error.message) from None
        raise


def number_under(key):
    found = sent(actor_state.get, key)
    return int(found.text()) if found else 0


def keep(key, value):
    sent(actor_state.set, key, str(value))


def amount_of(text):
    amount = int(text) if text.isascii() and text.isdigit() and len(text) <= 20 else 0
    if not 1 <= amount <= 1_000_000_000:
        raise Drop("this is not an amount")
    return amount


def split_at(text):
    first, space, rest = text.partition(" ")
    if not first or not space:
        raise Drop("this is not a transfer")
    return first, rest


def with_balance(balance):
    keep("balance", balance)
    return str(balance)


def not_enough(balance):
    return Reply(f"not enough: the balance is {balance}", status=409)


def balance(event):
    return str(number_under("balance"))


def deposit(event):
    amount = amount_of(event.text())
    return with_balance(number_under("balance") + amount)


def withdraw(event):
    amount, left = amount_of(event.text()), number_under("balance")
    return not_enough(left) if amount > left else with_balance(left - amount)


def transfer(event):
    id, rest = split_at(event.text())
    key = f"sent-{id}"
    noted = sent(actor_state.get, key)
    to, total = split_at(noted.text() if noted else rest)
    if to == event.actor_id:
        raise Drop("this is not a transfer")
    left = number_under("balance")
    if not noted:
        amount = amount_of(total)
        if amount > left:
            return not_enough(left)
        left -= amount
        keep(key, rest)
        keep("balance", left)
        sent(actor_state.save_now)  # before the money is somewhere else
    sent(invoke_actor, event.name, to, "receive", f"{id} {total}")
    return str(left)


def receive(event):
    id, total = split_at(event.text())
    amount, key = amount_of(total), f"received-{id}"
    left = number_under("balance")
    if sent(actor_state.get, key):
        return str(left)
    keep(key, amount)
    return with_balance(left + amount)


def interest(event):
    amount_of(event.text())
    keep("interest", 0)
    sent(reminders.set, "interest", due_time="1s", period="1s", data=event.body)


on_actor = {
    "balance": balance,
    "deposit": deposit,
    "withdraw": withdraw,
    "transfer": transfer,
    "receive": receive,
    "interest": interest,
}


def pay(event):
    times = amount_of(event.text())
    left, paid = number_under("balance"), number_under("interest") + 1
    keep("balance", left + left // 100)
    keep("interest", paid)
    return Reply(stop=paid >= times)


on_reminder = {"interest": pay}
