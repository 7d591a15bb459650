"""Guests that open files by name: programs made for WasmEdge's command line, unchanged, and what each may see."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import wasmtime

from guesthouse.dapr.client import Client
from guesthouse.event import Event, Failure, Reason, Trigger
from tests.support.wat import cat

PHOTOS = {"astronaut.png": 0.633, "coffee.png": 0.012}
#: As `wasmedge --dir .:. person_files.wasm visual_wake_words.tflite photo.jpg` would be run.
WASMEDGE = """
[app]
name = "t"
[models.person]
path = "ROOT/models/visual_wake_words.onnx"
stands_for = ["459a5c728732a1022fbe625f66cad5f626a67b1e4a17fad819cd23cdf78cb3a1"]
[guests.person]
module = "GUESTS/person_files/person_files.wasm"
calling = "command"
args = ["visual_wake_words.tflite", "photo.jpg"]
models = ["person"]
files = { "/visual_wake_words.tflite" = "ROOT/guests/person/visual_wake_words.tflite" }
body_file = "/photo.jpg"
reply_type = "text/plain"
[[invoke]]
method = "person"
guest = "person"
"""


def invoke(client: Client, method: str, body: bytes = b"") -> bytes:
    return client.send(Event(Trigger.INVOKE, method, body, "", "POST"), timeout=60).body


def test_a_program_for_wasmedges_command_line_finds_its_model_and_its_picture(serve, photos: Path):
    client = serve(WASMEDGE)
    for photo, score in PHOTOS.items():
        said = invoke(client, "person", (photos / photo).read_bytes()).decode()
        found = re.fullmatch(r"person (0\.\d{3}), no person (0\.\d{3})\n", said)
        assert found is not None, said
        # Decoders of JPEG and steps of the network: see test_e2e_guests.
        assert float(found[1]) == pytest.approx(score, abs=0.0015 if score > 0.5 else 0.06)


def test_its_folder_may_be_granted_whole_and_by_other_names(serve, photos: Path):
    text = WASMEDGE.replace('["visual', '["/models/visual').replace('"photo.jpg"]', '"in/photo.jpg"]')
    text = re.sub("files = .*", 'files = { "/models" = "ROOT/guests/person" }', text).replace('"/photo', '"/in/photo')
    assert invoke(serve(text), "person", (photos / "astronaut.png").read_bytes()).startswith(b"person 0.633")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ((r"files = .*", ""), "visual_wake_words.tflite: "),
        ((r"body_file = .*", ""), "photo.jpg: "),
        ((r"stands_for = .*", ""), "the host did not run the model"),
        ((r'models = \["person"\]', ""), "the host did not run the model"),
    ],
    ids=["no file", "no body", "no model that it stands for", "no grant of the model"],
)
def test_without_a_grant_the_program_says_in_its_own_words_what_it_missed(serve, photos: Path, change, said: str):
    pattern, instead = change
    client = serve(re.sub(pattern, instead, WASMEDGE))
    with pytest.raises(Failure, match=re.escape(said)) as caught:
        invoke(client, "person", (photos / "astronaut.png").read_bytes())
    assert caught.value.reason is Reason.GUEST


TWO = """
[app]
name = "t"
[guests.one]
module = "cat.wasm"
calling = "command"
files = { "/f" = "one.txt" }
[guests.other]
module = "cat.wasm"
calling = "command"
files = { "/f" = "other.txt", "/g" = "one.txt" }
[guests.none]
module = "cat.wasm"
calling = "command"
[guests.body]
module = "cat.wasm"
calling = "command"
body_file = "/f"
[[invoke]]
method = "one"
guest = "one"
[[invoke]]
method = "other"
guest = "other"
[[invoke]]
method = "none"
guest = "none"
[[invoke]]
method = "body"
guest = "body"
"""
BADF = 8


def test_each_guest_sees_its_own_files_and_the_others_none(serve, tmp_path: Path):
    (tmp_path / "cat.wasm").write_bytes(cat("f"))
    (tmp_path / "one.txt").write_text("of one")
    (tmp_path / "other.txt").write_text("of the other")
    client = serve(TWO)
    assert invoke(client, "one") == b"of one"
    assert invoke(client, "other") == b"of the other"
    assert invoke(client, "none") == bytes([BADF])  # no directory is open
    for body in (b"first", b"", b"second"):
        assert invoke(client, "body", body) == body


def test_ten_megabytes_are_read_whole(serve, tmp_path: Path):
    content = bytes(range(256)) * (10 << 12)
    (tmp_path / "cat.wasm").write_bytes(cat("f", most=len(content)))
    (tmp_path / "one.txt").write_bytes(content)
    client = serve(TWO.partition("[guests.other]")[0] + '[[invoke]]\nmethod = "one"\nguest = "one"\n')
    for _ in range(3):
        assert invoke(client, "one") == content


WRITES = """(module
  (import "wasi_snapshot_preview1" "path_open" (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1) (data (i32.const 64) "tmp/out") (data (i32.const 128) "written to a file")
  (global $at (mut i32) (i32.const 1024))
  (func (export "allocate") (param i32) (result i32)
    global.get $at (global.set $at (i32.add (global.get $at) (local.get 0))))
  (func $work
    (if (call $open (i32.const 3) (i32.const 0) (i32.const 64) (i32.const 7) (i32.const 5) (i64.const 64) (i64.const 0)
      (i32.const 0) (i32.const 32)) (then unreachable))
    (i32.store (i32.const 16) (i32.const 128)) (i32.store (i32.const 20) (i32.const 17))
    (if (call $write (i32.load (i32.const 32)) (i32.const 16) (i32.const 1) (i32.const 8)) (then unreachable)))
  (func (export "_start") (call $work))
  (func (export "f") (param i32 i32) (result i32) (call $work) (i32.const 512)))"""


def test_a_reply_may_be_a_file_that_a_program_or_a_function_has_written(serve, tmp_path: Path):
    (tmp_path / "writes.wasm").write_bytes(wasmtime.wat2wasm(WRITES))
    text = '[app]\nname = "t"\n'
    for name, called in (("program", 'calling = "command"'), ("function", 'function = "f"')):
        text += f"""
            [guests.{name}]
            module = "writes.wasm"
            {called}
            scratch = "64KiB"
            reply_file = "/tmp/out"
            [[invoke]]
            method = "{name}"
            guest = "{name}"
        """
    client = serve(text)
    for _ in range(2):  # and again: the file is new in each event
        assert invoke(client, "program") == invoke(client, "function") == b"written to a file"
