"""Showing a guest a file: its answer, what goes wrong, who is asked meanwhile, and what stays in the browser."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import wasmtime
from PIL import Image
from playwright.sync_api import FilePayload, Page, Request, Route, expect

from tests.browser.conftest import OpenPage, Site, answered, example, is_http_error
from tests.support.waiting import until


def test_an_example_is_answered_with_labels_a_grey_picture_and_times(open_page: OpenPage, site: Site):
    page = open_page(site)
    example(page, "Coffee").click()
    answered(page, "espresso")
    expect(page.locator(".labels li")).to_have_count(5)
    expect(page.locator("#by")).to_contain_text(re.compile(r"Answered by classify in \d"))
    expect(page.get_by_alt_text("The photo in grey")).to_be_visible()
    expect(page.locator("#grey-by")).to_contain_text("by grayscale in")
    names, values = (page.locator(f"#times .legend {tag}").all_text_contents() for tag in ("dt", "dd"))
    rows = dict(zip(names, values, strict=True))
    assert list(rows) == [
        "Guest (Wasm)",
        "Decoding, host",
        "Inference",
        "Waiting",
        "Transport: sidecars",
        "Transport: browser",
    ]
    assert rows["Inference"] != "0.0\u00a0ms"
    width = page.locator(".labels .fill").first.evaluate("bar => bar.getBoundingClientRect().width")
    assert width > page.locator(".labels .fill").nth(1).evaluate("bar => bar.getBoundingClientRect().width")
    expect(page.get_by_role("status").filter(has_text="espresso")).to_contain_text("Answered by classify")
    expect(example(page, "Coffee")).to_have_attribute("aria-pressed", "true")


def test_a_photo_of_ones_own_is_answered(open_page: OpenPage, site: Site, photos: Path):
    page = open_page(site)
    page.get_by_label("Choose a photo").set_input_files(photos / "chelsea.png")
    answered(page, "Egyptian Mau")
    expect(page.get_by_alt_text("The photo that was chosen: chelsea.png")).to_be_visible()
    expect(page.locator("#plain")).to_contain_text("chelsea.png 235\u00a0KiB")
    expect(example(page, "Cat")).to_have_attribute("aria-pressed", "false")


def test_a_photo_can_be_dropped(open_page: OpenPage, site: Site):
    page = open_page(site)
    page.evaluate(
        """async () => {
            const photo = await (await fetch("examples/rocket.jpg")).blob();
            const dropped = new DataTransfer();
            dropped.items.add(new File([photo], "rocket.jpg", { type: "image/jpeg" }));
            const area = document.getElementById("drop");
            for (const kind of ["dragenter", "dragover", "drop"])
                area.dispatchEvent(new DragEvent(kind, { dataTransfer: dropped, bubbles: true, cancelable: true }));
        }"""
    )
    answered(page, re.compile(r"\w+, \d"))
    expect(page.locator("#by")).to_contain_text("classify")


def test_another_guest_can_be_asked(open_page: OpenPage, site: Site):
    page = open_page(site)
    expect(page.get_by_label("Ask the guest behind").locator("option")).to_have_count(6)
    example(page, "Cat").click()
    answered(page, "Egyptian Mau")
    page.get_by_label("Ask the guest behind").select_option("api/grayscale")
    answered(page, "The guest has answered")
    expect(page.get_by_alt_text("The picture that the guest replied with")).to_be_visible()
    expect(page.locator("#grey")).to_be_hidden()


def test_a_file_that_is_no_photo_says_what_failed_and_what_to_do(open_page: OpenPage, site: Site, tmp_path: Path):
    (tmp_path / "notes.txt").write_text("not a photo")
    page = open_page(site, forgive=is_http_error)
    page.get_by_label("Choose a photo").set_input_files(tmp_path / "notes.txt")
    alert = page.locator("#result").get_by_role("alert")
    expect(alert).to_contain_text("The guest could not read the file")
    expect(alert).to_contain_text("notes.txt, 11\u00a0bytes · classify · ")
    expect(alert).to_contain_text("Try another file: this guest takes JPEG and PNG.")
    expect(page.locator("#preview")).to_be_hidden()
    expect(page.locator("#plain")).to_contain_text("notes.txt 11\u00a0bytes")
    expect(page.locator("#way li").last).to_contain_text("Guest: failed")
    example(page, "Coffee").click()
    answered(page, "espresso")
    expect(alert).to_have_count(0)


def test_a_photo_over_the_limit_is_refused_before_it_is_sent(open_page: OpenPage, site: Site, tmp_path: Path):
    with (tmp_path / "large.jpg").open("wb") as large:
        large.truncate(17 << 20)
    page = open_page(site)
    page.get_by_label("Choose a photo").set_input_files(tmp_path / "large.jpg")
    expect(page.locator("#result").get_by_role("alert")).to_contain_text(
        "It has 17.0\u00a0MiB; the page takes up to 16.0\u00a0MiB"
    )


# ---- which guest takes what ----


def calls(page: Page) -> list[str]:
    """The methods that are called from now on."""
    found: list[str] = []

    def heard(request: Request) -> None:
        if "/api/call/" in request.url:
            found.append(request.url.partition("/api/call/")[2])

    page.on("request", heard)
    return found


def choose(page: Page, method: str) -> None:
    expect(page.get_by_label("Ask the guest behind").locator("option")).to_have_count(6)
    page.get_by_label("Ask the guest behind").select_option(method)


def test_guests_are_offered_by_what_the_host_says_that_they_take(open_page: OpenPage, site: Site):
    page = open_page(site)
    choose(page, "api/tensor")
    expect(page.locator("#takes")).to_have_text("tensor takes raw bytes.")
    expect(page.locator("#file")).to_have_attribute("accept", "")
    expect(page.locator("#drop-title")).to_have_text("Choose a file")
    choose(page, "echo")
    expect(page.locator("#takes")).to_contain_text("What echo takes, the host does not say")
    choose(page, "api/grayscale")
    expect(page.locator("#takes")).to_have_text("grayscale takes JPEG and PNG.")
    expect(page.locator("#file")).to_have_attribute("accept", "image/*")
    groups = page.locator("#method optgroup")
    assert groups.evaluate_all("all => all.map((one) => [one.label, one.children.length])") == [
        ["Guests that take pictures", 4],
        ["Other guests", 2],
    ]


def test_a_grey_copy_is_asked_for_only_where_a_picture_was_shown(open_page: OpenPage, site: Site, tmp_path: Path):
    page = open_page(site, forgive=is_http_error)
    called = calls(page)
    example(page, "Coffee").click()
    expect(page.get_by_alt_text("The photo in grey")).to_be_visible()
    assert called == ["api/image", "api/grayscale"]
    for method, then in (("echo", ["echo"]), ("api/tensor", ["api/tensor"]), ("api/grayscale", ["api/grayscale"])):
        del called[:]
        choose(page, method)
        expect(page.locator("#result")).to_have_attribute("aria-busy", "false")
        expect(page.get_by_alt_text("The photo in grey")).to_be_hidden()
        page.wait_for_timeout(300)  # for a call that there should not be
        assert called == then
    alert = page.locator("#result").get_by_role("alert")
    expect(alert).to_have_count(0)  # of grayscale


def test_a_photo_for_a_guest_that_takes_none_is_told_what_it_takes(open_page: OpenPage, site: Site):
    page = open_page(site, forgive=is_http_error)
    choose(page, "api/tensor")
    example(page, "Cat").click()
    alert = page.locator("#result").get_by_role("alert")
    expect(alert).to_contain_text("· tensor ·")
    expect(alert).to_contain_text("Try another file: this guest takes raw bytes.")


def test_a_reply_of_bytes_is_shown_as_such_and_can_be_had(open_page: OpenPage, site: Site, tmp_path: Path):
    (tmp_path / "pixels.raw").write_bytes(bytes(224 * 224 * 3))
    page = open_page(site)
    choose(page, "api/tensor")
    page.locator("#file").set_input_files(tmp_path / "pixels.raw")
    answered(page, "The guest has answered")
    expect(page.locator("#sees")).to_contain_text(re.compile("KiB of application/octet-stream: ([0-9a-f]{2} ){63}"))
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the reply").click()
    assert download.value.suggested_filename == "pixels-tensor.bin"
    assert download.value.path().stat().st_size == 4000


def test_a_reply_that_is_text_or_a_picture_is_shown_as_one_whatever_it_is_called(
    open_page: OpenPage, site: Site, tmp_path: Path
):
    hostile = "<img src=x onerror=alert(1)>\x1b[31m \u202ereversed\nsecond line"
    (tmp_path / "words.txt").write_text(hostile)
    page = open_page(site)
    choose(page, "echo")
    page.locator("#file").set_input_files(tmp_path / "words.txt")
    expect(page.locator("#sees pre")).to_have_text(
        "<img src=x onerror=alert(1)>⟨001B⟩[31m ⟨202E⟩reversed\nsecond line", use_inner_text=True
    )
    expect(page.locator("#sees img")).to_have_count(0)
    example(page, "Rocket").click()
    expect(page.locator("#sees").get_by_alt_text("The picture that the guest replied with")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the reply").click()
    assert download.value.suggested_filename == "rocket-echo.jpg"


def test_a_picture_can_be_pasted(open_page: OpenPage, site: Site):
    page = open_page(site)
    page.evaluate(
        """async () => {
            const photo = await (await fetch("examples/chelsea.jpg")).blob();
            const pasted = new DataTransfer();
            pasted.items.add(new File([photo], "image.png", { type: "image/jpeg" }));
            document.body.dispatchEvent(new ClipboardEvent("paste", { clipboardData: pasted, bubbles: true }));
        }"""
    )
    answered(page, "Egyptian Mau")
    expect(page.locator("#plain")).to_contain_text("pasted picture")


def test_a_photo_of_24_megapixels_is_answered_or_refused_by_the_name_of_a_limit(
    open_page: OpenPage, busy: Site, tmp_path: Path
):
    Image.effect_noise((6000, 4000), 60).convert("RGB").save(tmp_path / "large.jpg", quality=70)
    page = open_page(busy, forgive=is_http_error)
    called = calls(page)
    page.get_by_label("Choose a photo").set_input_files(tmp_path / "large.jpg")
    answered(page, re.compile(r"\w+, \d"))
    expect(page.locator("#grey-by")).to_contain_text("No grey copy: ")
    expect(page.locator("#grey-by")).to_contain_text("limits.memory")
    assert called == ["api/image", "api/grayscale"]
    choose(page, "api/grayscale")
    alert = page.locator("#result").get_by_role("alert")
    expect(alert).to_contain_text("6000x4000")
    expect(alert).to_contain_text("large.jpg")
    expect(alert).to_contain_text("Choose a smaller one, or raise the guest’s limits.memory")
    expect(alert).not_to_contain_text("TRAP")


# ---- while it is asked, and again ----


def test_it_says_who_is_asked_and_for_how_long_and_can_be_canceled(open_page: OpenPage, site: Site):
    page = open_page(site)
    example(page, "Coffee").click()
    answered(page, "espresso")
    expect(page.get_by_alt_text("The photo in grey")).to_be_visible()
    held: list[Route] = []
    page.route("**/api/call/**", lambda route: held.append(route))
    example(page, "Cat").click()
    waiting = page.locator("#waiting")
    expect(waiting).to_contain_text("Asking classify about cat.jpg")
    expect(waiting.get_by_role("timer")).to_contain_text(re.compile(r"^[1-9]\d*\.\d s of at most 30 s$"))
    expect(page.locator("#answer")).to_be_hidden()  # nothing of the answer before
    expect(page.get_by_role("status").filter(has_text="Asking classify")).to_have_count(1)
    page.get_by_role("button", name="Cancel").focus()
    page.keyboard.press("Enter")
    alert = page.locator("#result").get_by_role("alert")
    expect(alert).to_contain_text("Canceled")
    expect(alert).to_contain_text(re.compile(r"classify was asked for \d+\.\d s"))
    again = page.get_by_role("button", name="Try again")
    expect(again).to_be_focused()
    page.unroute("**/api/call/**")
    again.press("Enter")
    answered(page, "Egyptian Mau")
    expect(page.locator("#verdict")).to_be_focused()


LOOPS = """
[app]
name = "vision"
[page]
apps = ["web"]
[guests.loops]
module = "loops.wasm"
calling = "command"
limits = { time = "60s" }
[[invoke]]
method = "loops"
guest = "loops"
"""


def test_cancel_stops_the_guest_behind_the_sidecars(
    open_page: OpenPage, start_site: Callable[..., Site], tmp_path: Path
):
    module = '(module (memory (export "memory") 1) (func (export "_start") (loop br 0)))'
    (tmp_path / "loops.wasm").write_bytes(wasmtime.wat2wasm(module))
    (tmp_path / "guesthouse.toml").write_text(LOOPS)
    site = start_site(tmp_path / "guesthouse.toml")
    page = open_page(site)
    page.get_by_label("Ask the guest behind").select_option("loops")
    page.locator("#file").set_input_files({"name": "x.txt", "mimeType": "text/plain", "buffer": b"x"})
    expect(page.locator("#waiting")).to_be_visible()
    slots = page.locator("#tiles div").filter(has_text="Slots busy")
    expect(slots).to_contain_text("1")
    page.get_by_role("button", name="Cancel").click()
    alert = page.locator("#result").get_by_role("alert")
    expect(alert).to_contain_text("The page waits no longer, and has the host stop the guest.")
    until(lambda: site.app.lines("failed"), "the guest is stopped")
    (failed,) = site.app.lines("failed")
    assert (failed["guest"], failed["reason"]) == ("loops", "CANCELLED")
    expect(slots).to_contain_text(re.compile(r"^Slots busy\s*0"))


def test_an_answer_that_was_canceled_comes_no_more(open_page: OpenPage, site: Site):
    page = open_page(site)
    held: list[Route] = []
    page.route("**/api/call/**", lambda route: held.append(route))
    example(page, "Cat").click()
    expect(page.locator("#waiting")).to_be_visible()
    page.locator("#cancel").press("Escape")
    expect(page.get_by_role("button", name="Try again")).to_be_visible()
    assert len(held) == 1
    held[0].fulfill(body="late", content_type="text/plain")
    page.wait_for_timeout(300)
    expect(page.locator("#answer")).to_be_hidden()


def test_it_asks_again_by_itself_when_the_sidecar_is_back(open_page: OpenPage, start_site: Callable[..., Site]):
    site = start_site()
    page = open_page(site, forgive=is_http_error)
    expect(page.locator("#state")).to_contain_text("Connected to vision")
    site.page_sidecar.stop()
    example(page, "Coffee").click()
    alert = page.locator("#result").get_by_role("alert")
    expect(alert).to_contain_text("The page’s sidecar is away")
    expect(alert).to_contain_text(f"daprd --app-id web --dapr-http-port {site.page_sidecar.ports.http}")
    expect(alert).to_contain_text("coffee.jpg")
    expect(alert).to_contain_text("It tries again by itself.")
    expect(page.locator("#way li")).to_contain_text(
        ["Browser: reached", "Page: reached", "Its sidecar: failed", "Host: not reached", "Guest: not reached"]
    )
    again = page.get_by_role("button", name="Try again")
    with page.expect_request("**/api/call/api/image"):
        again.click()
    expect(alert).to_contain_text("The page’s sidecar is away")
    site.page_sidecar.start().ready()
    expect(page.locator("#verdict")).to_contain_text("espresso", timeout=90_000)
    expect(alert).to_have_count(0)


# ---- one's own photos ----


def test_what_was_asked_stays_in_the_browser_until_it_is_cleared(open_page: OpenPage, site: Site):
    page = open_page(site)
    own = page.locator("#own > li")
    expect(page.locator("#own-text")).to_contain_text("no server keeps them")
    example(page, "Coffee").click()
    answered(page, "espresso")
    example(page, "Cat").click()
    answered(page, "Egyptian Mau")
    expect(own).to_have_count(2)
    expect(own.first).to_contain_text("Egyptian Mau")
    page.reload()
    expect(own).to_have_count(2)
    expect(page.locator("#own-text")).to_contain_text("In this browser alone: 2 photos of at most 24")
    own.last.get_by_role("button").press("Enter")
    dialog = page.get_by_role("dialog", name="espresso")
    expect(dialog.locator(".labels li")).to_have_count(5)
    expect(dialog).to_contain_text("coffee.jpg")
    expect(dialog.get_by_alt_text("The photo that was asked about")).to_have_js_property("naturalWidth", 320)
    page.keyboard.press("Escape")
    expect(own.last.get_by_role("button")).to_be_focused()
    page.get_by_role("button", name="Clear").click()
    expect(own).to_have_count(0)
    page.reload()
    expect(page.locator("#state")).to_contain_text("Connected")
    expect(own).to_have_count(0)


def test_nothing_is_kept_where_that_is_not_wanted(open_page: OpenPage, site: Site):
    page = open_page(site)
    page.get_by_label("Keep what I ask from now on").uncheck()
    page.reload()
    expect(page.get_by_label("Keep what I ask from now on")).not_to_be_checked()
    example(page, "Coffee").click()
    answered(page, "espresso")
    expect(page.get_by_alt_text("The photo in grey")).to_be_visible()
    expect(page.locator("#own > li")).to_have_count(0)


def test_no_more_is_kept_than_is_said(open_page: OpenPage, site: Site):
    page = open_page(site)
    choose(page, "echo")
    for number in range(26):
        words: FilePayload = {"name": f"{number}.txt", "mimeType": "text/plain", "buffer": f"word {number}".encode()}
        page.locator("#file").set_input_files(words)
        expect(page.locator("#sees")).to_have_text(f"word {number}")
    own = page.locator("#own > li")
    expect(own).to_have_count(24)
    page.reload()
    expect(own).to_have_count(24)
    expect(own.first).to_contain_text("word 25")
    expect(own.last).to_contain_text("word 2")
