"""`wasmedge_tensorflowlite` in both generations, called without an engine."""

from __future__ import annotations

import numpy as np
import pytest

from guesthouse_abi.errors import Trap
from guesthouse_abi.imports.wasmedge_tensorflowlite import MODULE
from tests.abi.inference_host import Host

OK, INVALID, MISSING, BUSY = 0, 1, 3, 4
FAR = 0xFFFF_FFF0


@pytest.fixture
def host() -> Host:
    return Host(MODULE)


def open_session(host: Host, model: str = "doubler") -> int:
    errno, session = host.reader("create_session")(*host.put(f"guesthouse:model/{model}"))
    assert errno == OK
    return session


def output(host: Host, session: int, name: str = "y") -> int:
    errno, tensor = host.reader("get_output_tensor")(session, *host.put(name))
    assert errno == OK
    return tensor


def test_runs_a_model_and_says_how_much_it_wrote(host):
    session = open_session(host, "fixed")
    assert host.call("append_input", session, *host.put("x"), *host.put_floats(1, 2, 3)) == OK
    assert host.call("run_session", session) == OK
    tensor = output(host, session)
    assert host.reader("get_tensor_len")(session, tensor) == (OK, 12)
    assert host.reader("get_tensor_data")(session, tensor, 64, 12) == (OK, 12)
    assert host.floats(64, 3) == [2, 4, 6]
    assert host.call("delete_session", session) == OK
    assert host.context.held == 0


def test_takes_a_free_first_dimension_from_the_number_of_bytes(host):
    session = open_session(host)
    assert host.call("append_input", session, *host.put("x"), *host.put_floats(*range(6))) == OK
    assert host.call("run_session", session) == OK
    given = host.inference.models["doubler"].ran[0]["x"]
    assert (given.shape, given.dtype) == ((2, 3), np.float32)
    assert host.reader("get_tensor_len")(session, output(host, session)) == (OK, 24)


def test_outputs_are_numbered_and_have_their_length_before_the_run(host):
    session = open_session(host)
    assert (output(host, session), output(host, session, "sum")) == (0, 1)
    assert host.reader("get_tensor_len")(session, 0) == (OK, 12)
    assert host.reader("get_tensor_len")(session, 1) == (OK, 4)
    assert host.reader("get_tensor_len")(session, 2)[0] == INVALID
    assert host.said("there is no tensor 2: the model doubler has 2 outputs")


def test_an_output_has_no_bytes_before_the_run(host):
    session = open_session(host, "fixed")
    assert host.call("get_tensor_data", session, 0, 64, 12, 16) == INVALID
    assert host.said("the output y has no value before run_session has succeeded")


@pytest.mark.parametrize("size", [0, 8, 11, 13, 24])
def test_a_buffer_of_another_length_is_invalid(host, size):
    session = open_session(host, "fixed")
    host.call("append_input", session, *host.put("x"), *host.put_floats(1, 2, 3))
    host.call("run_session", session)
    assert host.call("get_tensor_data", session, 0, 64, size, 16) == INVALID
    assert host.said(f"the output y has 12 bytes; the buffer has {size}")


@pytest.mark.parametrize(
    ("model", "name", "size", "text"),
    [
        ("fixed", "x", 8, "the input x float32[1,3] has 12 bytes; 8 came"),
        ("doubler", "x", 8, "the input x float32[?,3] has a multiple of 12 bytes; 8 came"),
        ("fixed", "x", 0, "the input x float32[1,3] has 12 bytes; 0 came"),
        ("shapeless", "x", 12, "the input x float32[any shape] has no shape of its own; bytes alone do not tell one"),
        ("fixed", "x:0", 12, "the model fixed has no input 'x:0'; it has x float32[1,3]; words text[1]"),
        ("fixed", "words", 4, "the input words text[1] is not of numbers that a guest can give"),
    ],
)
def test_an_input_that_does_not_fit_is_invalid(host, model, name, size, text):
    session = open_session(host, model)
    assert host.call("append_input", session, *host.put(name), 64, size) == INVALID
    assert host.said(text)


def test_a_run_that_fails_is_busy(host):
    assert host.call("run_session", open_session(host)) == BUSY
    assert host.said("wasmedge_tensorflowlite.run_session: the input x was not given")


def test_pointers_outside_the_memory_are_missing_memory(host):
    session = open_session(host, "fixed")
    assert host.call("create_session", FAR, 100, 16) == MISSING
    assert host.call("create_session", *host.put("guesthouse:model/fixed"), FAR) == MISSING
    assert host.call("append_input", session, FAR, 1, *host.put_floats(1, 2, 3)) == MISSING
    assert host.call("append_input", session, *host.put("x"), FAR, 12) == MISSING
    assert host.call("get_output_tensor", session, FAR, 1, 16) == MISSING
    assert host.call("get_output_tensor", session, *host.put("y"), FAR) == MISSING
    assert host.call("get_tensor_len", session, 0, FAR) == MISSING
    host.call("append_input", session, *host.put("x"), *host.put_floats(1, 2, 3))
    host.call("run_session", session)
    assert host.call("get_tensor_data", session, 0, FAR, 12, 16) == MISSING
    assert host.call("get_tensor_data", session, 0, 64, 12, FAR) == MISSING


def test_unknown_sessions_are_invalid_except_to_delete(host):
    assert host.call("run_session", 5) == INVALID
    assert host.call("append_input", 5, *host.put("x"), 64, 12) == INVALID
    assert host.call("get_output_tensor", 5, *host.put("y"), 16) == INVALID
    assert host.call("get_tensor_len", 5, 0, 16) == INVALID
    assert host.call("get_tensor_data", 5, 0, 64, 4, 16) == INVALID
    assert host.call("delete_session", 5) == OK


V1 = "wasmedge_tensorflowlite_"


def open_v1(host: Host) -> int:
    session: int = host.call(V1 + "create_session", *host.put("guesthouse:model/fixed"))
    assert session > 0
    return session


def test_v1_runs_a_model_and_reads_its_output(host):
    session = open_v1(host)
    host.call(V1 + "append_input", session, *host.put("x"), *host.put_floats(1, 2, 3))
    assert host.call(V1 + "run_session", session) == 0
    tensor = host.call(V1 + "get_output_tensor", session, *host.put("y"))
    assert host.call(V1 + "get_tensor_len", tensor) == 12
    host.call(V1 + "get_tensor_data", tensor, 64)
    assert host.floats(64, 3) == [2, 4, 6]
    host.call(V1 + "delete_session", session)
    assert host.call(V1 + "get_tensor_len", tensor) == 0
    assert host.context.held == 0


def test_v1_says_the_length_but_gives_no_data_before_the_run(host):
    tensor = host.call(V1 + "get_output_tensor", open_v1(host), *host.put("y"))
    assert host.call(V1 + "get_tensor_len", tensor) == 12
    host.memory.write(64, b"\xee" * 12)
    host.call(V1 + "get_tensor_data", tensor, 64)
    assert host.memory.read(64, 12) == b"\xee" * 12
    assert host.said("has no value before run_session has succeeded")


def test_v1_a_wrong_input_is_logged_and_fails_the_run(host):
    session = open_v1(host)
    host.call(V1 + "append_input", session, *host.put("z"), *host.put_floats(1, 2, 3))
    assert host.said("wasmedge_tensorflowlite_append_input: the model fixed has no input 'z'")
    assert host.call(V1 + "run_session", session) == 1


def test_v1_with_the_null_handle_answers_nothing(host):
    assert host.call(V1 + "create_session", *host.put("not a model")) == 0
    host.call(V1 + "append_input", 0, *host.put("x"), 64, 12)
    assert host.call(V1 + "run_session", 0) == 1
    assert host.call(V1 + "get_output_tensor", 0, *host.put("y")) == 0
    assert host.call(V1 + "get_tensor_len", 0) == 0
    host.call(V1 + "get_tensor_data", 0, 64)
    host.call(V1 + "delete_session", 0)


def test_v1_an_unknown_output_is_the_null_handle(host):
    assert host.call(V1 + "get_output_tensor", open_v1(host), *host.put("z")) == 0
    assert host.said("the model fixed has no output 'z'; it has y float32[1,3]")


def test_v1_a_bad_pointer_traps_where_there_is_no_result(host):
    session = open_v1(host)
    with pytest.raises(Trap, match="are outside the guest's memory"):
        host.call(V1 + "append_input", session, *host.put("x"), FAR, 12)
    host.call(V1 + "append_input", session, *host.put("x"), *host.put_floats(1, 2, 3))
    host.call(V1 + "run_session", session)
    tensor = host.call(V1 + "get_output_tensor", session, *host.put("y"))
    with pytest.raises(Trap, match="are outside the guest's memory"):
        host.call(V1 + "get_tensor_data", tensor, host.size - 4)
    assert host.guarded


def test_an_output_that_cannot_be_given_fails_alone(host):
    session = open_session(host, "voting")
    assert host.call("append_input", session, *host.put("x"), *host.put_floats(1, 2, 3)) == OK
    assert host.call("run_session", session) == OK
    data = host.call("get_tensor_data", session, output(host, session), 64, 12, 16)
    assert (data, host.floats(64, 3)) == (OK, [2, 4, 6])
    assert host.call("get_output_tensor", session, *host.put("votes"), 16) == INVALID
    assert host.call("get_tensor_len", session, 0, 16) == INVALID
    assert host.call("get_tensor_data", session, 0, 64, 12, 16) == INVALID
    assert host.said("the output votes is a sequence, which cannot be given to a guest")


def test_no_bytes_are_no_rows_where_the_first_dimension_is_free(host):
    session = open_session(host)
    assert host.call("append_input", session, *host.put("x"), 64, 0) == OK
    assert host.call("run_session", session) == OK
    assert host.call("get_tensor_len", session, output(host, session), 16) == OK
    assert host.memory.u32(16) == 0
