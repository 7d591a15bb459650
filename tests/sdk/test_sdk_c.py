"""The C SDK as a package: its own tests, what it compiles with, and what it installs.

Its examples are in test_sdk_examples.py.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import wasmtime

from guesthouse.assembly import open_plan
from guesthouse.event import Event, Failure, Reason, Reply, Trigger
from guesthouse.guests.capabilities import GRANTS
from guesthouse.manifest import load
from guesthouse.observe.logs import Level
from guesthouse_abi.deadline import Deadline
from tests.sdk.modules import ACCOUNT, EXAMPLES, SDK, c_module, clang, ran, tool
from tests.support.logged import json_lines
from tests.support.scripted import Scripted

C = SDK / "c"
STRICT = ["-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror", f"-I{C}", f"-I{SDK}"]
BARE = ["--target=wasm32", "-ffreestanding", "-nostdlib", "-Wl,--no-entry"]
WASI = ["--target=wasm32-wasi", "-mexec-model=reactor"]
MANIFEST = """[app]
name = "t"
[guests.guest]
module = "guest.wasm"
calling = "dapr"
"""


def sanitizers(compiler: Path, folder: Path) -> list[str]:
    """Flags by which the program ends at a step outside its memory, where the compiler has what they need."""
    flags = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    (folder / "empty.c").write_text("int main(void) { return 0; }\n")
    command = [str(compiler), *flags, str(folder / "empty.c"), "-o", str(folder / "empty")]
    return flags if subprocess.run(command, capture_output=True).returncode == 0 else []


def test_its_own_tests_pass(tmp_path: Path) -> None:
    compiler = tool("gcc", "cc", "clang-19")
    ran(
        compiler, "-std=c99", *STRICT, *sanitizers(compiler, tmp_path), C / "tests/test_dapr.c", "-o", tmp_path / "test"
    )
    assert re.fullmatch(r"0 of \d+ tests failed\n", ran(tmp_path / "test"))


@pytest.mark.parametrize("target", [BARE, WASI], ids=["without a C library", "wasi-libc"])
@pytest.mark.parametrize("standard", ["c99", "gnu11", "c17"])
def test_the_examples_compile_without_a_warning(tmp_path: Path, target: list[str], standard: str) -> None:
    compiler = clang()
    for name in (*EXAMPLES, ACCOUNT):
        made = tmp_path / f"{name}.wasm"
        ran(compiler, *target, f"-std={standard}", *STRICT, C / "examples" / f"{name}.c", "-o", made)
        module = wasmtime.Module(wasmtime.Engine(), made.read_bytes())
        assert any((one.name or "").startswith("dapr_on_") for one in module.exports)
        modules = {one.module for one in module.imports}
        assert modules <= {"dapr_v1", "wasmedge_image", "wasi_ephemeral_nn"}


@pytest.fixture
def answered(tmp_path: Path) -> Callable[..., Reply]:
    """Compiles a guest without a C library, and has it answer an invocation."""

    def answered(source: str, body: bytes = b"", sidecar: Scripted | None = None) -> Reply:
        (tmp_path / "guest.c").write_text('#include "dapr.h"\n' + source + "\n")
        c_module(tmp_path / "guest.c", tmp_path / "guest.wasm")
        (tmp_path / "guesthouse.toml").write_text(MANIFEST)
        with open_plan(load(tmp_path / "guesthouse.toml", grants=GRANTS), {"dapr": sidecar}) as plan:
            return plan.guests["guest"].run(Event(Trigger.INVOKE, "x", body), Deadline.after(60))

    return answered


def test_what_is_not_granted_is_an_error_with_words(answered: Callable[..., Reply]) -> None:
    with pytest.raises(Failure) as failed:
        answered(
            """DAPR_ON(invoke) {
                dapr_result got = dapr_state_get("store", "key");
                return got.code == DAPR_PERMISSION_DENIED ? dapr_failed(got) : DAPR_DONE;
            }""",
            sidecar=Scripted(),
        )
    assert failed.value.reason is Reason.GUEST
    assert 'write read_state = ["store/key"]' in failed.value.text


def test_a_body_beyond_the_memory_ends_the_guest_and_the_log_says_why(answered: Callable[..., Reply]) -> None:
    source = "DAPR_ON(invoke) { return dapr_reply(dapr_body()); }"
    assert answered(source, b"x" * 262_143).body == b"x" * 262_143
    with json_lines(Level.INFO) as log, pytest.raises(Failure) as failed:
        answered(source, b"x" * 262_144)
    assert failed.value.reason is Reason.TRAP
    assert "define a larger DAPR_MEMORY" in log.getvalue()


def test_it_installs_its_headers_and_a_file_for_pkg_config(tmp_path: Path) -> None:
    ran(tool("make"), "-C", C, "install", "PREFIX=/opt/dapr", f"DESTDIR={tmp_path}")
    include = tmp_path / "opt" / "dapr" / "include"
    assert {path.name for path in include.iterdir()} == {"dapr.h", "dapr_mock.h", "wasi_nn.h"}
    package = (tmp_path / "opt/dapr/share/pkgconfig/dapr-guest.pc").read_text()
    version = re.search(r'DAPR_SDK_VERSION "(.+)"', (C / "dapr.h").read_text())
    assert version is not None
    assert f"Version: {version[1]}\n" in package
    assert "Cflags: -I${prefix}/include\n" in package
    assert "prefix=/opt/dapr\n" in package
