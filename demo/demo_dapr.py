"""The demo behind a real sidecar: starts `guesthouse serve` and `daprd`, sends photos to the sidecar's HTTP API as
another application would, and prints the replies.

Run by `make demo-dapr`, which finds or builds the daprd.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from demo import OUT, PHOTOS, ROOT, ended, served

RESOURCES = ("components/local", "components/policies")
REQUESTS = (
    ("coffee.png", "image/png", "api/image"),
    ("astronaut.png", "image/png", "api/person"),
    ("rocket.jpg", "image/jpeg", "api/grayscale"),
)
_TO_TRY = """\
The same by hand, in two terminals (guesthouse is .venv/bin/guesthouse here)
  guesthouse serve
  {daprd} --app-id vision --app-port 50051 --app-protocol grpc \\
      --enable-app-health-check --max-body-size 32Mi \\
      --resources-path components/local --resources-path components/policies
  curl --data-binary @tests/data/photos/coffee.png http://localhost:3500/v1.0/invoke/vision/method/api/image
docs/dapr.md says what every part of a sidecar does with guests"""


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@contextlib.contextmanager
def sidecar(
    daprd: str,
    app_port: str,
    log: Path,
    *,
    app_id: str = "vision",
    grpc_port: int = 0,
    resources: Sequence[str] = RESOURCES,
    flags: Sequence[str] = (),
) -> Iterator[tuple[int, float]]:
    """A ready sidecar for the application at `app_port`: the port of its HTTP API, and the seconds that it took."""
    port, free_grpc_port, internal, metrics = free_ports(4)
    command = [daprd, "--app-id", app_id, "--app-port", app_port, "--app-protocol", "grpc"]
    command += ["--enable-app-health-check", "--max-body-size", "32Mi", "--dapr-listen-addresses", "127.0.0.1"]
    command += ["--dapr-http-port", str(port), "--dapr-grpc-port", str(grpc_port or free_grpc_port)]
    command += ["--dapr-internal-grpc-port", str(internal), "--metrics-port", str(metrics)]
    command += [*flags, *(part for folder in resources for part in ("--resources-path", folder))]
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, cwd=ROOT)
    with ended(process):
        yield port, wait(process, port, log)


def call(port: int, verb: str, path: str, body: bytes = b"", kind: str = "") -> tuple[int, str, bytes]:
    """One HTTP request to the sidecar: (status, content type, body); the status is 0 while no sidecar listens."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(verb, path, body, {"Content-Type": kind} if kind else {})
        answer = connection.getresponse()
        return answer.status, answer.getheader("Content-Type", ""), answer.read()
    except ConnectionError:
        return 0, "", b""
    finally:
        connection.close()


def wait(process: subprocess.Popen[bytes], port: int, log: Path, name: str = "the sidecar") -> float:
    """Wait until the sidecar and its application are ready. Returns the seconds that it took."""
    began = time.monotonic()
    path = "/v1.0/healthz" if name == "the sidecar" else "/healthz"
    while time.monotonic() < began + 60 and process.poll() is None:
        if call(port, "GET", path)[0] in (200, 204):
            return time.monotonic() - began
        time.sleep(0.05)
    sys.exit(f"{name} is not ready; its log is:\n{log.read_text(errors='replace')}")


def said(body: bytes) -> str:
    """A reply in a few words."""
    if body[:4] == b"\x89PNG":
        return f"a grey PNG of {len(body):,} bytes"
    found = json.loads(body)
    if isinstance(found, list):
        return f"{found[0]['label']} ({found[0]['probability']:.1%})"
    return ", ".join(f"{name} {value:.1%}" for name, value in found.items() if isinstance(value, float))


def show(console: Console, port: int) -> bool:
    table = Table("photo", "request", "status", "answer", "took", box=box.SIMPLE)
    well = True
    for photo, kind, method in REQUESTS:
        path = f"/v1.0/invoke/vision/method/{method}"
        began = time.perf_counter()
        status, reply_type, body = call(port, "POST", path, (PHOTOS / photo).read_bytes(), kind)
        took = time.perf_counter() - began
        well = well and status == 200
        answer = said(body) if status == 200 else body.decode(errors="replace")
        table.add_row(photo, f"POST {path}", f"{status} {reply_type}", answer, f"{took * 1000:.1f} ms")
        if status == 200 and reply_type == "image/png":
            OUT.mkdir(exist_ok=True)
            (OUT / "rocket-grey.png").write_bytes(body)
    status, _, body = call(port, "POST", "/v1.0/invoke/vision/method/api/image", b"no photo")
    reason = json.loads(body)["details"][0]["reason"]
    table.add_row("(no photo)", "POST /v1.0/invoke/vision/method/api/image", str(status), f"refused: {reason}", "")
    console.print(table)
    console.print("the grey picture is out/rocket-grey.png")
    return well


def main() -> int:
    daprd = sys.argv[1] if len(sys.argv) > 1 else "daprd"
    console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 140)
    with tempfile.TemporaryDirectory() as folder:
        logs = Path(folder)
        with served(logs / "server.log") as server:
            console.print(f"guesthouse serve is ready on {server.address} after {server.seconds:.1f} s")
            with sidecar(daprd, server.address.rpartition(":")[2], logs / "daprd.log") as (port, seconds):
                console.print(f"daprd is ready on http://127.0.0.1:{port} after {seconds:.1f} s")
                well = show(console, port)
    console.print()
    console.print(_TO_TRY.format(daprd=daprd))
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
