"""Requests that come at the same time run as one batch. Whether a model's rows allow that is decided in `model`.

- A request that comes while no other runs or waits starts at once.
- A request that comes while others run or wait is gathered with those that wait. Its batch runs when it has `size`
  rows, or when the request has waited `delay`. While every batch thread is busy, gathering goes on.
- A request whose own deadline passes leaves its batch. The run is ended only when all of its requests have left.
- A batch that fails is run again request by request, once, so that only the request at fault gets its error.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from guesthouse.system.threads import lasting_thread
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.errors import Cancelled, InferenceError
from guesthouse_abi.services import Tensor


class Run(Protocol):
    """One run of a model, in the calling thread."""

    def __call__(self, inputs: Mapping[str, Tensor], outputs: Sequence[str], deadline: Deadline) -> list[Tensor]: ...


class _Member:
    """One request: a member of a batch, once there is one."""

    __slots__ = ("arrived", "batch", "deadline", "done", "error", "inputs", "key", "outputs", "result", "rows", "waits")

    def __init__(self, inputs: Mapping[str, Tensor], outputs: Sequence[str], deadline: Deadline) -> None:
        self.inputs = inputs
        self.outputs = outputs
        self.deadline = deadline
        self.rows, self.key = _rows_and_key(inputs, outputs)
        self.arrived = time.monotonic()
        self.waits = True  # whether it waits for others, up to `delay`
        self.batch: _Batch | None = None
        self.result: list[Tensor] | None = None
        self.error: Exception | None = None
        self.done = threading.Event()  # finished, or cancelled


class _Batch:
    """Members that run together, and how many of them have not left."""

    __slots__ = ("deadline", "members", "present")

    def __init__(self, members: list[_Member]) -> None:
        self.members = members
        self.present = len(members)
        self.deadline = Deadline(math.inf)  # cancelled when the last member has left


class Batcher:
    """Runs requests in batches of at most `size` rows, on `workers` threads of its own."""

    def __init__(self, run: Run, size: int, delay: float, workers: int = 1) -> None:
        self._run = run
        self._size = size
        self._delay = delay
        self._changed = threading.Condition(threading.Lock())
        self._waiting: list[_Member] = []
        self._running = 0  # batches that are under way
        self._closed = False
        self._workers = [lasting_thread(f"batch-{number}", self._work) for number in range(workers)]

    def run(self, inputs: Mapping[str, Tensor], outputs: Sequence[str], deadline: Deadline) -> list[Tensor]:
        """Run `inputs`, which must have been checked, perhaps in a batch with others of the same shapes.

        Raises what the run raises for this request, `DeadlineExceeded`, `Cancelled`, and `InferenceError` when closed.
        """
        member = _Member(inputs, outputs, deadline)
        with self._changed:
            if self._closed:
                raise _closed()
            member.waits = bool(self._waiting or self._running)
            self._waiting.append(member)
            self._changed.notify()
        forget = deadline.on_cancel(member.done.set)
        try:
            while not (member.done.is_set() or deadline.over):
                member.done.wait(min(deadline.remaining(), threading.TIMEOUT_MAX))
        finally:
            forget()
        if not self._finished(member):
            deadline.check()
        if member.error is not None:
            raise member.error
        assert member.result is not None  # finished, without an error
        return member.result

    def close(self) -> None:
        """End the requests that wait with an error, let batches under way finish, and end the threads."""
        with self._changed:
            self._closed = True
            waiting, self._waiting = self._waiting, []
            for member in waiting:
                member.error = _closed()
                member.done.set()
            self._changed.notify_all()
        for worker in self._workers:
            worker.join()

    def _finished(self, member: _Member) -> bool:
        """Whether the member has its answer; if not, it leaves. The last one to leave ends its run."""
        with self._changed:
            if member.result is not None or member.error is not None:
                return True
            batch = member.batch
            if batch is None:
                self._waiting.remove(member)
                return False
            batch.present -= 1
            nobody_left = batch.present == 0
        if nobody_left:
            batch.deadline.cancel()
        return False

    def _work(self) -> bool:
        """Run the next batch; False when closed."""
        batch = self._next()
        if batch is None:
            return False
        try:
            self._run_batch(batch)
        finally:
            with self._changed:
                self._running -= 1
        return True

    def _next(self) -> _Batch | None:
        """Wait for the next batch that is ready; None when closed."""
        with self._changed:
            while not self._closed:
                if not self._waiting:
                    self._changed.wait()
                    continue
                first = self._waiting[0]
                members, full = self._matching(first)
                left = first.arrived + self._delay - time.monotonic() if first.waits else 0.0
                if not full and left > 0:
                    self._changed.wait(left)
                    continue
                batch = _Batch(members)
                for member in members:
                    member.batch = batch
                    self._waiting.remove(member)
                self._running += 1
                if self._waiting:
                    self._changed.notify()  # another thread may gather these
                return batch
            return None

    def _matching(self, first: _Member) -> tuple[list[_Member], bool]:
        """The requests that can run with `first`, in order of arrival, and whether the batch is full."""
        members, rows = [first], first.rows
        for member in self._waiting:
            if member is first or member.key != first.key:
                continue
            if rows + member.rows > self._size:
                return members, True
            members.append(member)
            rows += member.rows
        return members, rows >= self._size

    def _run_batch(self, batch: _Batch) -> None:
        members = batch.members
        if len(members) > 1:
            try:
                results = self._together(batch)
            except Cancelled:
                return  # all members have left
            except Exception:
                pass  # each member now runs alone: the one at fault gets its own error
            else:
                for member, result in zip(members, results, strict=True):
                    self._finish(member, result, None)
                return
        for member in members:
            self._alone(member)

    def _together(self, batch: _Batch) -> list[list[Tensor]]:
        members = batch.members
        inputs = {name: np.concatenate([member.inputs[name] for member in members]) for name in members[0].inputs}
        outputs = self._run(inputs, members[0].outputs, batch.deadline)
        rows = [member.rows for member in members]
        if any(output.ndim == 0 or len(output) != sum(rows) for output in outputs):
            raise InferenceError("the model's outputs have not as many rows as its inputs")
        ends = np.cumsum(rows)[:-1]
        parts = [np.split(output, ends) for output in outputs]
        # Copied: a view would keep the results of all members in memory for as long as one member keeps its own.
        return [[part[index].copy() for part in parts] for index in range(len(members))]

    def _alone(self, member: _Member) -> None:
        try:
            self._finish(member, self._run(member.inputs, member.outputs, member.deadline), None)
        except Exception as error:
            self._finish(member, None, error)

    def _finish(self, member: _Member, result: list[Tensor] | None, error: Exception | None) -> None:
        with self._changed:
            member.result, member.error = result, error
        member.done.set()


def _rows_and_key(inputs: Mapping[str, Tensor], outputs: Sequence[str]) -> tuple[int, Any]:
    """How many rows a request has, and a key: requests with equal keys can run together."""
    counts = {len(tensor) for tensor in inputs.values()}
    if len(counts) != 1:
        return max(counts, default=0), object()  # its inputs have different numbers of rows: it runs with no other
    shapes = tuple((name, inputs[name].shape[1:]) for name in sorted(inputs))
    return counts.pop(), (tuple(outputs), shapes)


def _closed() -> InferenceError:
    return InferenceError("the model is closed: the host is shutting down, or has loaded its models anew")
