"""Signatures on modules: somebody makes them elsewhere with a private key; here the public key checks them, offline.

A signature is a file beside the module. It signs the module's bytes, by ECDSA on P-256 with SHA-256 (in DER, as
`openssl dgst -sha256 -sign` and `cosign sign-blob --key` write it) or by Ed25519 (RFC 8032), and is raw or in base64.
The library `cryptography` does the arithmetic; it comes with the extra `guesthouse[signatures]`.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from guesthouse.faults import Faults

LARGEST = 64 * 1024  # bytes of a key or signature file


class SignatureFaults(Faults):
    """Keys that cannot be used; `faults` has every reason."""


@dataclass(frozen=True, slots=True)
class Signed:
    """A module must be signed by one of `keys`, as `public_keys` gives them; `signature` is the signature's file."""

    keys: tuple[bytes, ...]
    signature: Path

    def fault(self, module: Path, wasm: bytes) -> str:
        """What is wrong with the signature of a module's bytes; empty when one of the keys has made it."""
        try:
            data = _read(self.signature)
        except OSError as error:
            return f"{self.signature} cannot be read ({error.strerror}): [signatures] asks for a signature of {module}"
        if any(_made_by(key, one, wasm) for key in self.keys for one in _forms(data)):
            return ""
        return f"{self.signature} is no signature of {module} by a key of [signatures]: restore the module, or sign it"


def public_keys(paths: Iterable[Path]) -> tuple[bytes, ...]:
    """The keys in PEM files. Raises `SignatureFaults`."""
    try:
        import cryptography  # noqa: F401 (an extra: only where signatures are asked for)
    except ModuleNotFoundError:
        raise SignatureFaults(["[signatures] needs a library: install guesthouse[signatures]"]) from None
    keys, faults = [], []
    for path in paths:
        try:
            keys.append(_read(path))
            _key(keys[-1])
        except OSError as error:  # noqa: PERF203 (all faults of all keys)
            faults.append(f"the key {path} cannot be read ({error.strerror}): correct [signatures] keys")
        except ValueError:
            faults.append(f"{path} is no public key of ECDSA on P-256 or Ed25519 in PEM: correct [signatures] keys")
    if faults:
        raise SignatureFaults(faults)
    return tuple(keys)


def _made_by(key: bytes, signature: bytes, data: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519
    from cryptography.hazmat.primitives.hashes import SHA256

    public = _key(key)
    try:
        if isinstance(public, ed25519.Ed25519PublicKey):
            public.verify(signature, data)
        else:
            assert isinstance(public, ec.EllipticCurvePublicKey)
            public.verify(signature, data, ec.ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True


def _key(pem: bytes) -> object:
    """The key in a PEM file. Raises `ValueError`."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        public = load_pem_public_key(pem)
    except UnsupportedAlgorithm as error:
        raise ValueError(str(error)) from error
    on_p256 = isinstance(public, ec.EllipticCurvePublicKey) and isinstance(public.curve, ec.SECP256R1)
    if not on_p256 and not isinstance(public, ed25519.Ed25519PublicKey):
        raise ValueError("another kind of key")
    return public


def _forms(data: bytes) -> Iterator[bytes]:
    """The bytes of a signature's file as they are, and decoded where they are base64."""
    yield data
    try:
        yield base64.b64decode(b"".join(data.split()), validate=True)
    except binascii.Error:
        return


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(LARGEST)
