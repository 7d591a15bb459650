"""What docs/guests.md shows of grants, scripts and tests is what the code takes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from guesthouse.guests.capabilities.sidecar import SidecarGrant
from guesthouse.scripted.cases import Body, read_case
from guesthouse.scripted.script import load_script
from tests.support.shown import ROOT, blocks

PAGE = ROOT / "docs" / "guests.md"


def test_the_page_has_every_grant_with_the_form_of_its_names() -> None:
    section = PAGE.read_text().partition("## Calls to the sidecar\n")[2].partition("\n## ")[0]
    assert dict(re.findall(r"^\| `(\w+)` \| `([A-Z/]+)` \|", section, re.MULTILINE)) == SidecarGrant.forms()


@pytest.mark.parametrize("block", [one for one in blocks(PAGE, "toml") if "[[call]]" in one or "[event]" in one])
def test_scripts_and_tests_on_the_page_can_be_read(tmp_path: Path, block: str) -> None:
    file = tmp_path / "shown.toml"
    file.write_text(block)
    if "[state]" in block:
        case = read_case(file)
        assert case.state == {"count": b"1"}
        assert case.state_after == {"count": Body(b"2", json=True)}
    elif "[event]" in block:
        assert len(read_case(file).script.expected) == 1
    else:
        assert [one.times for one in load_script(file).expected] == [1, 2]
