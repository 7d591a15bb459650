"""What a guest may import: one file a module. `host_function` finds the function behind an import."""

from __future__ import annotations

from guesthouse_abi.host import HostFunction, HostModule


def host_modules() -> dict[str, HostModule]:
    """Every import module that the host has, by name."""
    from guesthouse_abi.imports import (
        bindgen_results,
        env,
        wasi_preview1,
        wasmedge_image,
        wasmedge_tensorflow,
        wasmedge_tensorflowlite,
    )

    modules = (
        bindgen_results.MODULE,
        env.MODULE,
        wasi_preview1.MODULE,
        wasmedge_image.MODULE,
        wasmedge_tensorflow.MODULE,
        wasmedge_tensorflowlite.MODULE,
    )
    return {module.name: module for module in modules}


def host_function(module: str, name: str) -> HostFunction | None:
    """The host function that answers an import, None when there is none."""
    found = host_modules().get(module)
    return found.functions.get(name) if found else None
