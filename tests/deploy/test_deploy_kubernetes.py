"""The files for Kubernetes and `dapr run -f`: sound by themselves, and in step with each other and with the code.

Kubernetes' own kinds are checked against its API's schemas. Those of Dapr, KEDA and the Prometheus operator are not in
them: of these the parts that matter here are looked at one by one. What kustomize makes of the files is in
test_deploy_kustomize.py.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from guesthouse.manifest import Manifest, parse
from guesthouse.observe import probes

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy" / "kubernetes"
MANIFEST = FOLDER / "base" / "guesthouse.toml"
# From the first minor version whose API has all that is used (a pause before SIGTERM) to the newest with schemas.
VERSIONS = ["1.30", "1.37"]
DOCUMENTS: list[tuple[str, dict[str, Any]]] = [
    (f"{file.relative_to(FOLDER)}-{document['kind']}", document)
    for file in sorted(FOLDER.rglob("*.yaml"))
    if file.name != "kustomization.yaml"
    for document in yaml.safe_load_all(file.read_text())
]
FOREIGN = ("dapr.io/", "keda.sh/", "monitoring.coreos.com/")
MIB = 1024 * 1024

# What Dapr's injector reads from a pod (1.18: pkg/injector/annotations), each after `dapr.io/`.
ANNOTATIONS = """
enabled app-port config app-protocol app-ssl app-id enable-profiling log-level api-token-secret app-token-secret
log-as-json app-max-concurrency enable-metrics metrics-port enable-debug debug-port env env-from-secret grpc-port
internal-grpc-port sidecar-cpu-request sidecar-cpu-limit sidecar-memory-request sidecar-memory-limit
sidecar-listen-addresses sidecar-liveness-probe-delay-seconds sidecar-liveness-probe-timeout-seconds
sidecar-liveness-probe-period-seconds sidecar-liveness-probe-threshold sidecar-readiness-probe-delay-seconds
sidecar-readiness-probe-timeout-seconds sidecar-readiness-probe-period-seconds sidecar-readiness-probe-threshold
sidecar-image sidecar-seccomp-profile-type http-max-request-size max-body-size http-read-buffer-size
read-buffer-size graceful-shutdown-seconds block-shutdown-duration enable-api-logging unix-domain-socket-path
volume-mounts volume-mounts-rw disable-builtin-k8s-secret-store enable-app-health-check app-health-check-path
app-health-probe-interval app-health-probe-timeout app-health-threshold app-binding-options-timeout
placement-host-address actors-disseminate-timeout scheduler-host-address pluggable-components
pluggable-components-sockets-folder component-container inject-pluggable-components app-channel-address
sentry-request-jwt-audiences sidecar-svc-annotations disable-init-endpoints enable-native-sidecar
"""
# The keys of a multi-app run's entries (Dapr CLI: pkg/runfileconfig).
RUN_KEYS = """
appID appDirPath appChannelAddress appPort daprHTTPPort daprGRPCPort profilePort command metricsPort
unixDomainSocket daprInternalGRPCPort configFilePath appProtocol apiListenAddresses enableProfiling logLevel
appMaxConcurrency placementHostAddress resourcesPath resourcesPaths appSSL maxBodySize readBufferSize
enableAppHealthCheck appHealthCheckPath appHealthProbeInterval appHealthProbeTimeout appHealthThreshold
enableApiLogging runtimePath env daprdLogDestination appLogDestination schedulerHostAddress
"""


def one(kind: str, name: str = "vision") -> dict[str, Any]:
    (found,) = (d for _, d in DOCUMENTS if d["kind"] == kind and d["metadata"]["name"] == name)
    return found


def pod(name: str = "vision") -> dict[str, Any]:
    found: dict[str, Any] = one("Deployment", name)["spec"]["template"]["spec"]
    return found


def container(name: str = "vision") -> dict[str, Any]:
    containers: list[dict[str, Any]] = pod(name)["containers"]
    (found,) = containers
    return found


def annotation(name: str, deployment: str = "vision") -> str:
    return str(one("Deployment", deployment)["spec"]["template"]["metadata"]["annotations"][f"dapr.io/{name}"])


def metadata(component: str) -> dict[str, str]:
    return {item["name"]: item.get("value", "") for item in one("Component", component)["spec"]["metadata"]}


def manifest() -> Manifest:
    """What the pods serve, with the image's files where they are in this checkout."""
    text = MANIFEST.read_text().replace("/srv/guesthouse/", f"{ROOT}/")
    return parse(tomllib.loads(text), ROOT / "guesthouse.toml", {"METRICS_TOKEN": "m"})


def seconds(text: str) -> float:
    found = re.fullmatch(r"(\d+)(ms|s|m)", text)
    assert found is not None
    number, unit = found.groups()
    return int(number) * {"ms": 0.001, "s": 1, "m": 60}[unit]


def size(text: str) -> int:
    found = re.fullmatch(r"(\d+)(Mi|Gi)", text)
    assert found is not None
    number, unit = found.groups()
    return int(number) * {"Mi": MIB, "Gi": 1024 * MIB}[unit]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "document", [pytest.param(d, id=name) for name, d in DOCUMENTS if not d["apiVersion"].startswith(FOREIGN)]
)
def test_the_api_knows_every_key(document, version):
    assert kubernetes_validate.validate(document, version, strict=True) == version


@pytest.mark.parametrize(
    "document", [pytest.param(d, id=name) for name, d in DOCUMENTS if d["apiVersion"].startswith(FOREIGN)]
)
def test_resources_of_others_have_their_shape(document):
    dapr = {"apiVersion", "kind", "metadata", "spec", "auth", "scopes"}
    keys = {
        "Component": dapr,
        "Resiliency": dapr - {"auth"},
        "ScaledObject": {"apiVersion", "kind", "metadata", "spec"},
        "TriggerAuthentication": {"apiVersion", "kind", "metadata", "spec"},
        "PodMonitor": {"apiVersion", "kind", "metadata", "spec"},
    }[document["kind"]]
    assert set(document) <= keys
    assert document["apiVersion"] in ("dapr.io/v1alpha1", "keda.sh/v1alpha1", "monitoring.coreos.com/v1")
    for item in document["spec"].get("metadata", []):
        assert set(item) in ({"name", "value"}, {"name", "secretKeyRef"})
        assert isinstance(item.get("value", ""), str)
    for trigger in document["spec"].get("triggers", []):
        assert all(isinstance(value, str) for value in trigger["metadata"].values())


@pytest.mark.parametrize("name", ["vision", "web"])
def test_every_annotation_is_one_that_dapr_reads_and_is_text(name):
    found = one("Deployment", name)["spec"]["template"]["metadata"]["annotations"]
    assert {name.removeprefix("dapr.io/") for name in found} <= set(ANNOTATIONS.split())
    assert all(isinstance(value, str) for value in found.values())


def test_the_manifest_serves_what_is_in_the_image():
    served = manifest()
    modules = {guest.file for guest in served.guests.values()}
    models = {model.path for model in served.models.values()}
    assert modules
    assert all(file.is_file() for file in modules | models)
    copied = (ROOT / "Dockerfile").read_text()
    assert "cp --parents guesthouse.toml guests/*/*.wasm models/*.onnx /srv/guesthouse" in copied


def test_manifest_and_sidecar_agree():
    served = manifest()
    assert annotation("app-id") == served.app.name
    assert int(annotation("app-port")) == served.server.port
    assert annotation("app-protocol") == "grpc"
    assert size(annotation("max-body-size")) >= max(guest.limits.input for guest in served.guests.values())
    (topic,) = served.topic
    assert topic.pubsub == one("Component", "pubsub")["metadata"]["name"]
    assert topic.state is not None
    assert topic.state.store == one("Component", "state")["metadata"]["name"]


def test_the_sidecar_notices_the_drain_before_anything_is_refused():
    interval, threshold = int(annotation("app-health-probe-interval")), int(annotation("app-health-threshold"))
    assert manifest().server.drain.notice >= interval * threshold
    assert int(annotation("app-health-probe-timeout")) < interval * 1000


def test_a_pod_ends_in_order():
    """Both are told to end, the sidecar at once, the application after the pause; nobody is killed on the way."""
    drain = manifest().server.drain
    pause = container()["lifecycle"]["preStop"]["sleep"]["seconds"]
    block, graceful = seconds(annotation("block-shutdown-duration")), int(annotation("graceful-shutdown-seconds"))
    # Events that the sidecar had handed over when it stopped reading end while its API still takes their replies.
    assert all(pause > guest.limits.time + guest.limits.queue_wait for guest in manifest().guests.values())
    # What ends the sidecar's wait is that the application says no, not the clock.
    assert block >= pause + drain.notice
    assert graceful >= drain.limit
    assert pod()["terminationGracePeriodSeconds"] >= max(pause + drain.notice + drain.limit, block + graceful)


def test_probes_ask_for_paths_and_the_port_that_there_are():
    served = manifest()
    (port,) = container()["ports"]
    assert served.metrics is not None
    assert served.metrics.host == "0.0.0.0"
    assert port == {"name": "metrics", "containerPort": served.metrics.port}
    code = Path(probes.__file__).read_text()
    for probe, path in (("startupProbe", "/readyz"), ("readinessProbe", "/readyz"), ("livenessProbe", "/healthz")):
        asked = container()[probe]["httpGet"]
        assert asked == {"path": path, "port": "metrics"}
        assert f'"{path}"' in code


@pytest.mark.parametrize("name", ["vision", "web"])
def test_a_pod_has_no_more_rights_than_a_container_of_compose(name):
    assert container(name)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    of_pod = pod(name)["securityContext"]
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"][name]
    assert compose["read_only"]
    assert f"{of_pod['runAsUser']}:{of_pod['runAsGroup']}" == compose["user"]
    assert of_pod["runAsNonRoot"]
    assert of_pod["seccompProfile"] == {"type": "RuntimeDefault"}
    assert annotation("sidecar-seccomp-profile-type", name) == "RuntimeDefault"
    assert pod(name)["automountServiceAccountToken"] is False
    assert one("ServiceAccount", name)["automountServiceAccountToken"] is False


def test_the_code_cache_is_a_folder_inside_its_volume():
    """The volume's own folder belongs to root and anybody may write to it: `serve` refuses such a cache."""
    cache = next(item["value"] for item in container()["env"] if item["name"] == "GUESTHOUSE_CACHE")
    mount = next(item for item in container()["volumeMounts"] if item["name"] == "code")
    assert Path(cache).parent == Path(mount["mountPath"])
    volume = next(item for item in pod()["volumes"] if item["name"] == "code")
    assert volume["emptyDir"].get("medium") is None


def test_what_is_mounted_and_named_is_there():
    assert {mount["name"] for mount in container()["volumeMounts"]} == {volume["name"] for volume in pod()["volumes"]}
    assert pod()["serviceAccountName"] == one("ServiceAccount")["metadata"]["name"]
    labels = one("Deployment")["spec"]["template"]["metadata"]["labels"]
    for selects in (one("Deployment"), one("PodDisruptionBudget")):
        assert selects["spec"]["selector"] == {"matchLabels": labels}
    token = next(item["valueFrom"] for item in container()["env"] if item["name"] == "APP_API_TOKEN")
    assert token == {"secretKeyRef": {"name": annotation("app-token-secret"), "key": "token"}}
    metrics = next(item["valueFrom"] for item in container()["env"] if item["name"] == "METRICS_TOKEN")
    assert metrics == {"secretKeyRef": {"name": "vision-token", "key": "metrics"}}
    manifest_file = Path(container()["args"][-1])
    assert manifest_file.name == MANIFEST.name
    assert {"name": "manifest", "mountPath": str(manifest_file.parent), "readOnly": True} in container()["volumeMounts"]


def test_memory_is_enough_for_the_worst_that_the_limits_allow():
    limits = [guest.limits for guest in manifest().guests.values()]
    worst = sum(each.concurrency * (each.memory + each.host_memory + each.input + each.output) for each in limits)
    results = (ROOT / "bench" / "results.md").read_text()
    row = re.search(r"\| classify \| \d+ (\|.*)", results)
    assert row is not None
    resident = max(float(mib) for mib in re.findall(r"\d+\.\d\d", row[1]))
    in_memory = sum(size(v["emptyDir"]["sizeLimit"]) for v in pod()["volumes"] if "medium" in v.get("emptyDir", {}))
    resources = container()["resources"]
    assert size(resources["limits"]["memory"]) >= worst + resident * MIB + in_memory
    assert size(resources["requests"]["memory"]) >= resident * MIB


def test_a_message_is_tried_until_the_application_is_known_to_be_away_and_given_up_before_another_replica_gets_it():
    spec = one("Resiliency")["spec"]
    inbound = spec["targets"]["components"]["pubsub"]["inbound"]
    retry = spec["policies"]["retries"][inbound["retry"]]
    assert retry["policy"] == "exponential"
    # Dapr (1.18) begins with half a second, makes each pause half as long again, and all of them up to half longer or
    # shorter, by chance.
    pauses = sum(min(0.5 * 1.5**n, seconds(retry["maxInterval"])) for n in range(retry["maxRetries"]))
    probes = int(annotation("app-health-probe-interval")) * int(annotation("app-health-threshold"))
    assert pauses / 2 > probes + int(annotation("app-health-probe-timeout")) / 1000
    limits = manifest().guests["classify"].limits
    processing = seconds(metadata("pubsub")["processingTimeout"])
    timeout = seconds(spec["policies"]["timeouts"][inbound["timeout"]])
    assert limits.time + limits.queue_wait < timeout < processing
    assert pauses * 1.5 + limits.time * (retry["maxRetries"] + 1) < processing
    (topic,) = manifest().topic
    assert topic.dead_letter


def test_what_waits_in_redis_fits_into_it():
    """Full, it takes no message any more; and it drops old ones only when it takes one."""
    (topic,) = manifest().topic
    assert metadata("pubsub")["publishingScopes"] == f"{annotation('app-id')}={topic.dead_letter}"
    largest = 4 * MIB  # what a publisher's sidecar lets through, if it does not say otherwise
    streams = 2 * int(metadata("pubsub")["maxLenApprox"]) * largest * 4 // 3  # base64; photos and dead letters
    redis = one("StatefulSet", "redis")["spec"]["template"]["spec"]["containers"][0]
    full = int(redis["args"][redis["args"].index("--maxmemory") + 1].removesuffix("mb")) * MIB
    assert streams * 1.25 < full  # Redis' allocator rounds up
    assert full * 1.25 < size(redis["resources"]["limits"]["memory"])
    assert "--maxmemory-policy volatile-ttl" in " ".join(redis["args"])  # states have a time to live, streams have none
    assert int(metadata("state")["ttlInSeconds"]) > 0
    text = (ROOT / "docs" / "operations.md").read_text()
    assert f"2 x {metadata('pubsub')['maxLenApprox']} x 4 MiB x 4/3" in text


def test_the_page_is_the_one_that_the_manifest_allows_and_asks_for_a_token():
    web = container("web")
    assert list(manifest().page.apps) == [annotation("app-id", "web")]
    assert web["args"] == ["web", "--host", "0.0.0.0", "--app", annotation("app-id")]
    token = {"secretKeyRef": {"name": "vision-token", "key": "page"}}
    assert {"name": "GUESTHOUSE_PAGE_TOKEN", "valueFrom": token} in web["env"]
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["web"]["healthcheck"]["test"][-1]
    port = web["ports"][0]
    assert compose == f"http://127.0.0.1:{port['containerPort']}/healthz"
    for probe in ("readinessProbe", "livenessProbe"):
        assert web[probe]["httpGet"] == {"path": "/healthz", "port": port["name"]}


def test_prometheus_asks_the_port_of_metrics_with_their_token_and_calls_it_as_the_alerts_do():
    (endpoint,) = one("PodMonitor")["spec"]["podMetricsEndpoints"]
    assert endpoint["port"] == container()["ports"][0]["name"]
    assert f'"{endpoint["path"]}"' in Path(probes.__file__).read_text()
    metrics = next(item["valueFrom"]["secretKeyRef"] for item in container()["env"] if item["name"] == "METRICS_TOKEN")
    assert endpoint["authorization"]["credentials"] == metrics
    job = endpoint["relabelings"][0]
    assert job["targetLabel"] == "job"
    assert f'job="{job["replacement"]}"' in (ROOT / "deploy" / "alerts.yaml").read_text()


def test_the_components_are_for_this_application_alone():
    components = [(kind, name) for kind in ("Component", "Resiliency") for name in names(kind)]
    assert {("Component", "pubsub"), ("Component", "state"), ("Component", "actors")} <= set(components)
    for kind, name in components:
        assert annotation("app-id") in one(kind, name)["scopes"]


def names(kind: str) -> list[str]:
    return [document["metadata"]["name"] for _, document in DOCUMENTS if document["kind"] == kind]


def test_the_state_of_actors_does_not_end_and_one_store_alone_has_it():
    stores = [name for name in names("Component") if "actorStateStore" in metadata(name)]
    assert stores == ["actors"]
    assert "ttlInSeconds" not in metadata("actors")


def test_autoscalers_count_what_the_application_reads_and_move_the_same_pods():
    keda, cpu = one("ScaledObject")["spec"], one("HorizontalPodAutoscaler")["spec"]
    assert keda["scaleTargetRef"]["name"] == cpu["scaleTargetRef"]["name"] == one("Deployment")["metadata"]["name"]
    assert "replicas" not in one("Deployment")["spec"]
    assert (keda["minReplicaCount"], keda["maxReplicaCount"]) == (cpu["minReplicas"], cpu["maxReplicas"])
    streams, cores = keda["triggers"]
    (topic,) = manifest().topic
    assert streams["type"] == "redis-streams"
    assert streams["metadata"]["stream"] == topic.topic
    assert streams["metadata"]["consumerGroup"] == annotation("app-id")
    assert streams["metadata"]["address"] == metadata("pubsub")["redisHost"]
    assert streams["authenticationRef"]["name"] == one("TriggerAuthentication", "vision-redis")["metadata"]["name"]
    assert "activationLagCount" in streams["metadata"]  # some releases of KEDA refuse lagCount without it
    # A backlog that sidecars keep to themselves is none of KEDA's, and of no new replica's.
    assert int(metadata("pubsub")["queueDepth"]) < int(streams["metadata"]["lagCount"])
    assert cores["metadata"]["containerName"] == container()["name"]
    assert cpu["metrics"][0]["containerResource"]["container"] == container()["name"]
    assert {"cpu", "memory"} <= set(container()["resources"]["requests"])


def test_what_operations_tells_to_watch_are_metrics_that_alerts_and_dashboard_know():
    text = (ROOT / "docs" / "operations.md").read_text().partition("## On Kubernetes")[2]
    named = set(re.findall(r"`(guesthouse_\w+)`", text))
    assert named
    known = (ROOT / "deploy" / "alerts.yaml").read_text() + (ROOT / "deploy" / "grafana-dashboard.json").read_text()
    assert {name for name in named if name not in known} == set()
    alerts = set(re.findall(r"- alert: (\w+)", known))
    assert set(re.findall(r"`(Guesthouse[A-Z]\w+)`", text)) <= alerts


def run_file() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "dapr.yaml").read_text())
    return found


def test_dapr_run_has_keys_that_the_cli_reads():
    document = run_file()
    assert document["version"] == 1
    for entry in (document["common"], *document["apps"]):
        assert set(entry) <= set(RUN_KEYS.split())
    assert not {"appID", "appDirPath", "appPort"} & set(document["common"])


def test_dapr_run_starts_what_the_manifest_and_the_page_are():
    served = parse(tomllib.loads((ROOT / "guesthouse.toml").read_text()), ROOT / "guesthouse.toml", {})
    vision, web = run_file()["apps"]
    assert vision["appID"] == served.app.name
    assert vision["appPort"] == 50051
    assert vision["appProtocol"] == "grpc"
    assert vision["command"] == ["guesthouse", "serve"]
    assert list(served.page.apps) == [web["appID"]]
    assert web["command"] == ["guesthouse", "web", "--app", vision["appID"]]
    assert web["daprHTTPPort"] != vision["daprHTTPPort"]
    for app in (vision, web):
        assert all(list((ROOT / folder).glob("*.yaml")) for folder in app["resourcesPaths"])
