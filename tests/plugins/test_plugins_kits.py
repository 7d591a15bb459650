"""Guests of the real kits of Extism, waPC and http-wasm: their input and output, configuration, log, calls and errors.

What each does is the same in all languages: guests/extism_plugin, wapc_plugin and http_wasm_plugin show it in Rust.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from guesthouse.assembly import open_plan
from guesthouse.dapr.api_methods import method_of
from guesthouse.dispatch.dispatcher import Dispatcher
from guesthouse.event import Answer, Event, Failure, Reason, Reply, Trigger
from guesthouse.guests.capabilities import GRANTS
from guesthouse.guests.log import GuestLog
from guesthouse.manifest import load
from guesthouse.plan.current import Plans
from guesthouse.plan.plan import Plan
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.services import Ended, Log
from tests.plugins.kits import EXTISM, HTTP_WASM, WAPC
from tests.support.doubles import NoOutputs
from tests.support.places import PLACES, engine_table, isolation_of
from tests.support.scripted import Scripted, encoded, sidecar_of

#: Around the sizes at which kits change from bytes to words of eight, and a large one.
BODIES = [bytes(range(256))[:size] for size in (0, 1, 7, 8, 9, 15, 16, 17)] + [bytes(range(251)) * 800]
GET: tuple[str, bytes, dict[str, str]] = ("GetState", encoded("GetState", {"store_name": "state", "key": "key"}), {})

_TABLES = """
isolation = "{isolation}"
limits = {{ time = "20s" }}
config = {{ colour = "blue", guestConfig = "blue" }}
dapr = {{ read_state = ["state/key"] }}
"""
_EXTISM = """[guests.{name}]
module = "{module}"
calling = "extism"
function = "{name}"
"""
_ONE = """[guests.guest]
module = "{module}"
calling = "{calling}"
"""
_FILTER = """[guests.behind]
module = "{module}"
calling = "{calling}"
[[invoke]]
method = "pass"
guest = "behind"
[[filter]]
guest = "guest"
"""
FUNCTIONS = ("echo", "work", "refuse")


def _logged(plan: Plan) -> list[str]:
    """The lines that guests logged, as the page shows them."""
    logs = (guest.services[Log] for guest in plan.guests.values())
    return [line.text for log in logs if isinstance(log, GuestLog) for line in log.last()]


def _opened(folder: Path, place: str, guests: str) -> Any:
    path = folder / "guesthouse.toml"
    path.write_text(f'{engine_table(place)}[app]\nname = "t"\n[page]\napps = ["page"]\n{guests}')
    return open_plan(load(path, grants=GRANTS), {"dapr": Scripted()})


EXTISMS = [("extism", language, place) for language in EXTISM for place in PLACES]
WAPCS = [("wapc", language, place) for language in WAPC for place in PLACES]


@pytest.fixture(scope="module", params=[*EXTISMS, *WAPCS], ids="-".join)
def loaded(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plan]:
    kit, language, place = request.param
    tables = _TABLES.format(isolation=isolation_of(place))
    if kit == "extism":
        module = EXTISM[language]()
        guests = "".join(_EXTISM.format(name=name, module=module) + tables for name in FUNCTIONS)
    else:
        guests = _ONE.format(module=WAPC[language](), calling="wapc") + tables
    with _opened(tmp_path_factory.mktemp(kit), place, guests) as plan:
        yield plan


only_extism = pytest.mark.parametrize("loaded", EXTISMS, indirect=True, ids="-".join)
only_wapc = pytest.mark.parametrize("loaded", WAPCS, indirect=True, ids="-".join)

Call = Callable[[str, bytes], Reply]


@pytest.fixture
def plan(loaded: Plan) -> Plan:
    sidecar_of(loaded).__init__()  # type: ignore[misc]
    return loaded


@pytest.fixture
def call(plan: Plan) -> Call:
    def call(name: str, body: bytes) -> Reply:
        guest = plan.guests.get(name) or plan.guests["guest"]
        return guest.run(Event(Trigger.INVOKE, name, body), Deadline.after(60))

    return call


def _found(plan: Plan, value: bytes) -> None:
    response = method_of("GetState").response(data=value).SerializeToString()
    sidecar_of(plan).reply = lambda _, done: done(Ended(0, "", response))


@pytest.mark.parametrize("body", BODIES, ids=len)
def test_a_body_comes_back_as_it_was(call: Call, body: bytes) -> None:
    assert call("echo", body).body == body


@only_extism
def test_a_plugin_reads_its_configuration_keeps_a_variable_and_calls_the_sidecar(plan: Plan, call: Call) -> None:
    _found(plan, b"stored")
    assert call("work", "grün".encode()).body == "blue grün true stored".encode()
    assert sidecar_of(plan).made == [GET]
    assert "work: 5 bytes" in _logged(plan)


@only_wapc
def test_a_guest_of_wapc_logs_and_calls_the_sidecar(plan: Plan, call: Call) -> None:
    _found(plan, b"stored")
    assert call("work", "grün".encode()).body == "grün stored".encode()
    assert sidecar_of(plan).made == [GET]
    assert "work: 5 bytes" in _logged(plan)


def test_a_call_that_fails_is_the_guests_own_error(plan: Plan, call: Call) -> None:
    sidecar_of(plan).reply = lambda _, done: done(Ended(10, "stale etag"))
    with pytest.raises(Failure, match="stale etag") as failed:
        call("work", b"x")
    assert failed.value.reason is Reason.GUEST


def test_an_absent_state_is_empty(plan: Plan, call: Call) -> None:
    sidecar_of(plan).reply = lambda _, done: done(Ended(0, "", b""))
    assert call("work", b"x").body in (b"blue x true ", b"x ")


def test_an_error_says_what_the_guest_says(call: Call) -> None:
    with pytest.raises(Failure) as failed:
        call("refuse", b"cup")
    assert (failed.value.reason, failed.value.text) == (Reason.GUEST, "no cup")


@only_wapc
def test_an_operation_that_is_not_registered_is_an_error(call: Call) -> None:
    with pytest.raises(Failure, match=r"(?i)(could not find function|no handler registered)"):
        call("other", b"")


# ---- http-wasm ----


@pytest.fixture(scope="module", params=[(place, language) for place in PLACES for language in HTTP_WASM], ids="-".join)
def module(request: Any) -> tuple[str, str]:
    place, language = request.param
    tables = _TABLES.format(isolation=isolation_of(place)).replace('dapr = { read_state = ["state/key"] }\n', "")
    return place, _ONE.format(module=HTTP_WASM[language](), calling="http-wasm") + tables


def test_a_guest_of_http_wasm_answers(module: tuple[str, str], tmp_path: Path) -> None:
    place, guest = module
    with _opened(tmp_path, place, guest) as plan:
        event = Event(Trigger.INVOKE, "cup", b"tea" * 9999, "text/plain", "PUT", "n=1", metadata={"x-mark": "given"})
        reply = plan.guests["guest"].run(event, Deadline.after(60))
        assert reply.body == b"blue /cup?n=1 given " + b"tea" * 9999
        assert (reply.answer, reply.content_type) == (Answer(201), "text/plain")
        assert dict(reply.headers) == {"x-method": "PUT"}
        assert "work" in _logged(plan)


def test_a_guest_of_http_wasm_passes_on_as_a_filter_and_changes_both_messages(
    module: tuple[str, str], tmp_path: Path
) -> None:
    place, guest = module
    behind = _FILTER.format(module=HTTP_WASM["rust"](), calling="http-wasm")
    with _opened(tmp_path, place, guest + behind) as plan:
        dispatch = functools.partial(Dispatcher(Plans(plan), NoOutputs()).dispatch, deadline=Deadline.after(60))
        reply = dispatch(Event(Trigger.INVOKE, "pass", b"tea", "", "POST", "", metadata={"x-mark": "given"}))
    assert reply.answer == Answer(404)  # the guest behind passes on as well, and nothing stands behind that
    assert dict(reply.headers)["x-seen"] == "7 false 404"
