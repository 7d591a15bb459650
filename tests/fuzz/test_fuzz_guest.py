"""Host functions called by a real guest, in a real engine, with arbitrary numbers and arbitrary memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guesthouse.engine import open_engine
from guesthouse.engine.base import EngineConfig, Linked
from guesthouse.inference.model import ModelConfig
from guesthouse.inference.registry import Registry
from guesthouse_abi import errors
from guesthouse_abi.calling import Request
from guesthouse_abi.calling.bindgen import Bindgen, BoundFunction
from guesthouse_abi.context import Context
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.grants import Grants, Limits
from guesthouse_abi.host import FuncType, ValType
from guesthouse_abi.services import Inference, Log, Services
from tests.hostile.attacks import ALLOCATED_AT, CALLABLE, NUMBERS, SIZE, call, caller
from tests.support.budget import examples
from tests.support.doubles import Lines
from tests.support.places import ENGINES
from tests.support.wat import linked

MARKER, NAME = b"guesthouse:model/person", b"person"
CALLS, MEMORY = 6, 1 << 20
#: Behind the calls: a name, a model's marker, and whatever bytes are drawn.
TAIL_AT = ALLOCATED_AT + CALLS * SIZE


@pytest.fixture(scope="module", params=ENGINES)
def guest(request: pytest.FixtureRequest) -> Iterator[Linked]:
    with closing(open_engine(request.param, EngineConfig())) as engine:
        yield linked(engine, caller(), MEMORY)


@pytest.fixture(scope="module")
def models(request: pytest.FixtureRequest) -> Iterator[Registry]:
    path = request.config.rootpath / "models" / "visual_wake_words.onnx"
    registry = Registry.open([ModelConfig(name="person", path=path, threads=1)])
    yield registry
    registry.close()


numbers = st.one_of(
    st.sampled_from([*NUMBERS, *range(8), len(MARKER), len(NAME), TAIL_AT, TAIL_AT + len(MARKER)]),
    st.integers(TAIL_AT, TAIL_AT + 400),
    st.integers(0, (1 << 64) - 1),
)


@settings(max_examples=examples(300), deadline=None)
@given(data=st.data())
def test_every_call_is_answered_and_what_ends_a_guest_is_its_own(guest: Linked, models: Registry, data):
    rows = []
    for _ in range(CALLS):
        host = data.draw(st.sampled_from(CALLABLE))
        rows.append(call(host, [data.draw(numbers) for _ in host.signature.params]))
    body = b"".join(rows) + MARKER + NAME + data.draw(st.binary(max_size=400))
    log, limits = Lines(), Limits(memory=MEMORY, host_memory=1 << 20, pixels=10_000, log=2000)
    grants = Grants(models=frozenset({"person"}), env=(("A", "b"),), allow_guest_models=True)
    context = Context(
        Deadline.after(0.5), grants, limits, Services({Inference: models, Log: log}), arguments=("guest",)
    )
    caller = BoundFunction(Bindgen("f"), "B", (), FuncType((ValType.I32, ValType.I32)))
    try:
        instance = guest.instantiate(context)
        try:
            caller.run(lambda: instance, context, Request(body))
        finally:
            instance.close()
    except errors.HostFunctionError as fault:
        raise AssertionError("a host function failed by itself") from fault
    except (errors.CallError, errors.HostError):
        pass
    assert 0 <= context.held <= limits.host_memory
    assert sum(len(line) for _, line in log.lines) < limits.log + 200
