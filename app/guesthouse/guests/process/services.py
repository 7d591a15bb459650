"""The server's answers to a worker's questions during one event, within the guest's grants.

The worker asked its own sandbox already whether it may; a guest that broke out of it would not. So grants, sizes and
the amount of log are looked at again here, and what is told of inference is what was seen here.
"""

from __future__ import annotations

from time import perf_counter
from typing import Any

import structlog

from guesthouse.guests.guest import Guest
from guesthouse.guests.process.proxies import REFUSALS
from guesthouse.guests.process.wire import (
    Channel,
    Frame,
    Kind,
    TooLong,
    WireError,
    contents,
    described,
    description,
    items,
    member,
    text,
    told,
)
from guesthouse_abi.context import RUNS, Run
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.errors import Denied, InferenceError, TooMuch
from guesthouse_abi.services import Model, Tensor

_NAME = 4096  # characters of a name
_TENSORS = 1024
_STREAMS = {"stdout", "stderr", "host"}

_log = structlog.get_logger("guesthouse.workers")


class Requests:
    """What one event asks for. Raises `WireError` where the protocol is broken, `Ended` where the worker is gone."""

    def __init__(self, guest: Guest, channel: Channel, deadline: Deadline) -> None:
        self._guest = guest
        self._channel = channel
        self._deadline = deadline
        self._opened: dict[str, Model] = {}  # what the guest brought itself
        self._logged = 0
        self.inference_seconds = 0.0
        self.runs: list[Run] = []

    def answer(self, frame: Frame) -> None:
        """Answer one question."""
        try:
            if frame.kind is Kind.RUN:
                self._run(frame)
            elif frame.kind is Kind.MODEL:
                self._channel.send(Kind.ANSWER, self._model(frame))
            elif frame.kind is Kind.LOG:
                self._line(frame.head)
                self._channel.send(Kind.ANSWER, None)
            else:
                raise WireError(f"an unexpected frame ({frame.kind.name})")
        except TooLong as error:
            self._refuse("TooMuch", f"the answer does not fit between host and worker: {error}")
        except WireError:
            raise
        except Exception as error:
            kind = next((k.__name__ for k in type(error).__mro__ if k.__name__ in REFUSALS), "")
            if not kind:
                _log.exception("a worker's question could not be answered", guest=self._guest.name)
            self._refuse(kind or "HostFunctionError", str(error) if kind else "a host function failed")

    def _refuse(self, kind: str, why: str) -> None:
        self._channel.send(Kind.REFUSAL, {"error": kind, "text": why})

    def _model(self, frame: Frame) -> object:
        head, inference, grants = frame.head, self._guest.services.inference, self._guest.config.grants
        if isinstance(head, dict) and head.get("bytes") is True:
            if not grants.allow_guest_models:
                raise Denied("the manifest does not allow this guest to bring models")
            model: Model | None = inference.open_bytes(self._channel.arena.bytes(frame.size), self._deadline)
            assert model is not None
            self._opened[model.name] = model
        elif isinstance(head, dict) and "name" in head:
            model = inference.named(text(head["name"], _NAME))
        else:
            model = inference.standing_for(text(member(head, "sha256"), 64))
        if model is None:
            return None
        inputs, outputs = model.renames
        return {
            "name": model.name,
            "inputs": [told(info) for info in model.inputs],
            "outputs": [told(info) for info in model.outputs],
            "names": [dict(inputs), dict(outputs)],
        }

    def _run(self, frame: Frame) -> None:
        head = frame.head
        name = text(member(head, "model"), _NAME)
        inputs = [_input(value) for value in items(member(head, "inputs"), _TENSORS)]
        outputs = [text(value, _NAME) for value in items(member(head, "outputs"), _TENSORS)]
        tensors = self._channel.arena.arrays(frame.size, [wanted for _, wanted in inputs])
        if frame.size > self._guest.limits.host_memory:
            raise TooMuch(f"tensors of {frame.size} bytes; the limit host_memory is {self._guest.limits.host_memory}")
        results = self._results(name, {n: t for (n, _), t in zip(inputs, tensors, strict=True)}, outputs)
        for output, result in zip(outputs, results, strict=True):
            if result.dtype.kind not in "biuf":
                raise InferenceError(f"the output {output} of the model {name} is not of numbers")
        self._channel.send(
            Kind.ANSWER, {"outputs": [described(r) for r in results]}, [contents(result) for result in results]
        )

    def _results(self, name: str, inputs: dict[str, Tensor], outputs: list[str]) -> list[Tensor]:
        model = self._opened.get(name)
        if model is None and name in self._guest.config.grants.models:
            model = self._guest.services.inference.named(name)
        if model is None:
            raise Denied(f"the manifest does not grant the model {name!a} to this guest")
        began = perf_counter()
        try:
            return model.run(inputs, outputs, self._deadline)
        finally:
            ended = perf_counter()
            self.inference_seconds += ended - began
            if len(self.runs) < RUNS:
                self.runs.append((model.name, began, ended))

    def _line(self, head: Any) -> None:
        stream, line = text(member(head, "stream"), 8), text(member(head, "text"), 1 << 20)
        if stream not in _STREAMS:
            raise WireError("a line of an unknown stream")
        # As much as the worker's own count lets through, with the words that it adds at the end.
        self._logged += len(line) + 1
        if self._logged <= self._guest.limits.log + 256:
            self._guest.services.log.line(stream, line)


def _input(value: object) -> tuple[str, Any]:
    triple = items(value, 3)
    if len(triple) != 3:
        raise WireError("an input without name, type or shape")
    return text(triple[0], _NAME), description(triple[1:])
