"""The output binding: any application runs a guest through its own sidecar."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Callable

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guesthouse.dapr.component.output_binding import decoded
from guesthouse.dapr.component.resource import LARGEST
from guesthouse.dapr.proto.components_pb2 import PingRequest
from guesthouse.event import Failure, Reason, Reply, Trigger
from tests.dapr.component_ends import Sidecar
from tests.dapr.dapr_ends import Script


@pytest.fixture
def sidecar(component, dial: Callable[..., Sidecar]) -> Sidecar:
    return dial(component())


def refused(sidecar: Sidecar, operation: str, data: bytes = b"", **metadata: str) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as error:
        sidecar.invoke(operation, data, 20.0, **metadata)
    return error.value.code(), str(error.value.details())


# Operations


def test_the_operations_are_create_and_the_guests(sidecar: Sidecar):
    assert sidecar.operations() == ["create", "echo", "other"]


def test_an_operation_is_an_event_of_its_guest(sidecar: Sidecar, handler: Script):
    handler.answer = lambda event, deadline: Reply(b"[1]", "application/json")
    answer = sidecar.invoke("other", b"photo", contentType="image/png", Camera="door")
    assert (answer.data, answer.content_type, dict(answer.metadata)) == (b"[1]", "application/json", {"guest": "other"})
    (event,) = handler.events
    assert (event.trigger, event.name, event.body) == (Trigger.OPERATION, "other", b"photo")
    assert event.content_type == "image/png"
    assert event.metadata["camera"] == "door"
    assert event.metadata["x-component-instance"] == "guests"
    assert not {"contenttype", "encoding", "guest", "failures"} & set(event.metadata)


def test_the_callers_deadline_is_the_events(sidecar: Sidecar, handler: Script):
    handler.answer = lambda event, deadline: Reply(b"%f" % deadline.remaining())
    assert 0 < float(sidecar.invoke("echo", timeout=7.0).data) <= 7.5


def test_an_operation_that_is_no_guest_is_not_found(sidecar: Sidecar, handler: Script):
    code, text = refused(sidecar, "secret")
    assert code is grpc.StatusCode.NOT_FOUND
    assert text == "no guest 'secret' is an operation of this component; its guests are echo, other"
    assert not handler.events


# create


def test_create_runs_the_guest_that_the_request_names(sidecar: Sidecar):
    assert sidecar.invoke("create", guest="other").metadata["guest"] == "other"


def test_create_runs_the_guest_of_its_component_resource(component, dial):
    served = component()
    door, hall = dial(served, "door"), dial(served, "hall")
    door.init_output(guest="echo")
    hall.init_output(guest="other")
    assert door.invoke("create").metadata["guest"] == "echo"
    assert hall.invoke("create").metadata["guest"] == "other"
    assert hall.invoke("create", guest="echo").metadata["guest"] == "echo"
    hall.init_output(guest="echo")  # again, as after a change of the resource
    assert hall.invoke("create").metadata["guest"] == "echo"


def test_create_runs_the_only_guest_there_is(component, dial):
    assert dial(component(guests=("echo",)), None).invoke("create").metadata["guest"] == "echo"


def test_create_needs_to_know_a_guest(sidecar: Sidecar):
    assert refused(sidecar, "create") == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "create needs a guest: name it in the metadata guest of the request or of the Component resource",
    )


def test_a_guest_that_is_called_create_is_the_operation(component, dial):
    sidecar = dial(component(guests=("create", "echo")))
    assert sidecar.operations() == ["create", "echo"]
    assert sidecar.invoke("create", guest="echo").metadata["guest"] == "create"


def test_init_refuses_a_guest_that_is_not_served(sidecar: Sidecar):
    with pytest.raises(grpc.RpcError) as error:
        sidecar.init_output(guest="ecko")
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error.value.details() == "component 'guests': its metadata guest names 'ecko'; its guests are echo, other"


# Encodings

BODY = bytes(range(256))


@pytest.mark.parametrize(
    ("encoding", "data", "body"),
    [
        ("", b'"as it came"', b'"as it came"'),
        ("text", b'"gr\\u00fcn \\ud83d\\ude00"', "grün 😀".encode()),
        ("text", b"null", None),
        ("text", b"{", None),
        ("text", b"[" * 100_000, None),
        ("text", b'"\\ud800"', None),
        ("base64", base64.b64encode(BODY), BODY),
        ("base64", b'"' + base64.b64encode(BODY) + b'"', BODY),
        ("base64", json.dumps(base64.encodebytes(BODY).decode()).encode().replace(b"/", b"\\/"), BODY),
        ("base64", b"", b""),
        ("base64", b"null", b""),
        ("base64", b" null\n", b""),
        ("base64", b'"null"', base64.b64decode(b"null")),
        ("", b"null", b"null"),
        ("base64", b'"', None),
        ("base64", b"abc", None),
        ("base64", b"ab!d", None),
        ("utf-8", b"x", None),
    ],
)
def test_the_data_is_decoded_as_the_caller_says(sidecar: Sidecar, handler: Script, encoding, data, body):
    metadata = {"encoding": encoding} if encoding else {}
    if body is not None:
        assert sidecar.invoke("echo", data, **metadata).data == body
    else:
        assert refused(sidecar, "echo", data, **metadata)[0] is grpc.StatusCode.INVALID_ARGUMENT
        assert not handler.events


@given(st.binary(max_size=200), st.sampled_from(["", "text", "base64"]))
def test_any_data_is_decoded_or_refused(data, encoding):
    with contextlib.suppress(Failure):
        assert isinstance(decoded(data, encoding), bytes)


@given(st.binary(max_size=200))
def test_every_body_survives_base64_in_json(body):
    assert decoded(json.dumps(base64.b64encode(body).decode()).encode(), "base64") == body


def test_the_faults_of_metadata_are_named(sidecar: Sidecar):
    assert refused(sidecar, "echo", b"x", encoding="hex")[1] == (
        "the metadata encoding is 'hex'; it may be text or base64"
    )
    assert refused(sidecar, "echo", b"x", failures="no")[1] == (
        "the metadata failures is 'no'; it may be error or answer"
    )
    assert refused(sidecar, "echo", b"7", encoding="text")[1] == (
        "the data is not a JSON string; leave the metadata encoding out"
    )


# Failures


def test_a_failure_is_an_error(sidecar: Sidecar, handler: Script):
    handler.fail(Failure(Reason.GUEST, "no film in the camera", "echo"))
    assert refused(sidecar, "echo") == (grpc.StatusCode.INTERNAL, "guest 'echo': no film in the camera")


def test_a_failure_is_an_answer_where_the_caller_wants_it(sidecar: Sidecar, handler: Script):
    handler.fail(Failure(Reason.GUEST, "no film in the camera", "echo"))
    answer = sidecar.invoke("echo", failures="answer")
    assert dict(answer.metadata) == {"failure": "GUEST", "message": "no film in the camera", "guest": "echo"}
    assert answer.data == b""
    assert dict(sidecar.invoke("echo", b"%", encoding="base64", failures="answer").metadata)["failure"] == "MALFORMED"


def test_a_fault_of_our_own_tells_nothing(sidecar: Sidecar, handler: Script, caplog):
    handler.fail(ZeroDivisionError("in /home/somebody"))
    assert refused(sidecar, "echo") == (grpc.StatusCode.INTERNAL, "internal error")
    assert "in /home/somebody" in caplog.text


# Sizes


def test_bodies_pass_that_are_larger_than_a_sidecars_answers(component, dial):
    sidecar = dial(component(message=6 * 2**20))
    body = base64.b64encode(bytes(6 * 2**20))
    assert len(sidecar.invoke("echo", body, failures="answer").metadata["message"]) > 0
    code, text = refused(sidecar, "echo", body, encoding="base64")
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert text == (
        f"guest 'echo': a reply of {6 * 2**20} bytes; a message from a component to its sidecar leaves room for "
        f"{LARGEST - 68}: lower limits.output"
    )


def test_the_largest_reply_passes(sidecar: Sidecar, handler: Script):
    handler.answer = lambda event, deadline: Reply(bytes(LARGEST - 100), "application/octet-stream")
    assert len(sidecar.invoke("echo").data) == LARGEST - 100


def test_ping_is_answered(sidecar: Sidecar):
    sidecar.output.Ping(PingRequest(), timeout=10)
