"""The calling conventions by the names that manifests give them: the one list of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from guesthouse_abi.calling import Convention, Options
from guesthouse_abi.calling.bindgen import Bindgen
from guesthouse_abi.calling.command import Command
from guesthouse_abi.calling.dapr import Dapr
from guesthouse_abi.calling.extism import Extism
from guesthouse_abi.calling.http import Http
from guesthouse_abi.calling.http_wasm import HttpWasm
from guesthouse_abi.calling.messaging import Messaging
from guesthouse_abi.calling.wapc import Wapc

CONVENTIONS: Mapping[str, Callable[[Options], Convention]] = {
    "bindgen": lambda options: Bindgen(options.function, options.json, options.types),
    "command": lambda options: Command(options.cgi),
    "dapr": lambda options: Dapr(),
    "extism": lambda options: Extism(options.function),
    "http": lambda options: Http(),
    "http-wasm": lambda options: HttpWasm(),
    "messaging": lambda options: Messaging(),
    "wapc": lambda options: Wapc(options.function),
}
