"""docs/page.md, followed literally: its commands as they are written, side by side on one machine."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.browser.conftest import OpenPage, answered, example
from tests.dapr_real.real_programs import ROOT, daprd
from tests.support.ports import listens
from tests.support.waiting import until

DOCS = ROOT / "docs" / "page.md"
URL = "http://127.0.0.1:8080/"
PORTS = (50051, 3500, 50001, 9090, 3510, 50002, 9091, 8080)  # what the commands name, and a sidecar's defaults


def commands() -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```$", DOCS.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture
def logs(tmp_path: Path) -> Iterator[list[Path]]:
    """The logs of the page's commands, while they run. Where the programs are is said by PATH, and nothing else is."""
    taken = [port for port in PORTS if listens(port)]
    if taken:
        pytest.skip(f"docs/page.md names ports that others listen on here: {taken}")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "daprd").symlink_to(daprd())
    path = f"{Path(sys.executable).parent}:{tmp_path / 'bin'}:{os.environ['PATH']}"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("DAPR_")} | {"PATH": path}
    running, files = [], []
    try:
        for number, command in enumerate(commands()):
            files.append(tmp_path / f"{number}.log")
            with files[-1].open("wb") as log:
                shell = ["sh", "-c", command]
                running.append(
                    subprocess.Popen(shell, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True)
                )
        yield files
    finally:
        for process in reversed(running):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)  # the shell's own session: the shell and what it started
            process.wait(60)


def connected() -> object:
    try:
        with urllib.request.urlopen(f"{URL}api/status", timeout=10) as answer:
            return json.load(answer)["app"]
    except OSError:
        return None


def test_there_are_four_commands() -> None:
    programs = [re.sub(r"\w+=\S+ ", "", command).split()[0:2] for command in commands()]
    assert programs == [["guesthouse", "serve"], ["daprd", "--app-id"], ["daprd", "--app-id"], ["guesthouse", "web"]]


def test_followed_literally_the_page_is_connected_and_answers(logs: list[Path], open_page: OpenPage) -> None:
    try:
        assert until(connected, "the page is connected", 120, 0.5) == "vision"
    except AssertionError as error:
        said = "\n".join(f"{log.name}: {log.read_text(errors='replace')[-1500:]}" for log in logs)
        raise AssertionError(f"{error}\n{said}") from None
    page = open_page(SimpleNamespace(web=SimpleNamespace(url=URL)))
    expected = page.locator("#state")
    expected.get_by_text("Connected to vision").wait_for()
    example(page, "Coffee").click()
    answered(page, "espresso")
