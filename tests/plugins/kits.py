"""Guests that the real kits of Extism, waPC and http-wasm make, unmodified.

Those in Rust are guests of the repository. Those in Go and AssemblyScript are built here by their own tools, with kits
from Go's module proxy and npm, and kept outside the checkout; without tool or registry a test is skipped.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.sdk.modules import go_tool, kept, npm_packages, ran, sources, tool

HERE = Path(__file__).resolve().parent / "guests"
REPOSITORY = Path(__file__).resolve().parents[2] / "guests"
_NO_MODULE = ("dial tcp", ": reading http", "disabled by GOPROXY")


def _rust(name: str) -> Path:
    rebuilt = os.environ.get("GUESTHOUSE_GUESTS")
    return (Path(rebuilt) if rebuilt else REPOSITORY) / name / f"{name}.wasm"


def _go(name: str, *flags: str) -> Path:
    folder, go = HERE / name, go_tool()
    environment = {"GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly", "GOOS": "wasip1", "GOARCH": "wasm"}
    command = [str(go), "build", *flags, "-trimpath", "-buildmode=c-shared", "-ldflags=-s -w"]

    def build(goal: Path) -> None:
        with tempfile.TemporaryDirectory() as made:  # the compiler wants the folder of the module for itself
            shutil.copytree(folder, made, dirs_exist_ok=True)
            done = subprocess.run(
                [*command, "-o", str(goal), "."],
                cwd=made,
                env={**os.environ, **environment},
                capture_output=True,
                text=True,
            )
        if done.returncode and any(word in done.stderr for word in _NO_MODULE):
            pytest.skip(f"the Go module of the kit cannot be had: {done.stderr.strip().splitlines()[-1]}")
        assert done.returncode == 0, done.stderr

    made_of = [
        ran(go, "version").encode(),
        *map(str.encode, command[1:]),
        *sources(folder, ".go", ".mod", ".sum", ".s"),
    ]
    return kept(f"plugin-{name}", made_of, build)


def _assemblyscript(name: str, *flags: str) -> Path:
    folder = HERE / "assemblyscript"
    packages = npm_packages(folder)
    made_of = [*sources(folder, ".ts", ".json"), *map(str.encode, flags)]

    def build(goal: Path) -> None:
        with tempfile.TemporaryDirectory() as made:
            shutil.copy(folder / f"{name}.ts", made)
            (Path(made) / "node_modules").symlink_to(packages)
            compiler = packages / "assemblyscript" / "bin" / "asc.js"
            ran(tool("node"), compiler, f"{name}.ts", "--optimize", *flags, "-o", goal, cwd=Path(made))

    return kept(f"plugin-as-{name}", made_of, build)


EXTISM: Mapping[str, Callable[[], Path]] = {
    "rust": lambda: _rust("extism_plugin"),
    "go": lambda: _go("go_extism"),
    "assemblyscript": lambda: _assemblyscript("extism"),
}
WAPC: Mapping[str, Callable[[], Path]] = {
    "rust": lambda: _rust("wapc_plugin"),
    "assemblyscript": lambda: _assemblyscript("wapc", "--use", "abort=wapc/abort"),
}
HTTP_WASM: Mapping[str, Callable[[], Path]] = {
    "rust": lambda: _rust("http_wasm_plugin"),
    "go": lambda: _go("go_http_wasm", "-tags", "tinygo.wasm"),
}
