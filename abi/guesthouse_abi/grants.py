"""What one guest may use and how much of it: plain frozen values, filled from the manifest by the application."""

from __future__ import annotations

from dataclasses import dataclass

MiB = 1 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one guest. Bytes and seconds."""

    memory: int = 128 * MiB
    time: float = 5.0
    concurrency: int = 4
    queue: int = 64
    queue_wait: float = 5.0
    input: int = 16 * MiB
    output: int = 16 * MiB
    pixels: int = 50_000_000
    host_memory: int = 256 * MiB
    log: int = 64 * 1024
    files: int = 256 * MiB


@dataclass(frozen=True, slots=True)
class Grants:
    """What is behind the imports for one guest. Imports always link; without the grant they answer with an error.

    `models` are names of the manifest; `aliases` are pairs of a name that the guest uses and the one that is meant.
    `image` is the WasmEdge version whose picture decoding is wanted ("0.14" or "0.15"); None: by the generation of
    the import (v1: 0.14, v2: 0.15). `wasi_nn` is the version of wasi-nn's guest crate whose numbers are meant ("0.1",
    "0.2" to 0.4, "0.5", "0.6"); None: the newest errors, and the types that tensors' sizes fit.

    `config` is what the guest reads by `dapr_v1.config_read`.

    Of files, beside those of `files.Files`: `body_file` is the path of a file with the event's body, `scratch` how
    many bytes the guest may write below `scratch_path`, which may be `/` (0: nothing), `reply_file` the path of the
    file whose content is the reply, `calls_file` that of the file by which it calls host functions
    (`imports/wasi_preview1/calls_file.py`). An empty path means that there is no such file.
    """

    models: frozenset[str] = frozenset()
    env: tuple[tuple[str, str], ...] = ()
    args: tuple[str, ...] = ()
    image: str | None = None
    scale: bool = False
    allow_guest_models: bool = False
    wasi_nn: str | None = None
    body_file: str = ""
    scratch: int = 0
    scratch_path: str = "/tmp"
    reply_file: str = ""
    calls_file: str = ""
    aliases: tuple[tuple[str, str], ...] = ()
    config: tuple[tuple[str, str], ...] = ()

    def model(self, name: str) -> str:
        """The manifest's name for the model that the guest calls `name`."""
        return next((model for alias, model in self.aliases if alias == name), name)
