"""Greets whoever is named in the body, and counts the visits of each in a state store."""

from guesthouse import CallError, Drop, Retry, log, state

UNAVAILABLE = 14
store = state("statestore")


def on_invoke(event):
    name = event.text()
    if not name:
        raise Drop("the body is empty; write a name")
    try:
        key = f"visits-{name}"
        seen = store.get(key)
        visits = int(seen.text() if seen else 0) + 1
        store.save(key, str(visits), etag=seen.etag if seen else None)
    except CallError as error:
        if error.code == UNAVAILABLE:
            raise Retry(error.message) from None
        raise
    log.info("a visit", name=name, visits=visits)
    return f"Hello, {name}! This is visit {visits}.\n"
