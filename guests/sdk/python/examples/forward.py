"""A binding's event: another application names a price for it, which goes to an output binding."""

from guesthouse import CallError, Retry, binding, invoke

UNAVAILABLE, DEADLINE_EXCEEDED = 14, 4


def on_binding(event):
    try:
        price = invoke("other", "price", event.body, content_type="text/plain")
        binding("store", "create", price.bytes, {"fileName": "price"})
    except CallError as error:
        if error.code in (UNAVAILABLE, DEADLINE_EXCEEDED):
            raise Retry(error.message) from None
        raise
