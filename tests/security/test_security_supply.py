"""What is loaded is what the operator meant: digests that are required, signatures that are asked for."""

from __future__ import annotations

import base64
import hashlib
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from guesthouse.assembly import open_plan
from guesthouse.cli import app
from guesthouse.manifest import ManifestError, load
from guesthouse.plan.plan import PlanFaults
from tests.inference import tiny_models

HEAD = '[app]\nname = "t"\n'
EMPTY = b"\0asm\1\0\0\0"
# A module that does nothing: (func (export "_start")) (memory (export "memory") 1).
MODULE = bytes.fromhex(
    "0061736d01000000010401600000030201000503010001071302065f73746172740000066d656d6f727902000a040102000b"
)


def guest(name: str, more: str = "") -> str:
    return f'[guests.{name}]\nmodule = "{name}.wasm"\ncalling = "command"\n{more}'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a", "b"):
        (tmp_path / f"{name}.wasm").write_bytes(MODULE)
    tiny_models.save(tmp_path, tiny_models.doubling()).rename(tmp_path / "m.onnx")
    return tmp_path


def faults(folder: Path, text: str) -> list[str]:
    """What `check` and `serve` refuse a manifest for."""
    (folder / "guesthouse.toml").write_text(text)
    try:
        with open_plan(load(folder / "guesthouse.toml")):
            return []
    except (ManifestError, PlanFaults) as error:
        return [fault.replace(f"{folder}/", "") for fault in error.faults]


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# Digests


def test_all_missing_digests_are_listed_at_once_with_what_to_write(folder: Path):
    text = f"require_digests = true\n{HEAD}{guest('a')}{guest('b')}" + '[models.m]\npath = "m.onnx"\n'
    module, model = sha256(folder / "a.wasm"), sha256(folder / "m.onnx")
    said = "has no sha256, and require_digests is on: if"
    assert faults(folder, text) == [
        f'guests.a {said} a.wasm is the file that you mean, write sha256 = "{module}"',
        f'guests.b {said} b.wasm is the file that you mean, write sha256 = "{module}"',
        f'models.m {said} m.onnx is the file that you mean, write sha256 = "{model}"',
    ]
    pinned = text.replace('"command"\n', f'"command"\nsha256 = "{module}"\n') + f'sha256 = "{model}"\n'
    assert faults(folder, pinned) == []


def test_check_prints_the_digests_to_pin(folder: Path):
    (folder / "guesthouse.toml").write_text(f"require_digests = true\n{HEAD}{guest('a')}")
    done = CliRunner().invoke(app, ["check", "-m", str(folder / "guesthouse.toml")])
    assert isinstance(done.exception, PlanFaults)  # which the program prints, one line each
    assert f'write sha256 = "{sha256(folder / "a.wasm")}"' in str(done.exception)


def test_nothing_of_what_has_no_digest_is_looked_at(folder: Path):
    (folder / "a.wasm").write_bytes(b"no module at all")
    (folder / "m.onnx").write_bytes(b"no model at all")
    found = faults(folder, f"require_digests = true\n{HEAD}{guest('a')}" + '[models.m]\npath = "m.onnx"\n')
    assert [one.partition(",")[0] for one in found] == ["guests.a has no sha256", "models.m has no sha256"]


def test_what_is_wrong_besides_is_listed_too(folder: Path):
    wrong = f'sha256 = "{"0" * 64}"\n'
    found = faults(folder, f"require_digests = true\n{HEAD}{guest('a')}{guest('b', wrong)}{guest('c')}")
    assert found[0].startswith("guests.a has no sha256")
    assert found[1].endswith("c.wasm cannot be read (No such file or directory)")
    assert found[2].startswith("guest 'b': b.wasm has sha256 ")


def test_a_model_in_several_files_is_refused_for_its_digest_covers_one(folder: Path):
    (folder / "w.bin").write_bytes(bytes(16))
    tiny_models.save(folder, tiny_models.outside("w.bin")).rename(folder / "m.onnx")
    digest = sha256(folder / "m.onnx")
    text = f'require_digests = true\n{HEAD}[models.m]\npath = "m.onnx"\nsha256 = "{digest}"\n'
    assert faults(folder, text) == [
        "model 'm': m.onnx keeps data in other files, which its sha256 does not cover, and require_digests is on: "
        "save it as one file"
    ]


def test_granted_files_need_a_pin_each_and_are_told_what_to_write(folder: Path):
    (folder / "d").mkdir()
    (folder / "d" / "x").write_bytes(b"x")
    module, file = sha256(folder / "a.wasm"), sha256(folder / "m.onnx")
    whole = hashlib.sha256(f"{sha256(folder / 'd' / 'x')}  x\n".encode()).hexdigest()
    pinned = f'sha256 = "{module}"\n'
    grants = 'files = { "/m" = "m.onnx", "/d" = { path = "d" } }\n'
    said = "has no sha256, and require_digests is on: if"
    assert faults(folder, f"require_digests = true\n{HEAD}{guest('a', pinned + grants)}") == [
        f'guests.a.files."/m" {said} m.onnx is what you mean, write {{ path = "…", sha256 = "{file}" }}',
        f'guests.a.files."/d" {said} d is what you mean, write {{ path = "…", sha256 = "{whole}" }}',
    ]
    grants = f"""
        files."/m" = {{ path = "m.onnx", sha256 = "{file}" }}
        files."/d" = {{ path = "d", sha256 = "{whole}" }}
    """
    text = f"require_digests = true\n{HEAD}{guest('a', pinned + grants)}"
    assert faults(folder, text) == []
    (folder / "d" / "y").touch()
    (found,) = faults(folder, text)
    assert found.startswith("guest 'a': d has sha256 ")
    assert found.endswith(f"the manifest wants {whole} for /d: update the pin, or restore the files")


def test_what_cannot_be_granted_has_no_digest_to_write(folder: Path):
    pinned = f'sha256 = "{sha256(folder / "a.wasm")}"\nfiles = {{ "/x" = "none" }}\n'
    assert faults(folder, f"require_digests = true\n{HEAD}{guest('a', pinned)}") == [
        'guests.a.files."/x" has no sha256, and require_digests is on: '
        "none cannot be read (No such file or directory): correct the path, or its permissions"
    ]


def test_models_that_guests_bring_have_no_digest(folder: Path):
    pinned = f'sha256 = "{sha256(folder / "a.wasm")}"\nallow_guest_models = true\n'
    (found,) = faults(folder, f"require_digests = true\n{HEAD}{guest('a', pinned)}")
    assert found.endswith("models that a guest brings have no digest: leave it out")
    assert "does not go with require_digests" in found


# Signatures


def openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


@pytest.fixture(params=["p256", "ed25519"])
def key(request: pytest.FixtureRequest, folder: Path) -> Path:
    """A private key, with its public one beside it."""
    private = folder / "key.pem"
    kind = ["ED25519"] if request.param == "ed25519" else ["EC", "-pkeyopt", "ec_paramgen_curve:P-256"]
    openssl("genpkey", "-algorithm", *kind, "-out", private)
    openssl("pkey", "-in", private, "-pubout", "-out", folder / "key.pub")
    return private


def sign(key: Path, file: Path, signature: Path) -> None:
    if b"MC4CAQAwBQYDK2Vw" in key.read_bytes():  # how a private key of Ed25519 begins
        openssl("pkeyutl", "-sign", "-rawin", "-inkey", key, "-in", file, "-out", signature)
    else:
        openssl("dgst", "-sha256", "-sign", key, "-out", signature, file)


SIGNED = HEAD + '[signatures]\nkeys = ["key.pub"]\n'


def test_a_module_that_one_of_the_keys_has_signed_is_loaded(folder: Path, key: Path):
    sign(key, folder / "a.wasm", folder / "a.wasm.sig")
    assert faults(folder, SIGNED + guest("a")) == []


def test_a_signature_may_be_in_base64_and_elsewhere(folder: Path, key: Path):
    """As cosign writes it."""
    sign(key, folder / "a.wasm", folder / "raw")
    (folder / "signed").write_bytes(base64.b64encode((folder / "raw").read_bytes()) + b"\n")
    assert faults(folder, SIGNED + guest("a", 'signature = "signed"\n')) == []


def test_a_module_that_is_not_what_was_signed_is_refused_before_it_is_compiled(folder: Path, key: Path):
    sign(key, folder / "a.wasm", folder / "a.wasm.sig")
    (folder / "a.wasm").write_bytes(EMPTY + b"\xff")
    said = "guest 'a': a.wasm.sig is no signature of a.wasm by a key of [signatures]: restore the module, or sign it"
    assert faults(folder, SIGNED + guest("a")) == [said]
    for signature in (b"", b"nonsense", bytes(64), b"A" * 88):
        (folder / "a.wasm.sig").write_bytes(signature)
        assert faults(folder, SIGNED + guest("a")) == [said]


def test_anothers_signature_is_refused(folder: Path, key: Path):
    other = folder / "other"
    openssl("genpkey", "-algorithm", "ED25519", "-out", other)
    sign(other, folder / "a.wasm", folder / "a.wasm.sig")
    assert "is no signature of a.wasm by a key of [signatures]" in faults(folder, SIGNED + guest("a"))[0]
    openssl("pkey", "-in", other, "-pubout", "-out", folder / "other.pub")
    assert faults(folder, SIGNED.replace('"key.pub"', '"key.pub", "other.pub"') + guest("a")) == []


def test_a_missing_signature_is_refused(folder: Path, key: Path):
    assert faults(folder, SIGNED + guest("a")) == [
        "guest 'a': a.wasm.sig cannot be read (No such file or directory): [signatures] asks for a signature of a.wasm"
    ]


def test_a_key_that_cannot_be_used_is_refused_and_no_guest_passes(folder: Path):
    openssl("genpkey", "-algorithm", "RSA", "-out", folder / "rsa")
    openssl("pkey", "-in", folder / "rsa", "-pubout", "-out", folder / "rsa.pub")
    (folder / "text.pub").write_text("no key")
    keys = 'keys = ["rsa.pub", "text.pub", "none.pub"]\n'
    no_key = "is no public key of ECDSA on P-256 or Ed25519 in PEM: correct [signatures] keys"
    assert faults(folder, f"{HEAD}[signatures]\n{keys}{guest('a')}") == [
        f"rsa.pub {no_key}",
        f"text.pub {no_key}",
        "the key none.pub cannot be read (No such file or directory): correct [signatures] keys",
    ]


def test_a_signature_that_nobody_looks_at_is_a_fault(folder: Path):
    (found,) = faults(folder, HEAD + guest("a", 'signature = "a.sig"\n'))
    assert "is looked at by nobody without [signatures]" in found
    (found,) = faults(folder, f"{HEAD}[signatures]\nkeys = []\n{guest('a')}")
    assert "is empty" in found


def test_without_the_library_signatures_are_refused_and_not_passed_over(folder: Path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "cryptography", None)
    (folder / "key.pub").write_text("")
    assert faults(folder, SIGNED + guest("a")) == ["[signatures] needs a library: install guesthouse[signatures]"]


# What listens elsewhere than on this machine


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "metrics.local"])
def test_metrics_for_other_machines_need_a_token(folder: Path, host: str):
    metrics = f'{HEAD}[metrics]\nhost = "{host}"\n'
    (found,) = faults(folder, metrics)
    assert f"is missing: on {host} others than this machine may ask" in found
    assert faults(folder, metrics + 'token = "t"\n') == faults(folder, metrics + "open = true\n") == []


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_metrics_for_this_machine_do_without(folder: Path, host: str):
    assert faults(folder, f'{HEAD}[metrics]\nhost = "{host}"\n') == []
