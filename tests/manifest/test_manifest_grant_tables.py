"""Tables that capabilities add to a guest: made of a dataclass, and checked and described as all others."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from guesthouse.manifest import Manifest, ManifestError, load
from guesthouse.manifest.grant_tables import manifest_with


def no_shouting(text: str) -> tuple[str, str] | None:
    return ("is shouted", "write small letters") if text.isupper() else None


@dataclass(frozen=True)
class Mailbox:
    """The letters that the guest may send."""

    keys: tuple[str, ...] = field(metadata={"description": "to whom", "check": no_shouting})
    most: int = field(default=8, metadata={"description": "how many", "ge": 1, "le": 16})
    patience: float = 1.5
    urgent: bool = False
    sender: str | None = None


GRANTS = {"mailbox": Mailbox}
MANIFEST = """
[app]
name = "t"
[guests.g]
module = "g.wasm"
function = "f"
"""


def loaded(folder: Path, text: str, grants: dict[str, type[Any]] | None = None) -> Manifest:
    (folder / "guesthouse.toml").write_text(MANIFEST + text)
    return load(folder / "guesthouse.toml", {}, GRANTS if grants is None else grants)


def test_a_table_becomes_the_dataclass_that_it_was_made_of(tmp_path: Path):
    text = '[guests.g.mailbox]\nkeys = ["a"]\nmost = 9\npatience = "2m"\nurgent = true\nsender = "me"'
    assert loaded(tmp_path, text).guests["g"].capabilities() == (Mailbox(("a",), 9, 120.0, True, "me"),)
    assert loaded(tmp_path, "mailbox = { keys = [] }").guests["g"].capabilities() == (Mailbox(()),)


def test_a_guest_without_the_table_is_granted_nothing(tmp_path: Path):
    assert loaded(tmp_path, "").guests["g"].capabilities() == ()
    assert loaded(tmp_path, "", {}).guests["g"].capabilities() == ()


@pytest.mark.parametrize(
    ("table", "fault"),
    [
        ("{ keys = [5] }", "5 is a whole number, not text — PLACE.keys[0] — write text"),
        ('{ keys = ["a", "BOB"] }', '"BOB" is shouted — PLACE.keys[1] — write small letters'),
        ("{}", "keys is missing — PLACE.keys — write to whom"),
        ("{ keys = [], mots = 5 }", 'unknown key "mots" — PLACE.mots — did you mean most?'),
        ("{ keys = [], most = 17 }", "17 is too much — PLACE.most — write at most 16"),
        ("5", "5 is a whole number, not a table — PLACE — write a table"),
    ],
)
def test_what_is_wrong_with_it_is_told_as_of_any_other(tmp_path: Path, table, fault):
    with pytest.raises(ManifestError) as caught:
        loaded(tmp_path, f"mailbox = {table}")
    assert caught.value.faults == [fault.replace("PLACE", f"{tmp_path}/guesthouse.toml: guests.g.mailbox")]


def test_a_table_that_no_capability_has_is_an_unknown_key(tmp_path: Path):
    with pytest.raises(ManifestError, match='unknown key "mailbox"'):
        loaded(tmp_path, "mailbox = { keys = [] }", {})


def test_a_capability_has_a_name_that_no_key_of_a_guest_has():
    with pytest.raises(ValueError, match="guests have models already"):
        manifest_with({"models": Mailbox})


def test_a_field_that_a_manifest_cannot_have_is_refused():
    @dataclass(frozen=True)
    class Strange:
        what: bytes

    with pytest.raises(TypeError, match="a grant has no field of type <class 'bytes'>"):
        manifest_with({"strange": Strange})


def test_a_reload_makes_no_new_classes():
    assert manifest_with({"mailbox": Mailbox}) is manifest_with({"mailbox": Mailbox})
