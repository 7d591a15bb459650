"""Functions of no, one and several values: JSON arrays in and out, with a guest that the real macro has made."""

from __future__ import annotations

import contextlib
import json
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guesthouse.guests.guest import Shape
from guesthouse_abi.bindgen_values import MOST_VALUES, TYPES, parameters_from_json, results_as_json
from guesthouse_abi.calling.bindgen import Bindgen
from guesthouse_abi.errors import BadReply, DeadlineExceeded, GuestError, MalformedEvent, OutOfBounds, TryAgain
from guesthouse_abi.memory import Memory
from tests.abi.test_abi_bindgen import PRELUDE, answer, record, triple
from tests.support import wat
from tests.support.budget import examples

# The guest


@pytest.fixture(scope="module")
def guest(engine, guests_folder):
    """Calls a function of guests/values: `guest(function, body, types)`."""
    module = wat.compiled(engine, (guests_folder / "values" / "values.wasm").read_bytes())
    functions = [wat.host_modules()[one.module].functions[one.name] for one in module.imports]
    linked = module.link(functions)

    def call(function: str, body: str, *types: str) -> object:
        caller = Bindgen(function, True, types).bind(Shape(module))
        return json.loads(wat.called(linked, caller, body.encode(), wat.context()))

    return call


WHOLE = ("u8", "i8", "u16", "i16", "u32", "i32", "u64", "i64")
EDGES = (
    [255, -128, 65535, -32768, 2**32 - 1, -(2**31), 2**64 - 1, -(2**63)],
    [0, 127, 0, 32767, 0, 2**31 - 1, 0, 2**63 - 1],
)


@pytest.mark.parametrize("body", ["", " ", "[]", " [ ] "])
def test_a_function_without_parameters_takes_an_empty_body_or_array(guest, body):
    assert guest("version", body) == ["values 1"]
    assert guest("nothing", body) == []


def test_several_texts_are_several_parameters(guest):
    assert guest("join", '["tea", "", "caf\\u00e9 \\ud83d\\ude00"]') == ["tea,  and café 😀"]
    assert guest("join", '["a", "b", "c"]', "String", "String", "String") == ["a, b and c"]


def test_several_results_are_an_array_and_the_guests_own_error_says_whose_fault_it_is(guest):
    assert guest("divide", "[-17, 5]") == [-3, -2]
    assert guest("divide", "[17, 5]", "i32", "i32") == [3, 2]
    with pytest.raises(MalformedEvent, match=r"^17 cannot be divided by 0$"):
        guest("divide", "[17, 0]")
    assert guest("countdown", "[0]") == ["now"]
    with pytest.raises(TryAgain, match=r"^3 to go$"):
        guest("countdown", "[3]")
    with pytest.raises(GuestError, match=r"^Invalid params count, expect 2, got 3$"):
        guest("divide", "[1, 2, 3]")


@pytest.mark.parametrize("types", [(), WHOLE])
@pytest.mark.parametrize("numbers", EDGES)
def test_whole_numbers_of_every_size_go_in_and_come_out(guest, types, numbers):
    assert guest("whole", json.dumps(numbers), *types) == numbers


def test_numbers_with_a_point_a_char_and_a_bool_go_in_and_come_out(guest):
    types = ("f64", "f32", "char", "bool")
    assert guest("mixed", '[0.1, 0.1, "é", true]', *types) == [0.1, 0.1, "é true"]
    assert guest("mixed", '[1, -3, "😀", false]', *types) == [1.0, -3.0, "😀 false"]
    assert guest("mixed", '[1e308, 3.4e38, "x", true]', *types)[:2] == [1e308, 3.4e38]


def test_lists_go_in_and_come_out_bytes_as_base64(guest):
    types = ("Vec<u8>", "Vec<i8>", "Vec<u16>", "Vec<i32>", "Vec<u64>")
    lists = [[0, 255], [-128, 127], [65535], [-(2**31), 2**31 - 1], [2**64 - 1]]
    assert guest("lists", json.dumps(lists), *types) == ["AP8=", *lists[1:]]
    assert guest("lists", json.dumps(["AP8=", *lists[1:]]), *types) == ["AP8=", *lists[1:]]
    assert guest("lists", "[[], [], [], [], []]", *types) == ["", [], [], [], []]


# What is wrong with a body


@pytest.mark.parametrize(
    ("body", "types", "said"),
    [
        (b"{", (), r"^the body is not JSON: Expecting property name"),
        (b"\xff", (), r"^the body is not JSON: 'utf-8' codec can't decode byte 0xff"),
        (b"[" * 20_000, (), r"^the body is not JSON: it is nested too deeply$"),
        (b"[NaN]", (), r"^the body is not JSON: NaN is no number of JSON's$"),
        (b"[-Infinity]", ("f64",), r"^the body is not JSON: -Infinity is no number of JSON's$"),
        (b"[" + b"1" * 100_000 + b"]", (), r"^the body is not JSON: a number of 100000 characters$"),
        (b"[0." + b"1" * 100_000 + b"]", (), r"^the body is not JSON: a number of 100002 characters$"),
        (b"5", (), r"^the body is JSON and no array: write one, with an element for each parameter$"),
        (b'{"a": 1}', (), r"^the body is JSON and no array"),
        (b"[1]", ("u8", "u8"), r"^the body has 1 elements; the function has 2 parameters$"),
        (b"", ("u8",), r"^the body has 0 elements; the function has 1 parameters$"),
        (b"[" + b"1," * MOST_VALUES + b"1]", (), r"^the body has 65 elements; a function may have 64 parameters$"),
        (b"[1, null]", (), r"^element 1 of the body is null, which no parameter can be$"),
        (b"[[], {}]", (), r"^element 1 of the body is an object, which no parameter can be$"),
        (b"[-9223372036854775809]", (), r"^element 0 of the body is -9223372036854775809; i64 goes from"),
        (b"[18446744073709551616]", (), r"^element 0 of the body is 18446744073709551616; u64 goes from 0 to"),
        (b"[1, 256]", ("u8", "u8"), r"^element 1 of the body is 256; u8 goes from 0 to 255$"),
        (b"[-129]", ("i8",), r"^element 0 of the body is -129; i8 goes from -128 to 127$"),
        (b"[1.0]", ("i32",), r"^element 0 of the body is 1.0, and no i32$"),
        (b"[true]", ("u8",), r"^element 0 of the body is true, and no u8$"),
        (b"[1]", ("bool",), r"^element 0 of the body is 1, and no bool$"),
        (b"[true]", ("f64",), r"^element 0 of the body is true, and no f64$"),
        (b"[1e39]", ("f32",), r"^element 0 of the body is 1e\+39, which is too large for f32$"),
        (b"[1e999]", ("f64",), r"^element 0 of the body is inf, which is too large for f64$"),
        (b"[1e999]", (), r"^element 0 of the body is inf, which is too large for f64$"),
        (b'["ab"]', ("char",), r'^element 0 of the body is "ab", and no char$'),
        (b'["\\ud800"]', ("char",), r'^element 0 of the body is "\\ud800", and no char$'),
        (b'["\\ud800"]', (), r"^element 0 of the body is a text with half a surrogate pair in it$"),
        (b"[7]", ("String",), r"^element 0 of the body is 7, and no String$"),
        (b'["' + b"x" * 5000 + b'"]', ("i32",), r'^element 0 of the body is "x{39}…, and no i32$'),
        (b'["a"]', ("Vec<u8>",), r"^element 0 of the body is no base64: "),
        ('["é"]'.encode(), ("Vec<u8>",), r"^element 0 of the body is no base64: "),
        (b'["AA=="]', ("Vec<i8>",), r'^element 0 of the body is "AA==", and no list of i8$'),
        (b"[[1, 2, 256, 3]]", (), r"^element 0 of the body has 256 at 2; Vec<u8> has whole numbers from 0 to 255$"),
        (b"[[1, 2.0]]", ("Vec<u16>",), r"^element 0 of the body has 2.0 at 1; Vec<u16> has whole numbers"),
        (b"[[true]]", ("Vec<u8>",), r"^element 0 of the body has true at 0; Vec<u8> has whole numbers"),
        (b"[[[1]]]", ("Vec<u8>",), r"^element 0 of the body has a list at 0; Vec<u8> has whole numbers"),
        (b"[[1," + b"1," * 40_000 + b"1]]", (), r"^the body is more JSON than can be held: "),
    ],
)
def test_an_element_that_does_not_fit_is_named(body, types, said):
    ctx = wat.context(host_memory=1 << 21)
    with pytest.raises(MalformedEvent, match=said):
        parameters_from_json(ctx, body, types)
    assert ctx.held == 0


def test_numbers_without_end_end_at_the_deadline():
    body = b"[[" + b"1," * 200_000 + b"1]]"
    with pytest.raises(DeadlineExceeded):
        parameters_from_json(wat.context(0), body, ("Vec<u8>",))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4),
)


@settings(max_examples=examples(300), deadline=None)
@given(
    values=st.lists(json_values, max_size=5),
    types=st.lists(st.sampled_from(TYPES), max_size=5),
    broken=st.binary(max_size=3),
)
def test_any_body_is_parameters_or_a_told_error(values, types, broken):
    ctx = wat.context()
    body = json.dumps(values).encode() + broken
    with contextlib.suppress(MalformedEvent):
        assert all(
            isinstance(data, bytes) and 0 <= count <= len(data)
            for data, count in parameters_from_json(ctx, body, types)
        )
    assert ctx.held == 0


@settings(max_examples=examples(200), deadline=None)
@given(kind=st.sampled_from(TYPES[:8]), data=st.data())
def test_what_is_checked_against_a_type_is_that_number(kind, data):
    layout = np.dtype({"u": "<u", "i": "<i"}[kind[0]] + str(int(kind[1:]) // 8))
    number = data.draw(st.integers(-(2**64), 2**65))
    try:
        ((raw, count),) = parameters_from_json(wat.context(), json.dumps([number]).encode(), [kind])
    except MalformedEvent:
        assert not np.iinfo(layout).min <= number <= np.iinfo(layout).max
    else:
        assert (int(np.frombuffer(raw, layout)[0]), count) == (number, 1)


# What a guest gives back


def given_back(engine, *values: tuple[int, bytes], **limits: int) -> str:
    """The reply of a guest of era C with these results, by their tags."""
    at, pieces, triples = 1024, [], b""
    for tag, data in values:
        triples += triple(at, tag, len(data))
        pieces.append((at, data))
        at += len(data)
    text = answer(record(0, 32, len(values)), (32, triples), *pieces)
    return wat.run(engine, text, Bindgen("f", True), b"[]", wat.context(5.0, grants=None, **limits)).decode()


@pytest.mark.parametrize(
    ("tag", "data", "said"),
    [
        (1, b"\xff", "255"),
        (8, b"\xff" * 8, "-1"),
        (7, b"\xff" * 8, "18446744073709551615"),
        (9, struct.pack("<f", 0.1), "0.1"),
        (10, struct.pack("<d", 1e300), "1e+300"),
        (9, struct.pack("<f", float("nan")), "null"),
        (10, struct.pack("<d", float("-inf")), "null"),
        (11, b"\x01", "true"),
        (11, b"\x00", "false"),
        (12, struct.pack("<I", ord("é")), '"é"'),
        (12, struct.pack("<I", 34), '"\\""'),
        (21, b"\x00\xff", '"AP8="'),
        (22, b"\x00\xff", "[0,-1]"),
        (27, b"\xff" * 8, "[18446744073709551615]"),
        (28, b"", "[]"),
        (31, 'né"\n'.encode(), '"né\\"\\n"'),
    ],
)
def test_each_type_of_result_is_an_element(engine, tag, data, said):
    assert given_back(engine, (tag, data)) == f"[{said}]"
    assert given_back(engine, (tag, data), (31, b"x"), (tag, data)) == f'[{said},"x",{said}]'
    json.loads(given_back(engine, (tag, data)))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([(99, b"1234")], "type tag 99"),
        ([(5, b"123")], "type tag 5 and 3 bytes"),
        ([(12, b"\x00\xd8\x00\x00")], "a char of 0xd800"),
        ([(31, b"\xff")], "a String that is not UTF-8"),
        ([(25, b"123456")], "a Vec of 6 bytes, whose elements have 4"),
        ([(31, b"x")] * (MOST_VALUES + 1), "65 results; a function may have 64"),
        ([(31, b"x" * 600)] * 2, "a reply of 1200 bytes; the limit output is 1000"),
        ([(31, b"\x01" * 500)], "a reply of 3003 bytes; the limit output is 1000"),
        ([(21, b"x" * 900)], "a reply of 1203 bytes; the limit output is 1000"),
        ([(22, b"x" * 900)], "the limit output is 1000"),
    ],
)
def test_a_broken_or_too_large_result_is_a_bad_reply(engine, values, said):
    with pytest.raises(BadReply, match=said):
        given_back(engine, *values, output=1000)


def test_many_numbers_stop_at_the_limit_and_at_the_deadline():
    """A list of a million numbers is not made into text before somebody looks at how much that is."""
    data = struct.pack("<III", 12, 22, 4 << 20) + b"\xff" * (4 << 20)
    block = bytearray(data)
    at = np.frombuffer(block, np.uint8).ctypes.data
    ctx = wat.context(600, output=5 << 20)
    ctx.memory = Memory(lambda: (at, len(block)))
    with pytest.raises(BadReply, match=r"^a reply of 53\d\d\d\d\d bytes; the limit output is 5242880$"):
        results_as_json(ctx, 0, 1)
    late = wat.context(0, output=64 << 20)
    late.memory = ctx.memory
    with pytest.raises(DeadlineExceeded):
        results_as_json(late, 0, 1)


@settings(max_examples=examples(200), deadline=None)
@given(memory=st.binary(min_size=64, max_size=64), pointer=st.integers(0, 80), count=st.integers(0, 70))
def test_any_triples_are_json_or_a_told_error(memory, pointer, count):
    block = bytearray(memory)
    at = np.frombuffer(block, np.uint8).ctypes.data
    ctx = wat.context()
    ctx.memory = Memory(lambda: (at, len(block)))
    try:
        json.loads(results_as_json(ctx, pointer, count))
    except (BadReply, OutOfBounds):
        pass


# Eras

TWO = "".join(f"\\{byte:02x}" for byte in triple(56, 31, 2) + triple(57, 1, 1) + b"hi")
ERA_B = f"""(module (import "MODULE" "return_result" (func $r (param i32 i32))) {PRELUDE}
  (data (i32.const 32) "{TWO}")
  (func (export "two") (param i32 i32) (if (i32.ne (local.get 1) (i32.const 3)) (then unreachable))
    (call $r (i32.const 32) (i32.const 2)))
  (func (export "none") (param i32 i32) (call $r (i32.const 0) (i32.const 0)))
  (func (export "raw") (param i32 i32) (call $r (i32.const 64) (i32.const 2))))"""


def test_era_b_has_several_values_where_it_gives_triples(engine):
    text = ERA_B.replace("MODULE", "wasmedge-bindgen")
    assert wat.run(engine, text, Bindgen("two", True), b'["a", 2, true]') == b'["hi",105]'
    assert wat.run(engine, text, Bindgen("none", True), b"") == b"[]"
    with pytest.raises(
        BadReply, match=r'raw bytes, without their type: values = "json" needs wasmedge-bindgen 0\.1\.12'
    ):
        wat.run(engine, text, Bindgen("raw", True), b"")


def test_eras_that_do_not_tell_types_are_refused_at_load(engine):
    assert wat.problems(engine, ERA_B.replace("MODULE", "env"), Bindgen("two", True)) == [
        'hands raw bytes to env.return_result, without their type, so values = "json" cannot be served'
    ]
    era_a = (
        '(module (memory (export "memory") 1) (func (export "__wbindgen_malloc") (param i32) (result i32) i32.const 9)'
    )
    old = f'{era_a} (func (export "f") (param i32 i32)))'
    assert wat.problems(engine, old, Bindgen("f", True)) == [
        'is of era A, whose functions do not tell their types: values = "json" is for eras B and C'
    ]
