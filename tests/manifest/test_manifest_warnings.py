"""What a manifest is warned of, and what not."""

from __future__ import annotations

from guesthouse.manifest import parse, warnings

GUEST = {"module": "g.wasm", "function": "f"}


def warned(tmp_path, **tables):
    raw = {"app": {"name": "a"}, "guests": {"g": dict(GUEST)}, **tables}
    return list(warnings(parse(raw, tmp_path / "guesthouse.toml", {})))


def test_a_sound_manifest_is_warned_of_nothing(tmp_path):
    state = {"store": "s", "key": "{name}-{id}-{sha256}"}
    tables = {
        "invoke": [{"method": "api/image", "guest": "g"}],
        "binding": [
            {"name": "b", "guest": "g", "attempts": 3, "state": state},
            {"name": "c", "guest": "g", "on_error": "drop"},
            {"name": "d", "guest": "g", "enabled": False},
        ],
        "topic": [{"pubsub": "p", "topic": "t", "guest": "g", "dead_letter": "lost", "state": state}],
    }
    assert warned(tmp_path, **tables) == []


def test_without_a_route_no_event_reaches_a_guest(tmp_path):
    assert warned(tmp_path) == [
        "no event reaches any guest: there are no routes — app.name — "
        "write [[invoke]], [[binding]], [[topic]], [[job]] or [[actor]]"
    ]
    assert warned(tmp_path, component={"name": "guests"}) == []  # each guest is an operation


def test_a_method_that_looks_like_a_pattern_is_told(tmp_path):
    routes = [{"method": "api/*", "guest": "g"}, {"method": "users/{id}", "guest": "g"}]
    found = warned(tmp_path, invoke=routes)
    assert [line.partition(" — ")[0] for line in found] == [
        '"api/*" is taken as the exact name of a method, not as a pattern',
        '"users/{id}" is taken as the exact name of a method, not as a pattern',
    ]
    assert "[[invoke]] #2: method" in found[1]


def test_a_placeholder_that_stands_for_nothing_is_told(tmp_path):
    binding = {"name": "b", "guest": "g", "attempts": 3, "state": {"store": "s", "key": "{ID}-{sha}-{id}-{ID}"}}
    found = warned(tmp_path, binding=[binding])
    assert [line.split(" ")[0] for line in found] == ["{ID}", "{sha}"]
    assert found[0].endswith("[[binding]] #1: state.key — the placeholders are {id}, {name}, {sha256}")


def test_a_route_that_can_retry_without_end_is_told(tmp_path):
    found = warned(
        tmp_path,
        binding=[{"name": "b", "guest": "g"}],
        topic=[{"pubsub": "p", "topic": "t", "guest": "g"}],
    )
    assert [line.split(" — ")[1:] for line in found] == [
        ["[[binding]] #1", 'give it attempts, and a dead_letter to keep it, or on_error = "drop"'],
        ["[[topic]] #1", 'give it a dead_letter, or on_error = "drop"'],
    ]


def test_a_rule_over_a_field_that_may_be_missing_is_told(tmp_path):
    topic = {"pubsub": "p", "topic": "t", "guest": "g", "dead_letter": "d"}
    (found,) = warned(tmp_path, topic=[{**topic, "route": {"match": "event.data.n > 5", "path": "n"}}])
    assert found.startswith('"event.data.n > 5" fails for an event without event.data.n: ')
    assert " — [[topic]] #1: route.match — write has(event.data.n) && …" in found
