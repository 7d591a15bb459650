"""The host's models from a worker process: `guesthouse_abi.services.Inference`.

What a guest is granted is in `Grants`: `models`, and `allow_guest_models` for models of its own.

========  ====================================================  ================  =====================================
question  arguments                                             payload           answer
========  ====================================================  ================  =====================================
named     the model's name                                      none              null, or the model (`_encode_model`)
digest    sha256 of model bytes                                 none              the same
open      null                                                  the model bytes   the model
run       {"model", "inputs": [[name, type, shape]],            the inputs        {"outputs": [[type, shape]]}, and the
          "outputs": [name]}                                                      outputs as payload
========  ====================================================  ================  =====================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from guesthouse.guests.capabilities.capability import Answer, Ask, AskedEvent, Capability, Question
from guesthouse.guests.guest import GuestConfig
from guesthouse.guests.process.wire import (
    Layout,
    WireError,
    bytes_of,
    decode_layout,
    encode_layout,
    items,
    member,
    text,
)
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.errors import Denied, InferenceError, TooMuch
from guesthouse_abi.services import Inference, Model, Tensor, TensorInfo

_NAME = 4096  # characters of the name of a model, an input or an output
_DIGEST = 64  # characters of a sha256
_TENSORS = 1024  # inputs, or outputs, of one run


class RemoteInference:
    """The remote half. Models of the manifest are asked for once."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._known: dict[tuple[str, str], RemoteModel] = {}

    def named(self, name: str) -> RemoteModel | None:
        """See `services.Inference`."""
        return self._found("named", name)

    def standing_for(self, sha256: str) -> RemoteModel | None:
        """See `services.Inference`."""
        return self._found("digest", sha256)

    def open_bytes(self, data: bytes, deadline: Deadline) -> RemoteModel:
        """See `services.Inference`."""
        deadline.check()
        return RemoteModel(self._ask, self._ask("open", None, [data]).head)

    def _found(self, what: str, value: str) -> RemoteModel | None:
        if (what, value) in self._known:
            return self._known[what, value]
        answer = self._ask(what, value).head
        if answer is None:  # costs a question each time, and no memory
            return None
        model = self._known[what, value] = RemoteModel(self._ask, answer)
        return model


class RemoteModel:
    """A model of the server's; satisfies `services.Model`."""

    def __init__(self, ask: Ask, answer: Mapping[str, Any]) -> None:
        self._ask = ask
        self.name: str = answer["name"]
        self.renames: tuple[Mapping[str, str], Mapping[str, str]]
        self.inputs: Sequence[TensorInfo] = [_decode_info(info) for info in answer["inputs"]]
        self.outputs: Sequence[TensorInfo] = [_decode_info(info) for info in answer["outputs"]]
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
        arguments = {
            "model": self.name,
            "inputs": [[name, *encode_layout(tensor)] for name, tensor in inputs.items()],
            "outputs": list(outputs),
        }
        answer = self._ask("run", arguments, [bytes_of(tensor) for tensor in inputs.values()])
        return answer.tensors([decode_layout(output) for output in answer.head["outputs"]])


def _by_name(infos: Sequence[TensorInfo], renamed: Mapping[str, str]) -> dict[str, TensorInfo]:
    own = {info.name: info for info in infos}
    return {**own, **{guest: own[name] for guest, name in renamed.items()}}


class _Answers:
    """The answering half, for one event: it looks at grants, sizes and types again, and notes what runs take."""

    def __init__(self, inference: Inference, event: AskedEvent) -> None:
        self._inference = inference
        self._grants = event.guest.config.grants
        self._limits = event.guest.limits
        self._deadline = event.deadline
        self._spent = event.spent
        self._opened: dict[str, Model] = {}  # models that the guest brought itself

    def __call__(self, question: Question) -> Answer:
        if question.what == "run":
            return self._run(question)
        if question.what == "named":
            return _encode_model(self._granted(text(question.arguments, _NAME)))
        if question.what == "digest":
            return self._standing_for(text(question.arguments, _DIGEST))
        if question.what == "open":
            return _encode_model(self._open(question))
        raise question.unknown()

    def _open(self, question: Question) -> Model:
        if not self._grants.allow_guest_models:
            raise Denied("the manifest does not allow this guest to bring models")
        model = self._inference.open_bytes(question.payload(), self._deadline)
        self._opened[model.name] = model
        return model

    def _run(self, question: Question) -> Answer:
        name = text(member(question.arguments, "model"), _NAME)
        inputs = [_input(value) for value in items(member(question.arguments, "inputs"), _TENSORS)]
        outputs = [text(value, _NAME) for value in items(member(question.arguments, "outputs"), _TENSORS)]
        tensors = question.tensors([layout for _, layout in inputs])
        if question.size > self._limits.host_memory:
            raise TooMuch(f"tensors of {question.size} bytes; the limit host_memory is {self._limits.host_memory}")
        model = self._model(name)
        by_name = {input_: tensor for (input_, _), tensor in zip(inputs, tensors, strict=True)}
        with self._spent.timed(CAPABILITY.name, model.name):
            results = model.run(by_name, outputs, self._deadline)
        for output, result in zip(outputs, results, strict=True):
            if result.dtype.kind not in "biuf":
                raise InferenceError(f"the output {output} of the model {name} is not of numbers")
        layouts = {"outputs": [encode_layout(result) for result in results]}
        return Answer(layouts, [bytes_of(result) for result in results])

    def _standing_for(self, sha256: str) -> Answer:
        """Of a model that is not granted, its name alone: the guest's author is told which grant is missing."""
        model = self._inference.standing_for(sha256)
        if model is not None and model.name not in self._grants.models:
            return Answer({"name": model.name, "inputs": [], "outputs": [], "names": [{}, {}]})
        return _encode_model(model)

    def _model(self, name: str) -> Model:
        return self._opened.get(name) or self._granted(name)

    def _granted(self, name: str) -> Model:
        model = self._inference.named(name) if name in self._grants.models else None
        if model is None:
            raise Denied(f"the manifest does not grant the model {name!a} to this guest")
        return model


def _input(value: object) -> tuple[str, Layout]:
    triple = items(value, 3)
    if len(triple) != 3:
        raise WireError("an input without name, type or shape")
    return text(triple[0], _NAME), decode_layout(triple[1:])


def _encode_model(model: Model | None) -> Answer:
    if model is None:
        return Answer()
    inputs, outputs = model.renames
    return Answer(
        {
            "name": model.name,
            "inputs": [_encode_info(info) for info in model.inputs],
            "outputs": [_encode_info(info) for info in model.outputs],
            "names": [dict(inputs), dict(outputs)],
        }
    )


def _encode_info(info: TensorInfo) -> list[object]:
    """An input or output of a model, in JSON."""
    shape = None if info.shape is None else list(info.shape)
    return [info.name, None if info.dtype is None else info.dtype.str, shape, info.kind, info.optional]


def _decode_info(value: Sequence[Any]) -> TensorInfo:
    """What `_encode_info` wrote."""
    name, dtype, shape, kind, optional = value
    sizes = None if shape is None else tuple(shape)
    return TensorInfo(name, None if dtype is None else np.dtype(dtype), sizes, kind, optional)


def _inference_of(models: Inference, config: GuestConfig) -> Inference:
    """All guests share the host's models; which of them a guest may use is looked at with each question."""
    return models


CAPABILITY = Capability(
    __name__, "inference", Inference, _inference_of, RemoteInference, _Answers, errors=(InferenceError,)
)
