"""Imports that this host does not answer, but knows: which toolchain or host they belong to, and what to do."""

from __future__ import annotations

_BROWSER = "is glue for a browser"
_EMSCRIPTEN = "is Emscripten's, for JavaScript"
_DYNAMIC = "is of a library that is linked when it is loaded: link the guest whole, without -shared or -sSIDE_MODULE"
_ELSEWHERE = "is of another kind of host, whose guests are not served here"

#: What to say of such an import, by how its name begins.
_KNOWN = {
    "env.memory": "is the guest's memory: build it so that it has one and exports it (without --import-memory)",
    "env.invoke_": f"{_EMSCRIPTEN}: build with -fwasm-exceptions and -sSUPPORT_LONGJMP=wasm, or without both",
    "env.__cxa_": f"{_EMSCRIPTEN}: build with -fwasm-exceptions, or with -fno-exceptions",
    "env._emscripten_throw_longjmp": f"{_EMSCRIPTEN}: build with -sSUPPORT_LONGJMP=wasm",
    "env.__syscall_": f"{_EMSCRIPTEN}: build with -sSTANDALONE_WASM, or by wasi-sdk",
    "env._embind_": f"{_EMSCRIPTEN}: build without embind",
    "env.emscripten_": f"{_EMSCRIPTEN}: build with -sSTANDALONE_WASM",
    "env._emscripten_": f"{_EMSCRIPTEN}: build with -sSTANDALONE_WASM",
    "env.__stack_pointer": _DYNAMIC,
    "env.__memory_base": _DYNAMIC,
    "env.__table_base": _DYNAMIC,
    "env.__indirect_function_table": _DYNAMIC,
    "GOT.": _DYNAMIC,
    "env.document.": f"{_BROWSER}: there is none here",
    "env.crypto.": f"{_BROWSER}: use WASI's random_get",
    "wbg.": f"{_BROWSER} (wasm-bindgen): build for wasm32-wasip1, without crates that need a browser",
    "__wbindgen_": f"{_BROWSER} (wasm-bindgen): build for wasm32-wasip1, without crates that need a browser",
    "go.": f"{_BROWSER}: build with GOOS=wasip1",
    "gojs.": f"{_BROWSER}: build with GOOS=wasip1, or TinyGo with -target=wasip1",
    "wasi:": "is an interface of components that this host does not have",
    "wasix_": "is Wasmer's WASIX: build for WASI preview 1 (wasm32-wasip1)",
    "wasi_snapshot_preview1.sock_": "is one of WasmEdge's sockets: guests have no network",
    "wasi.thread-spawn": "starts a thread: build for one thread",
    "wasmedge_process.": "starts programs of the host, which no guest may",
    "env.proxy_": _ELSEWHERE,
    "extism:host/user.": "is a function of the plug-in's own host, which is another one: this host has dapr_call there",
}


def remedy(module: str, name: str) -> str:
    """What an unanswered import is and what to do, to follow "it"; empty where nothing is known of the import."""
    full = f"{module}.{name}"
    return next((text for begin, text in _KNOWN.items() if full.startswith(begin)), "")
