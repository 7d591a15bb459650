"""One row of numbers for what all modules for inference open: a number means one thing, to the module that gave it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guesthouse_abi.host import HostModule
from guesthouse_abi.imports import wasmedge_tensorflow, wasmedge_tensorflowlite
from guesthouse_abi.imports.wasi_nn import ephemeral
from tests.abi.inference_host import Host

FULL, LITE, NN = wasmedge_tensorflow.MODULE, wasmedge_tensorflowlite.MODULE, ephemeral.MODULE
INVALID, BUSY = 1, 4


def call(host: Host, module: HostModule, name: str, *values: int) -> int:
    return int(module.functions[name].invoke(host.context, *values))


def opened(host: Host, module: HostModule) -> int:
    """The number of a session, or of an execution context, on a model."""
    if module is NN:
        assert call(host, NN, "load_by_name", *host.put("fixed"), 16) == 0
        assert call(host, NN, "init_execution_context", host.memory.u32(16), 16) == 0
    else:
        assert call(host, module, "create_session", *host.put("guesthouse:model/fixed"), 16) == 0
    return host.memory.u32(16)


def run(host: Host, module: HostModule, session: int) -> int:
    return call(host, module, "compute" if module is NN else "run_session", session)


@given(st.lists(st.sampled_from([FULL, LITE, NN]), min_size=1, max_size=6))
def test_a_session_is_known_to_the_module_that_opened_it_alone(modules):
    host = Host(FULL)
    sessions = [(module, opened(host, module)) for module in modules]
    assert len({number for _, number in sessions}) == len(sessions)
    for owner, session in sessions:
        for module in (FULL, LITE, NN):
            # 1 is an unknown session; a known one lacks its input, which is another number in each.
            assert (run(host, module, session) == INVALID) is (module is not owner)


def test_deleting_by_another_module_deletes_nothing():
    host = Host(FULL)
    lite, full = opened(host, LITE), opened(host, FULL)
    assert call(host, FULL, "delete_session", lite) == 0
    assert call(host, LITE, "delete_session", full) == 0
    assert call(host, NN, "finalize_execution_context", full) == INVALID
    assert host.said(f"{full} is a session of wasmedge_tensorflow, and no execution context of wasi-nn")
    assert run(host, LITE, lite) != INVALID
    assert run(host, FULL, full) != INVALID


def test_a_tensor_of_v1_is_known_to_its_module_alone():
    host = Host(LITE)
    session = opened(host, LITE)
    tensor = call(host, LITE, "wasmedge_tensorflowlite_get_output_tensor", session, *host.put("y"))
    assert call(host, LITE, "wasmedge_tensorflowlite_get_tensor_len", tensor) == 12
    assert call(host, FULL, "wasmedge_tensorflow_get_tensor_len", tensor) == 0
    assert host.said(f"{tensor} is a tensor of wasmedge_tensorflowlite, and no tensor of wasmedge_tensorflow")


def test_64_sessions_are_open_at_once_in_all_modules_together():
    host = Host(FULL, size=1 << 20)
    for module in [FULL, LITE, FULL, LITE] * 16:
        opened(host, module)
    name = host.put("guesthouse:model/fixed")
    assert [call(host, module, "create_session", *name, 16) for module in (FULL, LITE)] == [BUSY, BUSY]
    assert call(host, NN, "load_by_name", *host.put("fixed"), 16) == 0
    assert call(host, NN, "init_execution_context", host.memory.u32(16), 16) == BUSY


@pytest.mark.parametrize("graph", [True, False])
def test_a_graph_is_no_execution_context(graph):
    host = Host(NN)
    context = opened(host, NN)
    number = context - 1 if graph else context
    assert (call(host, NN, "unload", number) == INVALID) is not graph
    assert (call(host, NN, "finalize_execution_context", number) == INVALID) is graph
