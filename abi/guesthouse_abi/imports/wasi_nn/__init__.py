"""wasi-nn: the module `wasi_ephemeral_nn` (witx, with WasmEdge's and WAMR's additions) and WAMR's older `wasi_nn`.

`core` is what both share: graphs and execution contexts behind handles, the numbers of errors and types by version. The
functions are in `ephemeral` and `legacy`. The component model's `wasi:nn` is not here: guests are core modules.
"""
