"""What an operator can mend: how it is written, and the exception that carries it."""

from __future__ import annotations

from collections.abc import Sequence


def fault(what: str, where: str, remedy: str) -> str:
    """One fault as people read it, in the order in which they ask: what happened, where, what to do."""
    return f"{what} — {where} — {remedy}"


class Faults(Exception):
    """Something that was asked for cannot be had; `faults` has every reason, with what to do about it.

    A command prints the faults and ends. Any other exception is reported as an error of Guesthouse itself.
    """

    def __init__(self, faults: str | Sequence[str]) -> None:
        self.faults = [faults] if isinstance(faults, str) else list(faults)
        super().__init__("; ".join(self.faults))  # one line, for a log
