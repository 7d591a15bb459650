"""Who sends events in the comparisons: a program in Go (`load/main.go`), or callers in Python where there is no Go.

A sidecar is written in Go too, and a caller that costs little CPU leaves the machine to the server that is measured.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from guesthouse.cli.load_generator import Job, Load, Outcome
from guesthouse.dapr.client import invoke_request

SOURCE = Path(__file__).resolve().parent / "load"
METHOD = "/dapr.proto.runtime.v1.AppCallback/OnInvoke"


@functools.cache
def program() -> Path | None:
    """The compiled caller: built once and kept by the digest of its source. None where there is no Go."""
    go = shutil.which("go")
    if go is None:
        return None
    digest = hashlib.sha256(b"".join((SOURCE / name).read_bytes() for name in ("main.go", "go.mod", "go.sum")))
    target = Path.home() / ".cache" / "guesthouse" / "bench" / f"load-{digest.hexdigest()[:16]}"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            made = Path(folder) / "load"
            environment = {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local"}
            subprocess.run([go, "build", "-trimpath", "-o", made, "."], cwd=SOURCE, env=environment, check=True)
            made.replace(target)
    return target


def kind() -> str:
    """What calls, in words."""
    return "callers in Python" if program() is None else "callers in Go (grpc-go)"


class Caller:
    """Sends invocations from a process of its own, which keeps its connections between jobs. A context manager."""

    def __init__(self, callers: int) -> None:
        found = program()
        self._load = Load(callers) if found is None else None
        self._process: subprocess.Popen[str] | None = None
        if found is not None:
            self._process = subprocess.Popen([found], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> Caller:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._load is not None:
            self._load.close()
        if self._process is not None:
            self._process.kill()
            self._process.communicate()

    def run(self, job: Job, rate: float = 0.0) -> Outcome:
        """Do a job with a number of requests; with a rate, in calls a second, calls begin at fixed times.

        Raises `RuntimeError` when the process has ended, `ValueError` for a rate without the program in Go.
        """
        if self._load is not None:
            if rate:
                raise ValueError("callers in Python have no fixed rate: install Go")
            return self._load.run(job)
        message = invoke_request(job.event).SerializeToString()
        assert job.requests is not None
        return self.call(job.address, METHOD, [message], job.callers, job.requests, rate)

    def call(
        self, address: str, method: str, messages: Sequence[bytes], callers: int, requests: int, rate: float = 0.0
    ) -> Outcome:
        """Call any method, with one message after the other. Raises `ValueError` without the program in Go."""
        if self._process is None:
            raise ValueError("callers in Python only invoke: install Go")
        told = {
            "address": address,
            "method": method,
            "messages": [base64.b64encode(message).decode() for message in messages],
            "callers": callers,
            "requests": requests,
            "rate": rate,
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(told) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the process that sends events has ended")
        found = json.loads(line)
        errors = Counter({"error": found["errors"]} if found["errors"] else {})
        examples = {"error": found["example"]} if found["errors"] else {}
        return Outcome(found["latencies"], errors, examples, 0.0, found["seconds"])
