"""A guest's memory between guard bytes and a host with small models: what wasmedge_* functions need to be called."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from guesthouse_abi.context import Context
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.errors import InferenceError
from guesthouse_abi.grants import Grants, Limits
from guesthouse_abi.host import HostModule
from guesthouse_abi.services import Inference, Log, Services, Tensor, TensorInfo
from tests.support.doubles import Lines
from tests.support.guarded import GuardedHost


class Doubler:
    """Gives twice its input `x`, float32 [?,3], as `y`, and its sum as `sum`, float32 []. `k` is a scalar to add."""

    name = "doubler"
    inputs: tuple[TensorInfo, ...] = (
        TensorInfo("x", np.dtype(np.float32), (None, 3)),
        TensorInfo("k", np.dtype(np.int32), ()),
        TensorInfo("flag:1", np.dtype(np.bool_), (2,)),
    )
    outputs: tuple[TensorInfo, ...] = (
        TensorInfo("y", np.dtype(np.float32), (None, 3)),
        TensorInfo("sum", np.dtype(np.float32), ()),
    )

    def __init__(self) -> None:
        self.ran: list[dict[str, Tensor]] = []
        self.asked: list[list[str]] = []

    def input(self, name: str) -> TensorInfo | None:
        return next((info for info in self.inputs if info.name == name), None)

    def output(self, name: str) -> TensorInfo | None:
        if name == "twice":  # as a manifest renames one
            name = "y"
        return next((info for info in self.outputs if info.name == name), None)

    def run(self, inputs: Mapping[str, Tensor], outputs: Sequence[str], deadline: Deadline) -> list[Tensor]:
        deadline.check()
        if "x" not in inputs:
            raise InferenceError("the input x was not given")
        self.ran.append(dict(inputs))
        self.asked.append(list(outputs))
        x = inputs["x"]
        results = {"y": x * 2 + np.float32(inputs.get("k", 0)), "sum": np.asarray(x.sum())}
        return [results[name] for name in outputs]


class Fixed(Doubler):
    """The same for one picture at a time: no dimension is free. `words` is an input of text."""

    name = "fixed"
    inputs = (TensorInfo("x", np.dtype(np.float32), (1, 3)), TensorInfo("words", None, (1,), "text"))
    outputs = (TensorInfo("y", np.dtype(np.float32), (1, 3)),)


class Voting(Doubler):
    """Has a sequence of maps before its numbers."""

    name = "voting"
    inputs = (TensorInfo("x", np.dtype(np.float32), (1, 3)),)
    outputs = (TensorInfo("votes", None, (), "a sequence"), TensorInfo("y", np.dtype(np.float32), (1, 3)))


class Shapeless(Doubler):
    """Does not say what shapes it has."""

    name = "shapeless"
    inputs = (TensorInfo("x", np.dtype(np.float32), None),)
    outputs = (TensorInfo("y", np.dtype(np.float32), None),)


class Models:
    """The host's models by name, and by the digest of bytes that they stand for."""

    def __init__(self) -> None:
        self.models = {model.name: model for model in (Doubler(), Fixed(), Voting(), Shapeless())}
        self.stands: dict[str, str] = {}
        self.opened: list[bytes] = []

    def named(self, name: str) -> Any:
        return self.models.get(name)

    def standing_for(self, sha256: str) -> Any:
        return self.models.get(self.stands.get(sha256, ""))

    def stand_for(self, name: str, data: bytes) -> None:
        self.stands[hashlib.sha256(data).hexdigest()] = name

    def open_bytes(self, data: bytes, deadline: Deadline) -> Any:
        self.opened.append(data)
        return self.models["doubler"]


class Host(GuardedHost):
    """One event's host side, without an engine. `put` places bytes in the guest and returns pointer and length."""

    def __init__(
        self,
        module: HostModule,
        *,
        size: int = 1 << 16,
        seconds: float = 60,
        limits: Limits | None = None,
        **grants: Any,
    ) -> None:
        self.log = Lines()
        self.inference = Models()
        self._module = module
        grants.setdefault("models", frozenset(self.inference.models))
        services = Services({Inference: self.inference, Log: self.log})
        super().__init__(Context(Deadline.after(seconds), Grants(**grants), limits or Limits(), services), size)
        self._free = 1024  # below are the places that results go to

    def call(self, name: str, *values: int) -> int:
        errno: int = self._module.functions[name].invoke(self.context, *values)
        return errno

    def reader(self, name: str) -> Callable[..., tuple[int, int]]:
        """The function with its last parameter, a place for a u32, filled in: returns the error number and the u32."""

        def call(*values: int) -> tuple[int, int]:
            return self.call(name, *values, 16), self.memory.u32(16)

        return call

    def put(self, data: bytes | str) -> tuple[int, int]:
        data = data.encode() if isinstance(data, str) else data
        pointer, self._free = self._free, self._free + len(data) + 8 & ~7
        self.memory.write(pointer, data)
        return pointer, len(data)

    def put_floats(self, *values: float) -> tuple[int, int]:
        return self.put(struct.pack(f"<{len(values)}f", *values))

    def put_shape(self, *dimensions: int) -> tuple[int, int]:
        """Pointer and rank."""
        return self.put(struct.pack(f"<{len(dimensions)}q", *dimensions))[0], len(dimensions)

    def floats(self, pointer: int, count: int) -> list[float]:
        return list(struct.unpack(f"<{count}f", self.memory.read(pointer, 4 * count)))

    def said(self, text: str) -> bool:
        """Whether a line of the log has this text. All are the host's own."""
        assert {stream for stream, _ in self.log.lines} <= {"host"}
        return any(text in line for line in self.log.texts)
