"""A sidecar's token is changed while events come: none is refused that has a token of the list in force."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from guesthouse.assembly import opened
from guesthouse.dapr.client import Client
from guesthouse.event import Event, Failure, Reason, Trigger
from guesthouse.manifest import load
from guesthouse.plan.plan import PlanFaults
from guesthouse.plan.reload import ReloadOutcome
from reload.reloading import MANIFEST, Reloading, reloading, replace_file
from support.waiting import until

OLD, NEW = "old-horse", "new-horse"
FILE = MANIFEST + '[server]\ntoken_file = "tokens"\n'


def listed(*tokens: str) -> str:
    return MANIFEST + f"[server]\ntoken = {list(tokens)}\n"


@pytest.fixture
def tokens(tmp_path: Path, manifest: Path) -> Path:
    """A file that the manifest names, with the old token."""
    replace_file(manifest, FILE)
    path = tmp_path / "tokens"
    path.write_text(f"{OLD}\n")
    return path


def answer(client: Client) -> str:
    """The guest's, or the reason why there is none."""
    try:
        return client.send(Event(Trigger.INVOKE, "say"), timeout=60).body.decode()
    except Failure as failure:
        return failure.reason.value


def ask(app: Reloading, token: str) -> str:
    with Client(f"127.0.0.1:{app.application.server.port}", token=token) as client:
        return answer(client)


def accepted(app: Reloading) -> list[str]:
    return [token for token in (OLD, NEW) if ask(app, token) == "old"]


class Calls:
    """A sidecar that calls without a pause, until it is told another token."""

    def __init__(self, address: str, token: str) -> None:
        self.answers: list[str] = []
        self._address = address
        self._token = token
        self._stopped = threading.Event()

    def run(self) -> None:
        token = ""
        while not self._stopped.is_set():
            token = self._token
            with Client(self._address, token=token) as client:
                while token == self._token and not self._stopped.is_set():
                    self.answers.append(answer(client))

    def some(self) -> None:
        """Wait until some more calls were answered."""
        before = len(self.answers)
        until(lambda: len(self.answers) >= before + 5)

    def restart(self, token: str) -> None:
        self._token = token
        self.some()

    def stop(self) -> None:
        self._stopped.set()


def rotate(address: str, reload: Callable[[str], None]) -> list[str]:
    """All answers to three sidecars while the tokens change; `reload` takes a list of tokens in."""
    sidecars = [Calls(address, OLD) for _ in range(3)]
    with ThreadPoolExecutor(3) as threads:
        running = [threads.submit(sidecar.run) for sidecar in sidecars]
        try:
            for step in (lambda: reload(f"{NEW}\n{OLD}\n"), *(lambda s=s: s.restart(NEW) for s in sidecars)):
                step()
                for sidecar in sidecars:
                    sidecar.some()
            reload(f"{NEW}\n")
            for sidecar in sidecars:
                sidecar.some()
        finally:
            for sidecar in sidecars:
                sidecar.stop()
        for one in running:
            one.result()
    return [answer for sidecar in sidecars for answer in sidecar.answers]


def test_no_call_is_refused_while_the_file_of_tokens_is_changed_and_the_old_token_is_afterwards(
    manifest: Path, tokens: Path
):
    with reloading(manifest) as app:

        def reload(text: str) -> None:
            replace_file(tokens, text)
            assert app.reloader.reload() is ReloadOutcome.DONE

        assert set(rotate(f"127.0.0.1:{app.application.server.port}", reload)) == {"old"}
        assert accepted(app) == [NEW]
        assert ask(app, OLD) == Reason.DENIED.value


@pytest.mark.parametrize("watch", [False, True], ids=["SIGHUP", "watch"])
def test_the_program_takes_tokens_in_without_a_gap_and_never_says_one(serve, tokens: Path, watch: bool):
    # What the environment has is not accepted beside a file.
    served = serve(*["--watch"] * watch, APP_API_TOKEN="environment-horse")
    address = served.line("serving")["address"]

    def reload(text: str) -> None:
        replace_file(tokens, text)
        if not watch:
            served.process.send_signal(signal.SIGHUP)
        assert served.line("other tokens are accepted from now on")["accepted"] == text.count("\n")

    assert set(rotate(address, reload)) == {"old"}
    for token in (OLD, "environment-horse"):
        with Client(address, token=token) as client, pytest.raises(Failure) as refused:
            client.send(Event(Trigger.INVOKE, "say"), timeout=60)
        assert refused.value.reason is Reason.DENIED
    rest = served.ended()
    assert "horse" not in rest + "".join(served.passed)


def test_a_list_in_the_manifest_is_taken_in_as_well(manifest: Path, log):
    replace_file(manifest, listed(OLD))
    with reloading(manifest) as app:
        for tokens in ([OLD, NEW], [NEW]):
            assert accepted(app) != tokens
            replace_file(manifest, listed(*tokens))
            log.clear()
            assert app.reloader.reload() is ReloadOutcome.DONE
            assert accepted(app) == tokens
            assert not [line for line in log if "restart" in str(line["event"])]
            assert "horse" not in str(log)


def test_an_open_server_asks_for_a_token_from_the_reload_on(app: Reloading, manifest: Path):
    assert accepted(app) == [OLD, NEW]
    replace_file(manifest, listed(NEW))
    assert app.reloader.reload() is ReloadOutcome.DONE
    assert accepted(app) == [NEW]


def test_a_reload_never_opens_a_server_that_has_tokens(manifest: Path, log):
    replace_file(manifest, listed(OLD))
    with reloading(manifest) as app:
        replace_file(manifest, MANIFEST)
        assert app.reloader.reload() is ReloadOutcome.DONE
        (line,) = [line for line in log if line["event"] == "what has changed here needs a restart"]
        assert line["keys"] == ["server.token"]
        assert accepted(app) == [OLD]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "the file of tokens has no token"),
        (b" \n\n", "the file of tokens has no token"),
        (b"hor\xffse", "the file of tokens is not UTF-8"),
        (b"hor\0se", "the file of tokens is no list of tokens"),
        (b"horse\n" * 11000, "the file of tokens is no list of tokens"),
        (None, "the file of tokens cannot be read (No such file or directory)"),
    ],
    ids=["empty", "blank", "not UTF-8", "a zero", "too large", "missing"],
)
def test_a_file_that_has_no_tokens_is_refused_and_those_of_before_hold(manifest: Path, tokens: Path, log, data, said):
    with reloading(manifest) as app:
        tokens.unlink()
        if data is not None:
            tokens.write_bytes(data)
        log.clear()
        assert app.reloader.reload() is ReloadOutcome.REFUSED
        assert str(log[0]["error"]).startswith(said)
        assert str(tokens) in str(log[0]["error"])
        assert "horse" not in str(log)
        assert accepted(app) == [OLD]
    with pytest.raises(PlanFaults, match=said[:20]), opened(load(manifest)):
        pass  # so do check and serve
