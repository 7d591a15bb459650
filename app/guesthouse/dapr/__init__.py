"""Guesthouse as a Dapr application: the gRPC services that a sidecar calls, and the calls out to the sidecar.

Nothing of WebAssembly or inference is known here: events go to a `guesthouse.event.Handler`, replies come back.
"""
