"""What a module's binary declares of memories and tables."""

from __future__ import annotations

import pytest
import wasmtime

from guesthouse.engine.wasm_sections import START, export_names, memory_minimums, start_exported, table_minimums


@pytest.mark.parametrize(
    ("text", "memories", "tables"),
    [
        ("(module)", [], []),
        ("(module (memory 3))", [3], []),
        ("(module (memory 3 900))", [3], []),
        ("(module (table 5 funcref))", [], [5]),
        ("(module (memory 200) (table 5 6 funcref) (table 70000 externref))", [200], [5, 70000]),
        ("(module (type $t (func)) (table 9 (ref null $t)) (table 8 funcref))", [], [9, 8]),
        ('(module (func $f) (table 7 (ref func) (ref.func $f)) (func (export "g")))', [], [7]),
        ('(module (import "a" "b" (memory 9)) (func (export "g")))', [], []),
    ],
)
def test_minimums_are_read(text, memories, tables):
    wasm = bytes(wasmtime.wat2wasm(text))
    assert memory_minimums(wasm) == memories
    assert table_minimums(wasm) == tables


@pytest.mark.parametrize(
    ("text", "exports"),
    [
        ("(module (func))", []),
        ('(module (func $f (export "f")))', ["f"]),
        ("(module (func) (func $f) (start $f))", [START]),
        (
            '(module (memory (export "m") 1) (func $f (export "f")) (start $f) (data (i32.const 0) "x"))',
            ["m", "f", START],
        ),
        (
            '(module (import "a" "b" (func $f)) (start $f) (table (export "t") 1 funcref) (elem (i32.const 0) $f))',
            ["t", START],
        ),
        (
            f'(module (func {" ".join(f"""(export "{"x" * 40}{i}")""" for i in range(200))}) (func $f) (start $f))',
            [*(f"{'x' * 40}{i}" for i in range(200)), START],
        ),
    ],
)
def test_a_start_section_becomes_an_export(text, exports):
    wasm = start_exported(bytes(wasmtime.wat2wasm(text)))
    module = wasmtime.Module(wasmtime.Engine(), wasm)
    assert [one.name for one in module.exports] == export_names(wasm) == exports
    assert not any(section == 8 for section in sections(wasm))


def sections(wasm: bytes) -> list[int]:
    found, at = [], 8
    while at < len(wasm):
        found.append(wasm[at])
        at += 1
        size = shift = 0
        while True:
            size |= (wasm[at] & 127) << shift
            at, shift = at + 1, shift + 7
            if wasm[at - 1] < 128:
                break
        at += size
    return found
