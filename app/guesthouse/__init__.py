"""Guesthouse: WebAssembly guests behind Dapr, with the inference done by the host."""

__version__ = "0.2.0"
