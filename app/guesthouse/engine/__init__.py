"""Engines: how Wasm is compiled, linked and called. `base` is the seam; nothing above this package names an engine."""

from __future__ import annotations

from importlib import metadata

from guesthouse.engine.base import Engine, EngineConfig


def open_engine(name: str, config: EngineConfig) -> Engine:
    """The engine of that name (as the manifest's `[engine] name`)."""
    if name != "wasmtime":
        raise ValueError(f"no engine is called {name!r}")
    from guesthouse.engine.wasmtime import WasmtimeEngine

    return WasmtimeEngine(config)


def version_of(name: str) -> str:
    """The name and version of an engine, for people."""
    return f"{name} {metadata.version(name)}"
