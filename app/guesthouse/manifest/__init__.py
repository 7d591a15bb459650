"""The manifest: what `guesthouse.toml` says, well-formed and frozen.

    manifest = load(Path("guesthouse.toml"))

This package reads text; it opens no other file than the manifest itself. It knows nothing of guests: which tables
capabilities add to them is handed to `load`.
"""

from guesthouse.manifest.read import ManifestError, load, parse
from guesthouse.manifest.tables import Manifest
from guesthouse.manifest.warnings import warnings

__all__ = ["Manifest", "ManifestError", "load", "parse", "warnings"]
