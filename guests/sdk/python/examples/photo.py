"""A photo on a topic: how many people were seen so far is kept as state, and published."""

import json
from array import array

from guesthouse import CallError, Drop, Retry, model, pixels, publish, state, tensor

SIDE = 96
store = state("statestore")


def or_retry(call, *arguments, **options):
    """The sidecar could not do it now: the event is wanted again."""
    try:
        return call(*arguments, **options)
    except CallError as error:
        raise Retry(error.message) from None


def on_topic(event):
    seen = or_retry(store.get, "people")
    picture = pixels(event.body, SIDE, SIDE)
    if picture is None:
        raise Drop("the body is not a picture")
    numbers = array("f", picture.cast("B"))
    (scores,) = model("person").run(tensor(numbers, (1, SIDE, SIDE, 3)))
    person = scores[0] > 0.5
    text = seen.text() if seen else ""
    before = int(text) if text.isascii() and text.isdigit() else 0
    people = before + person
    or_retry(store.save, "people", str(people), etag=seen.etag if seen else None, first_write=True)
    data = json.dumps({"person": person, "people": people}, separators=(",", ":"))
    or_retry(publish, "pubsub", "results", data, content_type="application/json")
