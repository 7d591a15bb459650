"""A greeting: the query, headers of the event and of the reply, a status."""

from urllib.parse import unquote_plus

from guesthouse import Reply


def parameter(query, name):
    for pair in query.split("&"):
        key, _, value = pair.partition("=")
        if key == name:
            return unquote_plus(value)
    return ""


def on_invoke(event):
    greeting = event.metadata.get("x-greeting", "Hello")
    name = parameter(event.query, "name") or "world"
    return Reply(f"{greeting}, {name}!", status=201, headers={"x-guest": "hello"})
