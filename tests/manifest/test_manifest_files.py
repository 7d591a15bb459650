"""A guest's files in the manifest: what its keys give, and what is said of those that do not fit together."""

from __future__ import annotations

from pathlib import Path

import pytest

from guesthouse.faults import fault
from guesthouse.guests.files import FileGrant
from guesthouse.manifest import Manifest, ManifestError, load
from guesthouse.plan.build import guest_config

MiB = 1 << 20
DIGEST = "9f" * 32
GUEST = '[app]\nname = "t"\n[guests.g]\nmodule = "g.wasm"\ncalling = "command"\n'


def read(folder: Path, text: str) -> Manifest:
    path = folder / "guesthouse.toml"
    path.write_text(GUEST + text)
    return load(path, {"MODELS": "/srv/models"})


def faults(folder: Path, text: str) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        read(folder, text)
    return [one.replace(f"{folder}/", "") for one in caught.value.faults]


def test_files_are_paths_or_tables_from_the_manifests_folder(tmp_path: Path):
    guest = read(
        tmp_path,
        f"""
        files."/m.tflite" = "models/m.tflite"
        files."/" = "data/"
        files."/x" = {{ path = "${{MODELS}}/x", sha256 = "{DIGEST}" }}
        body_file = "/input.jpg"
        scratch = "8MiB"
        reply_file = "/tmp/out.png"
        limits = {{ files = "1MiB" }}
        """,
    ).guests["g"]
    assert guest_config("g", guest, "thread").files == (
        FileGrant("/m.tflite", tmp_path / "models" / "m.tflite"),
        FileGrant("/", tmp_path / "data"),
        FileGrant("/x", Path("/srv/models/x"), DIGEST),
    )
    grants = guest.grants()
    assert (grants.body_file, grants.scratch, grants.reply_file) == ("/input.jpg", 8 * MiB, "/tmp/out.png")
    assert grants.scratch_path == "/tmp"
    assert guest.limits.limits().files == MiB


def test_without_them_nothing_is_granted(tmp_path: Path):
    guest = read(tmp_path, "").guests["g"]
    assert guest_config("g", guest, "thread").files == ()
    assert (guest.body_file, guest.scratch, guest.reply_file) == ("", 0, "")
    assert guest.limits.limits().files == 256 * MiB


HOST = "write the path of a file, from the manifest's folder"
ABSOLUTE = "write a path as the guest names it, as in /models/m.tflite"


@pytest.mark.parametrize(
    ("text", "where", "what", "remedy"),
    [
        (
            'files = { "m.tflite" = "models/m" }',
            'files."m.tflite"',
            '"models/m" is granted at a path that is not absolute: it must begin with /',
            ABSOLUTE,
        ),
        (
            'files = { "/a/../b" = { path = "x" } }',
            'files."/a/../b"',
            "is granted at a path that has a part . or .., which no name of a file is",
            ABSOLUTE,
        ),
        (
            'files = { "/a/" = "x" }',
            'files."/a/"',
            '"x" is granted at a path that has an empty part: two slashes in a row, or one at the end',
            ABSOLUTE,
        ),
        (
            'files = { "/a" = "" }',
            'files."/a"',
            '"" is not a path',
            HOST,
        ),
        (
            'files = { "/a" = 3 }',
            'files."/a"',
            "3 is a whole number, not a path",
            HOST.replace("file,", "file or folder,"),
        ),
        (
            'files = { "/a" = { path = "a", sha256 = "x" } }',
            'files."/a".sha256',
            '"x" is not a sha256',
            "write the 64 hexadecimal digits that `sha256sum FILE` prints",
        ),
        ('files = ["/a"]', "files", "is a list, not a table", "write a table"),
        ('body_file = "x.jpg"', "body_file", '"x.jpg" is not absolute: it must begin with /', ABSOLUTE),
        ('scratch = "8MiB"\nscratch_path = ""', "scratch_path", '"" is empty', ABSOLUTE),
        (
            'scratch_path = "/work"',
            "scratch_path",
            '"/work" is never used without scratch',
            'write scratch = "8MiB", or leave it out',
        ),
        (
            'scratch = "1GiB"',
            "scratch",
            '"1GiB" is over limits.host_memory, which is 256MiB and counts it',
            "raise that, or lower scratch",
        ),
        (
            'scratch = "2MiB"\nlimits = { host_memory = "1MiB" }',
            "scratch",
            '"2MiB" is over limits.host_memory, which is 1MiB and counts it',
            "raise that, or lower scratch",
        ),
    ],
)
def test_explains_a_fault_of_a_guests_files(tmp_path: Path, text: str, where: str, what: str, remedy: str):
    assert faults(tmp_path, text + "\n") == [fault(what, f"guesthouse.toml: guests.g.{where}", remedy)]


def test_the_folder_for_scratch_files_may_be_the_root(tmp_path: Path):
    text = 'scratch = "8MiB"\nscratch_path = "/"\nlimits = { host_memory = "8MiB" }\n'
    assert read(tmp_path, text).guests["g"].scratch_path == "/"


def test_files_that_a_wrong_scratch_says_nothing_of_are_looked_at(tmp_path: Path):
    found = faults(tmp_path, 'scratch = "much"\nfiles = { "x" = "x" }\n')
    assert [one.partition(" — ")[0] for one in found] == [
        '"much" is not a size',
        '"x" is granted at a path that is not absolute: it must begin with /',
    ]
