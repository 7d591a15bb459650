"""What CPython runs in a guest: imports the script, and is frozen there. Each event then calls `entry`.

An event begins with the memory as it is at the end of this file. What must be new for each event is made new in
`entry`.
"""

from __future__ import annotations

import gc
import linecache
import os
import sys
import traceback
import types
from collections.abc import Callable
from typing import Any

import guesthouse as host  # the module beside this one

_DATA_TRIGGERS = ("actor", "timer", "reminder")
_HANDLERS = "on_invoke, on_topic, on_binding, on_job, on_operation, on_actor, on_timer, on_reminder and on_event"
_TEXT = 1000  # bytes of a failure's text
_PACKAGES, _SCRIPT = "/packages", "/script.py"


def _place(error: BaseException, file: str) -> str:
    """Where in the script an exception was raised; else where at all, outside the files of the host."""
    places = [
        frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("/guesthouse/")
    ]
    own = [frame for frame in places if frame.filename == file]
    if isinstance(error, SyntaxError) and error.filename is not None:
        line = (error.text or "").strip()
        return f"{error.filename} line {error.lineno}" + (f": {line}" if line else "")
    if not places:
        return ""
    frame = (own or places)[-1]
    where = "" if frame.name == "<module>" else f", in {frame.name}"
    line = f": {frame.line}" if frame.line else ""
    return f"{frame.filename} line {frame.lineno}{where}{line}"


def described(error: BaseException, file: str) -> str:
    """An exception in one line: its type, its text and its place."""
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    what = f"{type(error).__name__}: {text}" if text else type(error).__name__
    where = _place(error, file)
    return f"{what} ({where})" if where else what


def _handler(script: types.ModuleType, event: host.Event) -> Callable[[host.Event], Any]:
    trigger = event.trigger
    own = f"on_{trigger}"
    table = getattr(script, own, None)
    if isinstance(table, dict):  # of an actor's methods, timers or reminders, by their names
        found = table.get(event.actor_method)
        if callable(found):
            return found
        if trigger == "actor":
            return lambda event: host.Reply(f"there is no method {event.actor_method}", status=404)
        raise host.Drop(f"there is no {trigger} {event.actor_method}")
    others = (getattr(script, "on_actor", None),) if trigger in ("timer", "reminder") else ()
    for one in (table, *others, getattr(script, "on_event", None)):
        if callable(one):
            return one
    raise AttributeError(f"the script has no function {own}, nor on_event for all events; handlers are {_HANDLERS}")


def _failed(error: BaseException, file: str) -> int:
    """Tell the host why the event fails; the outcome."""
    text = str(error)
    outcome = 1
    if isinstance(error, host.Retry):
        outcome = 2
        if error.after is not None:
            host._host("dapr_v1.retry_after", int(error.after * 1000))
    elif isinstance(error, host.Drop):
        outcome = 3
    elif not (isinstance(error, host.CallError) or type(error) is Exception):
        text = described(error, file)
    cut = text.encode("utf-8", "replace")[:_TEXT].decode("utf-8", "ignore")
    host._host("dapr_v1.reply_set", 2, cut.encode())
    return outcome


def _entry_of(script: types.ModuleType, file: str) -> Callable[[], int]:
    def entry() -> int:
        """One event. Gives the outcome of dapr_v1; no exception leaves it but where there is no memory at all."""
        try:
            random = sys.modules.get("random")
            if random is not None:
                random.seed()
            event = host.Event()
            outcome = host._reply(_handler(script, event)(event))
        except BaseException as error:
            try:
                outcome = _failed(error, file)
            except BaseException:
                outcome = 1
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        except BaseException:
            pass
        return outcome

    return entry


def _imported(file: str) -> types.ModuleType:
    """The script, as the module `script`."""
    with open(_SCRIPT, encoding="utf-8") as opened:
        source = opened.read()
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    script = types.ModuleType("script")
    script.__file__ = file
    sys.modules["script"] = script
    exec(compile(source, file, "exec", dont_inherit=True), script.__dict__)
    return script


def main(file: str) -> None:
    sys.path.insert(0, _PACKAGES)
    sys.argv = [file]
    try:
        script = _imported(file)
    except BaseException as error:
        traceback.print_exc()
        print(described(error, file), file=sys.stderr)
        sys.stderr.flush()
        os._exit(1)
    entry = _entry_of(script, file)
    sys.stdout.flush()
    sys.stderr.flush()
    gc.collect()
    gc.freeze()  # so that a collection does not write to all that there is
    host._freeze(entry)
    os._exit(0)


main(sys.argv[1])
