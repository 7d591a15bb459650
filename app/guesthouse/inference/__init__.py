"""The host's models: loaded from files, checked, run on ONNX Runtime and shared by all guests.

`registry` finds models by name and by digest, `onnx` is one model, `batcher` lets requests run together, `session` is
the only module that touches ONNX Runtime, `modelfile` reads files and refuses what must not be opened, `tensors` says
whether tensors fit a model, `watch` ends runs whose time is over, `cores` says how many cores there are and whether a
run is alone on them. Nothing here knows of guests or Dapr.
"""
