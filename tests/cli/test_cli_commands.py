"""serve, send and check as a person calls them: real guests, exact streams and exit codes.

In a process of its own is what needs one (signals, standard input, the environment); the rest runs in this process.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import wasmtime

from tests.support.httpwasm import PASSES
from tests.support.relay import RELAY
from tests.support.waiting import until
from tests.support.wat import cat

ROOT = Path(__file__).resolve().parents[2]
COFFEE = ROOT / "tests" / "data" / "photos" / "coffee.png"


def program(
    *arguments: str, cwd: Path = ROOT, stdin: bytes = b"", **environment: str
) -> subprocess.CompletedProcess[bytes]:
    """`guesthouse` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "guesthouse", *arguments],
        input=stdin,
        capture_output=True,
        cwd=cwd,
        env={**os.environ, **environment},
        timeout=120,
        check=False,
    )


@contextlib.contextmanager
def server(*arguments: str, log: Path, **environment: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """`guesthouse serve` on a free port: the process and its address."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "guesthouse", "serve", "--port", "0", "--log-format", "json", *arguments],
            stderr=out,
            cwd=ROOT,
            env={**os.environ, **environment},
        )
    try:

        def address() -> str:
            found = re.search(r'"address": ?"([^"]+)"', log.read_text())
            assert found or process.poll() is None, log.read_text()
            return found[1] if found else ""

        yield process, until(address, "the server is ready")
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def in_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_send_prints_the_reply_and_nothing_else_on_standard_output():
    done = program("send", "invoke", "api/image", "--data", str(COFFEE), "-v")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["label"] == "espresso"
    said = done.stderr.decode()
    assert re.search(r"guest classify: \d+ bytes application/json", said)
    assert re.search(
        r"took [\d.]+ ms: guest [\d.]+, host calls [\d.]+, inference [\d.]+; waited [\d.]+ ms; guest memory", said
    )


def test_send_keeps_every_byte(tmp_path: Path):
    body = bytes(range(256)) * 10
    done = program("send", "invoke", "echo", "--data", "-", stdin=body)
    assert (done.returncode, done.stdout, done.stderr) == (0, body, b"")


def test_a_manifest_elsewhere_is_named_before_or_after_the_command(tmp_path: Path):
    manifest = str(ROOT / "guesthouse.toml")
    for arguments in (["-m", manifest, "send", "invoke", "echo"], ["send", "invoke", "echo", "--manifest", manifest]):
        done = program(*arguments, "--data", "-", cwd=tmp_path, stdin=b"x")
        assert (done.returncode, done.stdout) == (0, b"x"), done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["invoke", "none"], "error: no guest answers the method 'none' — invoke none — the reason is NOT_FOUND"),
        (["binding", "none"], "error: no guest answers the binding 'none' — binding none"),
        (
            ["invoke", "api/image"],
            "error: guest 'classify': the body is not a JPEG or PNG picture (or it is all black)",
        ),
        (
            ["invoke", "echo", "--data", "absent"],
            "(No such file or directory) — absent — name a file, or - for standard",
        ),
        (["invoke", "echo", "-m", "absent.toml"], "absent.toml"),
        (["invoke", "echo", "--to", "127.0.0.1:1"], "no application at 127.0.0.1:1: start one with `guesthouse serve`"),
    ],
)
def test_a_failed_event_says_why_and_exits_1(guesthouse, in_the_checkout, arguments, said):
    done = guesthouse("send", *arguments)
    assert done.code == 1
    assert done.out == ""
    assert said in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    "arguments", [["send"], ["send", "nothing", "x"], ["serve", "--port", "x"], ["fly"], ["check", "-x"]]
)
def test_usage_errors_exit_2(guesthouse, in_the_checkout, arguments):
    done = guesthouse(*arguments)
    assert done.code == 2, done.err
    assert "Traceback" not in done.err


def test_check_tells_guests_models_and_routes(guesthouse, in_the_checkout):
    done = guesthouse("check", "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert {g["guest"] for g in told["guests"]} == {"classify", "classify_c", "person", "grayscale", "echo", "tensor"}
    classifier = told["models"][0]
    assert classifier["inputs"] == ["input uint8 [N,224,224,3]"]
    assert classifier["batchable"] is True
    assert {
        "route": "invoke",
        "name": "api/image",
        "guest": "classify",
        "for": "all usual verbs",
    } in told["routes"]
    plain = guesthouse("check")
    assert "espresso" not in plain.out
    said = plain.err.splitlines()[-1]
    assert said.endswith("6 guests, 2 models and 8 routes, all of them sound")  # and no warning


def test_check_warns_of_replies_that_do_not_fit_into_a_message(guesthouse, monkeypatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    echo = ROOT / "guests" / "echo" / "echo.wasm"
    guests = "".join(
        f'[guests.{name}]\nmodule = "{echo}"\nfunction = "echo"\nlimits = {{ input = "1MiB", output = "{size}" }}\n'
        for name, size in (("small", "1MiB"), ("large", "2MiB"), ("topical", "2MiB"))
    )
    routes = "".join(f'[[invoke]]\nmethod = "{name}"\nguest = "{name}"\n' for name in ("small", "large"))
    topic = '[[topic]]\npubsub = "p"\ntopic = "t"\nguest = "topical"\ndead_letter = "d"\n'
    (tmp_path / "guesthouse.toml").write_text(f'[app]\nname = "t"\n{guests}{routes}{topic}')
    for arguments in ([], ["--json"]):
        done = guesthouse("check", *arguments)
        assert done.code == 0, done.err
        assert [line for line in done.err.splitlines() if line.startswith("warning: ")] == [
            "warning: guest 'large': limits.output is 2MiB, and server.message 1088KiB: a larger reply is answered "
            "TOO_LARGE; raise server.message to 2112KiB, or lower limits.output"
        ]


def test_check_and_serve_list_all_faults_and_open_no_port(tmp_path: Path):
    (tmp_path / "guesthouse.toml").write_text("""
        [app]
        name = "t"
        [models.m]
        path = "absent.onnx"
        [guests.a]
        module = "absent.wasm"
        function = "f"
    """)
    for command in ("check", "serve"):
        done = program(command, cwd=tmp_path)
        lines = done.stderr.decode().splitlines()
        assert done.returncode == 1
        assert [line.startswith("error: ") for line in lines] == [True, True], lines
        assert "absent.onnx" in lines[0]
        assert "absent.wasm" in lines[1]


def test_check_tells_what_is_wrong_with_files_in_the_same_run_as_what_is_wrong_with_the_manifest(
    guesthouse, monkeypatch, tmp_path: Path
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.wasm").write_bytes(b"no module")
    (tmp_path / "guesthouse.toml").write_text("""
        [app]
        name = "t"
        colour = "red"
        [models.m]
        path = "absent.onnx"
        [models.n]
        path = "away.onnx"
        threads = 0
        [guests.a]
        module = "absent.wasm"
        [guests.b]
        module = "broken.wasm"
        function = "f"
        [guests.c]
        module = "broken.wasm"
        function = "f"
        models = ["n"]
        [[invoke]]
        method = "x"
        guest = "nobody"
    """)
    done = guesthouse("check")
    lines = done.err.splitlines()
    assert done.code == 1
    said = [
        "unknown key",
        "models.n.threads",
        "function is missing",
        "nobody",
        "guests.a: ",
        "models.n: ",
        "model 'm': ",
        "guest 'b': ",
    ]
    for words in said:
        assert [line for line in lines if words in line], (words, lines)
    assert len(lines) == len(set(lines)) == len(said)


def test_a_topic_is_sent_to_with_the_name_of_its_component(guesthouse, in_the_checkout, tmp_path: Path):
    for name in ("pubsub", "pubsub/", "/photos"):
        done = guesthouse("send", "topic", name)
        (line,) = done.err.splitlines()
        assert (done.code, line) == (
            1,
            f'error: "{name}" names no topic of a component — topic — write PUBSUB/TOPIC, as in pubsub/photos',
        )


CALLS = """
[app]
name = "t"
[guests.relay]
module = "relay.wasm"
calling = "dapr"
[guests.relay.dapr]
read_state = ["store/cart-*", "store/total"]
publish = ["pubsub/results"]
[guests.bare]
module = "relay.wasm"
calling = "dapr"
[guests.limited]
module = "relay.wasm"
calling = "dapr"
dapr = { calls = 3 }
[guests.quiet]
module = "cat.wasm"
calling = "command"
files = { "/f" = "cat.wasm" }
dapr = { publish = ["pubsub/results"] }
"""


def test_check_tells_what_each_guest_may_do_by_calls_and_which_grants_make_no_sense(
    guesthouse, monkeypatch, tmp_path: Path
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "guesthouse.toml").write_text(CALLS)
    (tmp_path / "relay.wasm").write_bytes(wasmtime.wat2wasm(RELAY))
    (tmp_path / "cat.wasm").write_bytes(cat("f"))
    done = guesthouse("check", "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert told["calls"] == [
        {"calls_of": "relay", "may": "read_state", "names": ["store/cart-*", "store/total"]},
        {"calls_of": "relay", "may": "publish", "names": ["pubsub/results"]},
        {"calls_of": "quiet", "may": "publish", "names": ["pubsub/results"]},
    ]
    nothing = "may call the sidecar (it imports dapr_v1.call_start) and is granted nothing, so each call ends with"
    assert told["notes"] == [
        f"guest 'bare' {nothing} PERMISSION_DENIED: name what it may do in [guests.bare.dapr] (docs/guests.md)",
        f"guest 'limited' {nothing} PERMISSION_DENIED: name what it may do in [guests.limited.dapr] (docs/guests.md)",
        "guest 'quiet' has the table dapr, but its module makes no calls (it does not import dapr_v1.call_start or "
        "wapc.__host_call or extism:host/user.dapr_call or an interface of components for it): leave it out",
    ]
    plain = guesthouse("check")
    assert re.search(r"^relay +read_state +store/cart-\*, store/total$", plain.out, re.MULTILINE)


def test_check_tells_of_calls_by_wapc(guesthouse, monkeypatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    guest = '[guests.policy]\nmodule = "policy.wasm"\ncalling = "wapc"\nfunction = "validate"\n'
    (tmp_path / "guesthouse.toml").write_text(f'[app]\nname = "t"\n{guest}')
    (tmp_path / "policy.wasm").write_bytes(wasmtime.wat2wasm(POLICY))
    told = json.loads(guesthouse("check", "--json").out)
    assert (told["guests"][0]["calling"], told["guests"][0]["function"]) == ("wapc", "validate")
    (note,) = told["notes"]
    assert note.startswith("guest 'policy' may call the sidecar (it imports wapc.__host_call) and is granted nothing")


def test_check_lists_the_filters(guesthouse, monkeypatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "passes.wasm").write_bytes(PASSES)
    guest = (
        '[guests.auth]\nmodule = "passes.wasm"\ncalling = "http-wasm"\n[[filter]]\nguest = "auth"\nmethods = ["a/*"]\n'
    )
    (tmp_path / "guesthouse.toml").write_text(f'[app]\nname = "t"\n{guest}')
    told = json.loads(guesthouse("check", "--json").out)
    assert told["filters"] == [{"filter": "auth", "methods": ["a/*"], "on_error": "refuse", "enabled": True}]
    assert re.search(r"^auth +a/\* +refuse", guesthouse("check").out, re.MULTILINE)


POLICY = """(module
  (import "wapc" "__host_call" (func (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32))) (memory (export "memory") 1)
  (func (export "__guest_call") (param i32 i32) (result i32) (i32.const 1)))"""
FILES = """
[app]
name = "t"
[guests.cat]
module = "cat.wasm"
calling = "command"
files = { "/f" = "f.txt", "/d" = "d" }
[guests.bare]
module = "cat.wasm"
calling = "command"
[guests.closed]
module = "ROOT/guests/grayscale/grayscale.wasm"
calling = "command"
body_file = "/photo"
scratch = "1MiB"
[[invoke]]
method = "cat"
guest = "cat"
"""


@pytest.fixture
def with_files(tmp_path: Path) -> Path:
    (tmp_path / "guesthouse.toml").write_text(FILES.replace("ROOT", str(ROOT)))
    (tmp_path / "cat.wasm").write_bytes(cat("f"))
    (tmp_path / "f.txt").write_text("granted")
    (tmp_path / "d").mkdir()
    return tmp_path


def test_check_tells_what_files_a_guest_has_and_what_makes_no_sense(guesthouse, monkeypatch, with_files: Path):
    monkeypatch.chdir(with_files)
    done = guesthouse("check", "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    empty = hashlib.sha256(b"").hexdigest()
    assert told["files"] == [
        {
            "files_of": "cat",
            "path": "/f",
            "from": str(with_files / "f.txt"),
            "files": 1,
            "bytes": 7,
            "sha256": hashlib.sha256(b"granted").hexdigest(),
        },
        {"files_of": "cat", "path": "/d", "from": str(with_files / "d"), "files": 0, "bytes": 0, "sha256": empty},
    ]
    notes = [
        f"guest 'cat' is granted an empty folder, {with_files}/d: it sees no folder without a file in it",
        "guest 'bare' may open files (it imports path_open) and is granted none: where it wants some, name them in "
        "files, body_file or scratch (docs/guests.md)",
        "guest 'closed' has body_file, scratch, but its module opens no file (it does not import path_open): leave "
        "them out",
    ]
    assert told["notes"] == notes
    plain = guesthouse("check")
    assert re.search(rf"^cat +/f +{with_files}/f.txt +1 +7 +[0-9a-f]{{64}}$", plain.out, re.MULTILINE)
    assert plain.err.splitlines()[:3] == [f"note: {note}" for note in notes]


def test_check_lists_the_faults_of_files_with_those_of_modules(guesthouse, monkeypatch, with_files: Path):
    monkeypatch.chdir(with_files)
    (with_files / "f.txt").unlink()
    (with_files / "cat.wasm").write_bytes(b"no module")
    lines = guesthouse("check").err.splitlines()
    assert [line.partition(f"{with_files}/")[2].partition(" (")[0] for line in lines] == [
        "f.txt cannot be read",
        "cat.wasm is not a Wasm module",
        "cat.wasm is not a Wasm module",
    ]


def test_send_grants_the_guest_its_files(with_files: Path):
    done = program("send", "invoke", "cat", cwd=with_files)
    assert (done.returncode, done.stdout) == (0, b"granted"), done.stderr


def test_an_interpreter_without_wasmer_is_a_fault_with_its_remedy(tmp_path: Path):
    text = '[app]\nname = "t"\n[engine]\nname = "wasmer"\npython = "/bin/false"\n'
    (tmp_path / "guesthouse.toml").write_text(text)
    for command in ("check", "serve"):
        done = program(command, cwd=tmp_path)
        (line,) = done.stderr.decode().splitlines()
        assert done.returncode == 1
        assert line.startswith("error: engine.python: /bin/false cannot run guests (it gives no reason): it is for ")
        assert "pip install 'guesthouse[wasmer]'" in line


def test_serve_says_when_its_port_is_taken(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = program("serve", "--port", str(taken.getsockname()[1]))
    assert done.returncode == 1
    assert re.search(r"error: .*port \d+ .*in use.*--port", done.stderr.decode()), done.stderr


def test_serve_answers_logs_what_events_cost_and_drains(tmp_path: Path):
    log = tmp_path / "log"
    with server("--log-level", "debug", log=log) as (process, address):
        done = program("send", "binding", "camera", "--data", str(COFFEE), "--to", address, "-v")
        assert json.loads(done.stdout)[0]["label"] == "espresso", done.stderr
        assert program("send", "topic", "pubsub/photos", "--data", str(COFFEE), "--to", address).returncode == 0
        assert program("send", "topic", "pubsub/none", "--to", address).returncode == 1
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    answered = next(line for line in lines if line["event"] == "answered")
    assert (answered["guest"], answered["trigger"], answered["name"]) == ("classify", "binding", "camera")
    assert answered["inference_ms"] > 0
    assert answered["memory"] >= 65536
    assert lines[-1]["event"] == "ended"


def test_the_token_is_asked_for_and_never_logged(tmp_path: Path):
    log = tmp_path / "log"
    with server("--log-level", "debug", log=log, APP_API_TOKEN="s3cret-of-the-sidecar") as (_, address):
        refused = program("send", "invoke", "echo", "--to", address, APP_API_TOKEN="")
        assert refused.returncode == 1
        assert "the reason is DENIED" in refused.stderr.decode()
        assert program("send", "invoke", "echo", "--to", address, APP_API_TOKEN="s3cret-of-the-sidecar").returncode == 0
    assert "s3cret" not in log.read_text()
    assert "s3cret" not in refused.stderr.decode()


def test_a_refusal_to_start_is_a_line_of_the_log_where_that_is_json(tmp_path: Path):
    (tmp_path / "guesthouse.toml").write_text("[app]\n")
    for arguments, environment in (
        (["serve", "--log-format", "json"], {}),
        (["serve"], {"GUESTHOUSE_LOG_FORMAT": "json"}),
    ):
        done = program(*arguments, cwd=tmp_path, stdin=b"", **environment)
        assert done.returncode == 1
        (line,) = [json.loads(line) for line in done.stderr.splitlines()]
        assert (line["event"], line["level"]) == ("refused", "error")
        assert "name is missing" in line["error"]


def test_check_warns_of_what_is_perhaps_not_meant(guesthouse, monkeypatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    guest = ROOT / "guests" / "echo" / "echo.wasm"
    (tmp_path / "guesthouse.toml").write_text(
        f'[app]\nname = "a"\n[guests.echo]\nmodule = "{guest}"\nfunction = "echo"\n'
        '[[invoke]]\nmethod = "api/*"\nguest = "echo"\n'
    )
    done = guesthouse("check")
    assert done.code == 0
    said = done.err.splitlines()
    assert said[0].startswith(
        'warning: "api/*" is taken as the exact name of a method, not as a pattern — [[invoke]] #1'
    )
    assert said[-1] == "guesthouse.toml: 1 guest, 0 models and 1 route, all of them sound, with 1 warning"
    told = json.loads(guesthouse("check", "--json").out)
    assert [f"warning: {warning}" for warning in told["warnings"]] == said[:1]


def test_check_names_the_export_that_is_called(guesthouse, monkeypatch, tmp_path: Path, guests_folder: Path) -> None:
    monkeypatch.chdir(tmp_path)
    modules = {"web": ("http", "http"), "program": ("cli", "command"), "counts": ("messaging", "messaging")}
    routes, method = {"messaging": '[[topic]]\npubsub = "p"\ntopic'}, "[[invoke]]\nmethod"
    text = '[app]\nname = "t"\n' + "".join(
        f'[guests.{name}]\nmodule = "{guests_folder}/{module}_component/{module}_component.wasm"\n'
        f'calling = "{calling}"\n{routes.get(calling, method)} = "{name}"\nguest = "{name}"\n'
        for name, (module, calling) in modules.items()
    )
    (tmp_path / "guesthouse.toml").write_text(text)
    told = json.loads(guesthouse("check", "--json").out)["guests"]
    assert [guest["function"] for guest in told] == [
        "wasi:http/incoming-handler@0.2.12#handle",
        "wasi:cli/run@0.2.12#run",
        "wasi:messaging/incoming-handler@0.2.0-draft#handle",
    ]
