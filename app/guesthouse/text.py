"""Text that came from outside, made harmless for a terminal and a log."""

from __future__ import annotations


def escaped(text: str) -> str:
    """`text` with every character escaped that would steer a terminal or begin a line."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
