"""What the pages name exists: files behind links, make targets, commands of the CLI; and the manifests in them are
ones that Guesthouse reads.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from guesthouse.cli import COMMANDS
from guesthouse.guests.capabilities import GRANTS
from guesthouse.manifest import parse
from tests.support.shown import FENCE, PAGES, ROOT, blocks

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_LINK = re.compile(r"\]\(([^)\s]+)\)|<img [^>]*src=\"([^\"]+)\"")


def headings(page: Path) -> set[str]:
    """The anchors of a page, as GitHub makes them."""
    text = FENCE.sub("", page.read_text())
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for found in _LINK.findall(FENCE.sub("", page.read_text())):
        target, _, anchor = (found[0] or found[1]).partition("#")
        if "://" in target or target.startswith("mailto:"):
            continue
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), f"{page.name} links to {target}, which is not there"
        if anchor and file.suffix == ".md":
            assert anchor in headings(file), f"{page.name} links to {target}#{anchor}, and there is no such heading"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_make_target_exists(page: Path) -> None:
    """In the Makefile of the repository or of the page's folder. With -C they are a guest's own: `guesthouse new`."""
    makefiles = [file for file in (ROOT / "Makefile", page.with_name("Makefile")) if file.exists()]
    targets = {name for file in makefiles for name in re.findall(r"^([a-z-]+):", file.read_text(), re.MULTILINE)}
    named = set(re.findall(r"(?:`|^\$? *|&& )make ([a-z][a-z-]*)", page.read_text(), re.MULTILINE))
    assert named <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_exists(page: Path) -> None:
    named = set(re.findall(r"(?:`|^\$? *)guesthouse ([a-z]+)\b", page.read_text(), re.MULTILINE))
    assert named <= set(COMMANDS)


def snippets() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for index, block in enumerate(blocks(page, "toml")):
            if any(
                sign in block for sign in ("[package]", "[[call]]", "[event]")
            ):  # cargo's; test_docs_guests.py has these
                continue
            yield f"{page.relative_to(ROOT)}-{index + 1}", block


@pytest.mark.parametrize(("name", "snippet"), list(snippets()), ids=lambda value: value if "\n" not in value else "")
def test_every_manifest_can_be_read(name: str, snippet: str) -> None:
    """Snippets show a part: an application, and the guests that routes name, are added where they are missing."""
    document = tomllib.loads(snippet)
    document.setdefault("app", {"name": "example"})
    guests, models = document.setdefault("guests", {}), document.setdefault("models", {})
    for kind in ("invoke", "binding", "topic", "job", "actor"):
        for route in document.get(kind, []):
            if "guest" in route:
                guests.setdefault(route["guest"], {"module": "guest.wasm", "function": "infer"})
    for guest in guests.values():
        granted = guest.get("models", [])
        for model in granted.values() if isinstance(granted, dict) else granted:
            models.setdefault(model, {"path": "model.onnx"})
    parse(document, ROOT / "guesthouse.toml", {"APP_API_TOKEN": "a", "OLD_TOKEN": "b"}, GRANTS)
