"""wasmedge-bindgen in all its eras: small guests in WAT that answer by one rule each."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guesthouse_abi.calling.bindgen import Bindgen
from guesthouse_abi.errors import BadReply, Exit, GuestError, MalformedEvent, Trap, TryAgain
from tests.support import wat
from tests.support.budget import examples

# An allocator that only goes up, a record at 16 and a triple at 32: enough for one call.
PRELUDE = """(memory (export "memory") 2) (global $at (mut i32) (i32.const 1024))
  (func (export "allocate") (param i32) (result i32)
    global.get $at (global.set $at (i32.add (global.get $at) (local.get 0))))
  (func (export "deallocate") (param i32 i32))"""


def era_c(body: str, data: str = "", more: str = "") -> str:
    return f'(module {more} {PRELUDE} {data} (func (export "f") (param i32 i32) (result i32) {body}))'


def answer(record: bytes, *pieces: tuple[int, bytes]) -> str:
    """A guest whose memory already holds its answer: the record at 16, other bytes where they are said to be."""
    text = "".join(
        f'(data (i32.const {at}) "{"".join(f"{chr(92)}{b:02x}" for b in data)}")'
        for at, data in ((16, record), *pieces)
    )
    return era_c("(i32.const 16)", text)


def record(flag: int, pointer: int, count: int) -> bytes:
    return struct.pack("<BII", flag, pointer, count)


def triple(pointer: int, tag: int, length: int) -> bytes:
    return struct.pack("<III", pointer, tag, length)


ECHO = era_c(
    """(i32.store8 (i32.const 16) (i32.const 0)) (i32.store (i32.const 17) (i32.const 32))
    (i32.store (i32.const 21) (i32.const 1))
    (i32.store (i32.const 32) (i32.load (local.get 0))) (i32.store (i32.const 36) (i32.const 21))
    (i32.store (i32.const 40) (i32.load (i32.add (local.get 0) (i32.const 4)))) (i32.const 16)"""
)


@pytest.mark.parametrize("body", [b"", b"x", b"hello \xff\x00", b"y" * 60_000])
def test_the_body_goes_in_and_comes_back(engine, body):
    assert wat.run(engine, ECHO, Bindgen("f"), body) == body


@pytest.mark.parametrize(
    ("tag", "data", "reply"),
    [
        (1, b"\xff", b"255"),
        (2, b"\xff", b"-1"),
        (3, b"\xff\xff", b"65535"),
        (4, b"\xff\xff", b"-1"),
        (5, b"\xff\xff\xff\xff", b"4294967295"),
        (6, b"\xff\xff\xff\xff", b"-1"),
        (7, b"\xff" * 8, b"18446744073709551615"),
        (8, b"\xff" * 8, b"-1"),
        (9, struct.pack("<f", 0.1), b"0.1"),
        (10, struct.pack("<d", 0.1), b"0.1"),
        (11, b"\x01", b"true"),
        (11, b"\x00", b"false"),
        (12, struct.pack("<I", ord("é")), "é".encode()),
        (21, b"\x00\xff", b"\x00\xff"),
        (23, b"\x01\x00\x02\x00", b"\x01\x00\x02\x00"),
        (31, "né".encode(), "né".encode()),
    ],
)
def test_each_type_of_result_has_its_text(engine, tag, data, reply):
    text = answer(record(0, 32, 1), (32, triple(64, tag, len(data))), (64, data))
    assert wat.run(engine, text, Bindgen("f"), b"") == reply


def test_no_result_is_an_empty_reply(engine):
    assert wat.run(engine, answer(record(0, 0, 0)), Bindgen("f"), b"") == b""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (answer(record(0, 32, 2)), "2 results; a function for events returns one"),
        (answer(record(0, 32, 1), (32, triple(64, 99, 4))), "type tag 99"),
        (answer(record(0, 32, 1), (32, triple(64, 5, 3))), "type tag 5 and 3 bytes"),
        (answer(record(0, 32, 1), (32, triple(64, 12, 4)), (64, b"\x00\xd8\x00\x00")), "a char of 0xd800"),
        (answer(record(0, 0xFFFFFFF0, 1)), "outside the guest's memory"),
        (answer(record(0, 32, 1), (32, triple(131_000, 21, 1000))), "outside the guest's memory"),
        (era_c("(i32.const -4)"), "outside the guest's memory"),
        (answer(record(1, 0xFFFFFFF0, 5)), "outside the guest's memory"),
        (answer(record(0, 32, 1), (32, triple(0, 21, 0xFFFFFFFF))), "the limit output is"),
    ],
)
def test_a_broken_answer_is_told_and_harms_nobody(engine, text, said):
    with pytest.raises(BadReply, match=said):
        wat.run(engine, text, Bindgen("f"), b"x")


def test_the_guests_own_error_is_its_text_cut(engine):
    with pytest.raises(GuestError, match=r"^no cup$"):
        wat.run(engine, answer(record(1, 64, 6), (64, b"no cup")), Bindgen("f"), b"")
    with pytest.raises(GuestError) as caught:
        wat.run(engine, answer(record(1, 64, 60_000), (64, b"x" * 3)), Bindgen("f"), b"")
    assert len(str(caught.value)) == 1024


@pytest.mark.parametrize(
    ("said", "kind", "text"),
    [
        (b"guesthouse:malformed: no cup", MalformedEvent, "no cup"),
        (b"guesthouse:malformed:", MalformedEvent, "the guest gives no reason"),
        (b"guesthouse:try-again:  the cups are washed ", TryAgain, "the cups are washed"),
        (b"guesthouse:other: no cup", GuestError, "guesthouse:other: no cup"),
        (b"no cup: guesthouse:malformed: x", GuestError, "no cup: guesthouse:malformed: x"),
    ],
)
@pytest.mark.parametrize("era", ["B", "C"])
def test_an_error_may_say_that_the_event_is_at_fault_or_may_succeed_later(engine, era, said, kind, text):
    if era == "C":
        guest = answer(record(1, 64, len(said)), (64, said))
    else:
        data = "".join(f"\\{byte:02x}" for byte in said)
        guest = f"""(module (import "wasmedge-bindgen" "return_error" (func $error (param i32 i32)))
          (import "wasmedge-bindgen" "return_result" (func (param i32 i32)))
          (memory (export "memory") 1) (data (i32.const 64) "{data}")
          (func (export "allocate") (param i32) (result i32) (i32.const 1024))
          (func (export "f") (param i32 i32) (call $error (i32.const 64) (i32.const {len(said)}))))"""
    with pytest.raises(kind) as caught:
        wat.run(engine, guest, Bindgen("f"), b"")
    assert type(caught.value) is kind
    assert str(caught.value) == text


def test_an_allocator_that_points_out_of_memory_is_a_bad_reply(engine):
    text = ECHO.replace("global.get $at (global.set", "(i32.const -8) (global.set")
    with pytest.raises(BadReply, match="outside the guest's memory"):
        wat.run(engine, text, Bindgen("f"), b"12345678")


def test_initialize_runs_once_before_anything_else(engine):
    text = era_c("unreachable").replace(
        '(func (export "f")', '(func (export "_initialize") (global.set $at (i32.const -8))) (func (export "f")'
    )
    with pytest.raises(BadReply):
        wat.run(engine, text, Bindgen("f"), b"12345678")


def test_era_b_raw_takes_the_bytes_that_the_import_got(engine):
    text = f"""(module (import "env" "return_result" (func $r (param i32 i32)))
      (import "env" "return_error" (func $e (param i32 i32))) {PRELUDE}
      (func (export "f") (param i32 i32) (call $r (i32.load (local.get 0)) (i32.load offset=4 (local.get 0))))
      (func (export "g") (param i32 i32) (call $e (i32.load (local.get 0)) (i32.load offset=4 (local.get 0))))
      (func (export "h") (param i32 i32)))"""
    assert wat.run(engine, text, Bindgen("f"), b"raw") == b"raw"
    with pytest.raises(GuestError, match=r"^raw$"):
        wat.run(engine, text, Bindgen("g"), b"raw")
    with pytest.raises(BadReply, match="without calling return_result"):
        wat.run(engine, text, Bindgen("h"), b"raw")


ERA_B = f"""(module (import "wasmedge-bindgen" "return_result" (func $r (param i32 i32))) {PRELUDE}
  (func (export "raw") (param i32 i32) (call $r (i32.load (local.get 0)) (i32.load offset=4 (local.get 0))))
  (func (export "triples") (param i32 i32)
    (i32.store (i32.const 32) (i32.load (local.get 0))) (i32.store (i32.const 36) (i32.const 31))
    (i32.store (i32.const 40) (i32.load (i32.add (local.get 0) (i32.const 4))))
    (call $r (i32.const 32) (i32.const 1))))"""


@pytest.mark.parametrize("function", ["raw", "triples"])
def test_era_b_tells_triples_from_raw_bytes(engine, function):
    assert wat.run(engine, ERA_B, Bindgen(function), b"a cup of coffee") == b"a cup of coffee"
    assert wat.run(engine, ERA_B, Bindgen(function), b"") == b""


@pytest.mark.parametrize("module", ["env", "wasmedge-bindgen"])
@pytest.mark.parametrize("import_", ["return_result", "return_error"])
@pytest.mark.parametrize(("pointer", "length"), [(-8, 16), (131_060, 100), (131_072, 1)])
def test_what_era_b_returns_from_outside_its_memory_is_a_bad_reply(engine, module, import_, pointer, length):
    text = f"""(module (import "{module}" "return_result" (func $return_result (param i32 i32)))
      (import "{module}" "return_error" (func $return_error (param i32 i32))) {PRELUDE}
      (func (export "f") (param i32 i32) (call ${import_} (i32.const {pointer}) (i32.const {length}))))"""
    with pytest.raises(BadReply, match=r"the guest broke its calling convention: \d+ bytes at 0x\w+ are outside"):
        wat.run(engine, text, Bindgen("f"), b"")


ERA_A = """(module (memory (export "memory") 1)
  (func (export "__wbindgen_malloc") (param i32) (result i32) (i32.const 1024))
  (func (export "__wbindgen_free") (param i32 i32))
  (func (export "say") (param i32 i32 i32)
    (i32.store (local.get 0) (local.get 1)) (i32.store offset=4 (local.get 0) (local.get 2)))
  (func (export "count") (param i32 i32) (result i32) (i32.sub (i32.const 0) (local.get 1)))
  (func (export "take") (param i32 i32)))"""


def test_era_a_returns_by_pointer_by_number_and_nothing(engine):
    assert wat.run(engine, ERA_A, Bindgen("say"), b"hi there") == b"hi there"
    assert wat.run(engine, ERA_A, Bindgen("count"), b"12345") == b"-5"
    assert wat.run(engine, ERA_A, Bindgen("take"), b"12345") == b""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "(module)",
            [
                "exports no memory",
                "exports no 'allocate', which a wasmedge-bindgen guest has",
                "exports no function 'f' (functions that it has: none)",
            ],
        ),
        (
            f'(module {PRELUDE} (func (export "g") (param i32 i32) (result i32) i32.const 0))',
            ["exports no function 'f' (functions that it has: g)"],
        ),
        (f'(module {PRELUDE} (func (export "f")))', ["export 'f' is ()->(), not (i32 i32)->(i32) (era C)"]),
        (
            '(module (memory (export "memory") 1) (func (export "allocate"))'
            ' (func (export "f") (param i32 i32) (result i32) i32.const 0))',
            ["export 'allocate' is ()->(), not (i32)->(i32)"],
        ),
    ],
)
def test_what_is_missing_is_told_at_load(engine, text, said):
    assert wat.problems(engine, text, Bindgen("f")) == said


def test_a_panic_and_an_exit_pass_as_what_they_are(engine):
    with pytest.raises(Trap, match="unreachable"):
        wat.run(engine, era_c("unreachable"), Bindgen("f"), b"")
    exits = era_c(
        "(call $x (i32.const 3)) unreachable",
        more='(import "wasi_snapshot_preview1" "proc_exit" (func $x (param i32)))',
    )
    with pytest.raises(Exit, match="exit code 3"):
        wat.run(engine, exits, Bindgen("f"), b"")


def test_assemblyscripts_abort_names_message_and_place(engine):
    message = "gone".encode("utf-16-le")
    text = era_c(
        "(call $a (i32.const 512) (i32.const 0) (i32.const 7) (i32.const 9)) unreachable",
        f'(data (i32.const 508) "\\08\\00\\00\\00{"".join(f"{chr(92)}{b:02x}" for b in message)}")',
        '(import "env" "abort" (func $a (param i32 i32 i32 i32)))',
    )
    with pytest.raises(Trap, match=r"abort: gone \(unknown file:7:9\)"):
        wat.run(engine, text, Bindgen("f"), b"")


@settings(max_examples=examples(200), deadline=None)
@given(memory=st.binary(min_size=64, max_size=64), pointer=st.integers(0, 0xFFFFFFFF))
def test_any_record_at_any_pointer_is_a_reply_or_a_told_error(engine, memory, pointer):
    data = f'(data (i32.const 16) "{"".join(f"{chr(92)}{b:02x}" for b in memory)}")'
    try:
        wat.run(engine, era_c(f"(i32.const {pointer})", data), Bindgen("f"), b"x")
    except (BadReply, GuestError):
        pass
