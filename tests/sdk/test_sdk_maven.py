"""The examples in Kotlin and Java as packages: their pages, what their modules need, and messages that break off.

What the examples do is in test_sdk_examples.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wasmtime

from guesthouse.assembly import open_plan
from guesthouse.event import Event, Trigger
from guesthouse.guests.capabilities import GRANTS
from guesthouse.manifest import load
from guesthouse.plan.plan import Plan
from tests.sdk.modules import SDK, module_of
from tests.sdk.test_sdk_examples import answers, manifest, run
from tests.support.scripted import Scripted

HELLO = {"kotlin": "examples/hello.kt", "java": "src/main/java/examples/Hello.java"}


@pytest.mark.parametrize("language", HELLO)
def test_its_page_shows_the_example_hello_and_the_version_of_the_compiler(language: str) -> None:
    page = (SDK / language / "README.md").read_text()
    shown = re.search(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert shown is not None
    assert shown[1] == (SDK / language / HELLO[language]).read_text()
    compiler = re.search(r"<(?:kotlin|teavm)>(.*)</", (SDK / language / "pom.xml").read_text())
    assert compiler is not None
    assert f" {compiler[1]}" in page


@pytest.mark.parametrize("language", HELLO)
def test_a_guest_that_runs_no_model_imports_dapr_v1_and_wasi_alone(language: str) -> None:
    module = wasmtime.Module(wasmtime.Engine(), module_of(language, "hello").read_bytes())
    assert {one.module for one in module.imports} == {"dapr_v1", "wasi_snapshot_preview1"}
    assert [one.name for one in module.exports if (one.name or "").startswith("dapr_on_")] == ["dapr_on_invoke"]


@pytest.fixture(scope="module", params=HELLO)
def plan(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plan]:
    path: Path = tmp_path_factory.mktemp("maven") / "guesthouse.toml"
    path.write_text(manifest(request.param, "thread"))
    with open_plan(load(path, grants=GRANTS), {"dapr": Scripted()}) as opened:
        yield opened


@pytest.mark.parametrize(
    "message",
    [
        b"\xff" * 30,  # a number that does not end
        b"\x0a",  # a length is missing
        b"\x0a\x05abc",  # more bytes than there are
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01x",  # a length below 0
        b"\x0b",  # a group, which protobuf has given up
        b"\x08\xff\xff",
        b"\x09abc",
    ],
    ids=bytes.hex,
)
def test_a_message_that_breaks_off_ends_where_it_breaks(plan: Plan, message: bytes) -> None:
    whole = b"\x0a\x01v"  # the data `v`
    for given, data in ((message, b""), (whole + message, b"v"), (b"\x10\x01\x19abcdefgh\x25abcd" + whole, b"v")):
        answers(plan, *[given] * 10)
        assert run(plan, "ten_reads", Event(Trigger.INVOKE, "any")).body == b"\n".join([data] * 10)
