"""What kustomize makes of deploy/kubernetes: every overlay builds, and its parts agree with each other.

The build is the real one, of `kubectl kustomize` or `kustomize`; install.sh makes one where there is none.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from guesthouse import __version__

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy" / "kubernetes"
OVERLAYS = sorted(path.name for path in (FOLDER / "overlays").iterdir())
KUSTOMIZATIONS = sorted(FOLDER.rglob("kustomization.yaml"))
FOREIGN = ("dapr.io/", "keda.sh/", "monitoring.coreos.com/")


@functools.cache
def _command() -> tuple[str, ...]:
    cache = os.environ.get("GUESTHOUSE_KUSTOMIZE") or Path.home() / ".cache" / "guesthouse" / "kustomize"
    if kubectl := shutil.which("kubectl"):
        return kubectl, "kustomize"
    if kustomize := shutil.which("kustomize") or shutil.which("kustomize", path=str(cache)):
        return kustomize, "build"
    pytest.skip("neither kubectl nor kustomize here: run tests/deploy/install.sh")


def build(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*_command(), str(folder)], capture_output=True, text=True)


@functools.cache
def _built(overlay: str) -> str:
    done = build(FOLDER / "overlays" / overlay)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # nothing deprecated
    return done.stdout


@pytest.fixture(params=OVERLAYS)
def objects(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    """All that `kubectl apply -k` would send, of each overlay."""
    return list(yaml.safe_load_all(_built(request.param)))


@pytest.fixture
def everything(tmp_path: Path) -> list[dict[str, Any]]:
    """An overlay of a user's own, with all components that an overlay of ours does not have."""
    copy = tmp_path / "kubernetes"
    shutil.copytree(FOLDER, copy)
    mine = copy / "mine"
    mine.mkdir()
    names = [path.name for path in (FOLDER / "components").iterdir() if path.name not in ("cpu", "keda")]
    text = {"resources": ["../base"], "components": [f"../components/{name}" for name in (*names, "keda")]}
    (mine / "kustomization.yaml").write_text(yaml.safe_dump({"kind": "Kustomization", **text}))
    done = build(mine)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def kinds(objects: list[dict[str, Any]], *kind: str) -> Iterator[dict[str, Any]]:
    return (each for each in objects if each["kind"] in kind)


def templates(objects: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The pods that there would be."""
    return (each["spec"]["template"] for each in kinds(objects, "Deployment", "StatefulSet"))


def selected(objects: list[dict[str, Any]], labels: dict[str, str]) -> list[dict[str, Any]]:
    return [pod for pod in templates(objects) if labels.items() <= pod["metadata"]["labels"].items()]


def named(objects: list[dict[str, Any]], kind: str) -> set[str]:
    return {each["metadata"]["name"] for each in kinds(objects, kind)}


def inside(value: Any, key: str) -> Iterator[Any]:
    """Everything that has this key, however deep."""
    if isinstance(value, dict):
        for name, item in value.items():
            if name == key:
                yield item
            yield from inside(item, key)
    elif isinstance(value, list):
        for item in value:
            yield from inside(item, key)


# ---- the files ----


def test_every_file_is_named_by_a_kustomization_and_every_name_is_a_file():
    """Needs no kustomize."""
    used = set(KUSTOMIZATIONS)
    for file in KUSTOMIZATIONS:
        text = yaml.safe_load(file.read_text())
        assert set(text) <= {"apiVersion", "kind", "resources", "components", "configMapGenerator", "images", "patches"}
        names = [*text.get("resources", []), *text.get("components", [])]
        names += [name for made in text.get("configMapGenerator", []) for name in made["files"]]
        for name in names:
            path = (file.parent / name).resolve()
            assert path.is_file() or (path / "kustomization.yaml").is_file(), f"{file}: {name}"
            used.add(path)
    assert {path for path in FOLDER.rglob("*") if path.is_file()} == {path for path in used if path.is_file()}


def test_every_overlay_and_component_is_in_the_docs():
    text = (ROOT / "docs" / "operations.md").read_text()
    for folder in ("overlays", "components"):
        for path in (FOLDER / folder).iterdir():
            assert f"`{folder}/{path.name}`" in text
    assert "kubectl apply -k deploy/kubernetes/overlays/" in text


def test_a_missing_file_is_an_error(tmp_path: Path):
    copy = tmp_path / "kubernetes"
    shutil.copytree(FOLDER, copy)
    (copy / "components" / "page" / "web.yaml").unlink()
    assert build(copy / "overlays" / "small").returncode


# ---- what is made of them ----


@pytest.mark.parametrize("version", ["1.30", "1.37"])
def test_the_api_knows_every_key_of_the_whole(objects, version):
    own = [each for each in objects if not each["apiVersion"].startswith(FOREIGN)]
    assert own
    for each in own:
        assert kubernetes_validate.validate(each, version, strict=True) == version


def test_no_two_objects_have_one_name(objects, everything):
    for whole in (objects, everything):
        names = [(each["kind"], each["metadata"]["name"]) for each in whole]
        assert len(names) == len(set(names))


def test_there_is_at_most_one_autoscaler(objects):
    assert len(list(kinds(objects, "HorizontalPodAutoscaler", "ScaledObject"))) <= 1


def test_the_image_is_the_one_of_the_overlay_and_its_version_ours(objects):
    images = {item["image"] for pod in templates(objects) for item in pod["spec"]["containers"]}
    ours = {image for image in images if "guesthouse" in image}
    assert len(ours) == 1
    assert ours.pop().endswith(f"guesthouse:{__version__}")
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    assert images - {image for image in images if "guesthouse" in image} <= {compose["redis"]["image"]}


def test_the_manifest_has_a_name_that_changes_with_it_and_pods_mount_that(objects):
    (made,) = named(objects, "ConfigMap")
    assert re.fullmatch(r"vision-[a-z0-9]{10}", made)
    assert list(inside(list(templates(objects)), "configMap")) == [{"name": made}]


def secrets_of_docs() -> set[tuple[str, str]]:
    """The secrets that docs/operations.md tells to make: (name, key)."""
    text = (ROOT / "docs" / "operations.md").read_text()
    made = re.findall(r"kubectl create secret generic (\S+)((?:.*\\\n)*.*)", text)
    return {(name, key) for name, line in made for key in re.findall(r"--from-literal=(\w+)=", line)}


def test_every_secret_that_is_asked_for_is_one_that_the_docs_tell_to_make(objects, everything):
    for whole in (objects, everything):
        asked = {(each["name"], each["key"]) for each in inside(whole, "secretKeyRef")}
        for trigger in kinds(whole, "TriggerAuthentication"):
            asked |= {(each["name"], each["key"]) for each in trigger["spec"]["secretTargetRef"]}
        for each in inside(whole, "credentials"):
            asked.add((each["name"], each["key"]))
        for pod in templates(whole):
            if token := pod["metadata"].get("annotations", {}).get("dapr.io/app-token-secret"):
                asked.add((token, "token"))  # the key that Dapr reads
        assert asked
        assert asked <= secrets_of_docs()


def test_services_policies_and_budgets_select_pods_that_there_are_and_ports_that_they_have(everything):
    for service in kinds(everything, "Service"):
        (pod,) = selected(everything, service["spec"]["selector"])
        ports = {port["name"] for port in pod["spec"]["containers"][0]["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    for each in kinds(everything, "PodDisruptionBudget", "PodMonitor"):
        assert len(selected(everything, each["spec"]["selector"]["matchLabels"])) == 1
    for monitor in kinds(everything, "PodMonitor"):
        (pod,) = selected(everything, monitor["spec"]["selector"]["matchLabels"])
        ports = {port["name"] for port in pod["spec"]["containers"][0]["ports"]}
        assert {endpoint["port"] for endpoint in monitor["spec"]["podMetricsEndpoints"]} <= ports
    for policy in kinds(everything, "NetworkPolicy"):
        assert len(selected(everything, policy["spec"]["podSelector"]["matchLabels"])) == 1
    deployments = named(everything, "Deployment")
    for target in inside(everything, "scaleTargetRef"):
        assert target["name"] in deployments


#: Of Dapr 1.18: a sidecar's port for other sidecars and that of its metrics; of its control plane sentry, operator,
#: placement and scheduler.
SIDECAR, SIDECAR_METRICS = 50002, 9090
CONTROL_PLANE = {50001, 6500, 50005, 50006}


def rules(objects: list[dict[str, Any]], name: str, way: str) -> list[tuple[str, set[int]]]:
    """Of a network policy: whom it lets in or out to, as text, and the ports."""
    (policy,) = (each for each in kinds(objects, "NetworkPolicy") if each["metadata"]["name"] == name)
    peers = "from" if way == "ingress" else "to"
    return [
        (str(rule.get(peers, "anybody")), {port["port"] for port in rule["ports"]})
        for rule in policy["spec"].get(way, [])
    ]


def test_a_guest_host_is_reached_by_sidecars_and_prometheus_alone(everything):
    (calls, call_ports), (prometheus, metrics) = rules(everything, "vision", "ingress")
    assert "dapr.io/sidecar-injected" in calls
    assert "namespaceSelector" not in calls
    assert call_ports == {SIDECAR}
    assert "monitoring" in prometheus
    (pod,) = selected(everything, {"app.kubernetes.io/name": "vision"})
    assert metrics == {SIDECAR_METRICS, pod["spec"]["containers"][0]["ports"][0]["containerPort"]}
    assert "dapr.io/sidecar-listen-addresses" not in pod["metadata"]["annotations"]  # its API is on loopback


def test_pods_reach_what_they_need_and_nothing_else(everything):
    vision = dict(rules(everything, "vision", "egress"))
    (service,) = (each for each in kinds(everything, "Service") if each["metadata"]["name"] == "redis")
    assert set.union(*vision.values()) == {53, *CONTROL_PLANE, service["spec"]["ports"][0]["port"]}
    web = dict(rules(everything, "web", "egress"))
    assert set.union(*web.values()) == {53, *CONTROL_PLANE, SIDECAR}
    assert "anybody" not in {*vision, *web}
    assert rules(everything, "redis", "egress") == []
    for policy in kinds(everything, "NetworkPolicy"):
        assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    hosts = {
        item["value"]
        for each in inside(everything, "metadata")
        if isinstance(each, list)
        for item in each
        if item["name"] == "redisHost"
    }
    assert hosts == {f"redis:{service['spec']['ports'][0]['port']}"}
