"""What the tables of a manifest must agree on. What each table must be by itself is in `tables.py`.

The rules read the manifest as it was written, with environment variables filled in, and not as models. So they also
work on a table that has another fault, and all faults are listed at once. A value of the wrong type is skipped here,
for `tables.py` has refused it.
"""

from __future__ import annotations

import difflib
import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from guesthouse.manifest import cel
from guesthouse.manifest.tables import ASKING_VERBS, CALLS_AT, GUEST_PATH, PACKAGES_AT, SCRIPTS_AT, VERBS, GuestLimits
from guesthouse.manifest.text import Where, format_size, parse_size
from guesthouse_abi.files import path_problem

Disagreement = tuple[Where, str, str]
"""A broken rule: where it is broken, what is wrong, what to do."""

Raw = Mapping[str, Any]


def disagreements(raw: Raw) -> Iterator[Disagreement]:
    """Every rule that the manifest breaks."""
    yield from _engine(raw)
    yield from _guests(raw)
    yield from _files(raw)
    yield from _models(raw)
    yield from _routes_name_guests(raw)
    yield from _filters(raw)
    yield from _methods(raw)
    yield from _twice(raw, "binding", ("name",))
    yield from _dead_letters(raw)
    yield from _twice(raw, "job", ("name",))
    yield from _twice(raw, "actor", ("type",))
    yield from _actors(raw)
    yield from _topics(raw)
    yield from _component(raw)
    yield from _metrics(raw)
    yield from _supply(raw)


def closest(name: str, known: Iterable[str], what: str) -> str:
    """A remedy for a name that does not exist."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1)
    if near:
        return f"did you mean {near[0]}?"
    return f"{what}: {', '.join(known)}" if known else f"there are no {what.rpartition(' ')[2]} here"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens on `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _keys(raw: Raw, key: str) -> list[str]:
    tables = raw.get(key)
    return list(tables) if isinstance(tables, dict) else []


def _named(raw: Raw, key: str) -> dict[str, Raw]:
    tables = raw.get(key)
    return (
        {name: table for name, table in tables.items() if isinstance(table, dict)} if isinstance(tables, dict) else {}
    )


def _listed(raw: Raw, key: str) -> list[tuple[int, Raw]]:
    tables = raw.get(key)
    if not isinstance(tables, list):
        return []
    return [(index, table) for index, table in enumerate(tables) if isinstance(table, dict)]


def _texts(value: object) -> list[tuple[int, str]]:
    return [(i, item) for i, item in enumerate(value) if isinstance(item, str)] if isinstance(value, list) else []


def _named_texts(value: object) -> list[tuple[str, str]]:
    return [(key, item) for key, item in value.items() if isinstance(item, str)] if isinstance(value, dict) else []


def _engine(raw: Raw) -> Iterator[Disagreement]:
    engine = raw.get("engine")
    settings = engine if isinstance(engine, dict) else {}
    if settings.get("name") != "wasmer":
        if "python" in settings:
            yield ("engine", "python"), "is for wasmer alone", 'write name = "wasmer", or leave it out'
        return
    for name, guest in _named(raw, "guests").items():
        if guest.get("isolation") == "thread":
            remedy = "its guests run in processes, which can be killed: leave it out"
            yield ("guests", name, "isolation"), "does not go with the engine wasmer", remedy


#: Keys of a guest that do not go with a calling convention, and why.
_NOT_FOR: Mapping[str, Mapping[str, str]] = {
    "bindgen": {"reply": "headers before the reply are for commands", "args": "arguments are for commands"},
    "command": {"function": "a command starts at _start", "values": "a program has standard input and output"},
    "dapr": dict.fromkeys(
        ("function", "values", "reply"), "its handlers have names of their own, and write their replies themselves"
    ),
    "extism": dict.fromkeys(("values", "reply"), "its input is the body, and its output the reply"),
    "http": dict.fromkeys(("function", "values", "reply"), "its handler has its own name, and writes the response"),
    "http-wasm": dict.fromkeys(
        ("function", "values", "reply"), "its two handlers have names of their own, and write the response themselves"
    ),
    "messaging": dict.fromkeys(("function", "values", "reply"), "its handler has its own name, and gives no reply"),
    "wapc": dict.fromkeys(("values", "reply"), "the payload is the body, and the response is the reply"),
}


def _guests(raw: Raw) -> Iterator[Disagreement]:
    models = _keys(raw, "models")
    for name, guest in _named(raw, "guests").items():
        where, runtime = ("guests", name), guest.get("runtime")
        if "runtime" in guest and "script" not in guest:
            yield (*where, "runtime"), "does not go with module", "it is for a script: leave it out"
        if "packages" in guest and runtime != "python":
            yield (*where, "packages"), "are for scripts in Python", 'write runtime = "python", or leave it out'
        if runtime == "python":
            yield from _python(raw, where, guest)
        if "script" in guest:
            if "module" in guest:
                yield (
                    (*where, "module"),
                    "does not go with script",
                    "a script runs in the host's own module: leave it out",
                )
            if guest.get("calling") != "dapr":
                yield (*where, "calling"), "does not go with script", 'write calling = "dapr"'
            files = guest.get("files")
            at = SCRIPTS_AT.get(runtime) if isinstance(runtime, str | None) else None
            if at is not None and isinstance(files, Mapping) and at in files:
                yield (*where, "files", at), "is where the script is", "take another path"
            if runtime != "python" and str(guest["script"]).endswith(".py"):
                yield (
                    (*where, "script"),
                    "is a script in Python, and the runtime is JavaScript",
                    'write runtime = "python"',
                )
            if "signatures" in raw:
                yield (*where, "script"), "has no signature, and [signatures] wants them", "make a module of it"
        elif "module" not in guest:
            remedy = 'name the .wasm file, or a script (script = "answer.js")'
            yield (*where, "module"), "module is missing", remedy
        calling = guest.get("calling", "bindgen")
        for key, why in (_NOT_FOR.get(calling, {}) if isinstance(calling, str) else {}).items():
            if key in guest:
                yield (*where, key), f'does not go with calling = "{calling}"', f"{why}: leave it out"
        if "parameters" in guest and "values" not in guest:
            yield (*where, "parameters"), "is used by nobody", 'write values = "json" too, or leave it out'
        if calling in ("bindgen", "extism") and not guest.get("function"):
            remedy = 'name the export to call, or write calling = "command" for a WASI program'
            yield (*where, "function"), "function is missing", remedy
        for index, model in _texts(guest.get("models")):
            if model not in models:
                yield (*where, "models", index), "is no model of this manifest", closest(model, models, "its models")
        for alias, model in _named_texts(guest.get("models")):
            if model not in models:
                yield (*where, "models", alias), "is no model of this manifest", closest(model, models, "its models")


def _python(raw: Raw, where: tuple[str, str], guest: Raw) -> Iterator[Disagreement]:
    """What does not go with a script in Python."""
    engine = raw.get("engine")
    if isinstance(engine, dict) and engine.get("name") == "wasmer":
        yield (*where, "runtime"), "does not go with the engine wasmer", "scripts in Python are served by wasmtime"
    if "args" in guest:
        yield (*where, "args"), "does not go with runtime", "a script's handlers have the event: leave it out"
    if "snapshot" in guest:
        yield (*where, "snapshot"), "does not go with runtime", "a script in Python is always one: leave it out"
    files = guest.get("files")
    for path in files if isinstance(files, Mapping) else ():
        for taken, what in (
            (PACKAGES_AT, "the packages are"),
            (CALLS_AT, "the file of calls is"),
            ("/guesthouse", "the host's module is"),
        ):
            if isinstance(path, str) and (path == taken or path.startswith(taken + "/")):
                yield (*where, "files", path), f"is where {what}", "take another path"


def _files(raw: Raw) -> Iterator[Disagreement]:
    """What can be said about a guest's files without reading them."""
    for name, guest in _named(raw, "guests").items():
        where = ("guests", name)
        files, limits, scratch = guest.get("files"), guest.get("limits"), _size(guest.get("scratch"), 0)
        for path in files if isinstance(files, dict) else ():
            if path != "/" and (problem := path_problem(path)):
                yield (*where, "files", path), f"is granted at a path that {problem}", GUEST_PATH
        if not scratch and "scratch_path" in guest:
            yield (*where, "scratch_path"), "is never used without scratch", 'write scratch = "8MiB", or leave it out'
        most = _size(limits.get("host_memory") if isinstance(limits, dict) else None, _HOST_MEMORY)
        if scratch > most:
            what = f"is over limits.host_memory, which is {format_size(most)} and counts it"
            yield (*where, "scratch"), what, "raise that, or lower scratch"


_HOST_MEMORY: int = GuestLimits.model_fields["host_memory"].default


def _size(value: object, default: int) -> int:
    try:
        return parse_size(value)
    except ValueError:  # missing, or of a wrong form, which tables.py refuses
        return default


def _models(raw: Raw) -> Iterator[Disagreement]:
    owner: dict[str, str] = {}
    for name, model in _named(raw, "models").items():
        for index, digest in _texts(model.get("stands_for")):
            first = owner.setdefault(digest.lower(), name)
            if first != name:
                where = ("models", name, "stands_for", index)
                yield where, f"is also in models.{first}.stands_for", "keep it at one of them"
        batch, most = model.get("batch"), model.get("max_batch")
        size = batch.get("size") if isinstance(batch, dict) else None
        if isinstance(size, int) and isinstance(most, int) and size > most:
            yield (
                ("models", name, "batch", "size"),
                f"is over max_batch, which is {most}",
                "raise max_batch or lower it",
            )


def _routes_name_guests(raw: Raw) -> Iterator[Disagreement]:
    guests = _keys(raw, "guests")
    for key in ("filter", "invoke", "binding", "topic", "job", "actor"):
        for index, route in _listed(raw, key):
            guest = route.get("guest")
            if isinstance(guest, str) and guest not in guests:
                yield (key, index, "guest"), "is no guest of this manifest", closest(guest, guests, "its guests")


def _filters(raw: Raw) -> Iterator[Disagreement]:
    """A filter is a guest of http-wasm, and stands in the chain once: it would wait for its own slot else."""
    guests = dict(_named(raw, "guests"))
    answering = [route.get("guest") for _, route in _listed(raw, "invoke")]
    before: set[str] = set()
    for index, one in _listed(raw, "filter"):
        name, where = one.get("guest"), ("filter", index, "guest")
        if not isinstance(name, str) or name not in guests:
            continue
        if guests[name].get("calling") != "http-wasm":
            yield where, "is no filter", f'write calling = "http-wasm" in [guests.{name}], for a module of http-wasm'
        elif name in answering:
            yield where, "answers a method too", "make a guest of another name of its module, for the one or the other"
        elif name in before:
            yield where, "is a filter already", "name all methods in that table"
        before.add(name)


def _methods(raw: Raw) -> Iterator[Disagreement]:
    """A method and verb lead to one guest only."""
    first: dict[tuple[str, str], int] = {}
    for index, route in _listed(raw, "invoke"):
        method = route.get("method")
        if not isinstance(method, str):
            continue
        usual = [verb for verb in VERBS if verb not in ASKING_VERBS]
        verbs = [verb.upper() for _, verb in _texts(route.get("verbs"))] or usual
        before = {first[method.strip("/"), verb] for verb in verbs if (method.strip("/"), verb) in first}
        if before:
            yield _again(("invoke", index, "method"), min(before), "one guest answers a method and verb")
        for verb in verbs:
            first.setdefault((method.strip("/"), verb), index)


def _twice(raw: Raw, key: str, names: tuple[str, ...]) -> Iterator[Disagreement]:
    first: dict[tuple[str, ...], int] = {}
    for index, route in _listed(raw, key):
        values = tuple(route[name] for name in names if isinstance(route.get(name), str))
        if len(values) == len(names) and first.setdefault(values, index) != index:
            yield _again((key, index, names[-1]), first[values], "one guest answers it")


def _dead_letters(raw: Raw) -> Iterator[Disagreement]:
    for index, binding in _listed(raw, "binding"):
        if "attempts" in binding and binding.get("on_error") == "drop":
            remedy = 'leave attempts out, or write on_error = "retry"'
            yield ("binding", index, "attempts"), 'does not go with on_error = "drop"', remedy
        if "dead_letter" in binding and "attempts" not in binding:
            remedy = "say after how many attempts an event is given up"
            yield ("binding", index, "dead_letter"), "is never used without attempts", remedy


def _topics(raw: Raw) -> Iterator[Disagreement]:
    """The tables of one topic need different matches and paths; at most one has no match."""
    paths: dict[tuple[str, str, str], int] = {}
    matches: dict[tuple[str, str, str], int] = {}
    for index, route in _listed(raw, "topic"):
        yield from _answered(index, route)
        pubsub, topic, rule = route.get("pubsub"), route.get("topic"), route.get("route", {})
        if not (isinstance(pubsub, str) and isinstance(topic, str) and isinstance(rule, dict)):
            continue
        match, path = rule.get("match", ""), rule.get("path", "")
        if isinstance(match, str):
            for what, remedy in cel.read(match).faults:
                yield ("topic", index, "route", "match"), what, remedy
        if isinstance(match, str) and matches.setdefault((pubsub, topic, match), index) != index:
            first = matches[pubsub, topic, match]
            where: Where = ("topic", index, "route", "match") if match else ("topic", index, "topic")
            yield _again(where, first, "give each table of a topic a route of its own")
        elif isinstance(path, str) and paths.setdefault((pubsub, topic, path), index) != index:
            yield _again(("topic", index, "route", "path"), paths[pubsub, topic, path], "give each route its own path")


def _answered(index: int, route: Raw) -> Iterator[Disagreement]:
    """A guest or an actor answers a topic's events."""
    if "guest" in route and "actor" in route:
        remedy = "leave one of them out: the guest of an actor is that of its type"
        yield ("topic", index, "actor"), "does not go with guest", remedy
    if "guest" not in route and "actor" not in route:
        yield ("topic", index, "guest"), "is missing", 'name a guest, or an actor as in actor = "Cart/{data.id}"'
    if "method" in route and "actor" not in route:
        yield ("topic", index, "method"), "is of an actor, and none is named", "name the actor, or leave method out"


def _actors(raw: Raw) -> Iterator[Disagreement]:
    """A turn that calls its own actor again holds one slot while it waits for another one."""
    guests = _named(raw, "guests")
    for index, actor in _listed(raw, "actor"):
        limits = guests.get(str(actor.get("guest")), {}).get("limits", {})
        single = isinstance(limits, dict) and limits.get("concurrency") in (1, "1")
        if actor.get("reentrant") in (True, "true") and single:
            remedy = "raise the limit, or leave reentrant out"
            what = "is of no use with limits.concurrency = 1: a turn inside another one would wait for its slot"
            yield ("actor", index, "reentrant"), what, remedy


def _again(where: Where, first: int, remedy: str) -> Disagreement:
    return where, f"is answered by [[{where[0]}]] #{first + 1} already", remedy


def _component(raw: Raw) -> Iterator[Disagreement]:
    component = raw.get("component")
    if not isinstance(component, dict):
        return
    guests = _keys(raw, "guests")
    for key in ("guests", "replies"):
        for index, guest in _texts(component.get(key)):
            if guest not in guests:
                where = ("component", key, index)
                yield where, "is no guest of this manifest", closest(guest, guests, "its guests")
    if component.get("guests") == [] and not component.get("replies"):
        remedy = "name guests in guests or replies, or leave guests out for all of them"
        yield ("component", "guests"), "leaves the component without anything to do", remedy


def _metrics(raw: Raw) -> Iterator[Disagreement]:
    metrics = raw.get("metrics")
    if not isinstance(metrics, dict) or "token" in metrics or metrics.get("open") in (True, "true"):
        return
    host = metrics.get("host", "127.0.0.1")
    if isinstance(host, str) and host and not is_loopback(host):
        remedy = "write a token (Prometheus sends it as credentials), or open = true where only those who may get there"
        yield ("metrics", "token"), f"is missing: on {host} others than this machine may ask", remedy


def _supply(raw: Raw) -> Iterator[Disagreement]:
    """Digests, signatures, and what cannot be combined with them."""
    for name, guest in _named(raw, "guests").items():
        if guest.get("allow_guest_models") in (True, "true") and raw.get("require_digests") in (True, "true"):
            where: Where = ("guests", name, "allow_guest_models")
            yield where, "does not go with require_digests", "models that a guest brings have no digest: leave it out"
        if "signature" in guest and "signatures" not in raw:
            remedy = "name the keys in [signatures], or leave it out"
            yield ("guests", name, "signature"), "is looked at by nobody without [signatures]", remedy
