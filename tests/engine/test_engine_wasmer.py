"""What is wasmer's own: what it refuses by name, bounds in the module itself, and needs of an interpreter."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import wasmtime

import places
from guesthouse.engine import open_engine, wasmer_gate
from guesthouse.engine.base import TABLE_ELEMENTS, EngineConfig, EngineError, Refused
from guesthouse.engine.cache import CodeCache
from guesthouse.engine.compiler import CompileError
from guesthouse.engine.wasmer import NoWasmer, WasmerEngine
from guesthouse_abi.host import FuncType, ValType

MEMORY = 1 << 20


@pytest.mark.parametrize(
    ("text", "feature"),
    [
        ('(func $f (export "f") return_call $f)', "tail calls support is not enabled"),
        ('(tag $e) (func (export "f") throw $e)', "exceptions proposal not enabled"),
        ("(memory 1 1 shared)", "threads must be enabled for shared memories"),
        ("(memory 1) (func (drop (i32.atomic.load (i32.const 0))))", "threads support is not enabled"),
        (
            "(func (drop (i32x4.relaxed_trunc_f32x4_s (v128.const i32x4 0 0 0 0))))",
            "relaxed SIMD support is not enabled",
        ),
        ("(memory 1) (memory 1)", "multiple memories"),
        ("(memory i64 1)", "memory64 must be enabled for 64-bit memories"),
        ("(type $s (struct)) (func (drop (struct.new $s)))", "without the gc feature"),
        ("(type $t (func)) (func (param (ref null $t)))", "function references required"),
        (
            "(func (result i64 i64) (i64.add128 (i64.const 0) (i64.const 0) (i64.const 0) (i64.const 0)))",
            "wide arithmetic support is not enabled",
        ),
    ],
)
def test_what_wasmer_lacks_is_refused_by_its_name(text: str, feature: str):
    wasm = bytes(wasmtime.wat2wasm(f"(module {text})"))
    with pytest.raises(Refused, match=f"it uses what wasmer 1.1.0 does not have: .*{feature}.*serve it by wasmtime"):
        wasmer_gate.translate(wasm, str(MEMORY))


def test_what_no_engine_takes_is_not_said_to_be_a_feature():
    with pytest.raises(Refused, match=r"unexpected end") as caught:
        wasmer_gate.translate(b"\0asm\1\0\0\0\1\5", str(MEMORY))
    assert "wasmer" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "memory", "table"),
    [
        ('(memory (export "m") 3) (table (export "t") 7 funcref)', (3, 16), (7, TABLE_ELEMENTS)),
        ('(memory (export "m") 3 9) (table (export "t") 7 9 funcref)', (3, 9), (7, 9)),
        ('(memory (export "m") 3 65536) (table (export "t") 0 4000000000 funcref)', (3, 16), (0, TABLE_ELEMENTS)),
        ('(memory (export "m") 17 18) (table (export "t") 200000 funcref)', (17, 17), (200_000, 200_000)),
        ('(table (export "t") 1 externref) (memory (export "m") 1) (table 9 funcref)', (1, 16), (1, TABLE_ELEMENTS)),
    ],
)
def test_memories_and_tables_are_bounded_in_the_module(text: str, memory, table):
    wasm = wasmer_gate.translate(
        bytes(wasmtime.wat2wasm(f'(module {text} (data (i32.const 0) "x") (func))')), str(MEMORY)
    )
    types = {}
    for one in wasmtime.Module(wasmtime.Engine(), wasm).exports:
        assert isinstance(one.type, wasmtime.MemoryType | wasmtime.TableType)
        types[one.name] = one.type.limits
    assert (types["m"].min, types["m"].max) == memory
    assert (types["t"].min, types["t"].max) == table


def test_a_module_that_exports_what_a_start_section_becomes_is_refused():
    wasm = bytes(wasmtime.wat2wasm('(module (func (export "guesthouse:start")))'))
    with pytest.raises(Refused, match="an export named 'guesthouse:start', a name that the host keeps for itself"):
        wasmer_gate.translate(wasm, str(MEMORY))


# An interpreter that has it


@pytest.fixture
def wasmer():
    if "wasmer" not in places.PLACES:
        pytest.skip("no Python here has wasmer")
    return open_engine("wasmer", EngineConfig(python=places.NAMED))


TYPES = """(module (import "wasi_snapshot_preview1" "sched_yield" (func (result i32)))
  (memory (export "memory") 1 2) (table (export "t") 5 funcref) (global (export "g") i64 (i64.const 0))
  (func (export "f") (param i32 i64 f32 f64) (result i64) local.get 1) (func (export "r") (param externref)))"""


def test_a_module_is_compiled_and_its_types_are_read_where_there_is_no_wasmer(wasmer, tmp_path: Path):
    cache = CodeCache(tmp_path)
    module, compiled = cache.load(wasmer, bytes(wasmtime.wat2wasm(TYPES)), MEMORY)
    assert compiled
    assert [(one.module, one.name, str(one.type)) for one in module.imports] == [
        ("wasi_snapshot_preview1", "sched_yield", "function ()->(i32)")
    ]
    assert {name: str(kind) for name, kind in module.exports.items()} == {
        "memory": "memory",
        "t": "table",
        "g": "global i64",
        "f": "function (i32 i64 f32 f64)->(i64)",
        "r": "function (externref)->()",
    }
    assert module.exports["f"].function == FuncType(tuple(ValType), (ValType.I64,))
    assert module.exports["r"].function is None
    assert not cache.load(wasmer, bytes(wasmtime.wat2wasm(TYPES)), MEMORY)[1]


def test_code_for_another_limit_of_memory_is_other_code(wasmer, tmp_path: Path):
    cache = CodeCache(tmp_path)
    cache.load(wasmer, bytes(wasmtime.wat2wasm(TYPES)), MEMORY)
    assert cache.load(wasmer, bytes(wasmtime.wat2wasm(TYPES)), 2 * MEMORY)[1]
    assert len(list(tmp_path.iterdir())) == 2


def test_damaged_code_never_reaches_wasmer_and_is_made_again(wasmer, tmp_path: Path):
    cache = CodeCache(tmp_path)
    cache.load(wasmer, bytes(wasmtime.wat2wasm(TYPES)), MEMORY)
    (kept,) = tmp_path.iterdir()
    sound = kept.read_bytes()
    for damaged in (b"", b"short", sound[:-1], sound[:-1] + bytes([sound[-1] ^ 1]), bytes(32) + sound[32:]):
        kept.write_bytes(damaged)
        with pytest.raises(EngineError, match="damaged"):
            wasmer.load(kept)
    assert cache.load(wasmer, bytes(wasmtime.wat2wasm(TYPES)), MEMORY)[1]
    assert kept.read_bytes()[:32] == sound[:32]


def test_extended_constants_which_the_validator_takes_are_named_too(wasmer, tmp_path: Path):
    wasm = bytes(wasmtime.wat2wasm("(module (global i32 (i32.add (i32.const 1) (i32.const 2))))"))
    with pytest.raises(CompileError, match=r"wasmer 1\.1\.0 does not have: extended constant expressions"):
        CodeCache(tmp_path).load(wasmer, wasm, MEMORY)


# None that has it


REMEDY = r"pip install 'guesthouse\[wasmer\]'\) and name its interpreter, as in \[engine\] python = "


def test_an_interpreter_that_is_not_there_is_told_with_the_remedy():
    with pytest.raises(NoWasmer, match=r"engine\.python: no-such-python is not found: .*" + REMEDY):
        WasmerEngine(EngineConfig(python="no-such-python"))


def test_a_program_that_is_no_python_is_told_with_the_remedy():
    with pytest.raises(
        NoWasmer, match=r"engine\.python: /bin/false cannot run guests \(it gives no reason\): .*" + REMEDY
    ):
        WasmerEngine(EngineConfig(python="/bin/false"))


@pytest.mark.skipif(sys.version_info[:2] == (3, 10), reason="this Python may have it")
def test_a_python_without_wasmer_is_told_with_the_remedy():
    with pytest.raises(NoWasmer, match=r"this Python 3\.\d+\.\d+ has no wasmer 1\.1\.0: .*" + REMEDY):
        WasmerEngine()
    with pytest.raises(NoWasmer, match=r"engine\.python: .* has no wasmer 1\.1\.0: .*" + REMEDY):
        WasmerEngine(EngineConfig(python=sys.executable))


def test_a_module_is_not_linked_in_a_python_without_wasmer(wasmer, tmp_path: Path):
    if places.NAMED is None:
        pytest.skip("this Python has it")
    module, _ = CodeCache(tmp_path).load(wasmer, bytes(wasmtime.wat2wasm("(module)")), MEMORY)
    with pytest.raises(EngineError, match="this Python has no wasmer"):
        module.link([])
