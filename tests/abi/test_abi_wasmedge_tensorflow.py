"""`wasmedge_tensorflow` in both generations, called without an engine."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from guesthouse_abi.errors import DeadlineExceeded, Trap
from guesthouse_abi.grants import Limits
from guesthouse_abi.imports.wasmedge_tensorflow import MODULE
from tests.abi.inference_host import Host

FLOAT, INT32, BOOL = 1, 3, 10
OK, INVALID, MISSING, BUSY = 0, 1, 3, 4
FAR = 0xFFFF_FFF0


@pytest.fixture
def host() -> Host:
    return Host(MODULE)


def open_session(host: Host, model: str = "doubler") -> int:
    errno, session = host.reader("create_session")(*host.put(f"guesthouse:model/{model}"))
    assert errno == OK
    return session


def append(host: Host, session: int, name: str = "x", values: tuple[float, ...] = (1, 2, 3)) -> int:
    return host.call(
        "append_input", session, *host.put(name), *host.put_shape(1, len(values)), FLOAT, *host.put_floats(*values)
    )


def result(host: Host, session: int, name: str = "y") -> list[float]:
    errno, tensor = host.reader("get_output_tensor")(session, *host.put(name))
    assert errno == OK
    errno, size = host.reader("get_tensor_len")(session, tensor)
    assert errno == OK
    assert host.call("get_tensor_data", session, tensor, 64, size, 16) == OK
    assert host.memory.u32(16) == size
    return host.floats(64, size // 4)


# ---- v2 ----


def test_runs_a_model_and_reads_its_output(host):
    session = open_session(host)
    assert append(host, session) == OK
    assert host.call("append_output", session, *host.put("y")) == OK
    assert host.call("run_session", session) == OK
    assert result(host, session) == [2, 4, 6]
    assert host.call("delete_session", session) == OK
    assert host.context.held == 0
    assert host.context.spent.seconds["inference"] > 0


@pytest.mark.parametrize("name", ["x", "x:0"])
def test_finds_an_input_with_and_without_its_index(host, name):
    session = open_session(host)
    assert append(host, session, name) == OK


def test_finds_an_input_whose_index_is_part_of_the_models_own_name(host):
    session = open_session(host)
    call = ("append_input", session, *host.put("flag:1"), *host.put_shape(2), BOOL, *host.put(b"\x00\x07"))
    assert host.call(*call) == OK
    append(host, session)
    assert host.call("run_session", session) == OK
    given = host.inference.models["doubler"].ran[0]["flag:1"]
    assert given.dtype == np.bool_
    assert given.view(np.uint8).tolist() == [0, 1]


def test_finds_an_output_by_the_manifests_name_for_it(host):
    session = open_session(host)
    append(host, session)
    assert host.call("append_output", session, *host.put("twice")) == OK
    assert host.call("append_output", session, *host.put("y:0")) == OK
    assert host.call("run_session", session) == OK
    assert result(host, session, "twice") == result(host, session, "y:0") == [2, 4, 6]
    assert host.inference.models["doubler"].asked == [["y"]]


def test_appending_an_input_again_replaces_it(host):
    session = open_session(host)
    append(host, session, "x", (1, 2, 3))
    held = host.context.held
    append(host, session, "x:0", (7, 8, 9))
    assert host.context.held == held
    host.call("append_output", session, *host.put("y"))
    host.call("run_session", session)
    assert result(host, session) == [14, 16, 18]


def test_the_guest_may_reuse_its_buffer_before_the_run(host):
    session = open_session(host)
    data = host.put_floats(1, 2, 3)
    host.call("append_input", session, *host.put("x"), *host.put_shape(1, 3), FLOAT, *data)
    host.memory.write(data[0], b"\xff" * 12)
    host.call("append_output", session, *host.put("y"))
    host.call("run_session", session)
    assert result(host, session) == [2, 4, 6]


def test_does_not_read_the_dimensions_of_a_scalar(host):
    session = open_session(host)
    assert host.call("append_input", session, *host.put("k"), FAR, 0, INT32, *host.put(struct.pack("<i", 5))) == OK
    append(host, session)
    host.call("append_output", session, *host.put("y"))
    host.call("append_output", session, *host.put("sum"))
    assert host.call("run_session", session) == OK
    assert result(host, session) == [7, 9, 11]
    assert result(host, session, "sum") == [6]


def test_a_tensor_has_no_length_and_no_bytes_before_the_run(host):
    session = open_session(host)
    host.call("append_output", session, *host.put("y"))
    _, tensor = host.reader("get_output_tensor")(session, *host.put("y"))
    assert host.reader("get_tensor_len")(session, tensor) == (OK, 0)
    assert host.reader("get_tensor_data")(session, tensor, 64, 12) == (OK, 0)


def test_copies_no_more_than_the_buffer_takes(host):
    session = open_session(host)
    append(host, session)
    host.call("append_output", session, *host.put("y"))
    host.call("run_session", session)
    _, tensor = host.reader("get_output_tensor")(session, *host.put("y"))
    host.memory.write(64, b"\xee" * 16)
    assert host.reader("get_tensor_data")(session, tensor, 64, 8) == (OK, 8)
    assert host.floats(64, 2) == [2, 4]
    assert host.memory.read(72, 8) == b"\xee" * 8
    assert host.reader("get_tensor_data")(session, tensor, 64, 100) == (OK, 12)


def test_gives_the_same_tensor_each_time_it_is_asked_for(host):
    session = open_session(host)
    host.call("append_output", session, *host.put("y"))
    ask = host.reader("get_output_tensor")
    assert ask(session, *host.put("y")) == ask(session, *host.put("y"))


def test_tensors_die_with_the_outputs_and_with_the_session(host):
    session = open_session(host)
    host.call("append_output", session, *host.put("y"))
    _, tensor = host.reader("get_output_tensor")(session, *host.put("y"))
    assert host.call("clear_output", session) == OK
    assert host.reader("get_tensor_len")(session, tensor)[0] == INVALID
    assert host.reader("get_output_tensor")(session, *host.put("y"))[0] == INVALID
    assert host.said("the output y:0 was not appended before")
    host.call("append_output", session, *host.put("y"))
    _, tensor = host.reader("get_output_tensor")(session, *host.put("y"))
    host.call("delete_session", session)
    assert host.reader("get_tensor_len")(session, tensor)[0] == INVALID
    assert host.said("there is no tensor")


def test_handles_are_never_used_again(host):
    first = open_session(host)
    host.call("delete_session", first)
    second = open_session(host)
    assert second > first
    assert host.call("run_session", first) == INVALID
    assert host.said(f"there is no session {first}")


def test_a_tensor_belongs_to_its_session(host):
    one, other = open_session(host), open_session(host)
    host.call("append_output", one, *host.put("y"))
    _, tensor = host.reader("get_output_tensor")(one, *host.put("y"))
    assert host.reader("get_tensor_len")(other, tensor)[0] == INVALID
    assert host.said(f"the tensor {tensor} is not of session {other}")


def test_clear_input_forgets_the_inputs_and_what_they_held(host):
    session = open_session(host)
    append(host, session)
    assert host.context.held == 12
    assert host.call("clear_input", session) == OK
    assert host.context.held == 0
    host.call("append_output", session, *host.put("y"))
    assert host.call("run_session", session) == BUSY
    assert host.said("the input x was not given")


def test_deleting_an_unknown_session_is_no_error(host):
    assert host.call("delete_session", 77) == OK


def test_links_saved_models_and_refuses_them(host):
    assert host.call("create_session_saved_model", *host.put("./saved"), 0, 0, 16) == INVALID
    assert host.said("a saved model is a folder, and none is read here: give the guest a model of the name './saved'")


def test_opens_a_saved_model_by_the_name_that_the_guests_table_has_for_it():
    host = Host(MODULE, models=frozenset({"doubler"}), aliases=(("./saved", "doubler"),))
    assert host.call("create_session_saved_model", *host.put("./saved"), 0, 0, 16) == 0
    assert host.call("append_output", host.memory.u32(16), *host.put("y")) == 0


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("z", "the model doubler has no input 'z:0'; it has x float32[?,3]; k int32[]; flag:1 bool[2]"),
        ("x:1", "the model doubler has no input 'x:1'"),
        ("a" * 5000, "a string of 5000 bytes; at most 4096 are read here"),
    ],
)
def test_an_unknown_input_is_invalid_and_the_log_names_those_there_are(host, name, text):
    session = open_session(host)
    assert append(host, session, name) == INVALID
    assert host.said(text)


def test_an_unknown_output_is_invalid(host):
    session = open_session(host)
    assert host.call("append_output", session, *host.put("z:2")) == INVALID
    assert host.said("the model doubler has no output 'z:2'; it has y float32[?,3]; sum float32[]")
    assert host.call("append_output", session, *host.put(b"\xff\xfe")) == INVALID
    assert host.said("a string that is not UTF-8")


@pytest.mark.parametrize(
    ("shape", "dtype", "size", "text"),
    [
        ((1, 3), FLOAT, 8, "a tensor float32[1, 3] has 12 bytes; 8 came"),
        ((1 << 40, 1 << 40), FLOAT, 12, f"a tensor float32[{1 << 40}, {1 << 40}] has {4 << 80} bytes; 12 came"),
        ((-1, -3), FLOAT, 12, "a tensor of shape [-1, -3]: a dimension is negative"),
        ((1 << 62, 1 << 62, 0), FLOAT, 0, "an empty tensor of shape"),
        ((1,) * 17, FLOAT, 4, "a tensor of 17 dimensions; at most 16"),
        ((1, 3), 7, 12, "the data type 7 of the input x is not one of 1 float32, 2 float64"),
    ],
)
def test_a_tensor_that_contradicts_itself_is_invalid(host, shape, dtype, size, text):
    session = open_session(host)
    assert host.call("append_input", session, *host.put("x"), *host.put_shape(*shape), dtype, 64, size) == INVALID
    assert host.said(text)
    assert host.context.held == 0


def test_pointers_outside_the_memory_are_missing_memory(host):
    name, shape, data = host.put("x"), host.put_shape(1, 3), host.put_floats(1, 2, 3)
    assert host.call("create_session", FAR, 100, 16) == MISSING
    assert host.call("create_session", *host.put("guesthouse:model/doubler"), FAR) == MISSING
    session = open_session(host)
    assert host.call("append_input", session, FAR, 1, *shape, FLOAT, *data) == MISSING
    assert host.call("append_input", session, *name, FAR, 2, FLOAT, *data) == MISSING
    assert host.call("append_input", session, *name, *shape, FLOAT, FAR, 12) == MISSING
    assert host.call("append_output", session, FAR, 1) == MISSING
    host.call("append_input", session, *name, *shape, FLOAT, *data)
    host.call("append_output", session, *host.put("y"))
    host.call("run_session", session)
    assert host.call("get_output_tensor", session, FAR, 1, 16) == MISSING
    assert host.call("get_output_tensor", session, *host.put("y"), FAR) == MISSING
    _, tensor = host.reader("get_output_tensor")(session, *host.put("y"))
    assert host.call("get_tensor_len", session, tensor, FAR) == MISSING
    assert host.call("get_tensor_data", session, tensor, FAR, 12, 16) == MISSING
    assert host.call("get_tensor_data", session, tensor, 64, 12, FAR) == MISSING
    assert host.memory.read(64, 12) == bytes(12)


def test_a_guest_without_a_memory_is_missing_memory(host):
    host.context.memory = None
    assert host.call("create_session", 0, 1, 16) == MISSING


def test_sessions_are_bounded(host):
    for _ in range(64):
        open_session(host)
    assert host.reader("create_session")(*host.put("guesthouse:model/doubler"))[0] == BUSY
    assert host.said("64 sessions are open; delete one first")


def test_tensors_count_as_host_memory():
    host = Host(MODULE, limits=Limits(host_memory=30))
    session = open_session(host)
    assert append(host, session, "x", tuple(range(9))) == BUSY
    assert host.said("36 bytes of host memory for one event; the limit host_memory is 30")
    assert host.context.held == 0
    assert append(host, session) == OK
    host.call("append_output", session, *host.put("y"))
    host.call("append_output", session, *host.put("sum"))
    assert host.call("run_session", session) == OK
    assert host.context.held == 28
    assert host.call("run_session", session) == OK
    assert append(host, session, "k", (1,)) == BUSY
    assert host.call("clear_output", session) == OK
    assert host.context.held == 12


def test_a_run_past_the_deadline_ends_the_event(host):
    session = open_session(host)
    append(host, session)
    host.context.deadline.at = 0
    with pytest.raises(DeadlineExceeded):
        host.call("run_session", session)


# ---- v1 ----

V1 = "wasmedge_tensorflow_"


def open_v1(host: Host) -> int:
    session: int = host.call(V1 + "create_session", *host.put("guesthouse:model/doubler"))
    assert session > 0
    return session


def append_v1(host: Host, session: int, name: str = "x", values: tuple[float, ...] = (1, 2, 3)) -> None:
    shape = host.put_shape(1, len(values))
    host.call(V1 + "append_input", session, *host.put(name), 0, *shape, FLOAT, *host.put_floats(*values))


def test_v1_runs_a_model_and_reads_its_output(host):
    session = open_v1(host)
    append_v1(host, session)
    host.call(V1 + "append_output", session, *host.put("y"), 0)
    assert host.call(V1 + "run_session", session) == 0
    tensor = host.call(V1 + "get_output_tensor", session, *host.put("y"), 0)
    assert host.call(V1 + "get_tensor_len", tensor) == 12
    host.call(V1 + "get_tensor_data", tensor, 64)
    assert host.floats(64, 3) == [2, 4, 6]
    host.call(V1 + "delete_session", session)
    assert host.context.held == 0
    assert host.log.lines == []


def test_v1_answers_a_null_handle_for_a_model_it_does_not_have(host):
    assert host.call(V1 + "create_session", *host.put("guesthouse:model/other")) == 0
    assert host.said("the manifest does not grant the model 'other' to this guest")
    assert host.call(V1 + "create_session", FAR, 10) == 0


def test_v1_with_the_null_handle_does_nothing_and_fails_the_run(host):
    append_v1(host, 0)
    host.call(V1 + "append_output", 0, *host.put("y"), 0)
    assert host.call(V1 + "run_session", 0) == 1
    assert host.call(V1 + "get_output_tensor", 0, *host.put("y"), 0) == 0
    assert host.call(V1 + "get_tensor_len", 0) == 0
    host.call(V1 + "get_tensor_data", 0, 64)
    host.call(V1 + "clear_input", 0)
    host.call(V1 + "clear_output", 0)
    host.call(V1 + "delete_session", 0)
    assert host.said("wasmedge_tensorflow_append_input: there is no session 0")


def test_v1_appends_the_same_input_twice_and_the_last_counts(host):
    session = open_v1(host)
    append_v1(host, session, "x", (1, 1, 1))
    append_v1(host, session, "x", (5, 5, 5))
    host.call(V1 + "append_output", session, *host.put("y"), 0)
    host.call(V1 + "run_session", session)
    host.call(V1 + "get_tensor_data", host.call(V1 + "get_output_tensor", session, *host.put("y"), 0), 64)
    assert host.floats(64, 3) == [10, 10, 10]


def test_v1_tensors_die_when_the_session_runs_again(host):
    session = open_v1(host)
    append_v1(host, session)
    host.call(V1 + "append_output", session, *host.put("y"), 0)
    assert host.call(V1 + "get_output_tensor", session, *host.put("y"), 0) == 0  # before the first run
    host.call(V1 + "run_session", session)
    tensor = host.call(V1 + "get_output_tensor", session, *host.put("y"), 0)
    host.call(V1 + "run_session", session)
    assert host.call(V1 + "get_tensor_len", tensor) == 0
    host.call(V1 + "get_tensor_data", tensor, 64)
    assert host.said(f"wasmedge_tensorflow_get_tensor_data: there is no tensor {tensor}")
    assert host.memory.read(64, 12) == bytes(12)
    host.call(V1 + "clear_output", session)
    assert host.call(V1 + "get_output_tensor", session, *host.put("y"), 0) == 0


def test_v1_a_wrong_input_is_logged_and_fails_the_run_until_the_inputs_are_cleared(host):
    session = open_v1(host)
    append_v1(host, session)
    append_v1(host, session, "z")
    assert host.said("wasmedge_tensorflow_append_input: the model doubler has no input 'z:0'")
    assert host.call(V1 + "run_session", session) == 1
    assert host.said("not run: the model doubler has no input 'z:0'")
    host.call(V1 + "clear_input", session)
    append_v1(host, session)
    assert host.call(V1 + "run_session", session) == 0


def test_v1_a_bad_pointer_traps_where_there_is_no_result(host):
    session = open_v1(host)
    name = host.put("y")
    with pytest.raises(Trap, match="are outside the guest's memory"):
        host.call(V1 + "append_output", session, FAR, 4, 0)
    with pytest.raises(Trap, match="are outside the guest's memory"):
        host.call(V1 + "append_input", session, *host.put("x"), 0, FAR, 2, FLOAT, 64, 12)
    append_v1(host, session)
    host.call(V1 + "append_output", session, *name, 0)
    host.call(V1 + "run_session", session)
    tensor = host.call(V1 + "get_output_tensor", session, *name, 0)
    with pytest.raises(Trap, match="are outside the guest's memory"):
        host.call(V1 + "get_tensor_data", tensor, host.size - 4)
    assert host.guarded


def test_v1_clear_output_and_clear_input_leave_nothing_held(host):
    session = open_v1(host)
    append_v1(host, session)
    host.call(V1 + "append_output", session, *host.put("y"), 0)
    host.call(V1 + "run_session", session)
    host.call(V1 + "clear_output", session)
    host.call(V1 + "clear_input", session)
    assert host.context.held == 0


def test_v1_clear_output_forgets_a_name_that_could_not_be_appended(host):
    session = open_v1(host)
    append_v1(host, session)
    host.call(V1 + "append_output", session, *host.put(b"\xff"), 0)
    assert host.call(V1 + "run_session", session) == 1
    host.call(V1 + "clear_input", session)
    append_v1(host, session)
    assert host.call(V1 + "run_session", session) == 1  # the name was an output's
    host.call(V1 + "clear_output", session)
    host.call(V1 + "append_output", session, *host.put("y"), 0)
    assert host.call(V1 + "run_session", session) == 0


def test_a_run_whose_outputs_may_not_be_kept_is_not_made_where_their_size_is_known():
    host = Host(MODULE, limits=Limits(host_memory=23))
    session = open_session(host, "fixed")
    append(host, session)
    assert host.call("append_output", session, *host.put("y")) == OK
    assert host.call("run_session", session) == BUSY
    assert host.said("24 bytes of host memory for one event")
    assert host.inference.models["fixed"].ran == []
    assert host.context.held == 12  # the input


def test_an_output_of_a_size_that_only_the_run_tells_is_counted_after_it():
    host = Host(MODULE, limits=Limits(host_memory=23))
    session = open_session(host)
    append(host, session)
    assert host.call("append_output", session, *host.put("y")) == OK
    assert host.call("run_session", session) == BUSY
    assert len(host.inference.models["doubler"].ran) == 1
    assert host.context.held == 12


def test_an_output_that_cannot_be_given_fails_alone(host):
    session = open_session(host, "voting")
    append(host, session)
    for name in ("votes", "y"):
        assert host.call("append_output", session, *host.put(name)) == OK
    assert host.call("run_session", session) == OK
    assert result(host, session) == [2, 4, 6]
    assert host.call("get_output_tensor", session, *host.put("votes"), 16) == INVALID
    assert host.said("the output votes is a sequence, which cannot be given to a guest")


def test_a_run_for_nothing_that_can_be_given_fails(host):
    session = open_session(host, "voting")
    append(host, session)
    assert host.call("append_output", session, *host.put("votes")) == OK
    assert host.call("run_session", session) == BUSY
    assert host.said("the output votes is a sequence, which cannot be given to a guest")


def test_takes_a_tensor_without_elements(host):
    session = open_session(host)
    call = ("append_input", session, *host.put("x"), *host.put_shape(0, 3), FLOAT, 64, 0)
    assert host.call(*call) == OK
    host.call("append_output", session, *host.put("y"))
    assert host.call("run_session", session) == OK
    assert result(host, session) == []
    large = ("append_input", session, *host.put("x"), *host.put_shape(0, 2**40, 2**40), FLOAT, 64, 0)
    assert host.call(*large) == INVALID
    assert host.said("whose other dimensions are too large")
