"""The ahead-of-time cache and the compiling child: kept, trusted, bounded."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import wasmtime

from guesthouse.engine.base import EngineError, Module
from guesthouse.engine.cache import CacheError, CodeCache
from guesthouse.engine.compiler import CompileError, compile_module
from guesthouse.engine.wasmtime import STEPS
from tests.support import wat
from tests.support.waiting import until

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


def test_what_takes_a_module_out_of_a_file_is_called_only_to_compile_it(engine, wasm, tmp_path: Path):
    cache, taken = CodeCache(tmp_path), []

    def take() -> bytes:
        taken.append(bytes(wasm))
        return taken[-1]

    assert [cache.load(engine, take, MEMORY, "digest-of-the-file")[1] for _ in range(2)] == [True, False]
    assert taken == [wasm]


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


# The bound, for which it does not matter how an engine gives memory

ONE_ENGINE = pytest.mark.parametrize("engine", ["on demand"], indirect=True)


def number(value: int) -> bytes:
    """A module of its own, whose function returns that number."""
    return bytes(wasmtime.wat2wasm(WASM_WAT.replace("7", str(value))))


@ONE_ENGINE
def test_beyond_the_bound_what_was_not_used_for_longest_goes(engine, tmp_path: Path):
    cache = CodeCache(tmp_path)
    paths: list[Path] = []
    for value in range(3):
        cache.load(engine, number(value), MEMORY)  # and nobody uses it any more
        (path,) = set(tmp_path.iterdir()) - set(paths)
        os.utime(path, (value, value))
        paths.append(path)
    cache.load(engine, number(0), MEMORY)
    (tmp_path / "README").write_text("is of no artefact")
    bound = sum(path.stat().st_size for path in paths) + 100
    module, _ = CodeCache(tmp_path, bound).load(engine, number(3), MEMORY)
    assert answer(module) == 3
    assert [path.exists() for path in paths] == [True, False, True]
    assert sum(path.stat().st_size for path in tmp_path.glob("*.cwasm")) <= bound
    assert (tmp_path / "README").exists()


@ONE_ENGINE
def test_what_is_in_use_stays_beyond_the_bound(engine, tmp_path: Path):
    cache = CodeCache(tmp_path, 0)
    used, _ = cache.load(engine, number(1), MEMORY)
    (path,) = tmp_path.iterdir()
    os.utime(path, (1, 1))
    other, _ = cache.load(engine, number(2), MEMORY)
    assert path.exists()
    assert (answer(used), answer(other)) == (1, 2)
    del used
    gc.collect()
    third, _ = cache.load(engine, number(3), MEMORY)
    assert not path.exists()
    assert len(list(tmp_path.iterdir())) == 2
    assert (answer(other), answer(third)) == (2, 3)


USES = """
import signal, sys
from pathlib import Path
from guesthouse.engine.base import EngineConfig
from guesthouse.engine.cache import CodeCache
from guesthouse.engine.wasmtime import WasmtimeEngine

folder, wasm, uses = map(Path, sys.argv[1:])
module = CodeCache(folder).load(WasmtimeEngine(EngineConfig(pooling=False)), wasm.read_bytes(), 1 << 20)
uses.touch()
signal.pause()
"""


@ONE_ENGINE
def test_what_another_process_uses_stays_until_it_ends_however_it_does(engine, tmp_path: Path):
    (tmp_path / "1.wasm").write_bytes(number(1))
    cache = CodeCache(tmp_path / "code", 0)
    command = [sys.executable, "-c", USES, *map(str, (cache.folder, tmp_path / "1.wasm", tmp_path / "uses"))]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    try:
        until(lambda: (tmp_path / "uses").exists() or process.poll() is not None)
        (path,) = cache.folder.iterdir()
        os.utime(path, (1, 1))
        cache.load(engine, number(2), MEMORY)
        assert path.exists()
    finally:
        process.kill()
        process.wait()
    cache.load(engine, number(3), MEMORY)
    assert not path.exists()


@ONE_ENGINE
def test_of_two_processes_that_compile_the_same_the_second_leaves_the_file_of_the_first(
    engine, wasm, tmp_path: Path, monkeypatch
):
    others: list[Module] = []
    inodes: list[int] = []

    def slowly(*arguments):
        monkeypatch.setattr("guesthouse.engine.cache.compile_module", compile_module)
        others.append(CodeCache(tmp_path).load(engine, wasm, MEMORY)[0])
        inodes.extend(path.stat().st_ino for path in tmp_path.glob("*.cwasm"))
        compile_module(*arguments)

    monkeypatch.setattr("guesthouse.engine.cache.compile_module", slowly)
    module, compiled = CodeCache(tmp_path).load(engine, wasm, MEMORY)
    assert compiled
    assert answer(module) == answer(others[0]) == 7
    assert [path.stat().st_ino for path in tmp_path.iterdir()] == inodes


@ONE_ENGINE
def test_what_a_process_left_half_written_goes_when_it_is_old_and_room_is_wanted(engine, tmp_path: Path):
    old, new = tmp_path / ".new-old", tmp_path / ".new-new"
    for path in (old, new):
        path.write_bytes(bytes(1000))
    os.utime(old, (1, 1))
    CodeCache(tmp_path, 0).load(engine, number(1), MEMORY)
    assert (old.exists(), new.exists()) == (False, True)
