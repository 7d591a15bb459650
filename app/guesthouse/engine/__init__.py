"""Engines: how Wasm is compiled, linked and called. `base` has what every engine is; only this package names one."""

from __future__ import annotations

import hashlib
import threading
from importlib import metadata
from pathlib import Path

from guesthouse.engine.base import Engine, EngineConfig
from guesthouse.engine.cache import CodeCache, mapped
from guesthouse_abi.pictures import kernel
from guesthouse_abi.services import PixelKernels


def open_engine(name: str, config: EngineConfig) -> Engine:
    """Open the engine that the manifest's `[engine] name` names. Raises `wasmer.NoWasmer`."""
    if name == "wasmtime":
        from guesthouse.engine.wasmtime import WasmtimeEngine

        return WasmtimeEngine(config)
    if name == "wasmer":
        from guesthouse.engine.wasmer import WasmerEngine

        return WasmerEngine(config)
    raise ValueError(f"no engine is called {name!r}")


class PixelCode:
    """The pixel kernel (`kernels`), compiled when a guest first needs it; `artefact` is the file of its code then.

    For any number of threads: a reload may build a plan while another one is built.
    """

    def __init__(self, cache: CodeCache) -> None:
        from guesthouse.engine.kernels import KernelLoader

        self._cache, self._loader = cache, KernelLoader()
        self._wasm = kernel.MODULE.read_bytes()
        self.artefact = cache.path(self._loader, hashlib.sha256(self._wasm).hexdigest(), 0)
        self._kernels: PixelKernels | None = None
        self._lock = threading.Lock()

    def kernels(self) -> PixelKernels:
        """Kernels that all guests share. Raises `compiler.CompileError`, `EngineError`, `OSError`."""
        with self._lock:
            if self._kernels is None:
                self._kernels = self._cache.load(self._loader, self._wasm, 0)[0]
            return self._kernels


def kernels_at(artefact: Path) -> PixelKernels:
    """Kernels from the code that the server has compiled, for a worker process. Raises `EngineError`, `OSError`."""
    from guesthouse.engine.kernels import KernelLoader

    return mapped(KernelLoader(), artefact)


def version_of(name: str) -> str:
    """The name and version of an engine, for people."""
    if name == "wasmer":  # this Python need not have the package
        from guesthouse.engine.wasmer import VERSION

        return f"wasmer {VERSION}"
    return f"{name} {metadata.version(name)}"
