"""Text for people: what came from outside made harmless, and how a fault reads."""

from __future__ import annotations


def escaped(text: str) -> str:
    """`text` with everything escaped that would steer a terminal or begin a line."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def fault(what: str, where: str, remedy: str) -> str:
    """One fault as people read it, in the order in which they ask: what happened, where, what to do."""
    return f"{what} — {where} — {remedy}"
