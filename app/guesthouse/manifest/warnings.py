"""Warnings: what a manifest may say, but its author perhaps does not mean. It is served all the same.

`check` prints warnings, `serve` logs them. What a manifest must not say is in `tables` and `rules`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from guesthouse.faults import fault
from guesthouse.manifest import cel
from guesthouse.manifest.tables import Manifest
from guesthouse.manifest.text import Where, key_path, shown

#: The placeholders in the key of a state. `dapr.outputs.state_key` fills them in.
STATE_PLACEHOLDERS = ("{id}", "{name}", "{sha256}")

_PLACEHOLDER = re.compile(r"\{[^{}]*\}")


def warnings(manifest: Manifest) -> Iterator[str]:
    """Each warning as text: what, where, what to do."""
    for where, what, remedy in _all(manifest):
        yield fault(what, key_path(where), remedy)


def _all(manifest: Manifest) -> Iterator[tuple[Where, str, str]]:
    yield from _no_routes(manifest)
    yield from _patterns(manifest)
    yield from _matches(manifest)
    yield from _state_keys(manifest)
    yield from _without_end(manifest)
    yield from _actors(manifest)


def _no_routes(manifest: Manifest) -> Iterator[tuple[Where, str, str]]:
    if next(manifest.routes(), None) is None:
        remedy = "write [[invoke]], [[binding]], [[topic]], [[job]] or [[actor]]"
        yield ("app", "name"), "no event reaches any guest: there are no routes", remedy


def _patterns(manifest: Manifest) -> Iterator[tuple[Where, str, str]]:
    """`*` and `{id}` in a method: in other frameworks they are patterns."""
    for index, route in enumerate(manifest.invoke):
        if "*" in route.method or _PLACEHOLDER.search(route.method):
            what = f"{shown(route.method)} is taken as the exact name of a method, not as a pattern"
            remedy = "write the whole name; what differs from call to call goes into the query or the body"
            yield ("invoke", index, "method"), what, remedy


def _matches(manifest: Manifest) -> Iterator[tuple[Where, str, str]]:
    for index, topic in enumerate(manifest.topic):
        if topic.route is not None:
            for what, remedy in cel.read(topic.route.match).warnings:
                yield ("topic", index, "route", "match"), f"{shown(topic.route.match)} {what}", remedy


def _state_keys(manifest: Manifest) -> Iterator[tuple[Where, str, str]]:
    known = ", ".join(STATE_PLACEHOLDERS)
    states = [("binding", index, route.state) for index, route in enumerate(manifest.binding)]
    states += [("topic", index, route.state) for index, route in enumerate(manifest.topic)]
    for kind, index, state in states:
        for unknown in dict.fromkeys(_PLACEHOLDER.findall(state.key if state is not None else "")):
            if unknown not in STATE_PLACEHOLDERS:
                what = f"{unknown} stands for nothing: it is part of the key as it is written"
                yield (kind, index, "state", "key"), what, f"the placeholders are {known}"


def _without_end(manifest: Manifest) -> Iterator[tuple[Where, str, str]]:
    """Routes whose events can fail and be sent again without end, for nothing gives them up."""
    what = "an event that its guest always fails on is sent again without end, and may keep others waiting"
    for index, binding in enumerate(manifest.binding):
        if binding.enabled and binding.on_error == "retry" and binding.attempts is None:
            yield ("binding", index), what, 'give it attempts, and a dead_letter to keep it, or on_error = "drop"'
    for index, topic in enumerate(manifest.topic):
        if topic.enabled and topic.on_error == "retry" and topic.dead_letter is None:
            yield ("topic", index), what, 'give it a dead_letter, or on_error = "drop"'


def _actors(manifest: Manifest) -> Iterator[tuple[Where, str, str]]:
    """Guests that cannot know which actor they are."""
    for index, actor in enumerate(manifest.actor):
        guest = manifest.guests.get(actor.guest)  # not there, where the manifest was narrowed to another guest
        if guest is not None and guest.calling != "dapr":
            what = f"a guest with calling = {shown(guest.calling)} learns neither its actor's id nor the method"
            yield ("actor", index, "guest"), what, 'write it for dapr_v1 (docs/guests.md), with calling = "dapr"'
