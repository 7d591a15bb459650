"""Child processes that run a module of Guesthouse, under this Python interpreter or under another one.

A child is isolated (`python -I`) and runs the packages `guesthouse` and `guesthouse_abi` of this installation. What
they import must be installed for the child's interpreter. The folder of the packages is not put on `sys.path`: the
packages beside them were built for this interpreter.
"""

from __future__ import annotations

from pathlib import Path

import guesthouse
import guesthouse_abi

_MAIN = """\
import importlib.util, sys
for name, folder in {packages!r}:
    spec = importlib.util.spec_from_file_location(name, folder + "/__init__.py", submodule_search_locations=[folder])
    sys.modules[name] = package = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(package)
from {module} import main
sys.exit(main(sys.argv[1:]))
"""


def command(interpreter: str, module: str, *arguments: str) -> list[str]:
    """The command line that calls `main(arguments)` of a module of `guesthouse` in an isolated child."""
    packages = [
        (package.__name__, str(Path(package.__path__[0]).resolve())) for package in (guesthouse, guesthouse_abi)
    ]
    return [interpreter, "-I", "-c", _MAIN.format(packages=packages, module=module), *arguments]
