"""Child processes that run this package, under this interpreter or another, with nothing of the parent's around them.

The packages are this installation's own, whatever the interpreter has; what they import must be installed there. Its
folder is not put on the path, for what lies beside it was made for this interpreter.
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
    """The command that calls `main(arguments)` of a module of this package, isolated (`python -I`)."""
    packages = [
        (package.__name__, str(Path(package.__path__[0]).resolve())) for package in (guesthouse, guesthouse_abi)
    ]
    return [interpreter, "-I", "-c", _MAIN.format(packages=packages, module=module), *arguments]
