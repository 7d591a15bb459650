"""`wasi:config`: what the manifest's `config` says of the guest, as by `dapr_v1.config_read`."""

from __future__ import annotations

from guesthouse_abi.canonical.functions import Answered
from guesthouse_abi.context import Context

STORE = Answered("wasi:config/store", ("0.2.0-draft", "0.2.0-rc.1"))
INTERFACES = (STORE,)


@STORE.function("get")
def get(context: Context, key: str) -> str | None:
    return next((value for name, value in context.grants.config if name == key), None)


@STORE.function("get-all")
def get_all(context: Context) -> list[tuple[str, str]]:
    return list(context.grants.config)
