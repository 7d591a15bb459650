"""A worker's end of what a guest reaches of the host: models, their runs, the log. Satisfies `guesthouse_abi.services`.

Each call is a frame to the server and its answer:

=====  ==============================================================  ================================================
kind   head, payload                                                   answer
=====  ==============================================================  ================================================
MODEL  {"name"}, {"sha256"} or {"bytes": true} with them as payload    null, or {"name", "inputs", "outputs", "names"}
RUN    {"model", "inputs": [[name, type, shape]], "outputs"}, tensors  {"outputs": [[type, shape]]}, tensors
LOG    {"stream", "text"}                                              null
=====  ==============================================================  ================================================

A REFUSAL {"error", "text"} comes back as the exception that the server had.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from guesthouse.guests.process.wire import Buffer, Channel, Frame, Kind, contents, described, description, understood
from guesthouse_abi import errors
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.services import Tensor, TensorInfo

#: What a server may refuse with.
REFUSALS: dict[str, type[Exception]] = {
    kind.__name__: kind
    for kind in (
        errors.InferenceError,
        errors.TooMuch,
        errors.Denied,
        errors.DeadlineExceeded,
        errors.Cancelled,
        errors.HostFunctionError,
    )
}


def ask(channel: Channel, kind: Kind, head: object, payload: Sequence[Buffer] = ()) -> Frame:
    """A question to the server, and its answer. Raises what the server refuses with."""
    channel.send(kind, head, payload)
    frame = channel.receive()
    if frame.kind is Kind.REFUSAL:
        raise REFUSALS[frame.head["error"]](frame.head["text"])
    return frame


class RemoteModel:
    """A model of the server's; satisfies `services.Model`."""

    def __init__(self, channel: Channel, answer: Mapping[str, Any]) -> None:
        self._channel = channel
        self.name: str = answer["name"]
        self.renames: tuple[Mapping[str, str], Mapping[str, str]]
        self.inputs: Sequence[TensorInfo] = [understood(info) for info in answer["inputs"]]
        self.outputs: Sequence[TensorInfo] = [understood(info) for info in answer["outputs"]]
        inputs, outputs = self.renames = answer["names"]
        self._inputs = _by_name(self.inputs, inputs)
        self._outputs = _by_name(self.outputs, outputs)

    def input(self, name: str) -> TensorInfo | None:
        """See `services.Model`."""
        return self._inputs.get(name)

    def output(self, name: str) -> TensorInfo | None:
        """See `services.Model`."""
        return self._outputs.get(name)

    def run(self, inputs: Mapping[str, Tensor], outputs: Sequence[str], deadline: Deadline) -> list[Tensor]:
        """See `services.Model`."""
        deadline.check()
        head = {
            "model": self.name,
            "inputs": [[name, *described(tensor)] for name, tensor in inputs.items()],
            "outputs": list(outputs),
        }
        frame = ask(self._channel, Kind.RUN, head, [contents(tensor) for tensor in inputs.values()])
        return self._channel.arena.arrays(frame.size, [description(output) for output in frame.head["outputs"]])


def _by_name(infos: Sequence[TensorInfo], renamed: Mapping[str, str]) -> dict[str, TensorInfo]:
    own = {info.name: info for info in infos}
    return {**own, **{guest: own[name] for guest, name in renamed.items()}}


class RemoteInference:
    """The server's models; satisfies `services.Inference`. Those of the manifest are asked for once."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._known: dict[tuple[str, str], RemoteModel | None] = {}

    def named(self, name: str) -> RemoteModel | None:
        """See `services.Inference`."""
        return self._found("name", name)

    def standing_for(self, sha256: str) -> RemoteModel | None:
        """See `services.Inference`."""
        return self._found("sha256", sha256)

    def open_bytes(self, data: bytes, deadline: Deadline) -> RemoteModel:
        """See `services.Inference`."""
        deadline.check()
        return RemoteModel(self._channel, ask(self._channel, Kind.MODEL, {"bytes": True}, [data]).head)

    def _found(self, by: str, value: str) -> RemoteModel | None:
        if (by, value) in self._known:
            return self._known[by, value]
        answer = ask(self._channel, Kind.MODEL, {by: value}).head
        model = None if answer is None else RemoteModel(self._channel, answer)
        if model is not None:  # what is not known costs a question each time, and no memory
            self._known[by, value] = model
        return model


class RemoteLog:
    """The guest's log; satisfies `services.Log`."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def line(self, stream: str, text: str) -> None:
        """See `services.Log`."""
        ask(self._channel, Kind.LOG, {"stream": stream, "text": text})
