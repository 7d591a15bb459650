"""One ONNX Runtime session and its runs: the only module that touches ONNX Runtime.

All sessions have the same settings: CPU, no spinning threads, nothing written to the log, and the operators that ONNX
Runtime brings. What is checked before a run, and which session makes it, is decided in `model`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from guesthouse.inference.graph import TooLarge, nodes_of, read_graph, without_shape
from guesthouse.inference.watch import Watch
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.errors import InferenceError
from guesthouse_abi.protobuf import Malformed
from guesthouse_abi.services import Tensor, TensorInfo

# Builds for Linux contain a telemetry client from 1.32 on. It is switched off: nothing about guests or models leaves.
ort.disable_telemetry_events()

VERSION: str = ort.__version__
GUEST_ARENA = 2**30  # bytes of memory that all sessions of guests' own models may have together

_TEXT_LIMIT = 512  # characters of ONNX Runtime's error text that are passed on
_SILENT = 4  # ONNX Runtime's severity "fatal"
_DTYPES = {
    f"tensor({name})": np.dtype(dtype)
    for name, dtype in (
        ("float", np.float32),
        ("double", np.float64),
        ("float16", np.float16),
        ("int8", np.int8),
        ("int16", np.int16),
        ("int32", np.int32),
        ("int64", np.int64),
        ("uint8", np.uint8),
        ("uint16", np.uint16),
        ("uint32", np.uint32),
        ("uint64", np.uint64),
        ("bool", np.bool_),
    )
}


_CONTAINERS = {"seq": "a sequence", "map": "a map", "optional": "an optional value", "sparse_tensor": "a sparse tensor"}
_READ = 8 * _TEXT_LIMIT  # characters of an error text that are looked at: it repeats names of any length

_NEEDS_ELEMENTS = {"ConvTranspose", "GRU", "LSTM", "STFT", "Unique"}
_KERNELS = {"Conv", "ConvInteger", "QLinearConv"}  # these may never end where their kernel has no elements
_SOURCE = re.compile(  # a line of ONNX Runtime's sources: "/build/file.cc:123 void ns::f(const A&, B (*)(C)) "
    r"\S{1,200}\.(?:cc|cpp|h|hpp):\d+ (?:[^()\n]*::[^()\n]*\((?:[^()]|\([^()]*\))*\)\s*(?:const )?)?"
)
_CODE = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ")
_PATH = re.compile(r"(?:/[^/\s:'\"]+){2,}")


class OnnxSession:
    """A model's graph, ready to run. Each run has `threads` threads, one of which is the caller's.

    `folder` is where external data may lie. `guest` marks a model that a guest handed over. Such a model is not
    optimised, so that nothing in it is computed while it loads. All such models take memory from one allocator of
    `GUEST_ARENA` bytes, so that a small file cannot take the host's memory. Loading ends when `deadline` passes.

    Raises `InferenceError` when ONNX Runtime refuses the model, `DeadlineExceeded`, `Cancelled`.
    """

    def __init__(
        self,
        data: bytes,
        threads: int,
        watch: Watch,
        deadline: Deadline,
        *,
        folder: Path | None = None,
        guest: bool = False,
    ) -> None:
        self.threads = threads
        self._watch = watch
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _SILENT
        # Off: a memory pattern is kept for each input shape ever seen, and they gained nothing when measured.
        options.enable_mem_pattern = False
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.load_model_format", "ONNX")
        if folder is not None:
            options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder))
        if guest:
            _share_guest_arena()
            options.add_session_config_entry("session.use_env_allocators", "1")
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        with watch.until(deadline, functools.partial(options.set_load_cancellation_flag, True)):
            try:
                self._session = ort.InferenceSession(
                    data, options, providers=["CPUExecutionProvider"], enable_fallback=0
                )
            except Exception as error:
                deadline.check()
                raise InferenceError(without_host_details(str(error))) from None
        self._session._model_bytes = None  # the Python class keeps the bytes, only to change providers later
        try:
            shapeless = without_shape(data)
            own = [(meta, False) for meta in self._session.get_inputs()]
            own += [(meta, True) for meta in self._session.get_overridable_initializers() if meta.type in _DTYPES]
            self.inputs = tuple(_info(meta, shapeless, optional) for meta, optional in own)
            self.outputs = tuple(_info(meta, shapeless) for meta in self._session.get_outputs())
            shapes = [info.shape for info in self.inputs]
            may_be_empty = any(shape is None or None in shape or 0 in shape for shape in shapes)
            self._needs_elements = _needs_elements(data) if may_be_empty else ""
        except (UnicodeDecodeError, Malformed):
            raise InferenceError("its inputs and outputs cannot be read: a name is not UTF-8") from None
        self.providers: tuple[str, ...] = tuple(self._session.get_providers())

    def run(
        self, inputs: Mapping[str, Tensor], outputs: Sequence[str], deadline: Deadline, *, give_back: bool
    ) -> list[Tensor]:
        """Run the graph on `inputs`; `outputs` must not be empty. The arrays returned are the caller's own.

        When `deadline` passes or is cancelled, the run ends between two nodes of the graph. With `give_back`, memory
        that the run needed and no other run uses goes back to the system; the next run has to get it again.

        Raises `InferenceError`, `DeadlineExceeded`, `Cancelled`.
        """
        deadline.check()
        if self._needs_elements and not all(tensor.size for tensor in inputs.values()):
            raise InferenceError(
                "a tensor without elements came, on which ONNX Runtime may end the process "
                f"({self._needs_elements} is in the model): give one element at least"
            )
        options = ort.RunOptions()  # new for each run: `terminate` stays set
        if give_back:
            options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        with self._watch.until(deadline, functools.partial(setattr, options, "terminate", True)):
            try:
                results: list[Tensor] = self._session.run(outputs, inputs, options)
            except Exception as error:
                deadline.check()
                raise InferenceError(without_host_details(str(error))) from None
        return results


def without_host_details(text: str) -> str:
    """ONNX Runtime's error text, cut, without its error code, lines of its sources and folders of this machine."""
    text = text[:_READ]
    text = _SOURCE.sub("", _CODE.sub("", text))
    text = " ".join(_PATH.sub(_without_folder, text).split())
    return text if len(text) <= _TEXT_LIMIT else text[:_TEXT_LIMIT] + " …"


def _without_folder(found: re.Match[str]) -> str:
    path = Path(found.group())
    # Names of nodes look like paths too ("/features/0/Conv"). A path of this machine begins with a folder that exists.
    return path.name if Path("/", path.parts[1]).exists() else found.group()


def _needs_elements(data: bytes) -> str:
    """An operator of the model that may end the process, or never end, on a tensor without elements; "" for none.

    ONNX's own operators were tried one by one (ONNX Runtime 1.32). All operators of other domains count.
    """
    try:
        for node, weighted in nodes_of(read_graph(data)):
            needs = node.domain or node.kind in _NEEDS_ELEMENTS or (node.kind in _KERNELS and not weighted)
            if needs:
                return ascii(node.kind[:64])[1:-1]
    except TooLarge:
        return "too much"
    return ""


def _info(meta: Any, shapeless: frozenset[str], optional: bool = False) -> TensorInfo:
    """An input or output. `shapeless` has the names without a shape: ONNX Runtime shows them as if of rank 0."""
    shape = tuple(size if isinstance(size, int) and size >= 0 else None for size in meta.shape)
    known = shape if shape or meta.name not in shapeless else None
    dtype = _DTYPES.get(meta.type)
    if dtype is not None:
        return TensorInfo(meta.name, dtype, known, optional=optional)
    return TensorInfo(meta.name, None, known, _kind(meta.type), optional)


def _kind(type_: str) -> str:
    """A type as ONNX Runtime writes it (`tensor(bfloat16)`, `seq(map(int64,tensor(float)))`), in a word or two."""
    outer, _, inner = type_.partition("(")
    if outer == "tensor":
        inner = inner.removesuffix(")")
        return "text" if inner == "string" else inner
    return _CONTAINERS.get(outer, outer)


@functools.cache
def _share_guest_arena() -> None:
    """Register the one allocator of guests' own models, which ONNX Runtime calls an arena. Once in a process."""
    memory = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    same_as_requested = 1
    arena = ort.OrtArenaCfg({"max_mem": GUEST_ARENA, "arena_extend_strategy": same_as_requested})
    ort.create_and_register_allocator(memory, arena)
