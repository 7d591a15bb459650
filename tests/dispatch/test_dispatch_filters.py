"""Filters before routes, in threads and in processes: what they may change, and what becomes of those that fail."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import wasmtime
from structlog.testing import capture_logs

from guesthouse.assembly import open_plan
from guesthouse.dispatch import filters
from guesthouse.dispatch.dispatcher import Dispatcher
from guesthouse.event import Answer, Event, Failure, Reason, Reply, ReplyLimit, Trigger
from guesthouse.guests.capabilities import GRANTS, onward
from guesthouse.guests.capabilities.capability import AskedEvent, Question
from guesthouse.guests.process.wire import WireError
from guesthouse.manifest import ManifestError, load
from guesthouse.plan.current import Plans
from guesthouse.plan.plan import Plan
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.services import HttpRequest
from tests.support import httpwasm
from tests.support.doubles import NoOutputs
from tests.support.places import PLACES, engine_table, isolation_of

FAILS = wasmtime.wat2wasm("""(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1) (func (export "_start") (call $exit (i32.const 65))))""")
MODULES = {
    "shows": httpwasm.SHOWS,
    "marks": httpwasm.MARKS,
    "passes": httpwasm.PASSES,
    "refuses": httpwasm.REFUSES,
    "moves": httpwasm.MOVES,
    "traps": httpwasm.TRAPS,
    "late": httpwasm.TRAPS_LATE,
    "loops": httpwasm.LOOPS,
    "notices": httpwasm.NOTICES,
    "forges": httpwasm.FORGES,
}
#: Filters by what begins the names of the methods that they are for.
FILTERS: Sequence[tuple[str, tuple[str, ...], str]] = [
    ("passes", ("*",), "refuse"),
    ("marks", ("marked/*", "moved"), "refuse"),
    ("moves", ("moves", "far"), "refuse"),
    ("refuses", ("refused", "moved"), "refuse"),
    ("traps", ("closed", "open"), "refuse"),
    ("late", ("late",), "refuse"),
    ("loops", ("slow",), "pass"),
    ("notices", ("failing",), "refuse"),
    ("forges", ("forged",), "refuse"),
]
METHODS = ("plain", "marked/a", "marked/b/c", "moved", "closed", "late", "slow", "forged")


def manifest_of(place: str, chain: Sequence[tuple[str, tuple[str, ...], str]] = FILTERS) -> str:
    where = f'isolation = "{isolation_of(place)}"'
    text = f'{engine_table(place)}\n[app]\nname = "t"\n'
    for name in MODULES:
        time = "300ms" if name == "loops" else "30s"
        text += f'[guests.{name}]\nmodule = "{name}.wasm"\ncalling = "http-wasm"\n{where}\n'
        text += f'limits = {{ time = "{time}", concurrency = 1, output = "64KiB", input = "64KiB" }}\n'
    text += f'[guests.fails]\nmodule = "fails.wasm"\ncalling = "command"\n{where}\nlimits = {{ time = "30s" }}\n'
    text += '[[invoke]]\nmethod = "failing"\nguest = "fails"\n'
    text += "".join(f'[[invoke]]\nmethod = "{method}"\nguest = "shows"\n' for method in METHODS)
    text += '[[invoke]]\nmethod = "read"\nguest = "shows"\nverbs = ["GET"]\n'
    for guest, methods, on_error in chain:
        text += f'[[filter]]\nguest = "{guest}"\nmethods = {list(methods)}\non_error = "{on_error}"\n'
    return text


def written(folder: Path, text: str) -> Path:
    for name, module in {**MODULES, "fails": bytes(FAILS)}.items():
        (folder / f"{name}.wasm").write_bytes(module)
    (folder / "guesthouse.toml").write_text(text)
    return folder / "guesthouse.toml"


@pytest.fixture(scope="module", params=PLACES)
def plan(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plan]:
    text = manifest_of(request.param)
    with open_plan(load(written(tmp_path_factory.mktemp("filters"), text), grants=GRANTS)) as plan:
        yield plan


@pytest.fixture
def dispatch(plan: Plan) -> Dispatcher:
    return Dispatcher(Plans(plan), NoOutputs())


def invoke(dispatch: Dispatcher, method: str, body: bytes = b"body", **more: Any) -> Reply:
    return dispatch.dispatch(Event(Trigger.INVOKE, method, body, **more), Deadline.after(60))


def failure(dispatch: Dispatcher, method: str, **more: Any) -> Failure:
    with pytest.raises(Failure) as caught:
        invoke(dispatch, method, **more)
    return caught.value


def test_a_filter_that_passes_on_changes_nothing(dispatch: Dispatcher) -> None:
    reply = invoke(dispatch, "plain", query="a=b", content_type="text/plain", metadata={"x-mark": "own"})
    assert (reply.body, reply.answer, reply.headers) == (b"/plain?a=b|own\0|body", None, (("x-shown", "yes"),))
    assert reply.guest == "shows"


def test_a_call_without_a_verb_has_none_behind_a_filter_either(dispatch: Dispatcher) -> None:
    assert invoke(dispatch, "read").guest == "shows"
    assert failure(dispatch, "read", verb="POST").reason is Reason.NOT_FOUND


def test_a_filter_changes_request_and_reply(dispatch: Dispatcher) -> None:
    reply = invoke(dispatch, "marked/a")
    assert (reply.body, reply.answer) == (b"/marked/a|a\0|changed!", Answer(201))
    assert reply.headers == (("x-shown", "yes"),)


def test_a_star_at_the_end_stands_for_all_that_begin_so(dispatch: Dispatcher) -> None:
    assert invoke(dispatch, "/marked/b/c/").body.endswith(b"|changed!")
    assert failure(dispatch, "marked").reason is Reason.NOT_FOUND


def test_a_filter_answers_itself_and_nothing_behind_it_is_asked(dispatch: Dispatcher) -> None:
    reply = invoke(dispatch, "refused")
    assert (reply.body, reply.answer, reply.guest) == (b"no entry", Answer(403, "no entry"), "refuses")


def test_what_no_response_carries_passes_a_filter_that_does_not_change_it() -> None:
    behind = Reply(b"later", guest="g", answer=Answer(503, "too busy", 2.5))
    for body, status, answer in ((b"later", 503, behind.answer), (b"x", 503, None), (b"later", 500, None)):
        reply = Reply(body, answer=Answer(status, "later"))
        filters._complete(reply, behind)
        assert reply.answer == (answer or Answer(status, "later"))


def test_filters_look_at_the_method_when_their_turn_comes(dispatch: Dispatcher) -> None:
    # `moves` makes it /moved: `marks`, which is for that too, has had its turn, and `refuses` has not.
    assert invoke(dispatch, "moves").answer == Answer(403, "no entry")
    assert invoke(dispatch, "moved").body == b"no entry!"


def test_what_filters_cost_is_in_the_costs_of_the_event(dispatch: Dispatcher) -> None:
    cost = invoke(dispatch, "marked/a").cost
    assert "next" not in cost.spent
    assert all(call.capability != "next" for call in cost.calls)
    assert cost.guest > 0


def test_a_filter_that_fails_fails_the_event(dispatch: Dispatcher) -> None:
    failed = failure(dispatch, "closed")
    assert (failed.reason, failed.guest) == (Reason.TRAP, "traps")
    failed = failure(dispatch, "late")
    assert (failed.reason, failed.guest) == (Reason.TRAP, "late")


def test_a_filter_that_is_left_out_when_it_fails(dispatch: Dispatcher) -> None:
    with capture_logs() as lines:
        assert invoke(dispatch, "slow").body == b"/slow||body"
    (line,) = [line for line in lines if line["event"] == "left a filter out"]
    assert (line["guest"], line["name"]) == ("loops", "slow")


def test_a_caller_that_hung_up_is_not_passed_on(dispatch: Dispatcher) -> None:
    cancelled = Deadline.after(60)
    cancelled.cancel()
    with pytest.raises(Failure) as caught:
        dispatch.dispatch(Event(Trigger.INVOKE, "slow"), cancelled)
    assert caught.value.reason is Reason.CANCELLED


def test_the_failure_of_what_stands_behind_stays_as_it_is(dispatch: Dispatcher) -> None:
    with capture_logs() as lines:
        failed = failure(dispatch, "failing")
    assert (failed.reason, failed.guest) == (Reason.MALFORMED, "fails")
    assert [line["guest"] for line in lines if line["event"] == "noticed"] == ["notices"]


def test_what_is_dapr_s_or_the_host_s_passes_a_filter_unchanged(
    dispatch: Dispatcher, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Event] = []
    shows = plan.guests["shows"]
    run = type(shows).run

    def watched(self: Any, event: Event, deadline: Deadline) -> Reply:
        if self is shows:
            seen.append(event)
        return run(self, event, deadline)

    monkeypatch.setattr(type(shows), "run", watched)
    metadata = {"guesthouse-depth": "3", "dapr-caller-app-id": "shop", "x-own": "gone", "x-kept": "yes"}
    invoke(dispatch, "forged", metadata=metadata)
    assert dict(seen[0].metadata) == {"guesthouse-depth": "3", "dapr-caller-app-id": "shop", "x-kept": "yes"}


def test_a_body_over_the_limit_of_a_filter_fails_the_event(dispatch: Dispatcher) -> None:
    failed = failure(dispatch, "plain", body=b"x" * 70_000)
    assert (failed.reason, failed.guest) == (Reason.TOO_LARGE, "passes")


def test_a_reply_that_a_filter_makes_too_large_is_not_sent(dispatch: Dispatcher) -> None:
    length = len(b"/marked/a|a\0|changed")
    assert failure(dispatch, "marked/a", reply_limit=ReplyLimit(length)).reason is Reason.TOO_LARGE


def test_other_events_than_invocations_have_no_filters(dispatch: Dispatcher) -> None:
    with pytest.raises(Failure, match="no guest answers the job 'closed'"):
        dispatch.dispatch(Event(Trigger.JOB, "closed"))


def test_an_event_is_answered_once_by_what_stands_behind() -> None:
    event = Event(Trigger.INVOKE, "m", onward=lambda event, deadline: Reply(b"", "text/plain"))
    changed = onward._changed(
        event, HttpRequest("GET", "n", "q", (("a", "1"), ("a", "2"), ("content-type", "t")), b"b")
    )
    assert (changed.name, changed.verb, changed.query, changed.content_type, changed.body) == (
        "n",
        "GET",
        "q",
        "t",
        b"b",
    )
    assert changed.metadata == {"a": "1, 2"}
    assert changed.onward is None


def question(arguments: object, what: str = "answer") -> Question:
    return Question(what, arguments, SimpleNamespace(payload=lambda: b"body"))  # type: ignore[arg-type]


REQUEST = {"verb": "GET", "name": "n", "query": "", "headers": [["a", "1"]]}


def test_a_worker_that_was_taken_over_passes_its_request_on_once() -> None:
    seen: list[Event] = []

    def behind(event: Event, deadline: Deadline) -> Reply:
        seen.append(event)
        return Reply(b"reply", "text/plain", headers=(("x", "y"),), answer=Answer(404))

    nothing: Any = None
    asked = AskedEvent(nothing, Event(Trigger.INVOKE, "m", onward=behind), Deadline.after(60))
    answers = onward._Answers(onward._Onward(), asked)
    given = answers(question(REQUEST))
    assert given.value == {"status": 404, "headers": [["content-type", "text/plain"], ["x", "y"]]}
    assert given.payload == [b"reply"]
    assert (seen[0].name, seen[0].body, seen[0].metadata) == ("n", b"body", {"a": "1"})
    with pytest.raises(WireError, match="passed on again"):
        answers(question(REQUEST))
    assert len(seen) == 1


@pytest.mark.parametrize(
    "asked",
    [
        question(REQUEST, "more"),
        question(None),
        question({**REQUEST, "verb": 3}),
        question({**REQUEST, "headers": [["a"]]}),
        question({**REQUEST, "headers": [["a", "b"]] * 5000}),
        question({**REQUEST, "headers": [["Guesthouse-Depth", "0"]]}),
    ],
)
def test_a_worker_s_request_that_is_none_breaks_the_protocol(asked: Question) -> None:
    nothing: Any = None
    event = AskedEvent(nothing, Event(Trigger.INVOKE, "m"), Deadline.after(60))
    with pytest.raises(WireError):
        onward._Answers(onward._Onward(), event)(asked)


def open_filters(tmp_path: Path, on_error: str) -> Path:
    chain = [("traps", ("open",), on_error), ("late", ("plain",), on_error)]
    text = manifest_of("thread", chain).replace('method = "closed"', 'method = "open"')
    return written(tmp_path, text)


def test_open_filters_are_left_out_also_when_they_fail_late(tmp_path: Path) -> None:
    path = open_filters(tmp_path, "pass")
    with open_plan(load(path, grants=GRANTS)) as plan:
        dispatch = Dispatcher(Plans(plan), NoOutputs())
        assert invoke(dispatch, "open").body == b"/open||body"
        assert invoke(dispatch, "plain").body == b"/plain||body"


def test_a_filter_whose_guest_is_switched_off_refuses_unless_it_may_be_left_out(tmp_path: Path) -> None:
    for on_error in ("refuse", "pass"):
        path = open_filters(tmp_path, on_error)
        path.write_text(path.read_text().replace("[guests.traps]\n", "[guests.traps]\nenabled = false\n"))
        with open_plan(load(path, grants=GRANTS)) as plan:
            dispatch = Dispatcher(Plans(plan), NoOutputs())
            if on_error == "pass":
                assert invoke(dispatch, "open").body == b"/open||body"
            else:
                failed = failure(dispatch, "open")
                assert (failed.reason, failed.text) == (Reason.OFF, "the filter 'traps' is switched off")


def test_a_filter_that_is_switched_off_is_left_out(tmp_path: Path) -> None:
    path = open_filters(tmp_path, "refuse")
    path.write_text(path.read_text().replace("[[filter]]\n", "[[filter]]\nenabled = false\n"))
    with open_plan(load(path, grants=GRANTS)) as plan:
        assert invoke(Dispatcher(Plans(plan), NoOutputs()), "open").body == b"/open||body"


@pytest.mark.parametrize(
    ("table", "fault"),
    [
        ('guest = "nobody"', "is no guest of this manifest"),
        ('guest = "fails"', '[[filter]] #1: guest — write calling = "http-wasm" in'),
        ('guest = "shows"', "[[filter]] #1: guest — make a guest of another name"),
        ('guest = "marks"\n[[filter]]\nguest = "marks"', "[[filter]] #2: guest — name all methods in that table"),
        ('guest = "marks"\nmethods = ["a*b"]', "[[filter]] #1: methods[0] — write * at the end alone"),
        ('guest = "marks"\nmethods = ["/"]', "[[filter]] #1: methods[0] — write a name"),
        ('guest = "marks"\non_error = "open"', "is not a choice"),
    ],
)
def test_faults_of_filters(tmp_path: Path, table: str, fault: str) -> None:
    path = written(tmp_path, f"{manifest_of('thread', [])}[[filter]]\n{table}\n")
    with pytest.raises(ManifestError) as caught:
        load(path, grants=GRANTS)
    assert any(fault in one for one in caught.value.faults)
