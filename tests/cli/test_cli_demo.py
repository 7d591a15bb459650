"""The demos end what they started, whatever becomes of them. CI runs `make demo` and `make demo-dapr` as they are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil

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


def _marked(process: psutil.Process, mark: str) -> bool:
    try:
        return process.environ().get("GUESTHOUSE_TEST_MARK") == mark
    except psutil.Error:
        return False
