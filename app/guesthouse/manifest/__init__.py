"""The manifest: what `guesthouse.toml` says, well-formed and frozen.

    manifest = load(Path("guesthouse.toml"))

This package opens no file except the manifest: whether modules and models exist is found when a plan is built.
"""

from guesthouse.manifest.read import ManifestError, load, parse
from guesthouse.manifest.tables import Manifest
from guesthouse.manifest.warnings import warnings

__all__ = ["Manifest", "ManifestError", "load", "parse", "warnings"]
