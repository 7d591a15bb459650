"""What a guest may import: one file a module. Each function is described in docs/abi.md.

An import module turns a guest's pointers and numbers into values, has the work done, and turns what comes of it into
bytes and error numbers. What its functions mean is elsewhere where several modules share it: `sessions` and `pictures`.
"""

from __future__ import annotations

from collections.abc import Iterable

from guesthouse_abi.host import HostModule


def host_modules() -> dict[str, HostModule]:
    """Every import module that the host has, by name."""
    from guesthouse_abi.imports import (
        bindgen_results,
        dapr_v1,
        env,
        extism,
        http_handler,
        ssvm,
        wapc,
        wasi_preview1,
        wasi_unstable,
        wasmedge_image,
        wasmedge_tensorflow,
        wasmedge_tensorflowlite,
    )
    from guesthouse_abi.imports.wasi_nn import ephemeral, legacy

    modules = (
        bindgen_results.MODULE,
        dapr_v1.MODULE,
        env.MODULE,
        ephemeral.MODULE,
        extism.MODULE,
        extism.USER,
        http_handler.MODULE,
        legacy.MODULE,
        *ssvm.MODULES,
        wapc.MODULE,
        wasi_preview1.MODULE,
        wasi_unstable.MODULE,
        wasmedge_image.MODULE,
        wasmedge_tensorflow.MODULE,
        wasmedge_tensorflowlite.MODULE,
    )
    return {module.name: module for module in modules}


def use_pictures(modules: Iterable[str]) -> bool:
    """Whether one of these import modules decodes pictures."""
    return not {"wasmedge_image", "ssvm_image"}.isdisjoint(modules)
