"""Child processes that run a module of Guesthouse, under this Python interpreter or under another one.

A child is isolated (`python -I`) and runs the packages `guesthouse` and `guesthouse_abi` of this installation. What
they import must be installed for the child's interpreter. The folder of the packages is not put on `sys.path`: the
packages beside them were built for this interpreter.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

import guesthouse
import guesthouse_abi

_MAIN = """\
import importlib.util, sys, types
for name, file, folders in {packages!r}:
    if file is None:
        sys.modules[name] = package = types.ModuleType(name)
        package.__path__ = folders
        continue
    spec = importlib.util.spec_from_file_location(name, file, submodule_search_locations=folders)
    sys.modules[name] = package = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(package)
from {module} import main
sys.exit(main(sys.argv[1:]))
"""


def command(interpreter: str, module: str, *arguments: str, beside: Iterable[str] = ()) -> list[str]:
    """The command line that calls `main(arguments)` of a module of `guesthouse` in an isolated child (`python -I`).

    The child can also import the modules `beside`: they are those that this process has imported, from the same files.
    """
    ours = (guesthouse, guesthouse_abi)
    others = {name.partition(".")[0]: sys.modules[name.partition(".")[0]] for name in beside}
    packages = [_location(package) for package in dict.fromkeys((*ours, *others.values()))]
    return [interpreter, "-I", "-c", _MAIN.format(packages=packages, module=module), *arguments]


def _location(module: ModuleType) -> tuple[str, str | None, list[str] | None]:
    """A top-level module's name, its file (a namespace package has none), and, of a package, its folders."""
    file = module.__file__
    folders = [str(Path(folder).resolve()) for folder in module.__path__] if hasattr(module, "__path__") else None
    return module.__name__, None if file is None else str(Path(file).resolve()), folders
