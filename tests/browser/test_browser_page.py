"""What people do with the page, in a real browser and through two real sidecars."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from guesthouse.event import Event, Failure, Trigger
from tests.browser.conftest import PHONE, OpenPage, Site, Web, answered, example, is_http_error
from tests.dapr_real.real_programs import ROOT, Sidecar, running
from tests.support.waiting import until

# ---- by keyboard, on a phone ----


def test_everything_can_be_done_by_keyboard(open_page: OpenPage, site: Site):
    page = open_page(site)
    expect(page.locator("#state")).to_contain_text("Connected")
    order = []
    for _ in range(12):
        page.keyboard.press("Tab")
        order.append(
            page.evaluate(
                "() => { const a = document.activeElement; return a.id || a.dataset.example || a.textContent.trim() }"
            )
        )
    first = ["Skip to the photo", "Photo", "Live", "Operator", "file", "coffee.jpg", "chelsea.jpg", "rocket.jpg"]
    assert order == [*first, "method", "own-keep", "live-guest", "pause"]
    for _ in range(5):
        page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    answered(page, "Egyptian Mau")
    for _ in range(20):  # past the answer, and what was asked before
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "pause":
            break
    page.keyboard.press("Space")
    expect(page.get_by_role("button", name="Go on")).to_have_attribute("aria-pressed", "true")


def test_the_skip_link_leads_to_the_photo(open_page: OpenPage, site: Site):
    page = open_page(site)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "photo"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone(open_page: OpenPage, site: Site, scheme: str):
    page = open_page(site, viewport=PHONE, color_scheme=scheme, is_mobile=True, has_touch=True)
    example(page, "Rocket").tap()
    expect(page.get_by_alt_text("The photo in grey")).to_be_visible()
    expect(page.locator("#guests > li")).to_have_count(6)
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    small = page.evaluate(
        """() => [...document.querySelectorAll("main button, main select, main summary, main label.keep, nav a")]
            .filter((one) => one.checkVisibility() && one.getBoundingClientRect().height < 40)
            .map((one) => one.outerHTML)"""
    )
    assert small == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(open_page: OpenPage, site: Site, scheme: str):
    """WCAG 2.2 AA: 4.5 to 1, for every text that is shown; against the nearest ground that has a colour."""
    with site.client() as client, contextlib.suppress(Failure):
        client.send(Event(Trigger.BINDING, "camera", b"no photo"))
    page = open_page(site, color_scheme=scheme)
    example(page, "Coffee").click()
    answered(page, "espresso")
    expect(page.locator("#feed .failed").first).to_be_visible()
    page.wait_for_timeout(600)  # cards fade in
    assert page.evaluate(CONTRAST) == []


CONTRAST = """() => {
    const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const rgba = (colour) => {
        canvas.clearRect(0, 0, 1, 1);
        canvas.fillStyle = colour;
        canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data];
    };
    const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
        .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    const ground = (element) => {
        for (let at = element; at; at = at.parentElement) {
            const colour = rgba(getComputedStyle(at).backgroundColor);
            if (colour[3] > 200) return colour;
        }
        return [255, 255, 255];
    };
    const found = new Set();
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const text = walker.currentNode, element = text.parentElement;
        if (!text.textContent.trim() || !element.checkVisibility() || element.closest("svg, option, .unseen")) continue;
        const [a, b] = [light(rgba(getComputedStyle(element).color)), light(ground(element))].sort((x, y) => y - x);
        const ratio = (a + 0.05) / (b + 0.05);
        if (ratio < 4.5) found.add(`${element.outerHTML.slice(0, 60)}: ${ratio.toFixed(2)}`);
    }
    return [...found];
}"""


def test_everything_has_a_name_for_a_screen_reader(open_page: OpenPage, site: Site):
    page = open_page(site)
    example(page, "Coffee").click()
    answered(page, "espresso")
    tree = page.locator("body").aria_snapshot()
    for role in ("banner", "navigation", "main", "contentinfo"):
        assert f"- {role}" in tree, tree
    assert not re.search(r"- (button|link|img|combobox|textbox|figure)(:|$)", tree.replace("- figure:", ""), re.M), tree
    levels = page.evaluate(
        "[...document.querySelectorAll('h1,h2,h3,h4')].filter((h) => h.checkVisibility()).map((h) => +h.tagName[1])"
    )
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


# ---- when something is away ----


def test_it_says_what_is_away_and_comes_back_by_itself(open_page: OpenPage, start_site: Callable[..., Site]):
    site = start_site()
    page = open_page(site, forgive=is_http_error)
    expect(page.locator("#state")).to_contain_text("Connected to vision")
    banner = page.locator("#banner").get_by_role("alert")

    site.app.stop()
    expect(banner).to_contain_text("The guest host is away")
    expect(banner).to_contain_text("Start guesthouse serve and its sidecar (--app-id vision)")
    expect(page.locator("#state")).to_contain_text("Host away")
    example(page, "Coffee").click()
    expect(page.locator("#result").get_by_role("alert")).to_contain_text("The guest host is away")
    page.screenshot(path=ROOT / "out" / "page" / "host-away.png", full_page=True)
    expect(page.locator("#versions")).to_contain_text("as it was at")
    site.app.start().ready()
    expect(page.locator("#state")).to_contain_text("Connected to vision", timeout=60_000)
    expect(banner).to_have_count(0)
    expect(page.locator("#versions")).not_to_contain_text("as it was at")

    site.page_sidecar.stop()
    expect(banner).to_contain_text("The page’s sidecar is away")
    expect(banner).to_contain_text(f"daprd --app-id web --dapr-http-port {site.page_sidecar.ports.http}")
    site.page_sidecar.start().ready()
    expect(page.locator("#state")).to_contain_text("Connected to vision", timeout=60_000)

    site.web.stop()
    expect(banner).to_contain_text("The page’s own server is away")
    expect(banner).to_contain_text(f"guesthouse web --port {site.web.port}")
    site.web.start().ready()
    expect(page.locator("#state")).to_contain_text("Connected to vision", timeout=60_000)
    example(page, "Coffee").click()
    answered(page, "espresso")


def test_a_page_that_the_host_does_not_name_has_photos_alone(open_page: OpenPage, start_site: Callable[..., Site]):
    page = open_page(start_site(page_app="stranger"), forgive=is_http_error)
    expect(page.locator("#state")).to_contain_text("Photos only")
    expect(page.locator("#operator-empty")).to_contain_text('[page] apps = ["stranger"]')
    expect(page.locator("#banner")).to_be_empty()
    example(page, "Coffee").click()
    answered(page, "espresso")
    expect(page.locator(".times")).to_contain_text("The host tells only applications")


# ---- around the browser ----


def ask(url: str, **options: Any) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, **options), timeout=60) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def test_a_caller_cannot_name_itself_the_page(site: Site, tmp_path: Path):
    """A header that a caller writes comes beside the one of its sidecar, and is worth nothing."""
    names = site.page_sidecar.log.parent / "names.db"
    other = Sidecar(tmp_path, "other", names=names)
    other.start()
    try:
        other.ready()
        until(lambda: other.invoke("vision", "echo", b"x").status == 200, "the host is found")
        for header in ("dapr-caller-app-id", "Dapr-Caller-App-Id", "DAPR-CALLER-APP-ID"):
            answer = other.invoke("vision", "_guesthouse/status", verb="GET", headers={header: "web"})
            assert answer.status == 404, answer
    finally:
        other.stop()


def test_the_page_passes_on_no_other_method_and_no_other_api(site: Site):
    for path in ("_guesthouse/status", "v1.0/metadata", "../../../metadata", "nothing"):
        status, body = ask(f"{site.web.url}api/call/{path}", data=b"x", method="POST")
        assert (status, json.loads(body)["error"]["code"]) == (404, "unknown-method")


def test_methods_of_the_hosts_status_can_be_called(site: Site):
    assert ask(f"{site.web.url}api/status")[0] == 200
    assert ask(f"{site.web.url}api/call/echo", data=b"hello", method="POST") == (200, b"hello")


def error_of(web: Web, body: bytes) -> dict[str, str]:
    status, answer = ask(f"{web.url}api/call/api/image", data=body, method="POST")
    assert status >= 400
    found: dict[str, str] = json.loads(answer)["error"]
    return found


def test_a_sidecar_that_asks_for_a_token_is_told_apart(site: Site, tmp_path: Path):
    names = site.page_sidecar.log.parent / "names.db"
    sidecar = Sidecar(tmp_path, "web2", names=names, environment={"DAPR_API_TOKEN": "right"})
    (tmp_path / "wrong").mkdir()
    wrong, right = Web(tmp_path / "wrong", sidecar, token="wrong"), Web(tmp_path, sidecar, token="right")
    with running(sidecar, wrong, right):
        photo = (ROOT / "tests" / "data" / "photos" / "rocket.jpg").read_bytes()
        assert error_of(wrong, photo)["code"] == "sidecar-denied"
        assert ask(f"{right.url}api/call/api/image", data=photo, method="POST")[0] == 200


def test_a_sidecar_whose_limit_a_photo_exceeds_is_told_apart(site: Site, tmp_path: Path):
    names = site.page_sidecar.log.parent / "names.db"
    sidecar = Sidecar(tmp_path, "web3", names=names)  # 4 MiB, as a sidecar has by default
    web = Web(tmp_path, sidecar)
    with running(sidecar, web):
        assert error_of(web, bytes(5 << 20))["code"] == "over-sidecar-limit"


def test_a_host_that_was_never_there_is_away(site: Site, tmp_path: Path):
    web = Web(tmp_path, site.page_sidecar, "--app", "nobody")
    with running(web):
        error = error_of(web, b"x")
        assert error["code"] == "host-away"
        assert "“nobody”" in error["text"]
