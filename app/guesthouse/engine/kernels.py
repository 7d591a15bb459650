"""Runs the pixel kernel, the module that works on pixels, by wasmtime, whatever engine guests have.

The kernel is our own code, so it has no deadline, and no limits but those of its sandbox: a flaw in it does not reach
beyond its memory. Its caller, `guesthouse_abi/pictures/kernel.py`, hands over work that ends soon. The kernel is
compiled and kept as guests' modules are (`cache`).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ctypes import addressof, byref, c_uint8, c_uint64, c_void_p
from pathlib import Path

import numpy as np
import wasmtime

from guesthouse.engine import capi
from guesthouse.engine.base import CompileStep, EngineError, Refused, fingerprint

_MOST_PARAMETERS = 16
_KEPT = 8  # kernels that wait for the next picture; each keeps those pages of its 8 MiB that were written to
_FINGERPRINT = fingerprint("wasmtime", capi.VERSION, "kernel 1")


def translate(wasm: bytes) -> bytes:
    """The artefact of the module. Raises `Refused`. Runs in a child process (`compiler.py`)."""
    try:
        return bytes(wasmtime.Module(wasmtime.Engine(), wasm).serialize())
    except wasmtime.WasmtimeError as error:
        raise Refused(str(error)) from None


class _Kernel:
    """See `services.PixelKernel`."""

    def __init__(self, engine: wasmtime.Engine, module: wasmtime.Module) -> None:
        self._store = wasmtime.Store(engine)
        self._context = capi.address(self._store._context())
        exports = wasmtime.Instance(self._store, module, []).exports(self._store)
        self._functions = {name: one._func for name, one in exports.items() if isinstance(one, wasmtime.Func)}
        memory = exports["memory"]
        assert isinstance(memory, wasmtime.Memory)
        address = capi.address(memory.data_ptr(self._store))
        whole = (c_uint8 * memory.data_len(self._store)).from_address(address)
        self.memory = np.frombuffer(memoryview(whole), np.uint8)
        self._raw = (c_uint64 * (2 * _MOST_PARAMETERS))()
        self._trap = c_void_p()

    def call(self, function: str, *arguments: int) -> int:
        """See `services.PixelKernel.call`. Raises `EngineError` where the module fails."""
        raw, trap = self._raw, self._trap
        for index, value in enumerate(arguments):
            raw[2 * index] = value
        address, count = addressof(self._functions[function]), max(1, len(arguments))
        error = capi.call_unchecked(self._context, address, addressof(raw), count, byref(trap))
        if error or trap.value:
            text = capi.take_error(error) if error else capi.take_trap(trap.value or 0)[1]
            raise EngineError(f"{function} of the kernel failed: {text}")
        return raw[0] & 0xFFFFFFFF


class WasmtimeKernels:
    """See `services.PixelKernels`. One kernel is made at once, and another one whenever all that there are are lent."""

    def __init__(self, engine: wasmtime.Engine, module: wasmtime.Module) -> None:
        self._engine, self._module = engine, module
        self._waiting = [_Kernel(engine, module)]

    @contextmanager
    def lend(self) -> Iterator[_Kernel]:
        """See `services.PixelKernels.lend`. A kernel that has failed is not lent again."""
        try:
            kernel = self._waiting.pop()
        except IndexError:
            kernel = _Kernel(self._engine, self._module)
        try:
            yield kernel
        except EngineError:
            raise
        except BaseException:
            self._take_back(kernel)
            raise
        self._take_back(kernel)

    def _take_back(self, kernel: _Kernel) -> None:
        if len(self._waiting) < _KEPT:
            self._waiting.append(kernel)


class KernelLoader:
    """Compiles and loads the kernel for `cache.CodeCache`."""

    name = "kernel"

    def steps(self, memory: int) -> Sequence[CompileStep]:
        """See `base.Engine.steps`."""
        return (CompileStep(__name__, sys.executable),)

    def fingerprint(self, memory: int) -> str:
        """See `base.Engine.fingerprint`."""
        return _FINGERPRINT

    def load(self, artefact: Path | bytes) -> WasmtimeKernels:
        """The kernels of an artefact. Raises `EngineError`."""
        engine = wasmtime.Engine()
        try:
            if isinstance(artefact, Path):
                module = wasmtime.Module.deserialize_file(engine, str(artefact))
            else:
                module = wasmtime.Module.deserialize(engine, artefact)
        except wasmtime.WasmtimeError as error:
            raise EngineError(str(error)) from error
        return WasmtimeKernels(engine, module)
