#!/usr/bin/env python3
"""Writes components_pb2.py, .pyi and components_pb2_grpc.py from components.proto, with grpcio-tools of the lock file.

    python app/guesthouse/dapr/proto/generate.py          # into this folder (make protos)
    python app/guesthouse/dapr/proto/generate.py FOLDER   # into another

The generated module is given a descriptor pool of its own: a `dapr` wheel may one day bring these names too, and one
pool takes a name once.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]  # the source root: the generated imports begin here
PROTO = HERE / "components.proto"
_SHARED = "_descriptor_pool.Default().AddSerializedFile("
_OWN = "_descriptor_pool.DescriptorPool().AddSerializedFile("


def generated() -> dict[str, str]:
    """The text of each generated file, by its name."""
    with tempfile.TemporaryDirectory() as folder:
        out = [f"--{kind}_out={folder}" for kind in ("python", "pyi", "grpc_python")]
        command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT}", *out, str(PROTO)]
        subprocess.run(command, check=True)
        files = (Path(folder) / HERE.relative_to(ROOT)).iterdir()
        texts = {file.name: file.read_text(encoding="utf-8") for file in files}
    module = texts["components_pb2.py"]
    assert module.count(_SHARED) == 1, "grpcio-tools writes something new: look at it, and mend generate.py"
    return {**texts, "components_pb2.py": module.replace(_SHARED, _OWN)}


def main() -> None:
    folder = Path(sys.argv[1]) if sys.argv[1:] else HERE
    for name, text in generated().items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
