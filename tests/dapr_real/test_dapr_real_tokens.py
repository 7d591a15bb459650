"""The application's token: a sidecar sends its `APP_API_TOKEN` with each event, and the application checks it."""

from __future__ import annotations

import signal
from pathlib import Path

import grpc
import pytest

from tests.dapr_real.real_programs import Start
from tests.support.waiting import until

ECHO = """
[guests.echo]
module = "GUESTS/echo/echo.wasm"
function = "echo"
[[invoke]]
method = "echo"
guest = "echo"
[[topic]]
pubsub = "pubsub"
topic = "photos"
guest = "echo"
"""


def test_a_sidecar_with_the_application_s_token_is_answered(start: Start):
    token = {"APP_API_TOKEN": "correct-horse"}
    pair = start(
        ECHO, app_id="trusted", components=("local",), app_environment=token, environment=token, subscribes=True
    )
    assert pair.sidecar.invoke("trusted", "echo", b"hello").body == b"hello"
    # Events carry it too, and the questions at start-up, which do not, were answered: the topic is subscribed.
    assert pair.sidecar.http("POST", "/v1.0/publish/pubsub/photos", b"x", {"Content-Type": "text/plain"}).status == 204
    until(
        lambda: [line for line in pair.app.lines("answered") if line["trigger"] == "topic"], "the message is answered"
    )
    assert "correct-horse" not in pair.app.said


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, "no dapr-api-token came with the call"),
        ({"APP_API_TOKEN": "wrong-horse"}, "is not one of this application's"),
    ],
)
def test_a_sidecar_without_the_token_is_healthy_but_refused(start: Start, environment, said):
    token = {"APP_API_TOKEN": "correct-horse"}
    pair = start(ECHO, app_id="wary", app_environment=token, environment=environment)
    answer = pair.sidecar.invoke("wary", "echo", b"hello")
    assert answer.status == 401
    assert said in answer.json()["message"]
    with pytest.raises(grpc.RpcError) as caught:
        pair.sidecar.invoke_grpc("wary", "echo", b"hello")
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert not pair.app.lines("answered")
    assert "horse" not in pair.app.said


def test_two_tokens_are_accepted_while_one_replaces_the_other(start: Start):
    tokens = '[server]\ntoken = ["${NEW}", "${OLD}"]\n'
    environment = {"NEW": "new-horse", "OLD": "old-horse"}
    pair = start(
        tokens + ECHO, app_id="turning", app_environment=environment, environment={"APP_API_TOKEN": "old-horse"}
    )
    assert pair.sidecar.invoke("turning", "echo", b"hello").body == b"hello"


def test_a_token_is_changed_step_by_step_and_no_step_refuses_a_sidecar_of_it(start: Start, tmp_path: Path):
    """As docs/dapr.md says it: the file, the sidecar, the file."""
    tokens = tmp_path / "tokens"
    tokens.write_text("old-horse\n")
    old = {"APP_API_TOKEN": "old-horse"}
    pair = start(f'[server]\ntoken_file = "{tokens}"\n{ECHO}', app_id="stepwise", environment=old)

    def reload(text: str) -> None:
        reloads = len(pair.app.lines("reloaded"))
        tokens.write_text(text)
        pair.app.signal(signal.SIGHUP)
        until(lambda: len(pair.app.lines("reloaded")) > reloads, "the application has reloaded")

    def answered() -> bool:
        return pair.sidecar.invoke("stepwise", "echo", b"hello").body == b"hello"

    assert answered()
    reload("new-horse\nold-horse\n")
    assert answered()
    pair.sidecar.restart(APP_API_TOKEN="new-horse")
    assert answered()
    reload("new-horse\n")
    assert answered()
    assert not pair.app.lines("refused")
    pair.sidecar.restart(APP_API_TOKEN="old-horse")
    assert pair.sidecar.invoke("stepwise", "echo", b"hello").status == 401
    assert "horse" not in pair.app.said
