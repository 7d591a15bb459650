"""`wasi:nn`: models of the manifest by their names, or by their bytes. Tensors stay on the host: they are resources.

What a graph and an execution context are is said in `sessions/wasi_nn.py`, which preview 1's modules share. Bytes of a
model are looked up by their digest, as everywhere (`sessions/model_lookup.py`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np

from guesthouse_abi.canonical.functions import Answered, Fail
from guesthouse_abi.context import Context
from guesthouse_abi.errors import Denied, HostError, InferenceError, TooMuch
from guesthouse_abi.services import Model, Tensor
from guesthouse_abi.sessions.model_lookup import LONGEST_NAME, MARKER, named, resolve_bytes
from guesthouse_abi.sessions.tensors import MOST_DIMENSIONS, check_size
from guesthouse_abi.sessions.wasi_nn import ExecutionContext, NnError, NnErrorKind

_VERSIONS = ("0.2.0-rc-2024-06-25", "0.2.0-rc-2024-10-28")
_TYPES = {"FP16": np.float16, "FP32": np.float32, "FP64": np.float64, "U8": np.uint8, "I32": np.int32, "I64": np.int64}
_NAMES = {np.dtype(kind): name for name, kind in _TYPES.items()}
_CODES = {
    NnErrorKind.INVALID_ARGUMENT: "invalid-argument",
    NnErrorKind.INVALID_ENCODING: "invalid-encoding",
    NnErrorKind.RUNTIME_ERROR: "runtime-error",
    NnErrorKind.UNSUPPORTED_OPERATION: "unsupported-operation",
    NnErrorKind.TOO_LARGE: "too-large",
    NnErrorKind.NOT_FOUND: "not-found",
}
_MOST_PARTS = 16  # of a model's bytes
_OWN = frozenset({"onnx", "autodetect"})
_TEXT = 1024  # characters of an error
_OVERHEAD, _DIMENSION = 128, 40  # bytes that are counted for a tensor besides its own, and for a dimension of it


class NnTensor:
    """The resource `tensor`: its bytes as the guest gave them, or an output of a run."""

    def __init__(self, context: Context, shape: tuple[int, ...], kind: str, data: bytes | Tensor) -> None:
        """Raises `TooMuch`."""
        self.shape = shape
        self.kind = kind
        self.data = data
        size = len(data) if isinstance(data, bytes) else data.nbytes
        self._held = _OVERHEAD + _DIMENSION * len(shape) + size
        context.hold(self._held)

    def release(self, context: Context) -> None:
        """The guest has dropped it."""
        context.release(self._held)

    def values(self) -> Tensor:
        """Raises `InferenceError` where its bytes are not of its shape and type."""
        if not isinstance(self.data, bytes):
            return self.data
        if self.kind not in _TYPES:
            raise InferenceError(f"a tensor of the type {self.kind}, which no model here takes")
        if len(self.shape) > MOST_DIMENSIONS:
            raise InferenceError(f"a tensor of {len(self.shape)} dimensions; at most {MOST_DIMENSIONS} are taken")
        dtype = np.dtype(_TYPES[self.kind])
        check_size(dtype, self.shape, len(self.data))
        return np.frombuffer(self.data, dtype).reshape(self.shape)


class NnFault:
    """The resource `error`."""

    def __init__(self, code: str, text: str) -> None:
        self.code = code
        self.text = text[:_TEXT]


class Graph:
    """The resource `graph`."""

    def __init__(self, model: Model) -> None:
        self.model = model


class Execution:
    """The resource `graph-execution-context`."""

    def __init__(self, model: Model) -> None:
        self.session = ExecutionContext(model)


TENSOR = Answered("wasi:nn/tensor", _VERSIONS, tensor=NnTensor)
ERRORS = Answered("wasi:nn/errors", _VERSIONS, error=NnFault)
INFERENCE = Answered("wasi:nn/inference", _VERSIONS, graph_execution_context=Execution)
GRAPH = Answered("wasi:nn/graph", _VERSIONS, graph=Graph)
INTERFACES = (TENSOR, ERRORS, INFERENCE, GRAPH)


@contextlib.contextmanager
def _told(context: Context) -> Iterator[None]:
    """A refusal becomes an `error` of the guest's, and a line of its log."""
    try:
        yield
    except (NnError, Denied, InferenceError, TooMuch) as error:
        context.log_refusal("wasi:nn", error)
        raise Fail(NnFault(_code(error), str(error))) from error


def _code(error: HostError) -> str:
    if isinstance(error, NnError):
        return _CODES.get(error.kind, "unknown")
    if isinstance(error, Denied):
        return "security"
    return "too-large" if isinstance(error, TooMuch) else "invalid-argument"


@TENSOR.function("[constructor]tensor")
def new_tensor(context: Context, shape: list[int], kind: str, data: bytes) -> NnTensor:
    return NnTensor(context, tuple(shape), kind, data)


@TENSOR.function("[method]tensor.dimensions")
def tensor_dimensions(context: Context, tensor: NnTensor) -> list[int]:
    return list(tensor.shape)


@TENSOR.function("[method]tensor.ty")
def tensor_type(context: Context, tensor: NnTensor) -> str:
    return tensor.kind


@TENSOR.function("[method]tensor.data")
def tensor_data(context: Context, tensor: NnTensor) -> bytes:
    return tensor.data if isinstance(tensor.data, bytes) else tensor.data.tobytes()


@ERRORS.function("[constructor]error")
def new_error(context: Context, code: str, text: str) -> NnFault:
    return NnFault(code, text)


@ERRORS.function("[method]error.code")
def error_code(context: Context, error: NnFault) -> str:
    return error.code


@ERRORS.function("[method]error.data")
def error_data(context: Context, error: NnFault) -> str:
    return error.text


@GRAPH.function("load-by-name")
def load_by_name(context: Context, name: str) -> Graph:
    with _told(context):
        if len(name) > LONGEST_NAME:
            raise InferenceError(f"a name of {len(name)} characters; at most {LONGEST_NAME} are read")
        try:
            return Graph(named(context, name.removeprefix(MARKER.decode())))
        except InferenceError as error:
            raise NnError(NnErrorKind.NOT_FOUND, str(error)) from error


@GRAPH.function("load")
def load(context: Context, parts: list[bytes], encoding: str, target: str) -> Graph:
    with _told(context):
        if not 0 < len(parts) <= _MOST_PARTS:
            text = f"{len(parts)} graph builders; 1 to {_MOST_PARTS} are taken"
            raise NnError(NnErrorKind.INVALID_ARGUMENT, text)
        if target != "cpu":
            context.log("host", f"wasi:nn load: it runs on the CPU, not on a {target}")
        try:
            return Graph(resolve_bytes(context, parts, allow_own_model=encoding in _OWN))
        except InferenceError as error:
            raise NnError(NnErrorKind.RUNTIME_ERROR, str(error)) from error


@GRAPH.function("[method]graph.init-execution-context")
def init_execution_context(context: Context, graph: Graph) -> Execution:
    return Execution(graph.model)


@INFERENCE.function("[method]graph-execution-context.compute")
def compute(context: Context, execution: Execution, inputs: list[tuple[str, NnTensor]]) -> list[tuple[str, NnTensor]]:
    session = execution.session
    with _told(context):
        try:
            for name, tensor in inputs:
                session.give_input(name, tensor.values())
            session.compute(context)
            return [
                (name, NnTensor(context, value.shape, _named_type(name, value), value))
                for name, value in ((name, output.value) for name, output in session.outputs.items())
                if value is not None
            ]
        finally:
            session.inputs.clear()  # tensors account for themselves
            session.clear_results(context)


def _named_type(name: str, value: Tensor) -> str:
    found = _NAMES.get(value.dtype)
    if found is None:
        text = f"the output {name} is {value.dtype}, for which wasi:nn has no type"
        raise NnError(NnErrorKind.UNSUPPORTED_OPERATION, text)
    return found
