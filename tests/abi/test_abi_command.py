"""WASI commands: small programs in WAT, and `grayscale`, a Rust program of the repository."""

from __future__ import annotations

import io
import struct

import pytest
from PIL import Image

from guesthouse.engine.cache import CodeCache
from guesthouse.guests.guest import Shape
from guesthouse.system.folders import user_cache
from guesthouse_abi.calling.command import Command
from guesthouse_abi.errors import (
    BadReply,
    CallError,
    DeadlineExceeded,
    GuestError,
    MalformedEvent,
    Trap,
    TryAgain,
)
from guesthouse_abi.grants import Grants, Limits
from guesthouse_abi.imports.wasi_preview1 import MODULE, last_words
from guesthouse_abi.lastwords import ERROR_TEXT
from tests.support import wat


def program(body: str, *data: tuple[int, bytes]) -> str:
    """A command that imports what these programs need; vectors and buffers are where `data` puts them."""
    texts = (f'(data (i32.const {at}) "{"".join(f"{chr(92)}{b:02x}" for b in text)}")' for at, text in data)
    return f"""(module
      (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
      (memory (export "memory") 2) {" ".join(texts)}
      (func (export "_start") {body}))"""


def says(stderr: bytes, then: str, stdout: bytes = b"") -> str:
    """A program that writes to both streams and ends as `then` says."""
    vectors = struct.pack("<IIII", 1024, len(stderr), 32768, len(stdout))
    return program(
        f"""(drop (call $fd_write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 64)))
        (drop (call $fd_write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 64))) {then}""",
        (0, vectors),
        (1024, stderr),
        (32768, stdout),
    )


def exits(code: int) -> str:
    return f"(call $exit (i32.const {code}))"


def run(engine, text: str, body: bytes = b"", ctx=None) -> bytes:
    assert wat.problems(engine, text, Command()) == []
    return run_module(wat.compiled(engine, text), body, ctx)


def run_module(module, body: bytes, ctx=None) -> bytes:
    ctx = ctx or wat.context()
    return wat.called(module.link([MODULE.functions[i.name] for i in module.imports]), Command(), body, ctx)


ECHO = program(
    """(local $vector i32)
    (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 4)))  ;; the count is the length to write
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 64)))""",
    (0, struct.pack("<II", 1024, 65536)),
)


@pytest.mark.parametrize("body", [b"", b"hello \xff\x00", b"y" * 60_000])
def test_the_body_is_standard_input_and_standard_output_the_reply(engine, body):
    assert run(engine, ECHO, body) == body


@pytest.mark.parametrize("end", ["", exits(0)])
def test_a_program_that_ends_well_replies(engine, end):
    ctx = wat.context()
    assert run(engine, says(b"working\n", end, b"reply"), ctx=ctx) == b"reply"
    assert wat.lines(ctx) == [("stderr", "working")]


@pytest.mark.parametrize(
    ("code", "error", "text"),
    [
        (64, MalformedEvent, "not a picture"),
        (65, MalformedEvent, "not a picture"),
        (75, TryAgain, "not a picture"),
        (1, GuestError, "exit code 1: not a picture"),
        (134, GuestError, "exit code 134: not a picture"),
        (-1, GuestError, "exit code -1: not a picture"),
    ],
)
def test_the_exit_code_says_what_went_wrong(engine, code, error, text):
    with pytest.raises(CallError) as caught:
        run(engine, says(b"reading\nnot a picture\n\n", exits(code), b"half a reply"))
    assert (type(caught.value), str(caught.value)) == (error, text)


@pytest.mark.parametrize(("code", "error"), [(65, MalformedEvent), (75, TryAgain), (2, GuestError)])
def test_a_program_may_fail_without_a_word(engine, code, error):
    with pytest.raises(error, match=f"^exit code {code}, and nothing on standard error$"):
        run(engine, says(b"", exits(code)))


def test_the_last_line_is_cut_but_not_within_a_character(engine):
    line = "xx" + "€" * 1000  # three bytes each, and the limit of 1024 falls within one
    with pytest.raises(MalformedEvent) as caught:
        run(engine, says(line.encode(), exits(65)))
    assert str(caught.value) == "xx" + "€" * 340
    assert len(str(caught.value).encode()) <= ERROR_TEXT


def test_what_a_program_said_before_it_was_stopped_is_in_the_log(engine):
    ctx = wat.context()
    with pytest.raises(Trap, match="unreachable"):
        run(engine, says(b"about to fail", "unreachable"), ctx=ctx)
    assert wat.lines(ctx) == [("stderr", "about to fail")]


@pytest.mark.parametrize("end", ["unreachable", "(call $exit (i32.const 2))", "(loop (br 0))"])
def test_the_end_of_what_a_failed_program_wrote_as_its_reply_is_in_the_log_once(engine, end):
    ctx = wat.context(0.2)
    with pytest.raises(CallError):
        run(engine, says(b"", end, b"x" * 2000 + b"\none\npanic: index out of range"), ctx=ctx)
    assert last_words(ctx) == "panic: index out of range"
    assert last_words(ctx) == "panic: index out of range"
    assert [line for _, line in wat.lines(ctx)] == ["x" * 994, "one", "panic: index out of range"]
    assert {stream for stream, _ in wat.lines(ctx)} == {"stdout"}


def test_an_error_has_the_end_of_standard_output_where_standard_error_is_empty(engine):
    with pytest.raises(GuestError, match=r"^exit code 2: no such class$"):
        run(engine, says(b"", exits(2), b"looking\nno such class\n"))
    with pytest.raises(GuestError, match=r"^exit code 2: told here$"):
        run(engine, says(b"told here\n", exits(2), b"looking\nno such class\n"))


def test_an_error_names_the_panic_and_not_the_place_that_go_prints_last(engine):
    trace = b"panic: no such class\n\ngoroutine 1 [running]:\nmain.main()\n\t/src/main.go:22 +0x1c\n"
    with pytest.raises(GuestError, match=r"^exit code 2: panic: no such class$"):
        run(engine, says(trace, exits(2)))


def test_too_much_output_stops_the_program(engine):
    write = "(drop (call $fd_write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 64)))"
    again = says(b"", f"(loop {write} (br 0))", b"x")
    with pytest.raises(BadReply, match=r"^more than limits\.output \(1000 bytes\) was written to standard output$"):
        run(engine, again, ctx=wat.context(output=1000))


def test_a_sleeping_program_ends_at_the_deadline(engine):
    sleep = program(
        "(drop (call $poll (i32.const 0) (i32.const 256) (i32.const 1) (i32.const 512)))",
        (0, struct.pack("<QB7xI4xQQH6x", 0, 0, 1, (1 << 64) - 1, 0, 0)),
    )
    with pytest.raises(DeadlineExceeded):
        run(engine, sleep, ctx=wat.context(0.05))


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        (
            '(module (func (export "run")))',
            ["exports no function '_start': it is not a program (a library is called as 'bindgen')"],
        ),
        (
            '(module (memory (export "memory") 1) (func (export "_start") (result i32) (i32.const 0)))',
            ["export '_start' is ()->(i32), not ()->()"],
        ),
        (
            '(module (memory (export "memory") 1) (func (export "_start") (param externref)))',
            ["export '_start' is of another type, not ()->()"],
        ),
    ],
)
def test_names_what_keeps_a_module_from_being_a_program(engine, text, problems):
    assert wat.problems(engine, text, Command()) == problems


# A real program


@pytest.fixture(scope="module")
def grayscale(engine, guests_folder):
    wasm = (guests_folder / "grayscale" / "grayscale.wasm").read_bytes()
    return CodeCache(user_cache()).load(engine, wasm, Limits().memory)[0]  # a second to compile


def test_a_rust_program_imports_what_we_have(grayscale):
    Command().bind(Shape(grayscale))
    for wanted in grayscale.imports:
        assert wanted.module == MODULE.name
        assert MODULE.functions[wanted.name].signature == wanted.type.function, wanted.name


def test_a_rust_program_turns_a_photo_grey(grayscale, photos):
    photo = (photos / "coffee.png").read_bytes()
    reply = Image.open(io.BytesIO(run_module(grayscale, photo)))
    assert (reply.format, reply.size) == ("PNG", (600, 400))
    assert reply.mode == "L"


def test_a_rust_program_says_that_the_event_is_malformed(grayscale):
    ctx = wat.context()
    with pytest.raises(MalformedEvent, match=r"^the body is not a JPEG or PNG picture: "):
        run_module(grayscale, b"not a picture", ctx)
    assert [stream for stream, _ in wat.lines(ctx)] == ["stderr"]


# files


FILES = """(module
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\\00\\04\\00\\00\\ff\\00\\00\\00")
  (data (i32.const 100) "in/bodytmp/out")
  (func $file (param $at i32) (param $flags i32) (param $rights i64)
    (if (call $open (i32.const 3) (i32.const 0) (local.get $at) (i32.const 7) (local.get $flags) (local.get $rights)
      (i64.const 0) (i32.const 0) (i32.const 64)) (then unreachable)))
  (func (export "_start")
    (call $file (i32.const 100) (i32.const 0) (i64.const 2))
    (if (call $fd_read (i32.load (i32.const 64)) (i32.const 0) (i32.const 1) (i32.const 4)) (then unreachable))
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 72)))
    (call $file (i32.const 107) (i32.const 1) (i64.const 64))
    (drop (call $fd_write (i32.load (i32.const 64)) (i32.const 0) (i32.const 1) (i32.const 72)))))"""


def test_a_program_finds_the_body_in_a_file_and_replies_with_another(engine):
    ctx = wat.context(grants=Grants(body_file="/in/body", scratch=1 << 20, reply_file="/tmp/out"))
    assert run(engine, FILES, b"the body", ctx) == b"the body"
    assert wat.lines(ctx) == [("stdout", "the body")]


def test_without_a_reply_file_standard_output_is_the_reply(engine):
    ctx = wat.context(grants=Grants(body_file="/in/body", scratch=1 << 20))
    assert run(engine, FILES, b"the body", ctx) == b"the body"
    assert wat.lines(ctx) == []


def test_a_program_that_makes_no_reply_file_has_no_reply(engine):
    ctx = wat.context(grants=Grants(reply_file="/out"))
    with pytest.raises(BadReply, match=r"^the guest ended without a file /out, which is to have its reply"):
        run(engine, says(b"", ""), b"", ctx)


def test_a_program_that_fails_is_asked_for_no_file(engine):
    ctx = wat.context(grants=Grants(reply_file="/out"))
    with pytest.raises(GuestError, match=r"^exit code 3: no model$"):
        run(engine, says(b"no model", exits(3)), b"", ctx)
