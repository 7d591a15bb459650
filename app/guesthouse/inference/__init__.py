"""The host's models: loaded from files, checked, run on ONNX Runtime and shared by all guests.

- `registry` finds models by name and by digest; `model` is one model; `session` alone touches ONNX Runtime.
- `modelfile` reads a model's file and refuses files that must not be opened; `samples` reads sample inputs.
- `tensors` says whether tensors fit a model's inputs and outputs.
- `batcher` runs requests of several callers together. `rows` and `trials` find out at load whether a model's rows are
  independent, which a batch needs: from its graph (`graph`, `protobuf`), and by running it.
- `watch` ends runs whose deadline has passed; `cores` counts cores, `traffic` the runs under way on them.

Nothing here knows of guests or Dapr.
"""
