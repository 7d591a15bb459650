"""What a guest asks for when it wants inference, on values: models, sessions, their inputs and outputs, handles.

Pointers, error numbers and numbers of data types are not known here: the modules in `imports/` turn those into values
and back. So every interface for inference, whatever its records look like, shares this room. `model_lookup` finds the
model that a guest means, `session` and `tensors` are what all interfaces have in common, `tensorflow` and `wasi_nn`
what each has of its own, and `handles` has the numbers that a guest is given.
"""
