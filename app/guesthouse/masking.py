"""Secrets (tokens) that no text may show. All that writes a log line or an answer masks it here first."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable

from guesthouse.text import escaped

MARK = "***"

_HIDDEN: tuple[str, ...] = ()  # the longest first, for a secret may begin with another one
_HIDING = threading.Lock()


def hide(secrets: Iterable[str]) -> None:
    """From now on, `masked` replaces these secrets, also as JSON and as the log escapes them."""
    global _HIDDEN
    forms = {form for secret in secrets if secret for form in (secret, json.dumps(secret)[1:-1], escaped(secret))}
    with _HIDING:  # a new tuple: other threads may be reading the old one
        _HIDDEN = tuple(sorted(forms.union(_HIDDEN), key=len, reverse=True))


def masked(text: str) -> str:
    """The text with each secret that `hide` was given replaced by `***`."""
    for secret in _HIDDEN:
        text = text.replace(secret, MARK)
    return text
