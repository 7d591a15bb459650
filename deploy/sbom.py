"""Writes what an image is made of: `sbom.json` (CycloneDX 1.6) and `licences.txt`, for wheels, guests, models, Debian.

    sbom.py --root CHECKOUT --out FOLDER

Run it with the Python of the environment that is listed. The same inputs give the same bytes: no time, no random
number. Licences of wheels are as their metadata say; those of crates, of what guests embed and of models are kept in
`guests/licences.json` and `models/licences.json`, and one that is missing there is an error.

Source of the format: the CycloneDX 1.6 JSON schema, https://cyclonedx.org/docs/1.6/json/.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any
from urllib.parse import quote

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

OWN = "guesthouse"
OWN_LICENCE = "Apache-2.0"
TYPES = {  # CycloneDX's word for each kind
    "guest": "file",
    "model": "machine-learning-model",
    "python": "platform",
    "wheel": "library",
    "crate": "library",
    "embedded": "library",
    "deb": "library",
}
DPKG_STATUS = Path("/var/lib/dpkg/status")


class SbomError(Exception):
    """What is missing, and where to write it."""


@dataclass(frozen=True)
class Part:
    """One component. `spdx` says whether `licence` is an SPDX expression; `purl` is empty where there is none."""

    kind: str
    name: str
    version: str
    licence: str
    spdx: bool = True
    purl: str = ""
    sha256: str = ""
    made_of: tuple[str, ...] = ()  # the references of what is inside

    @property
    def reference(self) -> str:
        return self.purl or f"{self.kind}/{self.name}"

    def component(self) -> dict[str, Any]:
        """As CycloneDX has it."""
        types = {
            "python": "platform",
            "model": "machine-learning-model",
            "wheel": "library",
            "crate": "library",
            "deb": "library",
        }
        found: dict[str, Any] = {"type": types.get(self.kind, "file"), "bom-ref": self.reference, "name": self.name}
        if self.version:
            found["version"] = self.version
        if self.sha256:
            found["hashes"] = [{"alg": "SHA-256", "content": self.sha256}]
        if self.licence:
            found["licenses"] = [{"expression": self.licence} if self.spdx else {"license": {"name": self.licence}}]
        if self.purl:
            found["purl"] = self.purl
        return found


def wheels() -> Iterator[Part]:
    """All that is installed in the environment of this Python, but for Guesthouse itself."""
    for distribution in distributions(path=[path for path in sys.path if path.endswith("site-packages")]):
        name = re.sub(r"[-_.]+", "-", distribution.metadata["Name"]).lower()
        if name != OWN:
            licence, spdx = _licence(distribution)
            yield Part("wheel", name, distribution.version, licence, spdx, f"pkg:pypi/{name}@{distribution.version}")


def _licence(distribution: Distribution) -> tuple[str, bool]:
    """Metadata 2.4's expression, else the classifiers, else the first line of the free text."""
    metadata = distribution.metadata
    if "License-Expression" in metadata:
        return metadata["License-Expression"], True
    named = [line.rpartition(" :: ")[2] for line in metadata.get_all("Classifier", []) if line.startswith("License ::")]
    if named:
        return ", ".join(named), False
    text = metadata["License"] if "License" in metadata else ""  # noqa: SIM401 (it has no get in 3.10's types)
    return text.strip().partition("\n")[0] or "not stated", False


def crates(guests: Path, licences: dict[str, str]) -> dict[str, tuple[Part, tuple[str, ...]]]:
    """By `name version`: each crate of a workspace's Cargo.lock, and the keys of the crates that it needs."""
    packages = tomllib.loads((guests / "Cargo.lock").read_text())["package"]
    versions: dict[str, list[str]] = {}
    for package in packages:
        versions.setdefault(package["name"], []).append(package["version"])
    found = {}
    for package in packages:
        name, version = package["name"], package["version"]
        key = f"{name} {version}"
        needed = (dependency.split() for dependency in package.get("dependencies", ()))
        keys = tuple(f"{words[0]} {words[1] if len(words) > 1 else versions[words[0]][0]}" for words in needed)
        if "source" in package and key not in licences:
            raise SbomError(f'the crate {key} is not in guests/licences.json: add its licence under "crates"')
        purl, checksum = f"pkg:cargo/{name}@{quote(version)}", package.get("checksum", "")
        found[key] = (Part("crate", name, version, licences.get(key, OWN_LICENCE), True, purl, checksum), keys)
    return found


def guests(root: Path) -> Iterator[Part]:
    """The modules of guests/, and what was compiled into them."""
    folder = root / "guests"
    licences = json.loads((folder / "licences.json").read_text())
    known = {}
    for lock in (folder / "Cargo.lock", *sorted(folder.glob("*/Cargo.lock"))):
        known.update(crates(lock.parent, licences["crates"]))
    roots = {key.split()[0]: key for key in known}
    used: dict[str, Part] = {}
    for module in sorted(folder.glob("*/*.wasm")):
        name = module.stem
        inside: list[Part] = []
        waiting = list(known[roots[name]][1]) if name in roots else []
        seen = set(waiting)
        while waiting:
            part, needed = known[waiting.pop()]
            inside.append(part)
            waiting += set(needed) - seen
            seen |= set(needed)
        embedded = licences["embedded"].get(name, [])
        inside += (Part("embedded", entry["name"], entry["version"], entry["licence"]) for entry in embedded)
        used.update((part.reference, part) for part in inside)
        made_of = tuple(sorted(part.reference for part in inside))
        yield Part("guest", name, "", OWN_LICENCE, True, "", _sha256(module), made_of)
    yield from used.values()


def models(root: Path) -> Iterator[Part]:
    """The files of models/."""
    licences = json.loads((root / "models" / "licences.json").read_text())
    for path in sorted((root / "models").glob("*.onnx")):
        if path.name not in licences:
            raise SbomError(
                f"the model {path.name} is not in models/licences.json: add where it is from, and its licence"
            )
        yield Part("model", path.name, "", licences[path.name]["licence"], True, "", _sha256(path))


def debs(status: Path = DPKG_STATUS) -> Iterator[Part]:
    """Debian's packages; their licences are in /usr/share/doc of the image."""
    if not status.exists():
        return
    for entry in status.read_text(errors="replace").split("\n\n"):
        fields = dict(re.findall(r"^(Package|Version|Architecture|Status): (.*)$", entry, re.MULTILINE))
        if fields.get("Status", "").endswith(" installed"):
            name, version = fields["Package"], fields["Version"]
            purl = f"pkg:deb/debian/{name}@{quote(version, safe='')}?arch={fields['Architecture']}"
            yield Part("deb", name, version, f"see /usr/share/doc/{name}/copyright", False, purl)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def bill(parts: list[Part], version: str) -> dict[str, Any]:
    """The CycloneDX document."""
    whole = {"type": "application", "bom-ref": OWN, "name": OWN, "version": version}
    whole_needs = [part.reference for part in parts if part.kind not in ("crate", "embedded")]
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {**whole, "licenses": [{"expression": OWN_LICENCE}]}},
        "components": [part.component() for part in parts],
        "dependencies": [
            {"ref": OWN, "dependsOn": whole_needs},
            *({"ref": part.reference, "dependsOn": list(part.made_of)} for part in parts if part.made_of),
        ],
    }


def table(parts: list[Part]) -> str:
    """The list for people: kind, name, version, licence."""
    rows = [("kind", "name", "version", "licence"), *((p.kind, p.name, p.version or "-", p.licence) for p in parts)]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [
        "  ".join([*(text.ljust(width) for text, width in zip(row, widths, strict=False)), row[3]]) for row in rows
    ]
    return "\n".join(lines) + "\n"


def parts_of(root: Path) -> list[Part]:
    """Everything, in a fixed order. Raises `SbomError`."""
    python = platform.python_version()
    cpython = Part("python", "cpython", python, "Python-2.0", True, f"pkg:generic/cpython@{python}")
    found = {part.reference: part for part in (cpython, *wheels(), *guests(root), *models(root), *debs())}
    return sorted(found.values(), key=lambda part: (list(TYPES).index(part.kind), part.name, part.version))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--root", type=Path, default=Path("."))
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    try:
        parts = parts_of(arguments.root)
    except SbomError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    own = next((d.version for d in distributions() if d.metadata["Name"] == OWN), "0")
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "sbom.json").write_text(json.dumps(bill(parts, own), indent=1) + "\n")
    (arguments.out / "licences.txt").write_text(table(parts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
