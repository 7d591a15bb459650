"""The demo of actors as a user sees it: the calls and answers of three guests behind a real daprd, and nothing left."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import psutil

from tests.dapr_real.control_plane import built
from tests.dapr_real.real_programs import ROOT, daprd
from tests.sdk.modules import tool


def test_the_demo_of_actors_shows_what_each_of_them_answers_and_leaves_nothing_behind() -> None:
    go = tool("go", "/usr/local/go/bin/go")
    mark = f"demo-of-actors-{os.getpid()}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "GUESTHOUSE_TEST_MARK": mark}
    environment["PATH"] = os.pathsep.join((str(go.parent), os.environ["PATH"]))
    done = subprocess.run(
        [sys.executable, "demo/demo_actors.py", daprd(), built("placement"), built("scheduler")],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = re.findall(r"^ *((?:Account|Thermostat|Ledger)/.*?) *$", done.stdout, re.MULTILINE)
    told = [re.split(r" {2,}", row) for row in rows]
    answers = {(row[0], row[1]): row[2] if len(row) > 2 else "" for row in told}
    assert answers["Account/ann", "transfer t1 bob 300"] == "700"
    assert answers["Account/bob", "withdraw 301"].endswith("not enough: the balance is 300")
    assert answers["Account/bob", "deposit 5, 40 times, 20 at once"] == "500"
    assert answers["Account/bob", "(a reminder pays interest 3 times)"] == "515"
    assert answers["Thermostat/hall", "look (after 12 readings by a reminder)"].startswith('{"steps":12,"of":12,')
    assert answers["Ledger/heating", "bill hall ann"] == "nothing to pay for hall"  # the second of two
    assert "ann paid 14 for 7 steps of heating in hall; the balance is 686" in done.stdout
    assert [process for process in psutil.process_iter() if _marked(process, mark)] == []


def _marked(process: psutil.Process, mark: str) -> bool:
    try:
        return process.environ().get("GUESTHOUSE_TEST_MARK") == mark
    except psutil.Error:
        return False
