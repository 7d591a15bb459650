"""Texts that must not get out: tokens. Whoever writes something for people asks here before."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable

from guesthouse.text import escaped

MARK = "***"

_HIDDEN: tuple[str, ...] = ()  # the longest first: one secret may be the beginning of another
_HIDING = threading.Lock()


def hide(secrets: Iterable[str]) -> None:
    """Replace these texts wherever they would appear from now on, escaped as lines of the log have them too."""
    global _HIDDEN
    forms = {form for secret in secrets if secret for form in (secret, json.dumps(secret)[1:-1], escaped(secret))}
    with _HIDING:  # other threads go through the one before meanwhile, so it is never changed
        _HIDDEN = tuple(sorted(forms.union(_HIDDEN), key=len, reverse=True))


def masked(text: str) -> str:
    """The text without what was given to `hide`."""
    for secret in _HIDDEN:
        text = text.replace(secret, MARK)
    return text
