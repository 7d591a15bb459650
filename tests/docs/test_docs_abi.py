"""docs/abi.md lists every host function, with the types and parameters that the code has."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

from guesthouse_abi.imports import host_modules, ssvm
from guesthouse_abi.imports.preview2 import interfaces

PAGE = Path(__file__).resolve().parents[2] / "docs" / "abi.md"
# | `name(parameter, parameter)` | `(i32 i32)->(i32)` | … |
_ROW = re.compile(r"\| `([\w.]+)\(([^)`]*)\)` \| `(\([^`]*)` \|")
_HEADING = re.compile(r"#+ (.*)")


def documented() -> Iterator[tuple[str, str]]:
    """(module, row) of every function on the page, by the module that its section's heading names."""
    modules, module = host_modules(), ""
    for line in PAGE.read_text().splitlines():
        if heading := _HEADING.match(line):
            named = re.findall(r"`([\w:/-]+)`", heading[1])
            module = "wasi_snapshot_preview1" if heading[1] == "WASI preview 1" else "".join(n for n in named[:1])
        elif row := _ROW.match(line):
            assert module in modules, f"a function under the heading {module!r}, which names no module"
            yield module, f"{row[1]}({row[2]}) {row[3]}"
            if module == "wasi_snapshot_preview1" and row[1] != "sock_accept":
                yield "wasi_unstable", f"{row[1]}({row[2]}) {row[3]}"  # as the page says of WASI of 2019


def implemented() -> Iterator[tuple[str, str]]:
    """The same of the code, without the modules that are others under an older name."""
    for module in host_modules().values():
        if module in ssvm.MODULES:
            continue
        for function in module.functions.values():
            parameters = list(inspect.signature(function.body).parameters)[1:]
            yield module.name, f"{function.name}({', '.join(parameters)}) {function.signature}"


def test_the_page_has_every_host_function_with_its_type() -> None:
    missing = sorted(set(implemented()) - set(documented()))
    assert not missing, f"docs/abi.md lacks, or has otherwise: {missing}"


def test_the_page_has_no_function_that_the_host_has_not() -> None:
    listed = list(documented())
    assert not sorted(set(listed) - set(implemented()))
    assert len(listed) == len(set(listed))


def test_the_modules_of_ssvm_are_those_of_v1_under_another_name() -> None:
    modules = host_modules()
    for old in ssvm.MODULES:
        new = modules[old.name.replace("ssvm", "wasmedge")]
        v1 = {name: function for name, function in new.functions.items() if name.startswith(new.name)}
        assert {name.replace("ssvm", "wasmedge"): f.signature for name, f in old.functions.items()} == {
            name: function.signature for name, function in v1.items()
        }
        assert f"`{old.name}`" in PAGE.read_text()


def test_the_page_has_every_interface_of_components() -> None:
    section = PAGE.read_text().partition("\n## Components\n")[2].partition("\n## ")[0]
    name = r"`((?:wasi|wasmcloud|dapr):[a-z0-9/-]+)`"
    rows = [line for line in section.splitlines() if re.match(rf"\| {name}", line)]
    named = [found for row in rows for found in re.findall(name, row.split(" | ")[0])]
    assert sorted(named) == sorted(interfaces())
