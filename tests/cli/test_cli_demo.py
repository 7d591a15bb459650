"""The demos end what they started, whatever becomes of them. CI runs `make demo`, `make demo-dapr` and
`make demo-actors` as they are; tests/dapr_real has a test of the last."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_a_demo_whose_sidecar_does_not_start_says_so_and_leaves_nothing_behind() -> None:
    mark = f"demo-of-{os.getpid()}"
    done = subprocess.run(
        [sys.executable, "demo/demo_dapr.py", "/bin/false"],
        cwd=ROOT,
        env={**os.environ, "GUESTHOUSE_TEST_MARK": mark},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert "guesthouse serve is ready on 127.0.0.1:" in done.stdout
    assert "the sidecar is not ready; its log is:" in done.stderr
    assert [process for process in psutil.process_iter() if _marked(process, mark)] == []


def test_the_demo_of_actors_says_what_to_do_without_go(tmp_path: Path) -> None:
    code = "import sys, demo_actors; demo_actors.OFFICIAL_GO = 'none'; demo_actors.ledger(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        env={**os.environ, "PATH": str(tmp_path), "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "demo")))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "the ledger is a guest in Go, and there is no Go here that can build it: none is on the PATH" in done.stderr
    assert "install Go 1.24 or newer from https://go.dev/dl" in done.stderr


def test_the_thermostats_model_is_the_line_through_eight_readings() -> None:
    session = onnxruntime.InferenceSession(ROOT / "demo" / "actors" / "next_reading.onnx")
    steps = np.arange(8)
    rows = np.array([2 * steps + 1, 200 - steps, [205, 202, 199, 196, 193, 190, 187, 200]], dtype=np.float32)
    (found,) = session.run(None, {"readings": rows})
    wanted = [np.polyval(np.polyfit(steps, row, 1), 7 + 3) for row in rows]
    assert found[:, 0] == pytest.approx(wanted, rel=1e-5)


def _marked(process: psutil.Process, mark: str) -> bool:
    try:
        return process.environ().get("GUESTHOUSE_TEST_MARK") == mark
    except psutil.Error:
        return False
