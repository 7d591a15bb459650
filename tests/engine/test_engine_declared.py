"""What a module's binary declares of memories and tables."""

from __future__ import annotations

import pytest
import wasmtime

from guesthouse.engine.declared import memory_minimums, table_minimums


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
