"""Engines: how Wasm is compiled, linked and called. `base` is the seam; nothing above this package names an engine."""
