"""Service invocation through a real sidecar: its HTTP and its gRPC API, its own application's and another one's."""

from __future__ import annotations

import io
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from dapr.proto.common.v1.common_pb2 import HTTPExtension, InvokeRequest
from dapr.proto.runtime.v1.invoke_pb2 import InvokeServiceRequest
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status
from PIL import Image

from tests.dapr_real.real_programs import Pair, Sidecar, Start, of_kind, variables
from tests.support.waiting import until

MiB = 1 << 20
APIS = ["HTTP", "gRPC"]
FROM = ["its own sidecar", "another application's sidecar"]


@pytest.fixture(params=FROM)
def sidecar(request, vision: Pair, caller: Sidecar) -> Sidecar:
    return vision.sidecar if request.param == FROM[0] else caller


def call(sidecar: Sidecar, api: str, method: str, body: bytes) -> tuple[bytes, str]:
    """The reply and its content type, over either API."""
    if api == "gRPC":
        reply = sidecar.invoke_grpc("vision", method, body)
        return reply.data.value, reply.content_type
    answer = sidecar.invoke("vision", method, body)
    assert answer.status == 200, answer
    return answer.body, answer.headers["content-type"]


@pytest.mark.parametrize("api", APIS)
def test_a_photo_is_classified(sidecar: Sidecar, photos: Path, api):
    body, kind = call(sidecar, api, "api/image", (photos / "coffee.png").read_bytes())
    assert kind == "application/json"
    assert json.loads(body)[0]["label"] == "espresso"


@pytest.mark.parametrize("api", APIS)
def test_a_photo_turns_grey(sidecar: Sidecar, photos: Path, api):
    body, kind = call(sidecar, api, "api/grayscale", (photos / "rocket.jpg").read_bytes())
    assert kind == "image/png"
    grey = Image.open(io.BytesIO(body))
    assert (grey.mode, grey.size) == ("L", (640, 427))


@pytest.mark.parametrize("method", ["api/image", "api/image-c", "api/person", "api/grayscale", "api/tensor"])
def test_who_sends_what_is_no_photo_gets_400(sidecar: Sidecar, method):
    answer = sidecar.invoke("vision", method, b"this is no photo")
    assert answer.status == 400
    assert of_kind(answer.json()["details"], "ErrorInfo")["reason"] == "MALFORMED"


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("size", [0, 4 * MiB, 15 * MiB])
def test_bodies_over_dapr_s_default_pass_with_max_body_size(sidecar: Sidecar, api, size):
    body = bytes(range(256)) * (size // 256)
    assert call(sidecar, api, "echo", body)[0] == body


def test_many_callers_at_once_all_get_their_own_answer(vision: Pair, caller: Sidecar, photos: Path):
    coffee = (photos / "coffee.png").read_bytes()

    def one(number: int) -> bool:
        sidecar, api = (vision.sidecar, caller)[number % 2], APIS[number // 2 % 2]
        if number % 5 == 0:
            return bool(json.loads(call(sidecar, api, "api/image", coffee)[0])[0]["label"] == "espresso")
        body = f"caller {number}".encode() * 50
        return call(sidecar, api, "echo", body)[0] == body

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(one, range(200)))


ENDS = """
[guests.environment]
module = "MODULES/environment.wasm"
calling = "command"
reply_type = "text/plain"
[guests.traps]
module = "MODULES/traps.wasm"
calling = "command"
[guests.fails]
module = "MODULES/fails.wasm"
calling = "command"
[guests.malformed]
module = "MODULES/malformed.wasm"
calling = "command"
[guests.later]
module = "MODULES/later.wasm"
calling = "command"
[guests.loops]
module = "MODULES/loops.wasm"
calling = "command"
limits = { time = "300ms" }
[guests.busy]
module = "MODULES/loops.wasm"
calling = "command"
limits = { time = "5s", concurrency = 1, queue = 0 }
[guests.small]
module = "GUESTS/echo/echo.wasm"
function = "echo"
limits = { input = "1KB" }
[[invoke]]
method = "api/environment"
guest = "environment"
[[invoke]]
method = "traps"
guest = "traps"
[[invoke]]
method = "fails"
guest = "fails"
[[invoke]]
method = "malformed"
guest = "malformed"
[[invoke]]
method = "later"
guest = "later"
[[invoke]]
method = "loops"
guest = "loops"
[[invoke]]
method = "busy"
guest = "busy"
[[invoke]]
method = "small"
guest = "small"
[[invoke]]
method = "posted"
verbs = ["POST"]
guest = "small"
"""

#: method, body, HTTP status, gRPC code, reason, text
FAILURES = [
    ("traps", b"", 500, "INTERNAL", "TRAP", "guest 'traps': trap: unreachable"),
    ("fails", b"", 500, "INTERNAL", "GUEST", "guest 'fails': exit code 1: no film in the camera"),
    ("malformed", b"", 400, "INVALID_ARGUMENT", "MALFORMED", "guest 'malformed': that is no photo"),
    ("small", b"x" * 1001, 400, "INVALID_ARGUMENT", "TOO_LARGE", "a body of 1001 bytes; the limit input is 1000"),
    ("nothing/here", b"", 404, "NOT_FOUND", "NOT_FOUND", "no guest answers the method 'nothing/here'"),
    ("loops", b"", 504, "DEADLINE_EXCEEDED", "DEADLINE", "time limit 0.3 s"),
    ("later", b"", 503, "UNAVAILABLE", "TRY_AGAIN", "guest 'later': come back later"),
]


@pytest.fixture(scope="module")
def ends(start_for_module: Start) -> Pair:
    """Guests that end in each of the ways that a guest can."""
    return start_for_module(ENDS, app_id="ends")


@pytest.mark.parametrize(("method", "body", "status", "code", "reason", "text"), FAILURES)
@pytest.mark.parametrize("origin", FROM)
def test_a_failure_is_a_status_with_its_reason_and_text(
    ends: Pair, caller: Sidecar, origin, method, body, status, code, reason, text
):
    sidecar = ends.sidecar if origin == FROM[0] else caller
    answer = sidecar.invoke("ends", method, body)
    assert answer.status == status
    said = answer.json()
    assert said["code"] == getattr(grpc.StatusCode, code).value[0]
    assert text in said["message"]
    assert of_kind(said["details"], "ErrorInfo")["reason"] == reason
    assert of_kind(said["details"], "ErrorInfo")["domain"] == "guesthouse"

    with pytest.raises(grpc.RpcError) as caught:
        sidecar.invoke_grpc("ends", method, body)
    assert caught.value.code().name == code
    assert text in str(caught.value.details())
    info = ErrorInfo()
    assert rpc_status.from_call(caught.value).details[0].Unpack(info)
    assert info.reason == reason


def test_a_caller_too_many_is_refused_with_429_and_told_when_to_come_again(ends: Pair):
    with ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(ends.sidecar.invoke, "ends", "busy") for _ in range(2)]
        refused, looped = sorted((answer.result() for answer in answers), key=lambda answer: answer.status)
    assert looped.status == 504
    assert refused.status == 429
    assert of_kind(refused.json()["details"], "ErrorInfo")["reason"] == "FULL"
    assert of_kind(refused.json()["details"], "RetryInfo")["retryDelay"] == "1s"


@pytest.mark.parametrize("verb", ["GET", "POST", "PUT", "DELETE", "PATCH"])
def test_a_guest_sees_verb_query_and_headers(ends: Pair, caller: Sidecar, verb):
    headers = {"X-Film": "Tri-X", "Accept": "image/png", "Content-Type": "text/x-note; charset=utf-8"}
    for sidecar in (ends.sidecar, caller):
        answer = sidecar.invoke("ends", "api/environment?size=small&name=a%20b", verb=verb, headers=headers)
        assert answer.status == 200
        seen = variables(answer.body)
        assert seen["GUESTHOUSE_TRIGGER"] == "invoke"
        assert seen["GUESTHOUSE_NAME"] == "api/environment"
        assert seen["GUESTHOUSE_VERB"] == verb
        assert seen["GUESTHOUSE_QUERY"] == "size=small&name=a%20b"
        assert seen["GUESTHOUSE_CONTENT_TYPE"] == "text/x-note; charset=utf-8"
        assert seen["GUESTHOUSE_META_X_FILM"] == "Tri-X"
        assert seen["GUESTHOUSE_META_ACCEPT"] == "image/png"
        # A sidecar whose traces are off sends one of zeros.
        assert not [name for name in seen if "TRACE" in name]
        assert not [name for name in seen if "TOKEN" in name]
    assert seen["GUESTHOUSE_META_DAPR_CALLER_APP_ID"] == "caller"
    assert seen["GUESTHOUSE_META_DAPR_CALLEE_APP_ID"] == "ends"


def test_headers_of_12000_bytes_arrive_every_time(start: Start):
    """gRPC refuses at random between a soft and a hard limit of its own, which are one here."""
    manifest = '[guests.echo]\nmodule = "GUESTS/echo/echo.wasm"\nfunction = "echo"\n'
    manifest += '[[invoke]]\nmethod = "echo"\nguest = "echo"\n'
    pair = start(manifest, app_id="long", flags=("--read-buffer-size", "128Ki"))
    headers = {"X-Long": "x" * 12_000}
    answers = [pair.sidecar.invoke("long", "echo", b"hello", headers=headers).status for _ in range(50)]
    assert answers == [200] * 50


@pytest.mark.parametrize("verb", ["OPTIONS", "HEAD"])
def test_a_verb_that_only_asks_runs_no_guest_unless_it_is_named(ends: Pair, caller: Sidecar, verb):
    for sidecar in (ends.sidecar, caller):
        assert sidecar.invoke("ends", "api/environment", verb=verb).status == 404


def test_a_guest_sees_what_a_grpc_caller_says(ends: Pair, caller: Sidecar):
    for sidecar in (ends.sidecar, caller):
        reply = sidecar.invoke_grpc(
            "ends",
            "api/environment",
            content_type="text/x-note",
            verb="PUT",
            query="a=1",
            metadata=(("x-film", "Tri-X"),),
        )
        seen = variables(reply.data.value)
        assert seen["GUESTHOUSE_VERB"] == "PUT"
        assert seen["GUESTHOUSE_QUERY"] == "a=1"
        assert seen["GUESTHOUSE_CONTENT_TYPE"] == "text/x-note"
        assert seen["GUESTHOUSE_META_X_FILM"] == "Tri-X"


def test_a_reply_has_the_guest_s_content_type_and_nothing_of_the_host(ends: Pair):
    answer = ends.sidecar.invoke("ends", "api/environment")
    assert answer.headers["content-type"] == "text/plain"
    assert not {"server", "user-agent", "grpc-status"} & set(answer.headers)


def test_a_verb_that_is_not_answered_is_not_found(ends: Pair):
    assert ends.sidecar.invoke("ends", "posted", b"x").body == b"x"
    answer = ends.sidecar.invoke("ends", "posted", verb="GET")
    assert answer.status == 404


def test_the_guest_of_a_caller_that_hangs_up_runs_to_its_end(ends: Pair):
    """daprd hands neither the caller's deadline nor its end on to the application: the guest's own limits hold."""

    def ended() -> int:
        return sum(line["guest"] == "busy" and line["reason"] == "DEADLINE" for line in ends.app.lines("failed"))

    message = InvokeRequest(method="busy", http_extension=HTTPExtension(verb=HTTPExtension.POST))
    request, before = InvokeServiceRequest(id="ends", message=message), ended()
    calls = [ends.sidecar.stub.InvokeService.future(request, timeout=60) for _ in range(2)]
    until(lambda: any(call.done() for call in calls))
    (runs,) = [call for call in calls if not call.done()]  # the other was refused, for this one's guest runs
    runs.cancel()
    until(lambda: ended() == before + 1)


def test_a_body_over_the_sidecar_s_limit_never_reaches_the_application(start: Start):
    pair = start(
        """
        [guests.echo]
        module = "GUESTS/echo/echo.wasm"
        function = "echo"
        [[invoke]]
        method = "echo"
        guest = "echo"
        """,
        app_id="small",
    )
    body = b"x" * (4 * MiB + 1)
    assert pair.sidecar.invoke("small", "echo", body).status == 429  # RESOURCE_EXHAUSTED of daprd's own
    with pytest.raises(grpc.RpcError) as caught:
        pair.sidecar.invoke_grpc("small", "echo", body)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert pair.sidecar.invoke("small", "echo", b"x" * (3 * MiB)).status == 200
