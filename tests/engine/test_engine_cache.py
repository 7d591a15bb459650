"""The ahead-of-time cache and the compiling child: kept, trusted, bounded."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import wasmtime

from guesthouse.engine.base import EngineError
from guesthouse.engine.cache import CacheError, CodeCache
from guesthouse.engine.compiler import CompileError, compile_module
from guesthouse.engine.wasmtime import STEPS
from tests.support import wat

MEMORY = 1 << 20
WASM_WAT = '(module (memory (export "memory") 1) (func (export "f") (result i32) i32.const 7))'


@pytest.fixture
def wasm() -> bytes:
    return bytes(wasmtime.wat2wasm(WASM_WAT))


def answer(module) -> int:
    instance = module.link([]).instantiate(wat.context())
    try:
        return int(instance.call("f"))
    finally:
        instance.close()


def test_a_module_is_compiled_once_and_mapped_from_then_on(engine, wasm, tmp_path: Path):
    cache = CodeCache(tmp_path / "code")
    module, compiled = cache.load(engine, wasm, MEMORY)
    assert compiled
    assert answer(module) == 7
    module, compiled = cache.load(engine, wasm, MEMORY)
    assert not compiled
    assert answer(module) == 7
    files = list((tmp_path / "code").iterdir())
    assert [f.suffix for f in files] == [".cwasm"]
    assert (tmp_path / "code").stat().st_mode & 0o777 == 0o700


def test_an_artefact_that_the_engine_refuses_is_made_again(engine, wasm, tmp_path: Path):
    cache = CodeCache(tmp_path)
    cache.load(engine, wasm, MEMORY)
    (kept,) = tmp_path.iterdir()
    kept.write_bytes(b"damaged")
    module, compiled = cache.load(engine, wasm, MEMORY)
    assert compiled
    assert answer(module) == 7


def test_a_folder_that_others_may_write_is_refused(tmp_path: Path):
    tmp_path.chmod(0o777)
    with pytest.raises(CacheError, match=r"others may write to the code cache .*: run chmod go-w on it"):
        CodeCache(tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_another_user_is_refused(tmp_path: Path):
    os.chown(tmp_path, 12345, 12345)
    with pytest.raises(CacheError, match=r"belongs to user 12345: set GUESTHOUSE_CACHE to your own"):
        CodeCache(tmp_path)


def test_a_folder_that_cannot_be_made_costs_the_cache_and_nothing_else(engine, wasm, tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    cache = CodeCache(tmp_path / "file" / "code")
    assert "every start compiles anew; set GUESTHOUSE_CACHE" in cache.note
    assert answer(cache.load(engine, wasm, MEMORY)[0]) == 7
    cache.close()
    assert not cache.folder.exists()


def test_code_is_loaded_by_bytes_where_it_cannot_be_mapped(engine, wasm, tmp_path: Path, monkeypatch):
    cache = CodeCache(tmp_path)
    cache.load(engine, wasm, MEMORY)
    load = type(engine).load

    def no_mapping(self, artefact):
        if isinstance(artefact, Path):
            raise EngineError("unable to make memory executable")
        return load(self, artefact)

    monkeypatch.setattr(type(engine), "load", no_mapping)
    module, compiled = cache.load(engine, wasm, MEMORY)
    assert not compiled
    assert answer(module) == 7


def test_what_is_not_wasm_is_told_by_the_compiler(tmp_path: Path):
    (tmp_path / "x.wasm").write_bytes(b"\0asm\1\0\0\0\xff")
    with pytest.raises(CompileError, match=r"unexpected end|failed to parse"):
        compile_module(STEPS, tmp_path / "x.wasm", tmp_path / "x.cwasm")
    assert not (tmp_path / "x.cwasm").exists()


@pytest.fixture
def slow_wasm(tmp_path: Path) -> Path:
    """A module of one huge function: seconds and hundreds of megabytes to compile."""
    body = "(local.set 0 (i32.add (i32.mul (local.get 0) (local.get 1)) (i32.load (local.get 0))))" * 120_000
    (tmp_path / "slow.wasm").write_bytes(wasmtime.wat2wasm(f"(module (memory 1) (func (param i32 i32) {body}))"))
    return tmp_path / "slow.wasm"


def test_a_module_that_takes_long_to_compile_is_given_up(slow_wasm: Path, tmp_path: Path):
    began = time.monotonic()
    with pytest.raises(CompileError, match=r"compiling took more than 0.5 s or 2048 MiB of memory and was ended"):
        compile_module(STEPS, slow_wasm, tmp_path / "out", time=0.5)
    assert time.monotonic() - began < 30


def test_a_module_that_takes_much_memory_to_compile_is_given_up(slow_wasm: Path, tmp_path: Path):
    with pytest.raises(CompileError, match=r"compiling took more than 120 s or 64 MiB of memory and was ended"):
        compile_module(STEPS, slow_wasm, tmp_path / "out", memory=64 << 20)


def test_the_child_has_no_environment_and_no_input(tmp_path: Path, monkeypatch, wasm):
    monkeypatch.setenv("PYTHONPATH", "/nonexistent")
    monkeypatch.setenv("LD_PRELOAD", "")
    (tmp_path / "x.wasm").write_bytes(wasm)
    compile_module(STEPS, tmp_path / "x.wasm", tmp_path / "x.cwasm")
    assert (tmp_path / "x.cwasm").stat().st_size > 100


@pytest.mark.parametrize(
    "wat_text",
    [
        '(module (func (export "f") (param v128)))',
        '(module (import "a" "b" (func (result v128))))',
        '(module (type $t (func)) (func (export "f") (param (ref $t))))',
    ],
)
def test_types_that_would_abort_the_process_are_refused_in_the_child(wat_text, tmp_path: Path):
    (tmp_path / "x.wasm").write_bytes(wasmtime.wat2wasm(wat_text))
    with pytest.raises(CompileError, match=r"uses a type that hosts cannot handle \(v128, typed references\)"):
        compile_module(STEPS, tmp_path / "x.wasm", tmp_path / "x.cwasm")
    assert not (tmp_path / "x.cwasm").exists()
