"""The servers that Guesthouse is compared with: the same work written by hand against Dapr's stubs, without Wasm.

`python -m bench.native KIND PORT`, where KIND is `classify` (photo in, top five out), `tensor` (224x224 RGB bytes in,
1000 float32 out), `echo`, `limit` (the echo on our native core), or `ext` (the echo by `dapr.ext.grpc.App`). Eight
threads each, one ONNX Runtime thread. `python -m bench.native component FOLDER` is the echo as a pluggable component,
`bindings.bare`.
"""

from __future__ import annotations

import io
import json
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import onnxruntime
from dapr.ext.grpc import App, InvokeMethodRequest, InvokeMethodResponse
from dapr.proto.common.v1.common_pb2 import InvokeRequest, InvokeResponse
from dapr.proto.runtime.v1 import appcallback_pb2_grpc
from dapr.proto.runtime.v1.appcallback_pb2 import HealthCheckResponse
from google.protobuf.any_pb2 import Any
from google.protobuf.empty_pb2 import Empty
from grpc_reflection.v1alpha import reflection
from numpy.typing import NDArray
from PIL import Image

from guesthouse.dapr.proto import components_pb2, components_pb2_grpc
from guesthouse.dapr.proto.components_pb2 import InvokeRequest as BindingRequest
from guesthouse.dapr.proto.components_pb2 import InvokeResponse as BindingResponse
from guesthouse.dapr.proto.components_pb2 import (
    ListOperationsRequest,
    ListOperationsResponse,
    OutputBindingInitRequest,
    OutputBindingInitResponse,
    PingRequest,
    PingResponse,
)

ROOT = Path(__file__).resolve().parents[1]
SIDE = 224
THREADS = 8
MESSAGE = 16 * 2**20 + 64 * 2**10


class Network:
    """The classifier, set up as usual for a server with many threads."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        path = ROOT / "models" / "efficientnet-lite0.onnx"
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.run(np.zeros((1, SIDE, SIDE, 3), np.uint8))

    def run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """1,000 probabilities for one picture of the shape [1, 224, 224, 3]."""
        (probabilities,) = self._session.run(["probabilities"], {"input": pixels})
        return np.asarray(probabilities[0], np.float32)


def classify() -> Callable[[bytes], bytes]:
    """Answers a photo with the five likeliest classes, as the guest `classify` does."""
    network = Network()
    labels = json.loads((ROOT / "guests" / "classify" / "imagenet-labels.json").read_text())

    def answer(body: bytes) -> bytes:
        picture = Image.open(io.BytesIO(body)).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        probabilities = network.run(np.asarray(picture)[None])
        top = np.argsort(probabilities)[: -5 - 1 : -1]
        return json.dumps(
            [{"label": labels[i], "index": int(i), "probability": round(float(probabilities[i]), 4)} for i in top]
        ).encode()

    return answer


def tensor() -> Callable[[bytes], bytes]:
    """Answers prepared pixels with all probabilities, as the guest `tensor` does."""
    network = Network()
    return lambda body: network.run(np.frombuffer(body, np.uint8).reshape(1, SIDE, SIDE, 3)).tobytes()


def echo() -> Callable[[bytes], bytes]:
    """Answers with the body."""
    return lambda body: body


class Servicer(appcallback_pb2_grpc.AppCallbackServicer, appcallback_pb2_grpc.AppCallbackHealthCheckServicer):
    """An application of one method."""

    def __init__(self, answer: Callable[[bytes], bytes], content_type: str) -> None:
        self._answer = answer
        self._content_type = content_type

    def OnInvoke(self, request: InvokeRequest, context: grpc.ServicerContext) -> InvokeResponse:
        """Answer any method."""
        return InvokeResponse(data=Any(value=self._answer(request.data.value)), content_type=self._content_type)

    def HealthCheck(self, request: Empty, context: grpc.ServicerContext) -> HealthCheckResponse:
        """Always healthy."""
        return HealthCheckResponse()


def serve(servicer: Servicer, port: int, core: str = "grpcio") -> None:
    """Serve until the process is ended."""
    options = [("grpc.max_receive_message_length", MESSAGE), ("grpc.max_send_message_length", MESSAGE)]
    if core == "native":
        from guesthouse.dapr.native import NativeServer

        server: grpc.Server = NativeServer(2, THREADS, "limit", options, 1)
    else:
        server = grpc.server(ThreadPoolExecutor(THREADS), options=options)
    appcallback_pb2_grpc.add_AppCallbackServicer_to_server(servicer, server)  # type: ignore[no-untyped-call]
    appcallback_pb2_grpc.add_AppCallbackHealthCheckServicer_to_server(servicer, server)  # type: ignore[no-untyped-call]
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    threading.Event().wait()


def serve_ext(port: int) -> None:
    """The echo as Dapr's own Python extension has it."""
    app = App()

    @app.method("echo")  # type: ignore[untyped-decorator]
    def echo(request: InvokeMethodRequest) -> InvokeMethodResponse:
        return InvokeMethodResponse(request.data, "application/octet-stream")

    app.register_health_check(lambda: None)  # type: ignore[no-untyped-call]
    app.run(port, listen_address="127.0.0.1")


class EchoBinding(components_pb2_grpc.OutputBindingServicer):
    """An output binding whose answer is what it was sent."""

    def Init(self, request: OutputBindingInitRequest, context: grpc.ServicerContext) -> OutputBindingInitResponse:
        """Nothing to set up."""
        return OutputBindingInitResponse()

    def ListOperations(self, request: ListOperationsRequest, context: grpc.ServicerContext) -> ListOperationsResponse:
        """Only the operation `create`."""
        return ListOperationsResponse(operations=["create"])

    def Ping(self, request: PingRequest, context: grpc.ServicerContext) -> PingResponse:
        """Always healthy."""
        return PingResponse()

    def Invoke(self, request: BindingRequest, context: grpc.ServicerContext) -> BindingResponse:
        """The echo."""
        return BindingResponse(data=request.data)


def serve_component(folder: str) -> None:
    """The echo as a component, on a socket that sidecars find."""
    server = grpc.server(ThreadPoolExecutor(THREADS))
    components_pb2_grpc.add_OutputBindingServicer_to_server(EchoBinding(), server)  # type: ignore[no-untyped-call]
    names = [components_pb2.DESCRIPTOR.services_by_name["OutputBinding"].full_name, reflection.SERVICE_NAME]
    reflection.enable_server_reflection(names, server, pool=components_pb2.DESCRIPTOR.pool)
    server.add_insecure_port(f"unix://{folder}/bare.sock")
    server.start()
    server.wait_for_termination()


def main(kind: str, port: str) -> None:
    """Start the server that `kind` names."""
    if kind == "component":
        serve_component(port)
    elif kind == "ext":
        serve_ext(int(port))
    elif kind == "limit":
        serve(Servicer(echo(), "application/octet-stream"), int(port), "native")
    else:
        answer, content_type = {
            "classify": (classify, "application/json"),
            "tensor": (tensor, "application/octet-stream"),
            "echo": (echo, "application/octet-stream"),
        }[kind]
        serve(Servicer(answer(), content_type), int(port))


if __name__ == "__main__":
    main(*sys.argv[1:])
