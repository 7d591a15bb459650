"""Values of the Component Model: how they cross, and what a guest that lies about them gets."""

from __future__ import annotations

import ctypes
import gc
import inspect
import linecache
import math
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guesthouse_abi.calling.command import Command
from guesthouse_abi.canonical import texts
from guesthouse_abi.canonical.code import Code
from guesthouse_abi.canonical.crossing import begin_with_memory, enter
from guesthouse_abi.canonical.functions import Fail, lowered
from guesthouse_abi.canonical.texts import Signature, Unreadable
from guesthouse_abi.canonical.types import (
    NAMES,
    PLAIN,
    Case,
    Enum,
    Flags,
    Option,
    Record,
    Result,
    Type,
    Variant,
    list_of,
)
from guesthouse_abi.context import Context
from guesthouse_abi.errors import CallError, DeadlineExceeded, TooMuch, Trap
from guesthouse_abi.grants import Grants
from guesthouse_abi.imports.preview2 import host_function, interfaces
from guesthouse_abi.memory import Memory
from guesthouse_abi.services import Log
from tests.support import wat
from tests.support.doubles import Lines

SIGNATURES = Path(__file__).resolve().parents[1] / "data" / "wasi-signatures.txt"
SIZE = 1 << 20


# ---- the texts ----


@pytest.mark.parametrize("line", SIGNATURES.read_text().splitlines())
def test_every_function_has_the_core_type_that_wasm_tools_computes(line: str) -> None:
    module, name, signature = line.split(" ", 2)
    function = host_function(module, name)
    assert function is not None
    assert str(function.signature) == signature


def test_every_interface_that_is_answered_has_a_text_and_no_answer_without_one() -> None:
    for drafts in interfaces().values():
        for one in drafts:
            one.prepare()


@pytest.mark.parametrize("version", ["0.2.0", "0.2.3", "0.2.99", "0.2.0-rc-2023-11-10"])
def test_the_versions_of_one_interface_are_one(version: str) -> None:
    assert host_function(f"wasi:cli/exit@{version}", "exit") is not None


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("wasi:cli/exit@0.3.0", "exit"),
        ("wasi:cli/exit@1.2.0", "exit"),
        ("wasi:cli/exit", "exit"),
        ("wasi:cli/exit@0.2.0", "leave"),
        ("wasi:cli/exit@0.2.0", "[resource-drop]exit"),
        ("wasi:../../x@0.2.0", "y"),
        ("my:own/exit@0.2.0", "exit"),
        ("wasi:logging/logging@0.2.0", "log"),
        ("wasi:config/store@0.2.0-rc.2", "get"),
    ],
)
def test_an_import_of_anything_else_has_no_answer(module: str, name: str) -> None:
    assert host_function(module, name) is None


@pytest.mark.parametrize(
    "text",
    ["interface i { f: func() -> nothing; }", "interface i { f: func( }", "interface i { use a.{b}; }", "§", "x"],
)
def test_a_text_that_is_not_understood_is_an_error(text: str) -> None:
    with pytest.raises(Unreadable):
        texts.read("my:own", text)


# ---- values ----


class Guest:
    """A memory, and an allocator that never gives anything back."""

    def __init__(self) -> None:
        self.bytes = ctypes.create_string_buffer(SIZE)
        self.context = wat.context(60)
        self.context.memory = Memory(lambda: (ctypes.addressof(self.bytes), SIZE))
        self.free = 8192  # what the tests write lies below
        enter(self.context, self)

    def call(self, export: str, *arguments: int) -> int:
        _old, _size, align, size = arguments
        pointer = -(-self.free // align) * align
        self.free = pointer + size
        return pointer


NUMBERS = {name: (1 << int(name[1:])) for name in ("u8", "u16", "u32", "u64", "s8", "s16", "s32", "s64")}
NAMED = st.lists(st.text("abcdef", min_size=1, max_size=4), min_size=1, max_size=20, unique=True)


def _plain(name: str) -> st.SearchStrategy[Any]:
    if name in NUMBERS:
        low = -(NUMBERS[name] // 2) if name[0] == "s" else 0
        return st.integers(low, low + NUMBERS[name] - 1)
    if name in ("f32", "f64"):
        return st.floats(width=int(name[1:]), allow_nan=False)  # type: ignore[arg-type]
    if name == "bool":
        return st.booleans()
    if name == "char":
        return st.characters(exclude_categories=["Cs"])
    return st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def _types(inner: st.SearchStrategy[tuple[Type, Any]]) -> st.SearchStrategy[tuple[Type, Any]]:
    parts = st.lists(inner, min_size=1, max_size=6)
    lists = inner.map(lambda one: (list_of(one[0]), st.lists(one[1], max_size=4).map(_as_list(one[0]))))
    records = parts.map(lambda some: (Record([kind for kind, _ in some]), st.tuples(*[value for _, value in some])))
    options = inner.map(lambda one: (Option(one[0]), one[1] if isinstance(one[0], Option) else st.none() | one[1]))
    results = st.tuples(inner, inner).map(
        lambda two: (
            Result(two[0][0], two[1][0]),
            two[0][1].map(lambda v: Case("ok", v)) | two[1][1].map(lambda v: Case("err", v)),
        )
    )
    many = st.lists(inner, min_size=1, max_size=9)  # with so many, a variant has functions of its own
    variants = many.map(
        lambda some: (
            Variant([("empty", None), *((str(index), kind) for index, (kind, _) in enumerate(some))]),
            st.one_of(
                st.just(Case("empty")),
                *(value.map(lambda v, index=index: Case(str(index), v)) for index, (_, value) in enumerate(some)),
            ),
        )
    )
    return st.one_of(lists, records, options, results, variants)


def _as_list(element: Type) -> Callable[[list[Any]], Any]:
    return bytes if element is PLAIN["u8"] else list


LEAVES = st.one_of(
    st.sampled_from(sorted(PLAIN)).map(lambda name: (PLAIN[name], _plain(name))),
    NAMED.map(lambda names: (Enum(names), st.sampled_from(names))),
    NAMED.map(lambda names: (Flags(names), st.frozensets(st.sampled_from(names)))),
)
TYPES = st.recursive(LEAVES, _types, max_leaves=8)


def _crossed(kinds: list[Type], values: tuple[Any, ...]) -> tuple[Any, ...]:
    """What the host gets of values that it has written into a guest's memory."""
    guest = Guest()
    _in_memory(guest, Record(kinds), values, 0)
    return _from_memory(guest, kinds, 0)


def _in_memory(guest: Guest, kind: Type, value: Any, pointer: int) -> None:
    """Have a host function give the guest this value, there."""
    code = Code(**NAMES, begin_with_memory=begin_with_memory)
    code.line("crossing = begin_with_memory(context)")
    code.line(f"crossing.memory.write({pointer}, {code.packer(kind.layout)}({', '.join(kind.store(code, 'value'))}))")
    code.made("store", ["context", "value"])(guest.context, value)


def _from_memory(guest: Guest, kinds: list[Type], pointer: int) -> tuple[Any, ...]:
    """What a host function gets, to which the guest hands over values that lie there."""
    got: list[tuple[Any, ...]] = []
    signature = Signature(tuple((str(index), kind) for index, kind in enumerate(kinds)), None)
    lowered("m", "take", signature, lambda context, *given: got.append(given)).invoke(guest.context, pointer)
    return got[0]


#: With these before it, a value lies in memory on both ways.
MANY = [PLAIN["u8"]] * 17


@given(st.data())
def test_a_value_is_the_same_when_it_comes_back_from_memory(data: st.DataObject) -> None:
    kind, values = data.draw(TYPES)
    value = data.draw(values)
    assert kind.size % kind.align == 0
    assert _crossed([*MANY, kind], (*range(17), value)) == (*range(17), value)


@given(st.data())
def test_a_value_is_the_same_when_it_comes_back_from_a_calls_numbers(data: st.DataObject) -> None:
    kind, values = data.draw(TYPES)
    value = data.draw(values)
    guest = Guest()
    numbers = _numbers(kind, guest, value)
    assert len(numbers) == len(kind.flat)
    got: list[Any] = []
    signature = Signature((("before", PLAIN["bool"]), ("one", kind)), None)
    if len(numbers) < 16:
        lowered("m", "f", signature, lambda context, *given: got.append(given)).invoke(guest.context, 1, *numbers)
        assert got == [(True, value)]


def _numbers(kind: Type, guest: Guest, value: Any) -> list[Any]:
    """A value as the numbers of a call."""
    code = Code(**NAMES, begin_with_memory=begin_with_memory)
    code.line("crossing = begin_with_memory(context)")
    code.line(f"return [{', '.join(kind.lower(code, 'value'))}]")
    made: list[Any] = code.made("numbers", ["context", "value"])(guest.context, value)
    return made


@given(st.data())
def test_a_function_gets_and_gives_the_same_values_wherever_its_numbers_are(data: st.DataObject) -> None:
    """With many parameters they lie in memory, and with many results too."""
    drawn = data.draw(st.lists(TYPES, min_size=1, max_size=10))
    values = tuple(data.draw(one) for _, one in drawn)
    together = Record([kind for kind, _ in drawn])
    guest = Guest()
    got: list[Any] = []

    def answer(context: Context, *arguments: Any) -> Any:
        got.append(arguments)
        return (*range(len(MANY)), arguments)

    parameters = tuple((str(index), kind) for index, (kind, _) in enumerate(drawn))
    function = lowered("m", "f", Signature(parameters, Record([*MANY, together])), answer)
    numbers = _numbers(together, guest, values)
    if len(numbers) > 16:
        numbers = [guest.call("", 0, 0, together.align, together.size)]
        _in_memory(guest, together, values, numbers[0])
    function.invoke(guest.context, *numbers, 0)
    assert got == [values]
    assert _from_memory(guest, [*MANY, together], 0)[-1] == values


@pytest.mark.parametrize("name", ["ok", "err"])
@pytest.mark.parametrize("value", [Case("DNS-error", ("why", 7)), Case("internal-error", None), Case("loop-detected")])
def test_a_case_of_a_long_variant_crosses_as_any_other(name: str, value: Case) -> None:
    """The code for these is written apart, when it is first needed."""
    error = interfaces()["wasi:http/types"][0].text.types["error-code"]
    assert isinstance(error, Variant)
    kind, outcome = Result(error, error), Case(name, value)
    assert _crossed([*MANY, kind], (*range(17), outcome))[-1] == outcome
    guest, got = Guest(), list[Any]()
    function = lowered("m", "f", Signature((("one", kind),), None), lambda context, one: got.append(one))
    function.invoke(guest.context, *_numbers(kind, guest, outcome))
    assert got == [outcome]


# ---- the code that is written ----


def test_nothing_that_a_guest_names_stands_in_the_code_of_its_functions() -> None:
    function = host_function("wasi:io/streams@0.2.666-evil", "[method]output-stream.check-write")
    assert function is not None
    assert function.module.endswith("666-evil")
    written = "".join(linecache.getlines(inspect.getfile(function.body))) + str(function.body.__doc__)
    assert "raise no_handle(" in written
    assert "666" not in written


def test_functions_with_the_same_code_share_it_and_tell_their_resources_apart() -> None:
    drops = [host_function("wasi:io/streams@0.2.0", f"[resource-drop]{name}-stream") for name in ("input", "output")]
    guest = Guest()
    told = []
    for drop in drops:
        assert drop is not None
        with pytest.raises(Trap) as trap:
            drop.invoke(guest.context, 9)
        told.append(str(trap.value).partition(": ")[2])
    assert told == ["there is no input-stream 9", "there is no output-stream 9"]


def test_a_function_that_fails_gives_the_error_of_its_result() -> None:
    def fail(context: Context) -> int:
        raise Fail("bad")

    guest = Guest()
    function = lowered("m", "f", Signature((), Result(PLAIN["u64"], Enum(["good", "bad"]))), fail)
    function.invoke(guest.context, 32)
    assert guest.context.memory.read(32, 16)[::8] == b"\1\1"


def test_numbers_that_are_not_finite_cross_too() -> None:
    for kind in (PLAIN["f32"], PLAIN["f64"]):
        for value in (math.inf, -math.inf):
            assert _crossed([*MANY, kind], (*range(17), value))[-1] == value
        assert math.isnan(_crossed([*MANY, kind], (*range(17), math.nan))[-1])


# ---- guests that lie ----

IMPORTS = """
  (import "wasi:cli/environment@0.2.0" "get-arguments" (func $arguments (param i32)))
  (import "wasi:cli/stdout@0.2.0" "get-stdout" (func $stdout (result i32)))
  (import "wasi:cli/stdin@0.2.0" "get-stdin" (func $stdin (result i32)))
  (import "wasi:cli/exit@0.2.0" "exit" (func $exit (param i32)))
  (import "wasi:io/streams@0.2.0" "[resource-drop]output-stream" (func $drop (param i32)))
  (import "wasi:io/streams@0.2.0" "[method]output-stream.write" (func $write (param i32 i32 i32 i32)))
  (import "wasi:io/streams@0.2.0" "[method]input-stream.read" (func $read (param i32 i64 i32)))
  (import "wasi:io/poll@0.2.0" "poll" (func $poll (param i32 i32 i32)))
  (import "wasi:logging/logging@0.1.0-draft" "log" (func $log (param i32 i32 i32 i32 i32)))
  (import "wasi:random/random@0.2.0" "get-random-bytes" (func $random (param i64 i32)))
"""
#: A bump allocator, which grows the memory where it has to.
BUMP = """
  (local.set $at (i32.and (i32.add (global.get $free) (i32.sub (local.get 2) (i32.const 1)))
    (i32.sub (i32.const 0) (local.get 2))))
  (global.set $free (i32.add (local.get $at) (local.get 3)))
  (block $enough (loop $more
    (br_if $enough (i32.le_u (global.get $free) (i32.mul (memory.size) (i32.const 65536))))
    (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))))
  (local.get $at)"""


def guest(body: str, allocator: str = BUMP, more: str = "") -> str:
    return f"""(module {IMPORTS}
      (memory (export "memory") 1) (global $free (mut i32) (i32.const 1024)) {more}
      (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (local $at i32) {allocator})
      (func (export "wasi:cli/run@0.2.0#run") (result i32) (local $a i32) {body} (i32.const 0)))"""


def write(pointer: str, length: str) -> str:
    """Write these bytes to standard output."""
    return f"(call $write (call $stdout) {pointer} {length} (i32.const 16))"


def run(engine: Any, text: str, body: bytes = b"", ctx: Context | None = None) -> bytes:
    return wat.run(engine, text, Command(), body, ctx)


def trapped(engine: Any, text: str, ctx: Context | None = None, body: bytes = b"") -> str:
    with pytest.raises(Trap) as failed:
        run(engine, text, body, ctx)
    return str(failed.value)


def test_a_guest_that_tells_the_truth_is_answered(any_engine: Any) -> None:
    text = guest(
        f"""(call $read (call $stdin) (i64.const 100) (i32.const 16))
        {write("(i32.load (i32.const 20))", "(i32.load (i32.const 24))")}"""
    )
    assert run(any_engine, text, b"hello") == b"hello"


def test_memory_that_grows_while_an_answer_is_written_is_written_to(any_engine: Any) -> None:
    """The first allocation moves the memory; the list and the result's place lie in the memory of then."""
    text = guest(
        f"""(call $random (i64.const 200000) (i32.const 16))
        {write("(i32.load (i32.const 16))", "(i32.load (i32.const 20))")}"""
    )
    made = run(any_engine, text)
    assert len(made) == 200_000
    assert len(set(made)) == 256


@pytest.mark.parametrize(
    ("allocator", "why"),
    [
        ("(i32.const -8)", "outside the guest's memory"),
        ("(i32.const 65533)", "which is not aligned to 4"),
        ("(i32.const 65532)", "outside the guest's memory"),
        ("unreachable", "unreachable"),
        ("(call $exit (i32.const 0)) (i32.const 64)", "the guest's allocator calls the host, which it may not"),
        ("(call $arguments (i32.const 64)) (i32.const 64)", "the guest's allocator calls the host"),
        ("(call $drop (i32.const 1)) (i32.const 64)", "the guest's allocator calls the host"),
    ],
)
def test_an_allocator_that_lies_ends_the_guest(any_engine: Any, allocator: str, why: str) -> None:
    text = guest("(call $arguments (i32.const 16))", allocator)
    ctx = wat.context()
    ctx.arguments = ("a", "b")
    assert why in trapped(any_engine, text, ctx)


def test_an_allocator_that_loops_ends_at_the_deadline(engine: Any) -> None:
    ctx = wat.context(0.2)
    ctx.arguments = ("a",)
    with pytest.raises(DeadlineExceeded):
        run(engine, guest("(call $arguments (i32.const 16))", "(loop br 0) unreachable"), ctx=ctx)


def test_an_allocator_that_calls_itself_without_an_end_is_a_stack_overflow(engine: Any) -> None:
    text = guest("(call $arguments (i32.const 16))", "(call $again) (i32.const 0)", "(func $again (call $again))")
    ctx = wat.context()
    ctx.arguments = ("a",)
    assert trapped(engine, text, ctx) == "stack overflow"


def test_a_guest_without_an_allocator_is_told_so(any_engine: Any) -> None:
    text = guest("(call $arguments (i32.const 16))").replace('"cabi_realloc"', '"other"')
    ctx = wat.context()
    ctx.arguments = ("a",)
    assert "the answer needs the guest's cabi_realloc" in trapped(any_engine, text, ctx)


def test_an_allocator_of_another_type_is_not_called(any_engine: Any) -> None:
    text = guest("(call $arguments (i32.const 16))").replace('"cabi_realloc"', '"other"')
    text = text.replace("(global $free", '(func (export "cabi_realloc") (result i64) (i64.const 1)) (global $free')
    assert "the answer needs the guest's cabi_realloc" in trapped(any_engine, text)


def test_the_manifests_config_is_the_guests(any_engine: Any) -> None:
    text = guest(
        """(call $config (i32.const 8) (i32.const 6) (i32.const 16))
        (call $write (call $stdout) (i32.load (i32.const 24)) (i32.load (i32.const 28)) (i32.const 32))""",
        more='(data (i32.const 8) "colour")',
    ).replace("(import", '(import "wasi:config/store@0.2.0-rc.1" "get" (func $config (param i32 i32 i32))) (import', 1)
    assert run(any_engine, text, ctx=wat.context(grants=Grants(config=(("colour", "blue"),)))) == b"blue"


def test_a_line_of_the_log_has_its_level_and_its_context(any_engine: Any) -> None:
    ctx = wat.context()
    body = "(call $log (i32.const 3) (i32.const 8) (i32.const 4) (i32.const 12) (i32.const 4))"
    run(any_engine, guest(body, more='(data (i32.const 8) "copyhalf")'), ctx=ctx)
    log = ctx.services[Log]
    assert isinstance(log, Lines)
    assert log.entries == [("warning", "half", {"context": "copy"})]


def test_a_start_function_has_no_allocator_yet(any_engine: Any) -> None:
    text = guest("", more="(func $early (call $arguments (i32.const 16))) (start $early)")
    assert "the answer needs the guest's cabi_realloc" in trapped(any_engine, text)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (write("(i32.const 65530)", "(i32.const 7)"), "outside the guest's memory"),
        (write("(i32.const -1)", "(i32.const 2)"), "outside the guest's memory"),
        (write("(i32.const 2)", "(i32.const -1)"), "a call hands over more than limits.host_memory"),
        ("(call $arguments (i32.const 65530))", "the address 0xfffa is not aligned to 4"),
        ("(call $arguments (i32.const 65532))", "outside the guest's memory"),
        ("(call $arguments (i32.const -4))", "outside the guest's memory"),
        ("(call $exit (i32.const 2))", "the number 2 is none of 2 cases"),
        ("(call $exit (i32.const -1))", "is none of 2 cases"),
        ("(call $drop (i32.const 0))", "there is no output-stream 0"),
        ("(call $drop (i32.const 7))", "there is no output-stream 7"),
        ("(local.set $a (call $stdout)) (call $drop (local.get $a)) (call $drop (local.get $a))", "no output-stream 1"),
        (
            "(local.set $a (call $stdout)) (call $drop (local.get $a))"
            "(call $write (local.get $a) (i32.const 0) (i32.const 0) (i32.const 16))",
            "there is no output-stream 1",
        ),
        ("(call $read (call $stdout) (i64.const 1) (i32.const 16))", "there is no input-stream 1"),
        ("(call $drop (call $stdin))", "there is no output-stream 1"),
        ("(call $poll (i32.const 64) (i32.const 1) (i32.const 16))", "there is no pollable 0"),
        ("(call $poll (i32.const 64) (i32.const 0) (i32.const 16))", "0 were polled"),
        ("(call $poll (i32.const 62) (i32.const 1) (i32.const 16))", "the address 0x3e is not aligned to 4"),
        ("(call $poll (i32.const 64) (i32.const 16384) (i32.const 16))", "outside the guest's memory"),
        ("(call $poll (i32.const 64) (i32.const 16385) (i32.const 16))", "lists of more than 16384 elements together"),
        ("(call $poll (i32.const 64) (i32.const -1) (i32.const 16))", "lists of more than 16384 elements together"),
        ("(call $log (i32.const 6) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))", "none of 6 cases"),
        ("(call $log (i32.const 0) (i32.const 8) (i32.const 1) (i32.const 0) (i32.const 0))", "that is not UTF-8"),
        ("(call $random (i64.const -1) (i32.const 16))", "the limit host_memory"),
        ("(loop (drop (call $stdout)) br 0)", "4096 handles are open; drop one first"),
    ],
)
def test_a_guest_that_lies_ends_as_a_trap_that_says_so(any_engine: Any, body: str, why: str) -> None:
    assert why in trapped(any_engine, guest(body, more='(data (i32.const 8) "\\ff")'))


def test_what_a_guest_may_write_at_once_is_bounded(any_engine: Any) -> None:
    ctx = wat.context()
    text = guest(write("(i32.const 0)", "(i32.const 1048577)")).replace('"memory") 1', '"memory") 17')
    assert "1048577 bytes were written at once; check-write said 1048576" in trapped(any_engine, text, ctx)


def test_what_a_guest_writes_is_bounded_by_its_limit(any_engine: Any) -> None:
    ctx = wat.context(output=100)
    with pytest.raises(CallError, match=r"more than limits.output \(100 bytes\)"):
        run(any_engine, guest(write("(i32.const 0)", "(i32.const 101)")), ctx=ctx)


def test_a_text_is_counted_as_long_as_it_may_become() -> None:
    guest = Guest()
    guest.context.hold(guest.context.limits.host_memory - 400)
    for text, most in (("a", 400), ("\N{GRINNING FACE}", 25)):
        data = (text * (most + 1)).encode()
        ctypes.memmove(guest.bytes, data, len(data))
        length = most * len(text.encode())
        assert begin_with_memory(guest.context).text_at(0, length) == text * most
        with pytest.raises(TooMuch):
            begin_with_memory(guest.context).text_at(0, length + len(text.encode()))


class Kept:
    """Something that a context keeps."""


def test_a_context_and_its_instance_do_not_keep_each_other(engine: Any) -> None:
    """Else an event's body would live until a collection of garbage."""
    ctx = wat.context()
    ctx.arguments = ("a",)
    kept = weakref.ref(ctx.state(Kept))
    gc.disable()
    try:
        run(engine, guest("(call $arguments (i32.const 16))"), ctx=ctx)
        ctx.end()
        del ctx
        assert kept() is None
    finally:
        gc.enable()
