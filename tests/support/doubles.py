"""What stands for a part of the host in tests that are about another part."""

from __future__ import annotations

from collections.abc import Mapping


class Lines:
    """A log that keeps its lines. Satisfies `services.Log`."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []
        self.entries: list[tuple[str, str, dict[str, str]]] = []

    def line(self, stream: str, text: str) -> None:
        self.lines.append((stream, text))

    def entry(self, level: str, text: str, fields: Mapping[str, str]) -> None:
        self.entries.append((level, text, dict(fields)))

    @property
    def texts(self) -> list[str]:
        return [text for _, text in self.lines]


class NoOutputs:
    """For routes that hand no reply on. Satisfies `event.Outputs`."""

    def deliver(self, *_: object) -> None:
        raise AssertionError("no route here names an output")
