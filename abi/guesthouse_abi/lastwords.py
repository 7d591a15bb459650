"""Which of a program's lines says why it ended: the one that its error to the caller carries.

Lines come one at a time, as the program writes them. Where the lines go (log, reply) is not decided here.
"""

from __future__ import annotations

import re

ERROR_TEXT = 1024  # bytes of a guest's own words that an error carries

#: How runtimes begin the line that names what went wrong, before the trace that ends with something else: Go and TinyGo
#: (panic, fatal error), Rust (thread … panicked, fatal runtime error), Zig (thread … panic), OCaml, PHP and Swift
#: (Fatal error), Python's C code (Fatal Python error).
_PANIC = re.compile(
    r"panic: |fatal (runtime )?error: |(PHP )?Fatal error: |Fatal Python error: |thread .{1,200} panic(ked at|:) "
)
#: Rust puts the file and line on one line and the message on the next.
_PLACE_OF_RUST = re.compile(r"thread .{1,200} panicked at .*:$")
#: Lines of traces and notes, which say where and not what.
_TRACE = re.compile(
    r"\s+(at|from|in) |\t|\s+\d+: |\s+\.\.\. \d+ more|#\d+ |goroutine \d+ |created by |exit status \d+$|\[signal "
    r"|note: |stack backtrace:|stack traceback:|Stack trace:|CallStack \(from |runtime stack:|(Re-r|R)aised (at|by) "
    r"|Called from |Caused by: |\.\.\.additional frames elided\.\.\.|\s+\w+, called at "
)
#: The line before the indented lines in which Rust's error crates say where an error came from.
_CAUSES = "Caused by:"


class LastWords:
    """What one stream has said of why the program ends."""

    __slots__ = ("_causes", "_message_follows", "last", "panic")

    def __init__(self) -> None:
        self.last = ""  # the last line that is not of a trace; "" where there is none
        self.panic = ""  # the last line that began as a panic does
        self._message_follows = False
        self._causes = False

    def add(self, line: str) -> None:
        """Look at the next line: one that is not blank, without its end."""
        if self._message_follows:
            self._message_follows = False
            self.panic = f"{self.panic} {line.strip()}"
            return
        if _PANIC.match(line):
            self.panic = line
            self._message_follows = _PLACE_OF_RUST.match(line) is not None
            return
        self._causes = line == _CAUSES or (self._causes and line[:1].isspace())
        if not self.last or not (self._causes or _TRACE.match(line)):
            self.last = line


def why(stderr: LastWords, stdout: LastWords) -> str:
    """The line that says why: a panic on either stream before all else, and standard error before standard output."""
    text = stderr.panic or stdout.panic or stderr.last or stdout.last
    return text.strip().encode()[:ERROR_TEXT].decode(errors="ignore")
