"""Where this user's files of Guesthouse are."""

from __future__ import annotations

import os
from pathlib import Path


def user_cache() -> Path:
    """Where compiled guests are kept unless the manifest or $GUESTHOUSE_CACHE says otherwise."""
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "guesthouse"
