"""wasi-nn: the module `wasi_ephemeral_nn` (witx, with WasmEdge's and WAMR's additions) and WAMR's older `wasi_nn`.

`numbers` has the numbers of errors and types by version, `common` the functions that both modules have, `ephemeral` and
`legacy` those of one. What the functions mean is in `sessions/wasi_nn.py`. The component model's `wasi:nn` is not here:
guests are core modules.
"""
