"""What is shipped, behind real sidecars with a real Redis and a real MQTT broker: manifests, components, policies and
the sidecar's settings are the files', and only addresses, ports and paths are this machine's.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml

from tests.dapr_real.real_programs import COMPONENTS, ROOT, App, Mosquitto, Pair, Redis, Sidecar, running
from tests.dapr_real.real_programs import resources as copies
from tests.support.ports import free_port
from tests.support.waiting import until

BASE = ROOT / "deploy" / "kubernetes" / "base"
FLAGS = ("max-body-size", "app-health-probe-timeout", "app-health-threshold")  # `Sidecar` gives the others
PASSWORD = "horse-battery"
#: In place of Kubernetes' own: the secrets that docs/operations.md tells to make.
SECRETS = """
apiVersion: dapr.io/v1alpha1
kind: Component
metadata: { name: kubernetes }
spec:
  type: secretstores.local.file
  version: v1
  metadata:
    - { name: secretsFile, value: FILE }
    - { name: multiValued, value: "true" }
"""
LARGEST = 4 * 1024 * 1024  # what a publisher's sidecar lets through, if it does not say otherwise
FEWER = 16  # messages in a stream, instead of the file's
#: MiB for messages on their way through Redis's connections, which fewer messages in a stream do not make fewer: 8 that
#: the sidecar takes at once, 4 that it hands on, one that comes, each twice. A busy machine has them all there.
UNDER_WAY = 2 * 13 * LARGEST >> 20


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    """A Redis with a password and with the memory of deploy/kubernetes' own, for as many fewer messages."""
    (tmp_path / "redis").mkdir()
    server = Redis(tmp_path / "redis").start()
    text = (BASE.parent / "components" / "redis" / "redis.yaml").read_text()
    stateful = next(each for each in yaml.safe_load_all(text) if each["kind"] == "StatefulSet")
    args = stateful["spec"]["template"]["spec"]["containers"][0]["args"]
    full = int(args[args.index("--maxmemory") + 1].removesuffix("mb")) * FEWER // int(setting("maxLenApprox"))
    full += UNDER_WAY
    server.command("CONFIG", "SET", "maxmemory", f"{full}mb", "maxmemory-policy", "volatile-ttl")
    server.command("CONFIG", "SET", "requirepass", PASSWORD)
    yield server
    server.stop()


def setting(name: str) -> str:
    """Of the component `pubsub`."""
    items = next(yaml.safe_load_all((BASE / "dapr.yaml").read_text()))["spec"]["metadata"]
    return str(next(item["value"] for item in items if item["name"] == name))


def resources(folder: Path, redis: Redis, kinds: tuple[str, ...] = ("Component", "Resiliency")) -> Path:
    """The shipped resources, a file each: daprd reads of a resiliency's file the first document alone."""
    place = folder / "resources"
    place.mkdir()
    text = (BASE / "dapr.yaml").read_text()
    for old, new in {
        "redis:6379": f"localhost:{redis.port}",
        f'maxLenApprox, value: "{setting("maxLenApprox")}"': f'maxLenApprox, value: "{FEWER}"',
        "scopes: [vision]": "scopes: [vision, camera]",  # the publisher of photos, as the file says
    }.items():
        assert old in text
        text = text.replace(old, new)
    for number, document in enumerate(text.split("\n---\n")):
        if yaml.safe_load(document)["kind"] in kinds:
            (place / f"{number}.yaml").write_text(document)
    (folder / "secrets.json").write_text(json.dumps({"redis": {"password": PASSWORD}}))
    (place / "secrets.yaml").write_text(SECRETS.replace("FILE", str(folder / "secrets.json")))
    return place


@pytest.fixture
def vision(tmp_path: Path, names: Path, redis: Redis, guests_folder: Path) -> Iterator[Pair]:
    """The guest host and its sidecar, as a pod has them."""
    documents = yaml.safe_load_all((BASE / "vision.yaml").read_text())
    deployment = next(each for each in documents if each["kind"] == "Deployment")
    annotations = deployment["spec"]["template"]["metadata"]["annotations"]
    folder = tmp_path / "vision"
    folder.mkdir()
    text = (BASE / "guesthouse.toml").read_text()
    for old, new in {
        "/srv/guesthouse/guests": str(guests_folder),
        "/srv/guesthouse": str(ROOT),
        "port = 9464": f"port = {free_port()}",
    }.items():
        assert old in text
        text = text.replace(old, new)
    (folder / "guesthouse.toml").write_text(text)
    token = {"APP_API_TOKEN": "right-horse"}
    sidecar = Sidecar(
        folder,
        annotations["dapr.io/app-id"],
        app_port=free_port(),
        names=names,
        resources=(resources(folder, redis),),
        flags=tuple(word for name in FLAGS for word in (f"--{name}", annotations[f"dapr.io/{name}"])),
        environment=token,
        subscribes=True,
    )
    app = App(
        folder,
        folder / "guesthouse.toml",
        port=sidecar.app_port,
        sidecar_port=sidecar.ports.grpc,
        environment={**token, "METRICS_TOKEN": "m"},
    )
    with running(app, sidecar):
        yield Pair(app, sidecar)


@pytest.fixture
def camera(tmp_path: Path, names: Path, redis: Redis) -> Iterator[Sidecar]:
    """The sidecar of a publisher, with nothing set."""
    folder = tmp_path / "camera"
    folder.mkdir()
    sidecar = Sidecar(folder, "camera", names=names, resources=(resources(folder, redis, ("Component",)),))
    with running(sidecar):
        yield sidecar


def publish(sidecar: Sidecar, body: bytes) -> int:
    """The status of the answer."""
    kind = {"content-type": "application/octet-stream"}
    return sidecar.http("POST", "/v1.0/publish/pubsub/photos", body, kind).status


def ask(redis: Redis, *words: str) -> list[str]:
    return redis.command("--no-auth-warning", "-a", PASSWORD, *words).split()


def test_photos_among_junk_are_all_answered_and_the_junk_is_kept_apart(vision, camera, redis, photos: Path):
    photo = (photos / "coffee.png").read_bytes()
    for number in range(13):  # more junk than the sidecar takes at once, before most of the photos
        junk = number % 2 == 0 or number in (1, 3)
        assert publish(camera, f"this is no photo {number}".encode() if junk else photo) == 204
    until(lambda: len(ask(redis, "KEYS", "vision||labels-*")) == 4, "labels of all photos", 120)
    until(lambda: ask(redis, "XLEN", "photos-failed") == ["9"], "all junk among the dead letters", 120)
    until(lambda: ask(redis, "XPENDING", "photos", "vision")[:1] == ["0"], "all is acknowledged")
    # As what it is: no failure of the guest, of which an operator is told. (A busy machine may be too slow for one.)
    reasons = [line["reason"] for line in vision.app.lines("failed")]
    assert reasons.count("MALFORMED") == 9
    assert set(reasons) <= {"MALFORMED", "DEADLINE", "FULL"}
    for key in ask(redis, "KEYS", "vision||labels-*"):
        (label, *_) = json.loads(" ".join(ask(redis, "HGET", key, "data")))
        assert label["label"] == "espresso"
        assert 0 < int(ask(redis, "TTL", key)[0]) <= 3600


def test_the_largest_photos_fill_no_redis(vision, camera, redis):
    """Each is kept twice, among the photos and the dead letters; Redis drops the oldest, and refuses none."""
    for number in range(3 * FEWER + 4):  # more than it could keep
        assert publish(camera, number.to_bytes(4, "big") * (LARGEST // 4)) == 204
    until(lambda: len(vision.app.lines("failed")) >= FEWER, "many are handled", 120)
    assert ask(redis, "XLEN", "photos") == [str(FEWER)]
    assert publish(camera, b"one more") == 204
    assert publish(camera, b"x" * (LARGEST + 1000)) not in (0, 204)  # its sidecar lets no larger through
    # The sidecar of the guest host would, and publishes nothing but dead letters.
    assert publish(vision.sidecar, b"x") == 403


def test_the_repository_s_manifest_with_the_resources_that_their_readme_names(
    tmp_path: Path, names: Path, photos: Path
):
    command = re.search(r"^daprd (.*\\\n)*.*$", (COMPONENTS / "README.md").read_text(), re.MULTILINE)
    assert command is not None
    folders = re.findall(r"components/([\w-]+)", command[0])
    broker = Mosquitto(tmp_path).start()
    port = free_port()
    replace = {"tcp://localhost:1883": f"tcp://localhost:{broker.port}"}
    sidecar = Sidecar(
        tmp_path, "vision", app_port=port, names=names, resources=copies(tmp_path, *folders, replace=replace)
    )
    app = App(tmp_path, ROOT / "guesthouse.toml", port=port, sidecar_port=sidecar.ports.grpc)
    try:
        with running(app, sidecar):
            text = tmp_path / "text"

            def publish_text(words: str) -> str:
                """Its digest, by which the log names it."""
                text.write_text(words)
                broker.publish("camera/door", text)
                return hashlib.sha256(words.encode()).hexdigest()

            # The broker keeps nothing for a reader that it has not met, and a sidecar is ready before it reads.
            until(lambda: publish_text("knock") and app.lines("failed"), "the camera is read", pause=0.5)
            junk = {publish_text(f"no photo {number}") for number in range(25)}  # more than is handed out at once (20)
            for _ in range(3):
                broker.publish("camera/door", photos / "coffee.png")
            until(lambda: len(app.lines("answered")) >= 3, "all photos are answered", 120)
            until(
                lambda: junk <= {line["sha256"] for line in app.lines("gave an event up")}, "all junk is given up", 120
            )
            assert {line["reason"] for line in app.lines("failed")} <= {"MALFORMED", "DEADLINE", "FULL"}
    finally:
        broker.stop()


def schemas() -> dict[tuple[str, str], dict[str, Any]]:
    """Of Dapr's own kinds, by apiVersion and kind: those of the release that tests/daprd builds, where Go has it."""
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if go is None:
        pytest.skip("no Go here, which finds Dapr's source")
    command = [go, "list", "-mod=readonly", "-m", "-f", "{{.Dir}}", "github.com/dapr/dapr"]
    done = subprocess.run(command, cwd=ROOT / "tests" / "daprd", capture_output=True, text=True)
    files = sorted(Path(done.stdout.strip() or "/none").glob("charts/dapr/crds/*.yaml"))
    if not files:
        pytest.skip("Dapr's source is not in Go's cache: this daprd was not built here")
    found = {}
    for definition in (each for file in files for each in yaml.safe_load_all(file.read_text()) if each):
        spec = definition["spec"]
        for version in spec["versions"]:
            schema = closed(version["schema"]["openAPIV3Schema"])
            schema["properties"]["metadata"] = {"type": "object"}
            found[f"{spec['group']}/{version['name']}", spec["names"]["kind"]] = schema
    return found


def closed(schema: Any) -> Any:
    """The same, refusing keys that it does not name: Kubernetes would leave them out without a word."""
    if isinstance(schema, dict):
        made = {key: closed(value) for key, value in schema.items()}
        return {"additionalProperties": False, **made} if "properties" in schema and "type" in schema else made
    return [closed(each) for each in schema] if isinstance(schema, list) else schema


def test_dapr_s_own_schemas_know_every_key_of_every_resource():
    known = schemas()
    files = [*COMPONENTS.rglob("*.yaml"), *(ROOT / "deploy").rglob("*.yaml")]
    found = [(file, each) for file in files for each in yaml.safe_load_all(file.read_text())]
    ours = [(file, each) for file, each in found if each.get("apiVersion", "").startswith("dapr.io/")]
    assert len(ours) > 20
    for file, each in ours:
        errors = jsonschema.Draft7Validator(known[each["apiVersion"], each["kind"]]).iter_errors(each)
        assert [error.message for error in errors] == [], file
