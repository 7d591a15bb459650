"""`guesthouse serve` as a process of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.waiting import PATIENCE

ROOT = Path(__file__).resolve().parents[2]


class Served:
    """`guesthouse serve` as a process: its lines, as JSON, and how it ended."""

    def __init__(self, *arguments: object, **environment: str) -> None:
        command = [sys.executable, "-m", "guesthouse", "serve", "--port", "0", "--log-format", "json"]
        self.process = subprocess.Popen(
            [*command, *map(str, arguments)],
            stderr=subprocess.PIPE,
            text=True,
            env={"PYTHONPATH": f"{ROOT / 'app'}:{ROOT / 'abi'}", **environment},
        )
        assert self.process.stderr is not None
        self.lines: Iterator[str] = iter(self.process.stderr)
        self.passed: list[str] = []  # all lines that were read

    def line(self, event: str) -> dict[str, Any]:
        """The next line of that name."""
        patience = threading.Timer(PATIENCE, self.process.kill)
        patience.start()
        try:
            for text in self.lines:
                self.passed.append(text)
                found: dict[str, Any] = json.loads(text)
                if found["event"] == event:
                    return found
            raise AssertionError(f"no line {event!r} came")
        finally:
            patience.cancel()

    def end(self) -> int:
        """Drain it, unless it has ended already; its exit code."""
        self.ended()
        return self.process.returncode

    def ended(self) -> str:
        """Drain it, unless it has ended already; what it said that no `line` has read."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        _, rest = self.process.communicate(timeout=PATIENCE)
        return str(rest)
