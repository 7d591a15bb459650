"""Ten reads that are under way at once."""

from guesthouse import CallError, Reply, state

store = state("statestore")


def on_invoke(event):
    calls = [store.get.begin(f"item-{number}") for number in range(10)]
    values = []
    for number, call in enumerate(calls):
        try:
            found = call.result()
        except CallError as error:
            raise Exception(f"item-{number}: {error.message}") from None
        values.append(found.bytes if found else b"")
    return Reply(b"\n".join(values), content_type="text/plain")
