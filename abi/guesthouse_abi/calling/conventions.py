"""The calling conventions by the names that manifests give them: the one list of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from guesthouse_abi.calling import Convention, Options
from guesthouse_abi.calling.bindgen import Bindgen
from guesthouse_abi.calling.command import Command
from guesthouse_abi.calling.dapr import Dapr
from guesthouse_abi.calling.http import Http

CONVENTIONS: Mapping[str, Callable[[Options], Convention]] = {
    "bindgen": lambda options: Bindgen(options.function, options.json, options.types),
    "command": lambda options: Command(options.cgi),
    "dapr": lambda options: Dapr(),
    "http": lambda options: Http(),
}
