"""`guesthouse models`: list, inspect and add."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from guesthouse.assembly import open_plan
from guesthouse.manifest import load
from guesthouse.system.stamps import digest_of
from tests.inference import tiny_models

ROOT = Path(__file__).resolve().parents[2]

MANIFEST = """\
# What we serve.
[app]
name = "vision"   # to daprd

[models.person]   # is there one?
path = "person.onnx"
threads = 1

  [models.dog]
  path = "dog.onnx"
  # An old one.
  stands_for = [
    "abababababababababababababababababababababababababababababababab",  # 2024
  ]

[guests.door]
module = "door.wasm"
function = "see"
models = ["person"]
"""


@pytest.fixture
def manifest(tmp_path):
    path = tmp_path / "guesthouse.toml"
    path.write_text(MANIFEST)
    (tmp_path / "person.onnx").write_bytes(b"person")
    (tmp_path / "embedded.tflite").write_bytes(b"embedded")
    return path


EMBEDDED = hashlib.sha256(b"embedded").hexdigest()


def test_lists_models_as_lines(guesthouse, manifest):
    header, *lines = guesthouse("models", "list", "-m", manifest).out.splitlines()
    assert header.split() == ["name", "path", "bytes", "sha256", "stands", "for", "guests"]
    digest = hashlib.sha256(b"person").hexdigest()
    assert lines[0].split() == ["person", f"{manifest.parent}/person.onnx", "6", digest[:12], "door"]
    assert lines[1].split() == ["dog", f"{manifest.parent}/dog.onnx", "missing", "abababababab"]


def test_lists_models_as_json(guesthouse, manifest):
    assert json.loads(guesthouse("models", "list", "-m", manifest, "--json").out)[0] == {
        "name": "person",
        "path": f"{manifest.parent}/person.onnx",
        "bytes": 6,
        "sha256": hashlib.sha256(b"person").hexdigest(),
        "stands_for": [],
        "guests": ["door"],
    }


def test_adds_a_digest_and_keeps_everything_else(guesthouse, manifest):
    manifest.chmod(0o640)
    ran = guesthouse("models", "add", "person", manifest.parent / "embedded.tflite", "-m", manifest)
    assert ran.code == 0
    assert ran.out == ""
    assert ran.err == f"person now stands for {manifest.parent}/embedded.tflite (sha256 {EMBEDDED[:12]}…)\n"
    expected = MANIFEST.replace("threads = 1\n", f'threads = 1\nstands_for = ["{EMBEDDED}"]\n')
    assert manifest.read_text() == expected
    assert stat.S_IMODE(manifest.stat().st_mode) == 0o640
    assert sorted(path.name for path in manifest.parent.iterdir()) == [
        "embedded.tflite",
        "guesthouse.toml",
        "person.onnx",
    ]


def test_appends_to_a_list_with_comments(guesthouse, manifest):
    assert guesthouse("models", "add", "dog", manifest.parent / "embedded.tflite", "-m", manifest).code == 0
    assert load(manifest, {}).models["dog"].stands_for == ("ab" * 32, EMBEDDED)
    for line in ("# What we serve.", '    "' + "ab" * 32 + '",  # 2024', "  # An old one."):
        assert line in manifest.read_text().splitlines()


@pytest.mark.parametrize("text", ['models = { person = { path = "p" } }\n', 'models.person.path = "p"\n'])
def test_adds_however_the_model_is_written(guesthouse, manifest, text):
    manifest.write_text(text + '[app]\nname = "x"\n')
    assert guesthouse("models", "add", "person", manifest.parent / "embedded.tflite", "-m", manifest).code == 0
    assert load(manifest, {}).models["person"].stands_for == (EMBEDDED,)


def test_keeps_the_line_ends_of_other_systems(guesthouse, manifest):
    manifest.write_bytes(MANIFEST.replace("\n", "\r\n").encode())
    assert guesthouse("models", "add", "person", manifest.parent / "embedded.tflite", "-m", manifest).code == 0
    data = manifest.read_bytes()
    assert data.count(b"\r\n") >= MANIFEST.count("\n")
    assert load(manifest, {}).models["person"].stands_for == (EMBEDDED,)


def test_writes_through_a_link(guesthouse, manifest):
    link = manifest.parent / "link.toml"
    link.symlink_to(manifest)
    assert guesthouse("models", "add", "person", manifest.parent / "embedded.tflite", "-m", link).code == 0
    assert link.is_symlink()
    assert load(manifest, {}).models["person"].stands_for == (EMBEDDED,)


def test_adds_nothing_twice(guesthouse, manifest):
    arguments = ("models", "add", "person", manifest.parent / "embedded.tflite", "-m", manifest)
    guesthouse(*arguments)
    before = manifest.read_text()
    ran = guesthouse(*arguments)
    assert (ran.code, manifest.read_text()) == (0, before)
    assert "already" in ran.err


def test_refuses_a_file_that_stands_for_another_model(guesthouse, manifest):
    file = manifest.parent / "embedded.tflite"
    guesthouse("models", "add", "person", file, "-m", manifest)
    ran = guesthouse("models", "add", "dog", file, "-m", manifest)
    assert ran.code == 1
    assert ran.err == (
        f"error: {file} is registered already — {manifest}: models.person.stands_for — "
        "take it out there first: a file stands for one model\n"
    )


@pytest.mark.parametrize("command", [("add", "persn", "file"), ("inspect", "persn")])
def test_suggests_a_model_for_one_that_is_not_there(guesthouse, manifest, command):
    ran = guesthouse("models", *command, "-m", manifest)
    assert (ran.code, ran.err) == (1, f"error: no model 'persn' — {manifest} — did you mean person?\n")


def test_refuses_a_file_that_is_not_there(guesthouse, manifest):
    ran = guesthouse("models", "add", "person", "no.tflite", "-m", manifest)
    assert ran.err == (
        "error: the file cannot be read (No such file or directory) — no.tflite — name the file that the guest embeds\n"
    )


def test_leaves_the_manifest_whole_when_it_cannot_be_replaced(guesthouse, manifest, monkeypatch):
    def full(source, goal):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    ran = guesthouse("models", "add", "person", manifest.parent / "embedded.tflite", "-m", manifest)
    assert ran.code == 1
    assert ran.err == (
        f"error: the manifest cannot be changed ([Errno 28] No space left on device) — {manifest} — "
        f'write "{EMBEDDED}" into models.person.stands_for yourself\n'
    )
    assert manifest.read_text() == MANIFEST
    assert sorted(path.name for path in manifest.parent.iterdir()) == [
        "embedded.tflite",
        "guesthouse.toml",
        "person.onnx",
    ]


def test_inspects_a_real_model(guesthouse):
    ran = guesthouse("models", "inspect", "person", "--json", "-m", ROOT / "guesthouse.toml")
    (facts,) = json.loads(ran.out)
    assert facts["inputs"] == [{"name": "input_1", "type": "float32", "shape": [None, 96, 96, 3]}]
    assert facts["outputs"][0]["shape"] == [None, 2]
    assert facts["batchable"] is True
    assert facts["sha256"] == digest_of(ROOT / "models" / "visual_wake_words.onnx")
    lines = guesthouse("models", "inspect", "person", "-m", ROOT / "guesthouse.toml").out
    assert "input_1 float32 [N,96,96,3]" in lines
    assert "yes" in lines


@pytest.fixture
def noted(manifest):
    """A manifest whose models have notes: an output that guests cannot be given, and zeros that it does not run on."""
    for name, made in (("person", tiny_models.voting()), ("dog", tiny_models.broken())):
        tiny_models.save(manifest.parent, made, f"{name}.onnx")
    text = manifest.read_text()
    manifest.write_text(text[: text.index("[guests.door]")])
    return manifest


NOTES = (
    "model 'person': its output 'votes' is a sequence, which cannot be given to a guest: it gets an error number there",
    "model 'dog': not tried at load, for it does not run on zeros, with 1 for every free dimension (Non-zero",
)


@pytest.mark.parametrize("command", [("models", "inspect"), ("check",)])
def test_shows_notes_on_models(guesthouse, noted, command):
    told = guesthouse(*command, "-m", noted)
    for text in NOTES:
        assert text in told.err
    listed = json.loads(guesthouse(*command, "-m", noted, "--json").out)
    models = listed["models"] if command == ("check",) else listed
    assert [len(model["notes"]) for model in models] == [1, 1]


def test_logs_notes_on_models_that_are_served(noted):
    with open_plan(load(noted)) as plan, capture_logs() as lines:
        plan.log_notes()
        plan.log_notes(plan)
    lines = [line for line in lines if "model" in line]
    assert [(line["log_level"], line["model"]) for line in lines] == [("warning", "person"), ("warning", "dog")]
    for line in lines:
        model = plan.models.named(line["model"])
        assert model is not None
        assert line["note"] in model.notes


def test_counts_what_may_be_given_and_need_not(guesthouse, noted):
    tiny_models.save(noted.parent, tiny_models.weighted(), "dog.onnx")
    assert "x float32 [N,2], 1 optional" in guesthouse("models", "inspect", "dog", "-m", noted).out
    (facts,) = json.loads(guesthouse("models", "inspect", "dog", "-m", noted, "--json").out)
    assert facts["inputs"][1] == {"name": "w", "type": "float32", "shape": [2], "optional": True}


def test_says_why_a_model_does_not_load(guesthouse, manifest):
    ran = guesthouse("models", "inspect", "-m", manifest)
    assert ran.code == 1
    assert len(ran.err.splitlines()) == 2
    assert "person" in ran.err
    assert "dog.onnx" in ran.err
