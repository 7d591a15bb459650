"""What comes in by itself, and the operator's view: cards that open, charts, a guest's own page."""

from __future__ import annotations

import contextlib
import re
import signal
from pathlib import Path

import pytest
from playwright.sync_api import FilePayload, Locator, Page, expect

from guesthouse.event import Event, Failure, Trigger
from tests.browser.conftest import PHONE, OpenPage, Site, answered, example, is_http_error
from tests.support.scripted import encoded

TRACE = "0af7651916cd43dd8448eb211c80319c"
TRACED = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
HOSTILE = "<img src=x onerror=alert(1)>\x1b[2J\u202egnp.tac\nsecond line"
SHOWN = "<img src=x onerror=alert(1)>⟨001B⟩[2J⟨202E⟩gnp.tac\nsecond line"


def send(site: Site, binding: str, body: bytes) -> None:
    with site.client() as client, contextlib.suppress(Failure):
        client.send(Event(Trigger.BINDING, binding, body, metadata=TRACED))


def card_with(page: Page, text: str) -> Locator:
    return page.locator("#feed > li").filter(has_text=text)


def test_events_of_a_binding_appear_with_their_pictures(open_page: OpenPage, site: Site, photos: Path):
    page = open_page(site)
    expect(page.locator("#state")).to_contain_text("Connected to vision")
    with site.client() as client:
        client.send(Event(Trigger.BINDING, "camera", (photos / "coffee.png").read_bytes()))
    card = page.locator("#feed li").first
    expect(card).to_contain_text("espresso")
    expect(card).to_contain_text("binding camera")
    picture = card.locator("img")
    expect(picture).to_have_js_property("naturalWidth", 480)
    expect(page.locator("#live-news")).to_contain_text("espresso")
    with site.client() as client, contextlib.suppress(Failure):
        client.send(Event(Trigger.BINDING, "camera", b"no photo"))
    expect(card).to_contain_text("Failed")
    expect(card.locator(".seen")).to_have_text("no photo")


def test_the_feed_can_be_paused(open_page: OpenPage, site: Site, photos: Path):
    page = open_page(site)
    expect(page.locator("#state")).to_contain_text("Connected to vision")
    page.get_by_role("button", name="Pause").click()
    page.wait_for_timeout(300)  # a question that was under way
    before = page.locator("#feed li").count()
    with site.client() as client:
        client.send(Event(Trigger.BINDING, "camera", (photos / "rocket.jpg").read_bytes()))
    with page.expect_request("**/api/status", timeout=60_000):  # none before the button is pressed again
        page.wait_for_timeout(3500)
        assert page.locator("#feed li").count() == before
        page.get_by_role("button", name="Go on").click()
    expect(page.locator("#feed li").first).to_contain_text(re.compile("classify in"))


def test_the_operator_sees_guests_models_failures_and_latencies(open_page: OpenPage, site: Site):
    with site.client() as client, contextlib.suppress(Failure):
        client.send(Event(Trigger.BINDING, "camera", b"no photo"))
    page = open_page(site)
    guest = page.locator("#guests > li").filter(has=page.get_by_role("heading", name="classify", exact=True))
    expect(guest).to_contain_text("api/image, camera")
    expect(guest.get_by_role("slider", name="Calls and latency of classify over time")).to_have_attribute(
        "aria-valuetext", re.compile(r"Last 5 min: \d+ calls?, \d+ failed")
    )
    expect(guest).to_contain_text(re.compile(r"p99\d"))
    expect(guest).to_contain_text(re.compile("Last failure (.* ago|just now), MALFORMED: the body is not a JPEG"))
    expect(page.locator("#models > li")).to_have_count(2)
    expect(page.locator("#versions")).to_contain_text("wasmtime")
    calls = page.locator("#tiles dd").first
    number = re.match(r"\d+", calls.text_content() or "")
    assert number is not None
    before = int(number[0])
    example(page, "Cat").click()
    expect(calls).not_to_contain_text(re.compile(rf"^{before} "))


# ---- cards ----


def test_a_card_opens_and_shows_all_that_is_known(open_page: OpenPage, busy: Site, photos: Path):
    page = open_page(busy)
    send(busy, "camera", (photos / "astronaut.png").read_bytes())
    card = card_with(page, "football helmet").first.get_by_role("button")
    card.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="football helmet, 22.6%")
    expect(dialog.locator(".labels li")).to_have_count(5)
    expect(dialog).to_contain_text(TRACE)
    expect(dialog).to_contain_text("binding camera")
    expect(dialog.get_by_alt_text("What came")).to_have_js_property("naturalWidth", 512)  # in the feed 480 at most
    expect(dialog.locator(".legend")).to_contain_text("Inference")
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(card).to_be_focused()


def test_a_card_that_failed_says_why_and_what_came(open_page: OpenPage, busy: Site):
    page = open_page(busy)
    send(busy, "camera", b"never a photo")
    card = card_with(page, "never a photo").first
    expect(card).to_contain_text("Failed")
    card.get_by_role("button").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("heading", level=2)).to_contain_text("Failed: ")
    expect(dialog).to_contain_text("the body is not a JPEG or PNG")
    expect(dialog.locator("pre")).to_have_text("never a photo")
    expect(dialog).to_contain_text(TRACE)
    dialog.get_by_role("button", name="Close").click()
    expect(dialog).to_have_count(0)


def test_text_is_shown_as_text_and_steers_nothing(open_page: OpenPage, busy: Site):
    page = open_page(busy)
    send(busy, "words", HOSTILE.encode())
    card = card_with(page, "onerror").first
    expect(card.locator(".seen .text")).to_have_text(SHOWN, use_inner_text=True)
    expect(card).not_to_contain_text("no picture")
    expect(card.locator("img")).to_have_count(0)
    card.get_by_role("button").click()
    texts = page.get_by_role("dialog").locator("pre")
    expect(texts).to_have_count(2)  # what came, and the reply
    for text in texts.all():
        expect(text).to_have_text(SHOWN, use_inner_text=True)
    expect(page.get_by_role("dialog").locator("img")).to_have_count(0)


def test_cards_are_of_one_height_whether_they_failed_or_not(open_page: OpenPage, busy: Site, photos: Path):
    page = open_page(busy)
    send(busy, "words", b"a word")
    send(busy, "camera", b"no photo " * 100)
    send(busy, "camera", (photos / "rocket.jpg").read_bytes())
    expect(card_with(page, "drilling rig").first).to_be_visible()
    heights = page.locator("#feed > li button").evaluate_all(
        "all => [...new Set(all.slice(0, 3).map((one) => Math.round(one.getBoundingClientRect().height)))]"
    )
    assert len(heights) == 1


def test_events_can_be_had_by_guest(open_page: OpenPage, busy: Site, photos: Path):
    send(busy, "words", b"a word of mine")
    send(busy, "camera", (photos / "rocket.jpg").read_bytes())
    page = open_page(busy)
    expect(card_with(page, "drilling rig").first).to_be_visible()
    page.get_by_label("Answered by").select_option("echo")
    expect(card_with(page, "a word of mine").first).to_be_visible()
    expect(card_with(page, "binding camera")).to_have_count(0)
    page.get_by_label("Answered by").select_option("person")
    expect(page.locator("#live-empty")).to_contain_text(
        re.compile(r"None of the last \d+ events was answered by person")
    )
    page.get_by_label("Answered by").select_option("")
    expect(card_with(page, "binding camera").first).to_be_visible()


def test_more_cards_are_shown_when_they_are_asked_for(open_page: OpenPage, busy: Site):
    for number in range(20):
        send(busy, "words", f"word {number}".encode())
    page = open_page(busy)
    cards = page.locator("#feed > li")
    expect(cards).to_have_count(12)
    page.get_by_role("button", name="more").press("Enter")
    expect(cards.nth(13)).to_be_visible()
    expect(cards.nth(12).get_by_role("button")).to_be_focused()


# ---- charts ----


def test_a_chart_has_axes_and_says_its_values_under_the_pointer_and_by_keyboard(open_page: OpenPage, busy: Site):
    send(busy, "words", b"a word")
    page = open_page(busy)
    guest = page.locator("#guests > li").filter(has=page.get_by_role("heading", name="echo", exact=True))
    chart, readout = guest.get_by_role("slider"), guest.locator(".readout")
    expect(guest.locator(".plot.calls .y")).to_contain_text(re.compile(r"^[125]0*.*0$"))
    expect(guest.locator(".plot.latency .y")).to_contain_text("ms")
    expect(guest.locator(".plot.latency .x")).to_have_text("5 min agonow")
    expect(readout).to_contain_text(re.compile(r"Last 5 min: \d+ calls?, 0 failed"))

    chart.focus()
    page.keyboard.press("Home")
    expect(readout).to_contain_text("4 min 55 s ago: ")
    expect(chart).to_have_attribute("aria-valuetext", re.compile("4 min 55 s ago: "))
    expect(chart).to_have_attribute("aria-valuenow", "0")
    page.keyboard.press("ArrowRight")
    expect(readout).to_contain_text("4 min 50 s ago: ")
    values = set()
    for _ in range(60):
        values.add(readout.text_content() or "")
        page.keyboard.press("ArrowRight")
    assert any(re.search(r": [1-9]\d* calls?, 0 failed, p50 .*ms, p95 .*ms$", text) for text in values), values
    page.keyboard.press("Escape")
    expect(readout).to_contain_text("Last 5 min")

    box = guest.locator(".plot.calls svg").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 5)
    expect(readout).to_contain_text(re.compile("^2 min (2|3)[05] s ago: "))
    page.mouse.move(0, 0)
    expect(readout).to_contain_text("Last 5 min")


# ---- a guest's own page ----


def test_a_guest_has_a_page_of_its_own(open_page: OpenPage, busy: Site):
    page = open_page(busy, forgive=is_http_error)
    page.get_by_label("Ask the guest behind").select_option("api/grayscale")
    words: FilePayload = {"name": "x.txt", "mimeType": "text/plain", "buffer": b"no picture"}
    page.locator("#file").set_input_files(words)
    expect(page.locator("#result").get_by_role("alert")).to_be_visible()
    guest = page.locator("#guests > li").filter(has=page.get_by_role("heading", name="grayscale", exact=True))
    guest.get_by_role("link", name="All about grayscale").press("Enter")
    title = page.get_by_role("heading", name="grayscale", level=1)
    expect(title).to_be_focused()
    expect(page).to_have_title("grayscale – Guesthouse")
    expect(page.locator("#home")).to_be_hidden()
    own = page.locator("#guest")
    expect(own).to_contain_text("takes JPEG and PNG · gives image/png")
    expect(own.get_by_role("row").filter(has_text="the body is not a JPEG or PNG picture").first).to_be_visible()
    expect(own.locator(".log li").last).to_contain_text("stderrthe body is not a JPEG or PNG picture")
    for said in ("limits.memory", "128.0\u00a0MiB", "limits.pixels", "50,000,000", "Memory, the most so far"):
        expect(own).to_contain_text(said)
    expect(own.locator(".labels li").first).to_contain_text(re.compile(r"\d.*iB of 128.0\u00a0MiB"))
    expect(own).to_contain_text("It may use none.")
    expect(own).to_contain_text(re.compile("Loaded.*ago"))
    expect(own).to_contain_text("None came by itself lately.")
    expect(own.get_by_role("slider")).to_be_visible()

    busy.app.signal(signal.SIGHUP)
    expect(own.get_by_text("Host’s last reload").locator("xpath=..")).to_contain_text(re.compile(r"just now|\d+ s ago"))

    page.get_by_role("link", name="All guests").click()
    expect(page.locator("#home")).to_be_visible()
    expect(page.locator("#operator")).to_be_focused()
    expect(page.locator("#operator-title")).to_be_in_viewport()
    page.go_back()
    expect(title).to_be_visible()


def test_a_reload_that_was_refused_is_on_the_page_with_when_and_why(open_page: OpenPage, busy: Site):
    page = open_page(busy)
    manifest = busy.app.manifest
    text = manifest.read_text()
    try:
        manifest.write_text(text + 'colour = "red"\n')
        busy.app.signal(signal.SIGHUP)
        refused = page.locator("#reload").get_by_role("status")
        expect(refused).to_contain_text(
            re.compile(r"The last reload failed (just now|\d+ s ago)\. What was loaded before")
        )
        expect(refused).to_contain_text('unknown key "colour" — guesthouse.toml: [[binding]]')
        page.goto(f"{busy.web.url}#guest/echo")
        own = page.locator("#guest")
        expect(own.get_by_role("status")).to_contain_text('unknown key "colour"')
        row = own.get_by_text("Host’s last reload").locator("xpath=..")
        expect(row).to_contain_text(re.compile(r"failed (just now|\d+ s ago): unknown key"))
        assert str(manifest.parent) not in str(page.content())
    finally:
        manifest.write_text(text)
        busy.app.signal(signal.SIGHUP)
    expect(own.get_by_role("status")).to_have_count(0)
    expect(row).to_contain_text(re.compile(r"just now|\d+ s ago"))
    expect(row).not_to_contain_text("failed")
    page.get_by_role("link", name="All guests").click()
    expect(page.locator("#reload").get_by_role("status")).to_have_count(0)


def test_a_guest_with_models_and_events_has_them_on_its_page(open_page: OpenPage, busy: Site, photos: Path):
    send(busy, "camera", (photos / "coffee.png").read_bytes())
    page = open_page(busy)
    page.goto(f"{busy.web.url}#guest/classify")
    own = page.locator("#guest")
    expect(own.locator(".models > li")).to_contain_text("classifier")
    card = own.locator(".feed > li").filter(has_text="espresso").first
    card.get_by_role("button").click()
    expect(page.get_by_role("dialog", name="espresso")).to_be_visible()
    page.keyboard.press("Escape")
    tree = page.locator("body").aria_snapshot()
    assert not re.search(r"- (button|link|img|combobox|textbox|slider|list)(:|$)", tree.replace("- list:", ""), re.M), (
        tree
    )


# ---- calls of guests to the sidecar ----


def call(site: Site, binding: str, **fields: object) -> None:
    send(site, binding, encoded(binding, fields))


def row_of(place: Locator, method: str, status: str) -> Locator:
    return place.get_by_role("row").filter(has_text=method).filter(has_text=status)


def test_the_calls_of_a_guest_are_counted_by_method_and_status_with_their_time(open_page: OpenPage, calling: Site):
    call(calling, "SaveState", store_name="state", states=[{"key": "cart-1", "value": b"1"}])
    call(calling, "GetState*3", store_name="state", key="cart-1")
    call(calling, "GetState", store_name="state", key="another")  # which is not granted
    page = open_page(calling)

    card = card_with(page, "binding GetState*3").first
    expect(card).to_contain_text("3 calls made, ")
    expect(card_with(page, "Failed").first).to_contain_text("1 call made, 1 not OK")
    card.get_by_role("button").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.locator(".legend")).to_contain_text("Sidecar calls")
    expect(row_of(dialog, "GetState", "OK")).to_have_text(
        re.compile(r"^stateGetStateOK3\d+(\.\d+)?\sms\d+(\.\d+)?\sms$")
    )
    page.keyboard.press("Escape")

    guest = page.locator("#guests > li")
    expect(guest.locator(".called")).to_contain_text(
        re.compile(r"^Called the sidecar: state [5-9]\d* calls, [1-9]\d* not OK, \d.* ms each$".replace(" ms", r"\sms"))
    )
    expect(guest.locator(".legend")).to_contain_text("Sidecar calls")
    guest.get_by_role("link", name="All about relay").click()
    own = page.locator("#guest").get_by_role("region", name="Calls to the sidecar")
    expect(row_of(own, "SaveState", "OK")).to_contain_text("state")
    expect(row_of(own, "GetState", "OK")).to_have_count(1)
    expect(row_of(own, "GetState", "PERMISSION_DENIED")).to_contain_text(re.compile(r"PERMISSION_DENIED[1-9]"))
    expect(page.locator("#guest").locator(".legend")).to_contain_text("Sidecar calls")


def test_an_event_without_calls_says_nothing_of_them(open_page: OpenPage, busy: Site):
    send(busy, "words", b"without calls")
    page = open_page(busy)
    card = card_with(page, "without calls").first
    expect(card).not_to_contain_text("made")
    card.get_by_role("button").click()
    expect(page.get_by_role("dialog").locator(".legend")).to_contain_text("Inference")
    expect(page.get_by_role("dialog")).not_to_contain_text(re.compile("sidecar", re.IGNORECASE))
    page.keyboard.press("Escape")
    expect(page.locator("#guests .called").first).to_be_hidden()
    page.goto(f"{busy.web.url}#guest/echo")
    expect(page.locator("#guest").get_by_text("Calls to the sidecar").locator("xpath=..")).to_contain_text("None since")


def test_names_of_calls_are_shown_as_text_and_many_of_them_on_a_phone(open_page: OpenPage, calling: Site):
    """The host tells names of a table alone; whatever it told, the page would only show it."""
    page = open_page(calling, viewport={"width": 320, "height": 800}, is_mobile=True, has_touch=True)
    kind = {"block": HOSTILE, "method": HOSTILE, "status": HOSTILE, "count": 2, "ms": 4.0}
    page.route(
        "**/api/guests/relay",
        lambda route: route.fulfill(json={**route.fetch().json(), "sidecar_calls": [kind] * 40}),
    )
    page.goto(f"{calling.web.url}#guest/relay")
    own = page.locator("#guest").get_by_role("region", name="Calls to the sidecar")
    expect(own.get_by_role("row")).to_have_count(41)
    expect(own.get_by_role("rowheader").first).to_contain_text("<img src=x onerror=alert(1)>⟨001B⟩[2J⟨202E⟩gnp.tac")
    expect(own.locator("img")).to_have_count(0)
    assert page.evaluate("document.documentElement.scrollWidth") == 320


def test_a_guest_that_there_is_not_is_said_to_be_none(open_page: OpenPage, busy: Site):
    page = open_page(busy, forgive=is_http_error)
    page.goto(f"{busy.web.url}#guest/nobody")
    expect(page.locator("#guest").get_by_role("alert")).to_contain_text("There is no such guest")
    expect(page.locator("#banner")).to_be_empty()


def test_hostile_lines_of_a_guest_are_shown_as_text(open_page: OpenPage, busy: Site):
    """`grayscale` repeats nothing of its input, so a call's id is what its caller chose; its log is escaped twice."""
    page = open_page(busy)
    page.route(
        "**/api/guests/echo",
        lambda route: route.fulfill(
            json={
                **route.fetch().json(),
                "log": [{"at": 1.5, "stream": "stderr", "text": HOSTILE, "cut": True}],
                "failed": [{"reason": "GUEST", "count": 1, "text": HOSTILE, "at": 1.5}],
            }
        ),
    )
    page.goto(f"{busy.web.url}#guest/echo")
    own = page.locator("#guest")
    expect(own.locator(".log .line")).to_contain_text("<img src=x onerror=alert(1)>⟨001B⟩[2J⟨202E⟩gnp.tac")
    expect(own.get_by_role("row").last).to_contain_text("<img src=x onerror=alert(1)>⟨001B⟩")
    expect(own.locator(".log img, table img")).to_have_count(0)


# ---- every width ----


def test_a_phone_page_is_short_folded_and_its_navigation_stays(open_page: OpenPage, busy: Site, photos: Path):
    for _ in range(12):
        send(busy, "camera", (photos / "rocket.jpg").read_bytes())
    page = open_page(busy, viewport=PHONE, is_mobile=True, has_touch=True)
    example(page, "Rocket").tap()
    expect(page.get_by_alt_text("The photo in grey")).to_be_visible()
    expect(page.locator("#feed > li")).to_have_count(6)
    expect(page.locator("#guests > li")).to_have_count(6)
    expect(page.locator("#guests details[open], #models details[open]")).to_have_count(0)
    assert page.evaluate("document.documentElement.scrollHeight") < 4800  # it was 7284 with 12 cards and no fold
    page.locator("footer").scroll_into_view_if_needed()
    live = page.get_by_role("navigation").get_by_role("link", name="Live")
    expect(live).to_be_in_viewport()
    expect(page.get_by_role("navigation").locator("[aria-current]")).to_have_text("Operator")
    live.tap()
    expect(page.locator("#live-title")).to_be_in_viewport()
    guest = page.locator("#guests > li").filter(has=page.get_by_role("heading", name="classify", exact=True))
    guest.locator("summary").tap()
    expect(guest.get_by_role("slider")).to_be_visible()
    page.wait_for_timeout(2500)  # it stays so when the page draws anew
    expect(guest.get_by_role("slider")).to_be_visible()


def test_a_wide_screen_is_used(open_page: OpenPage, busy: Site):
    page = open_page(busy, viewport={"width": 1920, "height": 1080})
    example(page, "Coffee").click()
    answered(page, "espresso")
    for part in (".desk", "#feed", "#guests"):
        box = page.locator(part).bounding_box()
        assert box is not None
        assert box["width"] > 0.9 * 1920
    tops = page.locator(".desk > *").evaluate_all(
        "all => [...new Set(all.map((one) => one.getBoundingClientRect().top))]"
    )
    assert len(tops) == 1  # photo, answer and what was asked before beside each other


@pytest.mark.parametrize("width", [320, 390, 768])
def test_nothing_scrolls_sideways(open_page: OpenPage, busy: Site, width: int):
    send(busy, "words", b"W" * 300)
    page = open_page(busy, viewport={"width": width, "height": 800}, is_mobile=True, has_touch=True)
    example(page, "Coffee").tap()
    answered(page, "espresso")
    expect(page.locator("#feed > li").first).to_be_visible()
    page.locator("#guests summary").first.tap()
    wide = "document.documentElement.scrollWidth"
    assert page.evaluate(wide) == width
    card_with(page, "WWW").first.get_by_role("button").tap()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert page.evaluate("(card) => card.scrollWidth <= card.clientWidth", page.locator("#card").element_handle())
    page.keyboard.press("Escape")
    page.goto(f"{busy.web.url}#guest/classify")
    expect(page.locator("#guest").get_by_role("slider")).to_be_visible()
    assert page.evaluate(wide) == width
