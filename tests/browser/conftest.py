"""The page as people use it: chromium, `guesthouse web`, its sidecar, the host's sidecar, `guesthouse serve`, all real.

These tests need a real daprd (tests/daprd/build.py finds or builds it) and chromium (install.sh; `$CHROMIUM` names
another). They run by `make test-web`, never with the others. Each leaves screenshots in out/page.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import wasmtime
from playwright.sync_api import Browser, Locator, Page, ViewportSize, expect, sync_playwright

from guesthouse.dapr.client import Client
from tests.dapr_real.real_programs import ROOT, App, Program, Sidecar, running
from tests.support.ports import free_port, listens
from tests.support.relay import RELAY

SHOTS = ROOT / "out" / "page"
DESKTOP: ViewportSize = {"width": 1280, "height": 900}
PHONE: ViewportSize = {"width": 390, "height": 844}
WAIT = 90_000  # milliseconds, on a machine that does much else

expect.set_options(timeout=WAIT)


class Web(Program):
    """`guesthouse web`."""

    def __init__(self, folder: Path, sidecar: Sidecar, *flags: str, token: str = "") -> None:
        super().__init__("web", folder)
        self.port = free_port()
        self._command = [sys.executable, "-m", "guesthouse", "web", "--port", str(self.port), *flags]
        self._environment = {"DAPR_HTTP_PORT": str(sidecar.ports.http), "DAPR_API_TOKEN": token}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def start(self) -> Web:
        self._run(self._command, self._environment)
        return self

    def ready(self) -> Web:
        self._wait("listens", lambda: listens(self.port))
        return self


@dataclass
class Site:
    """All programs of one page."""

    app: App
    host_sidecar: Sidecar
    page_sidecar: Sidecar
    web: Web

    def client(self) -> Client:
        """Sends events as the host's sidecar does when a binding has one."""
        return Client(f"127.0.0.1:{self.app.port}", token="")


@pytest.fixture(scope="session")
def start_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Site]]:
    """Starts the programs of a page, with a manifest; stopped at the end."""
    with contextlib.ExitStack() as stack:

        def start(
            manifest: Path = ROOT / "guesthouse.toml", page_app: str = "web", resources: Path | None = None
        ) -> Site:
            folder = tmp_path_factory.mktemp("site")
            names = folder / "names.db"
            flags = ("--max-body-size", "32Mi")
            components = () if resources is None else (resources,)
            host_sidecar = Sidecar(
                folder, "vision", names=names, flags=flags, resources=components, app_port=free_port()
            )
            app = App(folder, manifest, port=host_sidecar.app_port, sidecar_port=host_sidecar.ports.grpc)
            page_sidecar = Sidecar(folder, page_app, names=names, flags=flags)
            web = Web(folder, page_sidecar)
            stack.enter_context(running(app, host_sidecar, page_sidecar, web))
            return Site(app, host_sidecar, page_sidecar, web)

        yield start


@pytest.fixture(scope="session")
def site(start_site: Callable[..., Site]) -> Site:
    """The repository's own application, and the page before it. Tests that stop a part start their own."""
    return start_site()


@pytest.fixture(scope="session")
def busy(start_site: Callable[..., Site], tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The same with a binding more, `words`, whose guest answers anything, and with more time for each guest."""
    text = (ROOT / "guesthouse.toml").read_text()
    text = re.sub(r"^(\[guests\.\w+\].*)$", r"\1\nlimits.time = '60s'", text, flags=re.MULTILINE)
    text = text.replace("${GUESTHOUSE_GUESTS:-guests}", os.environ.get("GUESTHOUSE_GUESTS", str(ROOT / "guests")))
    text = text.replace('"models/', f'"{ROOT}/models/') + '\n[[binding]]\nname = "words"\nguest = "echo"\n'
    manifest = tmp_path_factory.mktemp("busy") / "guesthouse.toml"
    manifest.write_text(text)
    return start_site(manifest)


CALLING = """
[app]
name = "vision"
[page]
apps = ["web"]
[guests.relay]
module = "relay.wasm"
calling = "dapr"
[guests.relay.dapr]
read_state = ["state/cart-*"]
write_state = ["state/cart-*"]
""" + "".join(f'[[binding]]\nname = "{name}"\nguest = "relay"\n' for name in ("SaveState", "GetState", "GetState*3"))
STATE = """apiVersion: dapr.io/v1alpha1
kind: Component
metadata: { name: state }
spec: { type: state.in-memory, version: v1 }
"""


@pytest.fixture(scope="session")
def calling(start_site: Callable[..., Site], tmp_path_factory: pytest.TempPathFactory) -> Site:
    """An application whose guest calls its sidecar: for an event of the binding `METHOD`, the method with its body."""
    folder = tmp_path_factory.mktemp("calling")
    (folder / "relay.wasm").write_bytes(wasmtime.wat2wasm(RELAY))
    (folder / "guesthouse.toml").write_text(CALLING)
    (folder / "components").mkdir()
    (folder / "components" / "state.yaml").write_text(STATE)
    return start_site(folder / "guesthouse.toml", resources=folder / "components")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    program = os.environ.get("CHROMIUM") or shutil.which("chromium")
    assert program, "no chromium here: run tests/browser/install.sh"
    with sync_playwright() as playwright:
        # A container's root has no user namespaces to make chromium's own sandbox of.
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


OpenPage = Callable[..., Page]


@pytest.fixture
def open_page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[OpenPage]:
    """Opens the page of a site. At the end: a screenshot, and no complaint in the browser's console."""
    opened: list[tuple[Page, list[str], Callable[[str], bool]]] = []

    def open_one(
        site: Site,
        *,
        viewport: ViewportSize = DESKTOP,
        forgive: Callable[[str], bool] = lambda text: False,  # what a test expects; a poll may be late at any time
        **options: Any,
    ) -> Page:
        page = browser.new_context(viewport=viewport, **options).new_page()
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: said.append(str(error)))
        foreign = lambda url: not url.startswith((site.web.url, "blob:"))  # noqa: E731
        page.on("request", lambda sent: said.append(f"asked {sent.url}") if foreign(sent.url) else None)
        page.set_default_timeout(WAIT)
        opened.append((page, said, forgive))
        page.goto(site.web.url)
        return page

    yield open_one
    for number, (page, said, forgive) in enumerate(opened):
        SHOTS.mkdir(parents=True, exist_ok=True)
        name = request.node.name.replace("/", "-") + (f"-{number}" if number else "")
        page.screenshot(path=SHOTS / f"{name}.png", full_page=True)
        page.context.close()
        assert [text for text in said if not forgive(text) and not is_late(text)] == []


@pytest.fixture
def photos() -> Path:
    return ROOT / "tests" / "data" / "photos"


def example(page: Page, name: str) -> Locator:
    """The button of a photo to take."""
    return page.get_by_role("button", name=name, exact=True)


def answered(page: Page, verdict: str | re.Pattern[str]) -> None:
    """The panel has an answer."""
    expect(page.locator("#verdict")).to_contain_text(verdict)
    expect(page.locator("#result")).to_have_attribute("aria-busy", "false")


def is_http_error(text: str) -> bool:
    """What the browser itself logs of each answer that is no success."""
    return "Failed to load resource" in text


def is_late(text: str) -> bool:
    """What the browser logs when the host has no answer for the page in time: on a machine that does much else."""
    return is_http_error(text) and ("504" in text or "502" in text)


__all__ = ["DESKTOP", "PHONE", "OpenPage", "Site", "Web", "answered", "example", "is_http_error"]
