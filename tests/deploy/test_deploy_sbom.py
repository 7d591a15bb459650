"""The bill of materials of the image, on this checkout."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def write_bill(root: Path, out: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "deploy/sbom.py"), "--root", str(root), "--out", str(out)]
    return subprocess.run(command, capture_output=True, text=True)


def test_names_every_guest_and_model_with_a_licence_and_gives_the_same_bytes_twice(tmp_path):
    for name in ("once", "twice"):
        assert write_bill(ROOT, tmp_path / name).stderr == ""
    text = (tmp_path / "once/sbom.json").read_bytes()
    assert text == (tmp_path / "twice/sbom.json").read_bytes()
    parts = {part["name"]: part for part in json.loads(text)["components"]}
    for path in (*ROOT.glob("models/*.onnx"), *ROOT.glob("guests/*/*.wasm")):
        assert parts[path.name if path.suffix == ".onnx" else path.stem]["licenses"]
    assert parts["image"]["licenses"] == [{"expression": "MIT OR Apache-2.0"}]


def test_refuses_a_model_without_a_licence(tmp_path):
    shutil.copytree(ROOT / "models", tmp_path / "models")
    (tmp_path / "models/new.onnx").write_bytes(b"")
    (tmp_path / "guests").mkdir()
    for name in ("Cargo.lock", "licences.json"):
        shutil.copy(ROOT / "guests" / name, tmp_path / "guests")
    done = write_bill(tmp_path, tmp_path / "out")
    assert done.returncode == 1
    wanted = "the model new.onnx is not in models/licences.json: add where it is from, and its licence"
    assert done.stderr == f"error: {wanted}\n"
