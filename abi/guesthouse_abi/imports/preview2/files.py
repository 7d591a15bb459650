"""`wasi:filesystem`: a component has no directories, so there is nothing that it could open."""

from __future__ import annotations

from guesthouse_abi.canonical.functions import Answered
from guesthouse_abi.context import Context
from guesthouse_abi.imports.preview2.io import IoError

TYPES = Answered("wasi:filesystem/types")
PREOPENS = Answered("wasi:filesystem/preopens")
INTERFACES = (TYPES, PREOPENS)


@TYPES.function("filesystem-error-code")
def error_code(context: Context, error: IoError) -> None:
    return None


@PREOPENS.function("get-directories")
def get_directories(context: Context) -> list[tuple[object, str]]:
    return []
