"""One model: loaded and tried once, its inputs checked before each run, run on one session or two.

What a session is, is in `session`; running requests together is in `batcher`; finding a model is in `registry`.
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
from guesthouse.inference.cores import cores
from guesthouse.inference.graph import TooLarge, read_graph
from guesthouse.inference.modelfile import DAMAGED, LARGEST, ModelFault, ModelFile, read_model, unchanged
from guesthouse.inference.rows import mixing
from guesthouse.inference.samples import SamplesFault, read_samples
from guesthouse.inference.session import OnnxSession
from guesthouse.inference.tensors import check_inputs, check_outputs, describe, filled
from guesthouse.inference.traffic import Traffic
from guesthouse.inference.trials import Dependent, try_rows
from guesthouse.inference.watch import Watch
from guesthouse.system.stamps import Stamp, stamp
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.errors import InferenceError
from guesthouse_abi.protobuf import Malformed
from guesthouse_abi.services import Tensor, TensorInfo

MAX_BATCH = 32  # rows of one request to a model with `batch`, unless the manifest says otherwise
MAX_ELEMENTS = 1 << 24  # elements of one input that has a free dimension


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """What the manifest says of one model.

    - `sha256` is the digest that the file must have.
    - `stands_for` has the digests of model files that guests embed: such a guest gets this model instead.
    - `threads` is the number of threads of one run. With "auto" a run that is alone gets all cores; runs that meet get
      one core each.
    - `batch` is (most rows in one run, seconds that a request waits for others).
    - `max_batch` bounds the rows of one request, where the first dimension is free; see `rows` for its default.
    - `max_elements` bounds the elements of each input that has a free dimension.
    - `inputs` and `outputs` map the names that guests use to the model's own names.
    - `warm_up` says whether the model is run when it is loaded: on zeros, or on the arrays in an `.npz` file.
    - A file of more than `largest` bytes is not read.
    """

    name: str
    path: Path
    sha256: str | None = None
    stands_for: tuple[str, ...] = ()
    threads: int | Literal["auto"] = "auto"
    batch: tuple[int, float] | None = None
    max_batch: int | None = None
    max_elements: int = MAX_ELEMENTS
    inputs: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    warm_up: bool | Path = True
    largest: int = LARGEST

    @property
    def rows(self) -> int | None:
        """The most rows of one request. None: rows are not counted, only elements."""
        if self.max_batch is not None or self.batch is None:
            return self.max_batch
        return max(MAX_BATCH, self.batch[0])


_NO_BATCH = "take `batch` out"

Observe = Callable[[int, float], None]
"""Called after each run of a model, in the thread of the run, with its rows (all rows of a batch) and its seconds."""


def _unobserved(_rows: int, _seconds: float) -> None: ...


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """Tells a model's bytes from others: their sha256 (hexadecimal), and how many they are."""

    sha256: str
    size: int


class OnnxModel:
    """A loaded model; satisfies `guesthouse_abi.services.Model`.

    With `threads = "auto"` and more than one core, it has two sessions: one that uses all cores, for a run that is
    alone (`Traffic.enter` decides that), and one that uses its caller's thread alone, for all other runs.
    """

    def __init__(
        self,
        config: ModelConfig,
        identity: ModelIdentity,
        sessions: Sequence[OnnxSession],
        traffic: Traffic,
        *,
        guest: bool = False,
    ) -> None:
        self._sessions = tuple(sessions)  # the session for a run that is alone comes first
        self._traffic = traffic
        self._batcher: Batcher | None = None
        # The most rows of a run whose memory the session keeps for the next run; -1: it keeps none.
        self._kept_rows = -1 if guest else config.batch[0] if config.batch else 1
        self.config = config
        self.name = config.name
        self.path = config.path
        self.sha256 = identity.sha256
        self.size = identity.size
        self.inputs = sessions[0].inputs
        self.outputs = sessions[0].outputs
        self.providers = sessions[0].providers
        self.costs: tuple[int, ...] = ()  # bytes of memory for each session, in the order of `threads`
        self.warmup_seconds = 0.0
        self.notes: list[str] = []  # what an operator should know about the model, though it is no fault
        self.observe: Observe = _unobserved
        self.file: ModelFile | None = None  # the file as it was when it was read, without its bytes
        self.samples: Stamp | None = None  # the state of the file with sample inputs, before it was read
        self._holders = 1
        self._holding = threading.Lock()
        self._inputs = {info.name: info for info in self.inputs}
        self._outputs = {info.name: info for info in self.outputs}
        self._free = tuple(info.name for info in self.inputs if info.free)
        self._optional = frozenset(info.name for info in self.inputs if info.optional)

    @classmethod
    def load(cls, config: ModelConfig, watch: Watch, traffic: Traffic) -> OnnxModel:
        """Read, check and try the model that `config` names. Raises `ModelFault`."""
        file = read_model(config.path, config.sha256, config.largest)
        folder = config.path.parent if file.external else None
        sessions, costs = [], []
        for threads in _threads(config):
            before = _resident()
            try:
                sessions.append(OnnxSession(file.data, threads, watch, Deadline(math.inf), folder=folder))
            except InferenceError as error:
                raise ModelFault(f"ONNX Runtime does not load it: {error}") from None
            costs.append(max(0, _resident() - before))
        model = cls(config, ModelIdentity(file.sha256, len(file.data)), sessions, traffic)
        model.costs = tuple(costs)
        model.file = replace(file, data=b"")
        model._check_config()
        samples = model._warm_up()
        if config.batch is not None:
            model._check_rows_are_independent(file.data, samples)
            workers = max(1, cores() // sessions[0].threads)
            model._batcher = Batcher(model._run, config.batch[0], config.batch[1], workers)
        return model

    @property
    def batchable(self) -> bool:
        """Whether the first dimension of every output, and of every input that must be given, is free."""
        return all(info.free for info in (*self.inputs, *self.outputs) if not info.optional)

    @property
    def threads(self) -> tuple[int, ...]:
        """The threads of a run, for each session."""
        return tuple(session.threads for session in self._sessions)

    @property
    def renames(self) -> tuple[Mapping[str, str], Mapping[str, str]]:
        """(inputs, outputs): the names that guests use, each with the model's own name."""
        return self.config.inputs, self.config.outputs

    def cost(self) -> int:
        """Bytes of resident memory that came with the sessions. Approximate: other threads' memory counts too."""
        return sum(self.costs)

    def input(self, name: str) -> TensorInfo | None:
        """The input that a guest calls `name`."""
        return self._inputs.get(self.config.inputs.get(name, name))

    def output(self, name: str) -> TensorInfo | None:
        """The output that a guest calls `name`."""
        return self._outputs.get(self.config.outputs.get(name, name))

    def run(self, inputs: Mapping[str, Tensor], outputs: Sequence[str], deadline: Deadline) -> list[Tensor]:
        """Run the model on `inputs` and return `outputs` in that order; all names are the model's own.

        Raises `InferenceError`, `DeadlineExceeded`, `Cancelled`.
        """
        deadline.check()
        check_inputs(self.name, self._inputs, inputs, self.config.rows, self.config.max_elements)
        check_outputs(self.name, self._outputs, outputs)
        if self._batcher is not None and self._may_run_with_others(inputs):
            return self._batcher.run(inputs, outputs, deadline)
        return self._run(inputs, outputs, deadline)

    def _may_run_with_others(self, inputs: Mapping[str, Tensor]) -> bool:
        """Whether a request may share a run: it replaces no optional input, and each of its tensors has elements."""
        return self._optional.isdisjoint(inputs) and all(tensor.size for tensor in inputs.values())

    def unchanged_for(self, config: ModelConfig) -> bool:
        """Whether loading `config` now would give this same model: the configuration and all files are unchanged."""
        return (
            self.file is not None
            and config == self.config
            and unchanged(config.path, self.file)
            and (not isinstance(config.warm_up, Path) or self.samples == stamp(config.warm_up))
        )

    def retain(self) -> OnnxModel:
        """Returns this model to one more holder. The sessions live until each holder has called `close`."""
        with self._holding:
            self._holders += 1
        return self

    def close(self) -> None:
        """One holder lets go. With the last one the sessions are dropped; runs under way finish."""
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
        rows = max((len(inputs[name]) for name in self._free if name in inputs), default=0)
        alone = self._traffic.enter()
        try:
            session = sessions[0] if alone else sessions[-1]
            with self._traffic.core(deadline):
                began = time.perf_counter()
                try:
                    return session.run(inputs, outputs, deadline, give_back=rows > self._kept_rows)
                finally:
                    self.observe(max(1, rows), time.perf_counter() - began)
        finally:
            self._traffic.leave()

    def _check_config(self) -> None:
        """Raise `ModelFault` where the manifest and the model disagree, or where no guest could use the model."""
        faults = [
            f"`{table}` renames {guest!r} to {own!r}, which it does not have: it has {', '.join(map(repr, infos))}"
            for table, renames, infos in (
                ("inputs", self.config.inputs, self._inputs),
                ("outputs", self.config.outputs, self._outputs),
            )
            for guest, own in renames.items()
            if own not in infos
        ]
        faults += [
            f"its input {info.name!r} is {info.kind}, which guests cannot give: convert it to numbers of 8 to 64 bits"
            for info in self.inputs
            if info.dtype is None
        ]
        others = [info for info in self.outputs if info.dtype is None]
        if len(others) == len(self.outputs):
            listed = ", ".join(f"{info.name} {info.kind}" for info in others) or "none"
            faults.append(
                f"it has no output that is a tensor of numbers, and guests cannot be given any other: {listed}"
            )
        self.notes += [
            f"its output {info.name!r} is {info.kind}, which cannot be given to a guest: it gets an error number there"
            for info in others
        ]
        if self.config.batch is not None:
            if not self.batchable:
                shapes = ", ".join(f"{info.name} {describe(info)}" for info in (*self.inputs, *self.outputs))
                faults.append(
                    f"`batch` needs a free first dimension in every input and output, the model has {shapes}: "
                    "take `batch` out, or export the model with a free batch"
                )
            most = self.config.rows
            if most is not None and self.config.batch[0] > most:
                faults.append(f"`batch` is for {self.config.batch[0]} rows, `max_batch` allows {most}")
        if faults:
            raise ModelFault(*faults)

    def _warm_up(self) -> dict[str, Tensor]:
        """Run each session once, so that no event waits for what ONNX Runtime allocates or compiles at a first run.

        A model that does not run on zeros gets a note, for its inputs may be shapes, steps or divisors. It must run on
        samples of the operator's, which are returned. Raises `ModelFault`.
        """
        if self.config.warm_up is False:
            return {}
        given = self._read_samples()
        start = time.monotonic()
        try:
            for session in self._sessions:
                session.run(given or filled(self._inputs, 0), self._tensors(), Deadline(math.inf), give_back=False)
        except InferenceError as error:
            if given:
                raise ModelFault(f"it does not run on the samples in {self.config.warm_up}: {error}") from None
            self.notes.append(
                f"not tried at load, for it does not run on zeros, with 1 for every free dimension ({error}): give "
                'samples, as in warm_up = "samples.npz", or write warm_up = false'
            )
        self.warmup_seconds = time.monotonic() - start
        return given

    def _read_samples(self) -> dict[str, Tensor]:
        """The sample inputs that the manifest names, checked as a guest's tensors are; empty where it names none."""
        path = self.config.warm_up
        if not isinstance(path, Path):
            return {}
        self.samples = stamp(path)
        try:
            given = read_samples(path)
            check_inputs(self.name, self._inputs, given, self.config.rows, self.config.max_elements)
        except SamplesFault as error:
            raise ModelFault(f"the samples in {path}: it {error}") from None
        except InferenceError as error:
            raise ModelFault(f"the samples in {path} do not fit: {error}") from None
        return given

    def _check_rows_are_independent(self, data: bytes, samples: Mapping[str, Tensor]) -> None:
        """Raise `ModelFault` where a row's result depends on other rows of its batch, which may be another guest's.

        First the graph in `data` is read, then the model is run on trial rows.
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
            wanted = {name: info for name, info in self._inputs.items() if not info.optional}
            try_rows(wanted, names, run, self.config.batch[0], samples)
        except Dependent as found:
            raise ModelFault(f"`batch` does not fit it: {found}; {_NO_BATCH}") from None

    def _tensors(self) -> list[str]:
        """The outputs that are tensors of numbers."""
        return [info.name for info in self.outputs if info.dtype is not None]


def _threads(config: ModelConfig) -> tuple[int, ...]:
    """The number of threads for each session to make. The session for a run that is alone comes first."""
    if config.threads != "auto":
        return (config.threads,)
    if config.batch is not None or cores() == 1:
        return (cores(),)  # a batch runs alone
    return (cores(), 1)


def _resident() -> int:
    """This process's resident memory in bytes; 0 where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0
