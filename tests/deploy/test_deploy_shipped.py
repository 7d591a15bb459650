"""What is shipped to be used as it is: every manifest without a warning, resources that go together as their README
says, policies that repeat only what a retry can mend, and a compose file that builds nothing twice.
"""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from guesthouse.dapr import status
from guesthouse.event import EVENT_FAULTS, Reason
from guesthouse.manifest import Manifest, parse
from guesthouse.manifest.tables import Binding, Topic
from tests.daprd import build

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
COMPONENTS = ROOT / "components"
COMPOSE = ROOT / "deploy" / "compose"
ENVIRONMENT = {"METRICS_TOKEN": "m"}
MANIFESTS = [ROOT / "guesthouse.toml", *sorted((ROOT / "deploy").rglob("guesthouse.toml"))]
names = pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: str(path.relative_to(ROOT)))


def here(manifest: Path) -> str:
    """Its text, with the image's files where they are in this checkout."""
    return manifest.read_text().replace("/srv/guesthouse/", f"{ROOT}/")


def read(manifest: Path) -> Manifest:
    return parse(tomllib.loads(here(manifest)), manifest, ENVIRONMENT)


def documents(*folders: Path) -> list[dict[str, Any]]:
    """The resources in folders: not in folders of theirs, which a sidecar does not read either."""
    files = [file for folder in folders for file in sorted(folder.glob("*.yaml"))]
    return [document for file in files for document in yaml.safe_load_all(file.read_text())]


# ---- manifests ----


@names
def test_check_has_nothing_to_say_of_a_manifest(manifest: Path, tmp_path: Path):
    """As its user would ask: the whole of `guesthouse check`."""
    text = here(manifest).replace('"../../', f'"{ROOT}/').replace(":-guests}", f":-{ROOT}/guests}}")
    (tmp_path / "guesthouse.toml").write_text(text.replace('path = "models/', f'path = "{ROOT}/models/'))
    command = [sys.executable, "-m", "guesthouse", "check", "-m", str(tmp_path / "guesthouse.toml")]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **ENVIRONMENT})
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning" not in (done.stdout + done.stderr).lower()


@names
def test_every_route_of_a_manifest_gives_up_what_always_fails(manifest: Path):
    """By attempts with or without a dead letter, a dead-letter topic, or on_error."""
    served = read(manifest)
    assert served.binding or served.topic
    for binding in served.binding:
        assert binding.attempts or binding.on_error == "drop"
    for topic in served.topic:
        assert topic.dead_letter or topic.on_error == "drop"


def test_compose_has_the_components_that_its_manifest_names():
    served = read(COMPOSE / "guesthouse.toml")
    there = {each["metadata"]["name"] for each in documents(COMPOSE / "components") if each["kind"] == "Component"}
    wanted = {binding.name for binding in served.binding} | {topic.pubsub for topic in served.topic}
    routes: list[Binding | Topic] = [*served.binding, *served.topic]
    for route in routes:
        wanted |= set(route.to) | ({route.state.store} if route.state else set())
    wanted |= {binding.dead_letter for binding in served.binding if binding.dead_letter}
    assert there == wanted


# ---- components/ ----


def groups() -> list[list[str]]:
    """The README's tables: of the first two one folder at most, of the third any."""
    tables = re.findall(r"(?:^\|.*\n)+", (COMPONENTS / "README.md").read_text(), re.MULTILINE)
    return [re.findall(r"^\| `([\w-]+)` \|", table, re.MULTILINE) for table in tables]


def test_every_folder_of_components_is_in_the_readme_once():
    listed = list(itertools.chain(*groups()))
    assert sorted(listed) == sorted(path.name for path in COMPONENTS.iterdir() if path.is_dir())
    assert len(groups()) == 3


def test_every_set_that_the_readme_allows_has_each_name_once():
    """Else a sidecar ends: duplicate definition of Component name."""
    stores, outputs, any_of = groups()
    for store, output in itertools.product(stores, outputs):
        found = [
            (each["kind"], each["metadata"]["name"])
            for each in documents(*(COMPONENTS / folder for folder in (store, output, *any_of)))
        ]
        assert len(found) == len(set(found)), (store, output)
    for alternatives in (stores, outputs):  # which stand for each other: what needs one can have any
        provided = [{each["metadata"]["name"] for each in documents(COMPONENTS / folder)} for folder in alternatives]
        assert set.intersection(*provided) >= ({"pubsub", "state"} if alternatives is stores else {"results", "failed"})


@pytest.mark.parametrize(
    "page", ["README.md", "components/README.md", "docs/dapr.md", "demo/demo_dapr.py", "dapr.yaml"]
)
def test_every_set_that_is_shown_is_one_that_the_readme_allows(page):
    text = (ROOT / page).read_text().replace("\\\n", " ")
    shown = [
        re.findall(r"components/([\w-]+)(?![\w.-])", line) for line in text.splitlines() if "--resources-path" in line
    ]
    if page == "dapr.yaml":
        shown = [re.findall(r"components/([\w-]+)", each) for each in re.findall(r"resourcesPaths: \[(.*)\]", text)]
    assert shown
    stores, outputs, any_of = groups()
    for folders in shown:
        assert set(folders) <= {*stores, *outputs, *any_of}
        assert len(set(folders) & set(stores)) <= 1
        assert len(set(folders) & set(outputs)) <= 1


# ---- policies ----

POLICIES = [
    *sorted(COMPONENTS.rglob("resiliency.yaml")),
    COMPOSE / "components" / "resiliency.yaml",
    ROOT / "deploy" / "kubernetes" / "base" / "dapr.yaml",
]


def numbers(codes: str) -> set[int]:
    """`"1-3,8"` as Dapr reads it."""
    ranges = (part.split("-") for part in codes.split(","))
    return {code for ends in ranges for code in range(int(ends[0]), int(ends[-1]) + 1)}


def policies(file: Path) -> dict[str, Any]:
    found = [each for each in yaml.safe_load_all(file.read_text()) if each["kind"] == "Resiliency"]
    (each,) = found
    spec: dict[str, Any] = each["spec"]
    return spec


@pytest.mark.parametrize("file", POLICIES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_policy_repeats_no_code_that_stays_the_same(file: Path):
    spec = policies(file)
    event_faults = {status.CODES[reason].value[0] for reason in EVENT_FAULTS}
    too_large = status.CODES[Reason.FULL].value[0]  # of gRPC itself: "message larger than max"
    no_one = status.CODES[Reason.NOT_FOUND].value[0]
    for name, retry in spec["policies"]["retries"].items():
        if "matching" in retry:
            assert not numbers(retry["matching"]["gRPCStatusCodes"]) & {*event_faults, too_large, no_one}, name
        elif name not in ("DaprBuiltInServiceRetries", "calmly"):  # these are not asked about codes
            pytest.fail(f"{name} repeats everything")
        assert retry["policy"] == "constant" or "duration" not in retry  # which Dapr reads for constant ones alone


@pytest.mark.parametrize("file", POLICIES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_policy_for_calls_is_for_proxied_ones_alone_and_cuts_nobody_off(file: Path):
    """Of an InvokeService Dapr repeats every error, and its circuit breaker counts every error."""
    spec = policies(file)
    assert "circuitBreakers" not in spec["policies"]
    assert ("apps" in spec["targets"]) == (file.parent.name == "policies-proxying")


# ---- compose ----


def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    return found


def test_compose_builds_each_image_once_and_before_who_else_uses_it():
    """A service without `build` finds the image only when the one that builds it goes before: docker-compose 1.29
    would look for it in a registry."""
    builds: dict[str, list[str]] = {}
    for name, service in services().items():
        assert "image" in service
        if "build" in service:
            builds.setdefault(service["image"], []).append(name)
    assert {image.partition(":")[0] for image in builds} == {"guesthouse", "guesthouse-wasmer"}
    assert all(len(made_by) == 1 for made_by in builds.values())

    def before(name: str) -> set[str]:
        waited = set(services()[name].get("depends_on", {}))
        return waited.union(*(before(other) for other in waited))

    for name, service in services().items():
        if service["image"] in builds and "build" not in service:
            assert builds[service["image"]][0] in before(name)


def test_every_version_of_dapr_that_is_named_is_the_one_that_the_tests_build():
    release, contrib = build.wanted(build.MODULE), build.wanted("github.com/dapr/components-contrib")
    images = {image for service in services().values() if (image := service["image"]).startswith("daprio/")}
    assert images == {f"daprio/{program}:{release}" for program in build.PROGRAMS}
    conformance = (ROOT / "tests" / "conformance" / "go.mod").read_text()
    assert f"\t{build.MODULE} v{release}\n" in conformance
    assert f"\tgithub.com/dapr/components-contrib v{contrib}\n" in conformance
    texts = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *COMPONENTS.rglob("*.yaml")]
    found = [re.findall(r"(?:daprd`?|sidecar|away) \(?(\d+\.\d+\.\d+)", text.read_text()) for text in texts]
    minor = release.rpartition(".")[0] + "."  # what earlier ones did is said here and there
    assert {version for versions in found for version in versions if version.startswith(minor)} == {release}


def test_the_sidecar_of_compose_knows_what_guests_that_are_actors_need():
    found = services()
    command, ports = found["vision-dapr"]["command"], {}
    for name in ("placement", "scheduler"):
        (flag,) = (word for word in found[name]["command"] if word.startswith("--port="))
        ports[name] = flag.removeprefix("--port=")
        assert f"--{name}-host-address={name}:{ports[name]}" in command
    assert f"--override-broadcast-host-port=scheduler:{ports['scheduler']}" in found["scheduler"]["command"][2]
    stores = [each["metadata"]["name"] for each in documents(COMPOSE / "components") if actor_store(each)]
    assert stores == ["state"]


@pytest.mark.parametrize("folder", ["local", "redis"])
def test_each_folder_of_components_with_a_state_store_keeps_the_state_of_actors(folder: str):
    assert [each["metadata"]["name"] for each in documents(COMPONENTS / folder) if actor_store(each)] == ["state"]


def actor_store(component: dict[str, Any]) -> bool:
    return {"name": "actorStateStore", "value": "true"} in component["spec"].get("metadata", [])


def test_what_waits_in_the_redis_of_compose_fits_into_it():
    (pubsub,) = (each for each in documents(COMPOSE / "components") if each["metadata"]["name"] == "pubsub")
    kept = int(next(item["value"] for item in pubsub["spec"]["metadata"] if item["name"] == "maxLenApprox"))
    sidecar = next(word for word in services()["vision-dapr"]["command"] if word.startswith("--max-body-size="))
    largest = int(sidecar.removeprefix("--max-body-size=").removesuffix("Mi"))
    served = read(COMPOSE / "guesthouse.toml")
    assert largest * 1024 * 1024 >= max(guest.limits.input for guest in served.guests.values())
    assert all(topic.dead_letter is None for topic in served.topic)  # a second stream
    redis = services()["redis"]
    full = int(redis["command"][redis["command"].index("--maxmemory") + 1].removesuffix("mb"))
    assert kept * largest * 4 / 3 * 1.0625 < full  # base64, and what the allocator rounds up for so large ones
    assert full * 1.25 < int(redis["mem_limit"].removesuffix("m"))
    assert (
        f"{kept} x {largest} MiB x 4/3 = {kept * largest * 4 // 3} MiB"
        in (COMPOSE / "components" / "pubsub.yaml").read_text()
    )
