"""Engines: how Wasm is compiled, linked and called. `base` has what every engine is; only this package names one."""

from __future__ import annotations

from importlib import metadata

from guesthouse.engine.base import Engine, EngineConfig


def open_engine(name: str, config: EngineConfig) -> Engine:
    """Open the engine that the manifest's `[engine] name` names. Raises `wasmer.NoWasmer`."""
    if name == "wasmtime":
        from guesthouse.engine.wasmtime import WasmtimeEngine

        return WasmtimeEngine(config)
    if name == "wasmer":
        from guesthouse.engine.wasmer import WasmerEngine

        return WasmerEngine(config)
    raise ValueError(f"no engine is called {name!r}")


def version_of(name: str) -> str:
    """The name and version of an engine, for people."""
    if name == "wasmer":  # this Python need not have the package
        from guesthouse.engine.wasmer import VERSION

        return f"wasmer {VERSION}"
    return f"{name} {metadata.version(name)}"
