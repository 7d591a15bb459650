"""The generated stubs of Dapr's component interface."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import textwrap
from pathlib import Path

import guesthouse.dapr.proto
from guesthouse.dapr.proto import components_pb2

FOLDER = Path(guesthouse.dapr.proto.__file__).parent

LATER_WHEEL = textwrap.dedent("""
    from google.protobuf import descriptor_pool, descriptor_pb2, message_factory
    from guesthouse.dapr.proto.components_pb2 import DESCRIPTOR, ReadResponse
    file = descriptor_pb2.FileDescriptorProto()
    DESCRIPTOR.CopyToProto(file)
    file.name = "dapr/proto/components/v1/bindings.proto"
    next(m for m in file.message_type if m.name == "ReadResponse").field.add(name="more", number=9, type=9, label=1)
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(file.SerializeToString())
    theirs = message_factory.GetMessageClass(pool.FindMessageTypeByName("dapr.proto.components.v1.ReadResponse"))
    assert ReadResponse.FromString(theirs(message_id="1", more="x").SerializeToString()).message_id == "1"
""")


def test_they_are_up_to_date():
    spec = importlib.util.spec_from_file_location("generate_protos", FOLDER / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, text in module.generated().items():
        assert (FOLDER / name).read_text(encoding="utf-8") == text, "run make protos"


def test_a_dapr_wheel_may_bring_the_same_names():
    subprocess.run([sys.executable, "-c", LATER_WHEEL], check=True)


def test_the_messages_are_the_sidecars():
    response = components_pb2.ReadResponse(data=b"d", metadata={"k": "v"}, content_type="t", message_id="i")
    assert response.SerializeToString().hex(" ") == "0a 01 64 12 06 0a 01 6b 12 01 76 1a 01 74 22 01 69"
    request = components_pb2.ReadRequest(response_data=b"d", message_id="i", response_error={"message": "m"})
    assert request.SerializeToString().hex(" ") == "0a 01 64 12 01 69 1a 03 0a 01 6d"
    invoke = components_pb2.InvokeRequest(data=b"d", metadata={"k": "v"}, operation="o")
    assert invoke.SerializeToString().hex(" ") == "0a 01 64 12 06 0a 01 6b 12 01 76 1a 01 6f"
