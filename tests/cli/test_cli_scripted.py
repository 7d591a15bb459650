"""send --dapr and test: real guests, whose calls are answered by a script."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
import wasmtime

from guesthouse.dapr.api_methods import METHODS
from tests.support.relay import RELAY

MANIFEST = """
[app]
name = "shop"
[guests.relay]
module = "relay.wasm"
calling = "dapr"
[guests.relay.dapr]
read_state = ["store/cart-*"]
[[invoke]]
method = "GetState"
guest = "relay"
[[invoke]]
method = "GetState*3"
guest = "relay"
"""
SCRIPT = """
[[call]]
method = "GetState"
request = { storeName = "store", key = "cart-1" }
reply = { data = { text = "tea" } }
"""
CART = METHODS["GetState"].request(store_name="store", key="cart-1").SerializeToString()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "guesthouse.toml").write_text(MANIFEST)
    (tmp_path / "relay.wasm").write_bytes(wasmtime.wat2wasm(RELAY))
    (tmp_path / "calls.toml").write_text(SCRIPT)
    (tmp_path / "body").write_bytes(CART)
    return tmp_path


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_send_answers_a_guests_calls_by_a_script_and_tells_each(guesthouse, folder: Path, isolation: str) -> None:
    where = f'calling = "dapr"\nisolation = "{isolation}"'
    (folder / "guesthouse.toml").write_text(MANIFEST.replace('calling = "dapr"', where))
    done = guesthouse("send", "invoke", "GetState", "--data", "body", "--dapr", "calls.toml", "-v")
    assert (done.code, done.out) == (0, "\n\x03tea"), done.err
    assert re.search(r"^call GetState: OK in [\d.]+ ms, begun after [\d.]+ ms$", done.err, re.MULTILINE)


def test_send_fails_where_an_expected_call_did_not_come(guesthouse, folder: Path) -> None:
    (folder / "calls.toml").write_text(SCRIPT + '[[call]]\nmethod = "PublishEvent"\n')
    done = guesthouse("send", "invoke", "GetState", "--data", "body", "--dapr", "calls.toml")
    assert (done.code, done.out) == (1, "\n\x03tea")
    assert done.err == "error: call 2 (PublishEvent) did not come — calls.toml — correct the guest, or the script\n"


def test_send_tells_of_a_call_that_was_not_expected(guesthouse, folder: Path) -> None:
    (folder / "calls.toml").write_text(SCRIPT.replace("cart-1", "cart-2"))
    done = guesthouse("send", "invoke", "GetState", "--data", "body", "--dapr", "calls.toml")
    why = 'call 1 (GetState) expects another request: request.key is "cart-1", not "cart-2"'
    assert done.code == 1
    assert done.err.splitlines()[-3:] == [
        f"error: guest 'relay': GetState was not expected: {why} — invoke GetState — the reason is GUEST",
        f"error: an unexpected call of GetState: {why} — calls.toml — correct the guest, or the script",
        "error: call 1 (GetState) did not come — calls.toml — correct the guest, or the script",
    ]


def test_send_lets_no_script_answer_what_the_manifest_does_not_grant(guesthouse, folder: Path) -> None:
    (folder / "guesthouse.toml").write_text(MANIFEST.replace("cart-*", "total"))
    done = guesthouse("send", "invoke", "GetState", "--data", "body", "--dapr", "calls.toml")
    assert done.code == 1
    assert 'write read_state = ["store/cart-1"] in [guests.relay.dapr]' in done.err


def test_a_script_is_for_guests_that_are_run_here(guesthouse) -> None:
    done = guesthouse("send", "invoke", "GetState", "--dapr", "calls.toml", "--to", "127.0.0.1:1")
    assert done.code == 2
    assert "leave --to out" in done.err


CASE = f'[event]\nname = "GetState"\nbody = {{ file = "../body" }}\n{SCRIPT}[reply]\nbody = "\\n\\u0003tea"\n'


@pytest.fixture
def cases(folder: Path) -> Path:
    (folder / "tests").mkdir()
    (folder / "tests" / "reads.toml").write_text(CASE)
    return folder / "tests"


def test_test_runs_every_test_of_a_folder(guesthouse, cases: Path) -> None:
    (cases / "denied.toml").write_text(
        '[event]\nname = "GetState"\n[failure]\nreason = "GUEST"\ntext = "may not read the state"\n'
    )
    done = guesthouse("test")
    assert done.code == 0, done.out
    assert [re.sub(r"[\d.]+ ms", "N ms", line) for line in done.out.splitlines()] == [
        "passed  denied  N ms",
        "passed  reads   N ms",
    ]
    assert done.err.splitlines()[-1] == "2 tests passed"


def test_test_tells_what_is_wrong_with_a_test_and_which_calls_it_made(guesthouse, cases: Path) -> None:
    (cases / "other.toml").write_text(CASE.replace("u0003tea", "u0003milk"))
    done = guesthouse("test", cases.parent, "--junit", "report.xml")
    assert done.code == 1
    assert done.err.splitlines()[-1] == "1 test of 2 failed"
    lines = done.out.splitlines()
    assert lines[0].startswith("FAILED  other")
    assert lines[1] == r'        the body is "\n\u0003tea", not "\n\u0003milk"'
    assert re.fullmatch(r" {8}call GetState: OK in [\d.]+ ms, begun after [\d.]+ ms", lines[2])
    assert lines[3].startswith("passed  reads")
    suite = ElementTree.parse("report.xml").getroot()
    assert [(one.get("name"), len(one)) for one in suite] == [("other", 1), ("reads", 0)]


def test_each_test_begins_with_its_own_script(guesthouse, cases: Path) -> None:
    (cases / "again.toml").write_text(CASE)
    (cases / "thrice.toml").write_text(
        CASE.replace('"GetState"\nbody', '"GetState*3"\nbody').replace("reply = ", "times = 3\nreply = ")
        .replace('"\\n\\u0003tea"', '"AAA"')
    )  # fmt: skip
    done = guesthouse("test", "-v")
    assert done.code == 0, done.out
    assert done.out.count("call GetState: OK") == 5


def test_test_says_where_tests_belong(guesthouse) -> None:
    done = guesthouse("test")
    assert done.code == 1
    assert done.err == "error: there are no tests (*.toml) — tests — write one (docs/guests.md shows how)\n"


def test_a_report_that_cannot_be_written_is_a_fault(guesthouse, cases: Path) -> None:
    done = guesthouse("test", "--junit", "absent/report.xml")
    assert done.code == 1
    assert "the report cannot be written (No such file or directory) — absent/report.xml — choose another" in done.err
