"""A model of the manifest: loaded and tried once, its inputs checked, run on one session or two.

The sessions themselves are in `session`, requests that run together in `batcher`, many models in `registry`.
"""

from __future__ import annotations

import functools
import math
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from guesthouse.inference.batcher import Batcher
from guesthouse.inference.cores import Traffic, cores
from guesthouse.inference.graph import TooLarge, read_graph
from guesthouse.inference.modelfile import DAMAGED, LARGEST, ModelFault, ModelFile, read_model, unchanged
from guesthouse.inference.protobuf import Malformed
from guesthouse.inference.rows import mixing
from guesthouse.inference.session import Session
from guesthouse.inference.tensors import check_inputs, check_outputs, describe, filled
from guesthouse.inference.trials import Dependent, try_rows
from guesthouse.inference.watch import Watch
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.errors import InferenceError
from guesthouse_abi.services import Tensor, TensorInfo


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """What the manifest says of one model.

    `sha256` pins the file, `stands_for` are digests of files that guests embed and that this model answers for (all
    hexadecimal). `threads` are those of one run; "auto" gives a run that is alone all cores, and one to each of several
    that meet. `batch` is (rows, seconds to wait for others). `inputs` and `outputs` map the names that guests use to
    the model's own. A file of more than `largest` bytes is not read.
    """

    name: str
    path: Path
    sha256: str | None = None
    stands_for: tuple[str, ...] = ()
    threads: int | Literal["auto"] = "auto"
    batch: tuple[int, float] | None = None
    max_batch: int = 32
    inputs: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    largest: int = LARGEST


_NO_BATCH = "take `batch` out"

Observe = Callable[[int, float], None]
"""Hears of each run of a model, in the run's thread: its rows (those of a batch together), and its seconds."""


def _nobody(_rows: int, _seconds: float) -> None: ...


@dataclass(frozen=True, slots=True)
class Digest:
    """Where a model's bytes are from: what they hash to, and how many they are."""

    sha256: str
    size: int


class OnnxModel:
    """A loaded model; satisfies `guesthouse_abi.services.Model`.

    With `threads = "auto"` and more than one core it has two sessions: one that uses all cores, for a run that begins
    when no other is under way (and keeps them to its end), and one that runs in its caller's thread alone.
    """

    def __init__(
        self, config: ModelConfig, digest: Digest, sessions: Sequence[Session], traffic: Traffic, *, guest: bool = False
    ) -> None:
        self._sessions = tuple(sessions)  # the one for a run that is alone first
        self._traffic = traffic
        self._batcher: Batcher | None = None
        self._kept = -1 if guest else config.batch[0] if config.batch else 1  # rows whose memory the session keeps
        self.config = config
        self.name = config.name
        self.path = config.path
        self.sha256 = digest.sha256
        self.size = digest.size
        self.inputs = sessions[0].inputs
        self.outputs = sessions[0].outputs
        self.providers = sessions[0].providers
        self.costs: tuple[int, ...] = ()  # bytes, in the order of `threads`
        self.warmup_seconds = 0.0
        self.note = ""  # why the model was not tried at load, if so
        self.observe: Observe = _nobody
        self.file: ModelFile | None = None  # as it was when it was loaded, without its bytes
        self._holders = 1
        self._holding = threading.Lock()
        self._inputs = {info.name: info for info in self.inputs}
        self._outputs = {info.name: info for info in self.outputs}
        self._free = tuple(info.name for info in self.inputs if info.shape[:1] == (None,))

    @classmethod
    def load(cls, config: ModelConfig, watch: Watch, traffic: Traffic) -> OnnxModel:
        """Read, check and try the model that `config` names. Raises `ModelFault`."""
        file = read_model(config.path, config.sha256, config.largest)
        folder = config.path.parent if file.external else None
        sessions, costs = [], []
        for threads in _threads(config):
            before = _resident()
            try:
                sessions.append(Session(file.data, threads, watch, Deadline(math.inf), folder=folder))
            except InferenceError as error:
                raise ModelFault(f"ONNX Runtime does not load it: {error}") from None
            costs.append(max(0, _resident() - before))
        model = cls(config, Digest(file.sha256, len(file.data)), sessions, traffic)
        model.costs = tuple(costs)
        model.file = replace(file, data=b"")
        model._check_config()
        model._warm_up()
        if config.batch is not None:
            model._check_rows_are_independent(file.data)
            workers = max(1, cores() // sessions[0].threads)
            model._batcher = Batcher(model._run, config.batch[0], config.batch[1], workers)
        return model

    @property
    def batchable(self) -> bool:
        """Whether the first dimension of every input and output is free."""
        return all(info.shape[:1] == (None,) for info in (*self.inputs, *self.outputs))

    @property
    def threads(self) -> tuple[int, ...]:
        """The threads of a run, for each session."""
        return tuple(session.threads for session in self._sessions)

    @property
    def renames(self) -> tuple[Mapping[str, str], Mapping[str, str]]:
        """What guests call the model's own inputs, and its outputs."""
        return self.config.inputs, self.config.outputs

    def cost(self) -> int:
        """Bytes of resident memory that the sessions took when they were made: approximate, other threads count too."""
        return sum(self.costs)

    def input(self, name: str) -> TensorInfo | None:
        """The input that a guest calls `name`."""
        return self._inputs.get(self.config.inputs.get(name, name))

    def output(self, name: str) -> TensorInfo | None:
        """The output that a guest calls `name`."""
        return self._outputs.get(self.config.outputs.get(name, name))

    def run(self, inputs: Mapping[str, Tensor], outputs: Sequence[str], deadline: Deadline) -> list[Tensor]:
        """Run the network on `inputs` (by the model's own names) and return `outputs` in that order.

        Raises `InferenceError`, `DeadlineExceeded`, `Cancelled`.
        """
        deadline.check()
        check_inputs(self.name, self._inputs, inputs, self.config.max_batch)
        check_outputs(self.name, self._outputs, outputs)
        if self._batcher is not None:
            return self._batcher.run(inputs, outputs, deadline)
        return self._run(inputs, outputs, deadline)

    def still(self, config: ModelConfig) -> bool:
        """Whether loading `config` now would give this very model: the same configuration, and unchanged files."""
        return self.file is not None and config == self.config and unchanged(config.path, self.file)

    def held(self) -> OnnxModel:
        """The same model for one holder more, who closes it as well."""
        with self._holding:
            self._holders += 1
        return self

    def close(self) -> None:
        """Of the last holder: drop the sessions; runs under way finish. Closing twice is no error."""
        with self._holding:
            self._holders -= 1
            if self._holders > 0:
                return
        if self._batcher is not None:
            self._batcher.close()
        self._sessions = ()

    def _run(self, inputs: Mapping[str, Tensor], outputs: Sequence[str], deadline: Deadline) -> list[Tensor]:
        sessions = self._sessions
        if not sessions:
            raise InferenceError(f"model {self.name} is closed")
        rows = max((len(inputs[name]) for name in self._free), default=0)
        alone = self._traffic.enter()
        began = time.perf_counter()
        try:
            session = sessions[0] if alone else sessions[-1]
            return session.run(inputs, outputs, deadline, give_back=rows > self._kept)
        finally:
            self._traffic.leave()
            self.observe(max(1, rows), time.perf_counter() - began)

    def _check_config(self) -> None:
        """Raise `ModelFault` where the manifest asks for what the model has not, or guests could not use it."""
        faults = [
            f"`{table}` renames {guest!r} to {own!r}, which the model has not: it has {', '.join(map(repr, infos))}"
            for table, renames, infos in (
                ("inputs", self.config.inputs, self._inputs),
                ("outputs", self.config.outputs, self._outputs),
            )
            for guest, own in renames.items()
            if own not in infos
        ]
        faults += [
            f"its input {info.name!r} is no tensor of numbers (text, a sequence, a map …); guests cannot give any other"
            for info in self.inputs
            if info.dtype is None
        ]
        if all(info.dtype is None for info in self.outputs):
            faults.append("it has no output that is a tensor of numbers; guests cannot be given any other")
        if self.config.batch is not None:
            if not self.batchable:
                shapes = ", ".join(f"{info.name} {describe(info)}" for info in (*self.inputs, *self.outputs))
                faults.append(
                    f"`batch` needs a free first dimension in every input and output, the model has {shapes}: "
                    "take `batch` out, or export the model with a free batch"
                )
            if self.config.batch[0] > self.config.max_batch:
                faults.append(f"`batch` is for {self.config.batch[0]} rows, `max_batch` allows {self.config.max_batch}")
        if faults:
            raise ModelFault(*faults)

    def _warm_up(self) -> None:
        """Run each session once on zeros: what is allocated or compiled at the first run is not left to an event.

        A model whose shapes are all known must run; one with other free dimensions than the first may refuse a size
        of 1, which is noted and no fault.
        """
        zeros = filled(self._inputs, 0)
        start = time.monotonic()
        try:
            for session in self._sessions:
                session.run(zeros, self._tensors(), Deadline(math.inf), give_back=False)
        except InferenceError as error:
            if not any(None in info.shape[1:] for info in self.inputs):
                raise ModelFault(f"it does not run, tried on zeros: {error}") from None
            self.note = f"not tried at load: with 1 for every free dimension it does not run ({error})"
        self.warmup_seconds = time.monotonic() - start

    def _check_rows_are_independent(self, data: bytes) -> None:
        """Raise `ModelFault` where a row's result depends on its neighbours, which may be another guest's.

        The graph in `data` is asked first, then the model is run.
        """
        assert self.config.batch is not None
        try:
            mixed = mixing(read_graph(data))
        except TooLarge:
            raise ModelFault(
                "`batch` does not fit it: its graph is too large to be looked through; " + _NO_BATCH
            ) from None
        except Malformed:
            raise ModelFault(DAMAGED) from None
        for name, why in list(mixed.items())[:1]:
            raise ModelFault(
                f"`batch` does not fit it: its output {name!r} depends on the other rows of a batch, which may be "
                f"another guest's, for {why}; {_NO_BATCH}"
            )
        names = self._tensors()
        run = functools.partial(self._sessions[0].run, outputs=names, deadline=Deadline(math.inf), give_back=False)
        try:
            try_rows(self._inputs, names, run, self.config.batch[0])
        except Dependent as found:
            raise ModelFault(f"`batch` does not fit it: {found}; {_NO_BATCH}") from None

    def _tensors(self) -> list[str]:
        """The outputs that are tensors of numbers."""
        return [info.name for info in self.outputs if info.dtype is not None]


def _threads(config: ModelConfig) -> tuple[int, ...]:
    """The threads of a run for each session to make, the one for a run that is alone first."""
    if config.threads != "auto":
        return (config.threads,)
    if config.batch is not None or cores() == 1:
        return (cores(),)  # batches run one at a time
    return (cores(), 1)


def _resident() -> int:
    """This process's resident memory in bytes; 0 where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0
