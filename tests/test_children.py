"""Children that run this package, and can import from elsewhere only what they are handed."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from guesthouse.system import children

MAIN = "import guesthouse\ndef main(arguments):\n    print(__name__, *arguments)\n"


@pytest.mark.parametrize(
    ("files", "module"),
    [
        (["apart.py"], "apart"),
        (["apart/__init__.py", "apart/child.py"], "apart.child"),
        (["apart/child.py"], "apart.child"),  # a namespace package
    ],
)
def test_a_child_imports_a_module_from_where_it_lies_here(tmp_path: Path, monkeypatch, files, module):
    for file in files:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text(MAIN)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("apart", module):
        monkeypatch.delitem(sys.modules, name, raising=False)
    importlib.import_module(module)

    def ran(*beside: str) -> subprocess.CompletedProcess[str]:
        command = children.command(sys.executable, module, "a", "b", beside=beside)
        return subprocess.run(command, capture_output=True, text=True)

    try:
        assert ran(module).stdout == f"{module} a b\n"
        assert "No module named 'apart'" in ran().stderr
    finally:
        for name in ("apart", module):
            sys.modules.pop(name, None)
