"""Brings docker-compose.yml up for real, sends photos every way in, breaks things, and takes it down.

    sudo python3 -m tests.compose.run        # as `make test-compose`; needs what install.sh installs

The engine is one of its own, in namespaces of its own (network, mounts, processes): it meets no other engine of this
machine, no port of it is taken, and when this program ends, in whatever way, nothing is left running. Images are made
here (stand_ins.py), the compose file is used as it is. Every step says how long it took; the first that fails ends it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.compose import stand_ins

ROOT = stand_ins.ROOT
PHOTOS = ROOT / "tests" / "data" / "photos"
PAGE = "http://127.0.0.1:8080"
SIDECAR = "http://127.0.0.1:3500/v1.0"
IMAGE = "guesthouse:0.2.0"  # of the guest host and the page
SERVICES = ("vision", "vision-dapr", "web", "web-dapr", "mosquitto", "redis", "placement", "scheduler")
PATIENCE = 90.0  # seconds for anything to come about, on a machine that does much else


@contextlib.contextmanager
def step(title: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    print(f"{time.monotonic() - began:7.1f} s  {title}", flush=True)


def until(what: str, ready: Callable[[], Any]) -> Any:
    """What `ready` answers as soon as it is true; a refused connection or an error status counts as not yet."""
    end = time.monotonic() + PATIENCE
    while True:
        with contextlib.suppress(OSError):
            if answer := ready():
                return answer
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {PATIENCE:.0f} s")
        time.sleep(0.2)


def request(url: str, body: bytes | None = None, kind: str = "application/octet-stream") -> bytes:
    """Raises `urllib.error.HTTPError` (an `OSError`) for what is no success."""
    headers = {} if body is None else {"content-type": kind}
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(urllib.request.Request(url, body, headers), timeout=30) as answer:
        return bytes(answer.read())


def best(labels: bytes) -> str:
    return str(json.loads(labels)[0]["label"])


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout


class Project:
    """The compose project in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def compose(self, *arguments: str, log: str = "") -> str:
        """What docker-compose says; where it fails, an error with the end of it."""
        done = subprocess.run(
            ["docker-compose", "--ansi", "never", *arguments],
            cwd=self.folder,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise AssertionError(
                f"docker-compose {' '.join(arguments)}:\n{(done.stdout + done.stderr)[-4000:]}\n"
                f"{log and self.logs(log)}"
            )
        return done.stdout

    def logs(self, service: str) -> str:
        return self.compose("logs", "--no-color", "--tail=200", service)

    def inspect(self, service: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(docker("inspect", self.compose("ps", "-q", service).strip()))[0]
        return found

    def run_in(self, service: str, *command: str) -> subprocess.CompletedProcess[str]:
        """A command in the running container."""
        arguments = ["docker", "exec", self.inspect(service)["Id"], *command]
        return subprocess.run(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def healthy(self) -> bool:
        states = [self.inspect(service)["State"] for service in SERVICES]
        return all(s["Running"] and s.get("Health", {}).get("Status", "healthy") == "healthy" for s in states)

    def crash(self, service: str) -> None:
        """Kill what runs in the container, as the kernel would: the engine is not told that somebody meant it."""
        os.kill(self.inspect(service)["State"]["Pid"], signal.SIGKILL)


class Listener:
    """A subscriber to an MQTT topic, from now on."""

    def __init__(self, topic: str) -> None:
        self._topic = topic

    def __enter__(self) -> Listener:
        command = ["stdbuf", "-oL", "mosquitto_sub", "-d", "-q", "1", "-t", self._topic]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.lines: list[bytes] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        until("the subscription", lambda: any(b"SUBACK" in line for line in self.lines))
        return self

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(line)

    def labels(self) -> list[str]:
        """The likeliest label of each photo, in the order of the results."""
        return [best(line) for line in self.lines if line.startswith(b"[")]

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()
        self._reader.join()


def publish(photo: str) -> None:
    subprocess.run(["mosquitto_pub", "-q", "1", "-t", "camera/door", "-f", PHOTOS / photo], check=True)


def publish_junk(text: str) -> None:
    subprocess.run(["mosquitto_pub", "-q", "1", "-t", "camera/door", "-m", text], check=True)


# What is checked


def check_start_line(project: Project) -> None:
    lines = [line.partition("| ")[2] for line in project.logs("vision").splitlines() if '"serving"' in line]
    said = json.loads(lines[-1])
    assert all(said[part] for part in ("engine", "onnxruntime", "version")), said
    print(f"           {said['engine']}, onnxruntime {said['onnxruntime']}, guesthouse {said['version']}", flush=True)


def check_page() -> None:
    assert b"<html" in request(f"{PAGE}/")
    assert best(request(f"{PAGE}/api/call/api/image", (PHOTOS / "coffee.png").read_bytes(), "image/png")) == "espresso"


def check_sidecar() -> None:
    photo = (PHOTOS / "coffee.png").read_bytes()
    assert best(request(f"{SIDECAR}/invoke/vision/method/api/image", photo, "image/png")) == "espresso"
    grey = request(f"{SIDECAR}/invoke/vision/method/api/grayscale", photo, "image/png")
    assert grey.startswith(b"\x89PNG"), grey[:100]


def check_control_plane() -> None:
    """What guests that are actors would need."""

    def connected() -> bool:
        found = json.loads(request(f"{SIDECAR}/metadata"))
        state = next(each for each in found["components"] if each["name"] == "state")
        assert "ACTOR" in state["capabilities"], state
        placed = found["actorRuntime"]["placement"] == "placement: connected"
        return placed and bool(found["scheduler"]["connected_addresses"])

    until("placement and scheduler", connected)


def check_mqtt(results: Listener) -> None:
    publish("coffee.png")
    until("the result by MQTT", lambda: results.labels() == ["espresso"])
    state = until("the state in Redis", lambda: request(f"{SIDECAR}/state/state/camera"))
    assert best(state) == "espresso"
    events = json.loads(request(f"{PAGE}/api/events"))["events"]
    assert [(event["trigger"], event["name"]) for event in events] == [("binding", "camera")], events


def check_junk(results: Listener) -> None:
    """More texts than the broker hands out at once (20), both ways in, and photos behind them."""
    before = len(results.labels())
    with Listener("failed") as failed:
        for number in range(25):
            publish_junk(f"no photo {number}")
            request(f"{SIDECAR}/publish/pubsub/photos", f"no photo {number}".encode())
        for _ in range(5):
            publish("coffee.png")
            request(f"{SIDECAR}/publish/pubsub/photos", (PHOTOS / "coffee.png").read_bytes())
        until("the photos behind the junk", lambda: len(results.labels()) >= before + 10)
        texts = {f"no photo {number}\n".encode() for number in range(25)}
        until("the junk among the dead letters", lambda: texts <= set(failed.lines))
    assert set(results.labels()) == {"espresso"}, results.labels()


def check_topic(results: Listener) -> None:
    before = len(results.labels())
    request(f"{SIDECAR}/publish/pubsub/photos", (PHOTOS / "coffee.png").read_bytes())
    until("the result of the topic", lambda: len(results.labels()) == before + 1)


def check_shown(project: Project, of: str) -> None:
    """What docs/compose.md tells a reader to type for one of the applications, as it is written there."""
    page = (ROOT / "docs" / "compose.md").read_text()
    shutil.copy(PHOTOS / "coffee.png", project.folder / "photo.jpg")
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    commands = [" ".join(span.split()) for span in re.findall(r"`((?:curl|mosquitto_pub) [^`]+)`", page)]
    for command in [command for command in commands if ("vision-wasmer" in command) == (of == "vision-wasmer")]:
        with Listener("results") as results:
            done = subprocess.run(
                ["sh", "-c", command], cwd=project.folder, env=environment, capture_output=True, timeout=60
            )
            assert done.returncode == 0, f"{command}: {done.stderr.decode(errors='replace')}"
            if command.startswith("curl") and "/publish/" not in command:
                assert best(done.stdout) == "espresso", f"{command}: {done.stdout[:200]!r}"
            else:
                until(command, results.labels)
        print(f"           {command}", flush=True)


def check_privileges(project: Project) -> None:
    for service in SERVICES:
        found = project.inspect(service)
        host = found["HostConfig"]
        kept = {
            "read-only": host["ReadonlyRootfs"],
            "no capabilities": host["CapDrop"] == ["ALL"] and not host["CapAdd"],
            "no new privileges": "no-new-privileges:true" in host["SecurityOpt"],
            "not privileged": not host["Privileged"],
            "not root": found["Config"]["User"].partition(":")[0] not in ("", "0", "root"),
            "memory": host["Memory"] > 0,
            "pids": host["PidsLimit"] > 0,
            "init": host["Init"] is True,
            "restart": host["RestartPolicy"]["Name"] == "unless-stopped",
        }
        assert all(kept.values()), f"{service}: {[name for name, value in kept.items() if not value]}"
    assert "Read-only file system" in project.run_in("vision", "touch", "/srv/guesthouse/x").stdout
    for tool in ("cc", "gcc", "pip"):
        assert project.run_in("vision", "sh", "-c", f"command -v {tool}").returncode, f"{tool} is in the image"
    # The guest host's network leads nowhere, and its sidecar is the only other one on it.
    (network,) = project.inspect("vision")["NetworkSettings"]["Networks"]
    found = json.loads(docker("network", "inspect", network))[0]
    names = {container["Name"] for container in found["Containers"].values()}
    assert found["Internal"], f"{network} leads out"
    assert names == {project.inspect(service)["Name"].strip("/") for service in ("vision", "vision-dapr")}, names


def check_wasmer(project: Project) -> None:
    """The second engine beside the first, on an image with Python 3.10."""
    project.compose("--profile", "wasmer", "up", "-d", "vision-wasmer-dapr", log="vision-wasmer")
    photo = (PHOTOS / "coffee.png").read_bytes()
    url = f"{SIDECAR}/invoke/vision-wasmer/method/api/image"
    assert best(until("the second guest host", lambda: request(url, photo, "image/png"))) == "espresso"
    assert '"engine": "wasmer 1.1.0"' in project.logs("vision-wasmer")
    check_shown(project, "vision-wasmer")
    check_sidecar()


def check_bill(project: Project) -> None:
    bill = json.loads(project.run_in("vision", "cat", "/usr/share/guesthouse/sbom.json").stdout)
    parts = {part["name"]: part for part in bill["components"]}
    for path in (*ROOT.glob("models/*.onnx"), *ROOT.glob("guests/*/*.wasm")):
        name = path.name if path.suffix == ".onnx" else path.stem
        assert parts[name]["hashes"][0]["content"] == hashlib.sha256(path.read_bytes()).hexdigest(), name
    assert parts["onnxruntime"]["purl"].startswith("pkg:pypi/onnxruntime@")
    references = {part["bom-ref"] for part in bill["components"]}
    assert {needed for entry in bill["dependencies"] for needed in entry["dependsOn"]} <= references
    assert "onnxruntime" in project.run_in("vision", "cat", "/usr/share/guesthouse/licences.txt").stdout
    print(f"           {len(parts)} components", flush=True)


def check_crash(project: Project, results: Listener) -> None:
    """The guest host is killed while a photo comes; nobody does anything; the photo has its result."""
    before = len(results.labels())
    project.crash("vision")
    publish("coffee.png")
    until("the result after the crash", lambda: len(results.labels()) > before)
    check_sidecar()
    check_page()
    served = [line for line in project.logs("vision").splitlines() if '"serving"' in line]
    assert '"compiled": 0' in served[-1], "the code cache did not outlive the container's process"


def crash_broker(project: Project) -> None:
    project.crash("mosquitto")
    knock = ["mosquitto_pub", "-t", "x", "-n"]
    until("the broker", lambda: subprocess.run(knock, stderr=subprocess.DEVNULL).returncode == 0)


def check_broker_keeps(project: Project) -> None:
    """A photo comes while no sidecar reads, and the broker is killed; the photo has its result in the end.

    In one trial it did not come within 90 seconds of the sidecar's start. If that is because daprd's client dropped it
    unacknowledged before its handler was there, it comes with the next connection of the same process: tried here.
    """
    project.compose("stop", "vision-dapr")
    publish("rocket.jpg")
    time.sleep(7)  # autosave_interval, and a little
    crash_broker(project)
    with Listener("results") as first:
        project.compose("start", "vision-dapr")
        until("the sidecar", lambda: request(f"{SIDECAR}/healthz") == b"")
        end = time.monotonic() + 10
        while not first.labels() and time.monotonic() < end:
            time.sleep(0.2)
    print(f"           with the sidecar's first connection: {bool(first.labels())}", flush=True)
    if not first.labels():
        time.sleep(6)
        crash_broker(project)
        with Listener("results") as second:
            until("the result after the sidecar connected again", second.labels)


# How it is brought up


def copy_checkout(target: Path) -> None:
    """What git would have of this checkout, and the wheels beside it."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
    )
    for name in listed.stdout.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)


@contextlib.contextmanager
def engine(folder: Path) -> Iterator[None]:
    """A container engine in this process's own namespaces."""
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    os.environ["DOCKER_HOST"] = "unix:///run/docker.sock"
    with (folder / "dockerd.log").open("wb") as log:
        command = ["dockerd", "--data-root", str(folder / "engine"), "--host", os.environ["DOCKER_HOST"]]
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        ask = ["docker", "version"]
        until("the engine", lambda: process.poll() is None and not subprocess.run(ask, capture_output=True).returncode)
        yield
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()


def inside(folder: Path, base: Path) -> None:
    """All that needs the engine."""
    began = time.monotonic()
    project = Project(folder / "guesthouse")
    with engine(folder):
        with step("images made here of the official names"):
            stand_ins.make(base, stand_ins.programs(), folder / "stand-ins")
        with step("docker-compose build"):
            project.compose("build")
        size = int(docker("image", "inspect", "--format", "{{.Size}}", IMAGE))
        assert "guesthouse_web" not in docker("image", "ls"), "the image is built twice"
        print(f"           {size / 1e6:.0f} MB with its base", flush=True)
        try:
            with step("docker-compose up, all healthy"):
                project.compose("up", "-d", log="vision")
                until("all healthy", project.healthy)
            with step("its sidecars found the guest host"):
                until("the sidecar", lambda: request(f"{SIDECAR}/healthz") == b"")
                until("the page's way", lambda: request(f"{PAGE}/api/status"))
            check_start_line(project)
            with step("the sidecar knows placement, scheduler and a store for actors"):
                check_control_plane()
            with step("a photo through the page"):
                check_page()
            with step("photos through the sidecar"):
                check_sidecar()
            with Listener("results") as results:
                with step("a photo by MQTT, its result by MQTT, in Redis and in the page's feed"):
                    check_mqtt(results)
                with step("a photo by pub/sub"):
                    check_topic(results)
                with step("junk by MQTT and pub/sub, and photos behind it"):
                    check_junk(results)
                with step("privileges, limits, networks"):
                    check_privileges(project)
                with step("bill of materials and licences"):
                    check_bill(project)
                with step("what docs/compose.md shows"):
                    check_shown(project, "vision")
                with step("the guest host killed while a photo comes"):
                    check_crash(project, results)
            if stand_ins.python_310() is None:
                print("no Python 3.10 on this machine: the profile wasmer is not tried", flush=True)
            else:
                with step("a base with Python 3.10"):
                    stand_ins.make_310(folder / "stand-ins")
                with step("docker-compose --profile wasmer build"):
                    project.compose("--profile", "wasmer", "build", "vision-wasmer")
                with step("the second engine beside the first"):
                    check_wasmer(project)
            with step("the broker killed while a photo waits"):
                check_broker_keeps(project)
        except Exception:
            for service in SERVICES:
                print(f"=== {service}\n{project.logs(service)[-3000:]}", file=sys.stderr)
            raise
        finally:
            with step("docker-compose down"):
                project.compose("--profile", "wasmer", "down", "--volumes")
        assert not docker("ps", "--all", "--quiet"), "containers are left"
        assert not docker("volume", "ls", "--quiet"), "volumes are left"
    print(f"{time.monotonic() - began:7.1f} s  in all", flush=True)


def main() -> None:
    if sys.argv[1:2] == ["--inside"]:
        inside(*map(Path, sys.argv[2:]))
        return
    if os.geteuid():
        sys.exit("error: a container engine and debootstrap need root: run it with sudo")
    with step("Dapr's programs"):
        stand_ins.programs()
    with step("a Debian for the images"):
        base = stand_ins.base_archive()
    with step("wheels"):
        wheels = stand_ins.wheels()
    with tempfile.TemporaryDirectory(prefix="guesthouse-compose-") as name:
        folder = Path(name)
        copy_checkout(folder / "guesthouse")
        for wheel in wheels.glob("*.whl"):
            shutil.copy(wheel, folder / "guesthouse" / "deploy" / "wheels")
        # A process of its own, the first one of its namespace: with it ends all that it started.
        own = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        command = [*own, sys.executable, "-m", __spec__.name, "--inside", *map(str, (folder, base))]
        sys.exit(subprocess.run(command, cwd=ROOT).returncode)


if __name__ == "__main__":
    main()
