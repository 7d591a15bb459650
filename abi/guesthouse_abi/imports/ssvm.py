"""The import modules `ssvm_tensorflow`, `ssvm_tensorflowlite` and `ssvm_image`: what WasmEdge's modules were called
while WasmEdge was called SSVM, until 2021-05.

They have the v1 functions of `wasmedge_tensorflow`, `wasmedge_tensorflowlite` and `wasmedge_image`, with ssvm in place
of wasmedge in every name (docs/abi.md, under "SSVM").
"""

from __future__ import annotations

from dataclasses import replace

from guesthouse_abi.host import HostModule
from guesthouse_abi.imports import wasmedge_image, wasmedge_tensorflow, wasmedge_tensorflowlite

_OLD, _NEW = "ssvm_", "wasmedge_"


def _renamed(module: HostModule) -> HostModule:
    old = HostModule(module.name.replace(_NEW, _OLD))
    for name, function in module.functions.items():
        if name.startswith(module.name):  # v1; the names of v2 do not
            renamed = name.replace(_NEW, _OLD)
            old.functions[renamed] = replace(function, module=old.name, name=renamed)
    return old


MODULES = tuple(_renamed(one.MODULE) for one in (wasmedge_image, wasmedge_tensorflow, wasmedge_tensorflowlite))
