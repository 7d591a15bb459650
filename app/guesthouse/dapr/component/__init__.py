"""Guesthouse as a pluggable component of Dapr: what other applications reach through their own sidecars.

`server` is the gRPC server on a Unix socket, `unix_socket` that socket. `output_binding` runs guests as operations,
`input_binding` sends their replies as events, `reader` keeps the replies for one sidecar until it has acknowledged
them. `resource` is how a sidecar says which of its Component resources it means.
"""
