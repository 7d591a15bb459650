"""Containers to measure against: an engine of this machine, images made without a registry, and one container's start.

The engine is a dockerd of its own, in namespaces of its own, which ends with this process and meets no other engine.
Images hold one program with what it loads, and nothing else. A container is started by the engine's API, for the
command `docker` would add its own start.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import os
import re
import shutil
import socket
import subprocess
import tarfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

PATIENCE = 60.0  # seconds for the engine to answer at all
_NEEDED = ("dockerd", "docker", "containerd", "runc", "unshare", "ldd")


class Missing(Exception):
    """Why no container can be started here."""


class Engine:
    """A running engine."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def make(self, image: str, command: Sequence[str], files: Sequence[Path]) -> None:
        """An image of these files and folders, with the libraries that the first of them is linked with."""
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w", dereference=True) as tar:
            for path in [*files, *_libraries(files[0])]:
                tar.add(path, str(path), filter=_wanted)
        # An address in the variable alone: an option of that name is not known to all versions.
        subprocess.run(
            ["docker", "import", "--change", f"ENTRYPOINT {json.dumps(list(command))}", "-", image],
            input=archive.getvalue(),
            env={**os.environ, "DOCKER_HOST": f"unix://{self._path}"},
            stdout=subprocess.DEVNULL,
            check=True,
        )

    def reply(self, image: str, body: bytes) -> float:
        """Milliseconds from the request for a container until all of its reply is here. It echoes `body`."""
        began = perf_counter()
        settings = {"Image": image, "OpenStdin": True, "StdinOnce": True, "AttachStdin": True, "AttachStdout": True}
        made = self._ask("POST", "/containers/create", {**settings, "HostConfig": {"NetworkMode": "none"}})
        identity = made["Id"]
        try:
            with self._attached(identity) as stream:
                self._ask("POST", f"/containers/{identity}/start")
                stream.sendall(body)
                stream.shutdown(socket.SHUT_WR)
                reply = _framed(stream, len(body))
            took = (perf_counter() - began) * 1000
        finally:
            self._ask("DELETE", f"/containers/{identity}?force=true")
        if reply != body:
            raise RuntimeError(f"{image} answered {reply[:200]!r}")
        return took

    def _connected(self) -> socket.socket:
        stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        stream.settimeout(PATIENCE)
        stream.connect(str(self._path))
        return stream

    def _ask(self, verb: str, path: str, body: Any = None) -> Any:
        connection = http.client.HTTPConnection("engine")
        connection.sock = self._connected()
        with contextlib.closing(connection):
            text = None if body is None else json.dumps(body)
            connection.request(verb, path, text, {"Content-Type": "application/json"})
            response = connection.getresponse()
            answer = response.read()
        if response.status >= http.HTTPStatus.BAD_REQUEST:
            raise RuntimeError(f"{verb} {path}: {response.status} {answer.decode(errors='replace')}")
        return json.loads(answer) if answer.startswith(b"{") else None

    @contextlib.contextmanager
    def _attached(self, identity: str) -> Iterator[socket.socket]:
        """A container's standard input and output, as one stream."""
        with contextlib.closing(self._connected()) as stream:
            path = f"/containers/{identity}/attach?stream=1&stdin=1&stdout=1&stderr=1"
            stream.sendall(
                f"POST {path} HTTP/1.1\r\nHost: engine\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n".encode()
            )
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += _exactly(stream, 1)
            if b" 101 " not in head.partition(b"\r\n")[0]:
                raise RuntimeError(f"{path}: {head.decode(errors='replace')}")
            yield stream

    def ready(self) -> bool:
        """Whether it answers."""
        with contextlib.suppress(OSError):
            self._ask("GET", "/version")
            return True
        return False


def _exactly(stream: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = stream.recv(size - len(data))
        if not part:
            break
        data += part
    return data


def _framed(stream: socket.socket, size: int) -> bytes:
    """So many bytes of what a container writes: each piece comes after 8 bytes, of which the last four are its size."""
    data = b""
    while len(data) < size:
        head = _exactly(stream, 8)
        if not head:
            break
        data += _exactly(stream, int.from_bytes(head[4:], "big"))
    return data


def _libraries(program: Path) -> list[Path]:
    told = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=False).stdout
    return [Path(path) for path in re.findall(r"(/\S+) \(0x", told)]


def _wanted(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if re.search(r"/(test|__pycache__|dist-packages|site-packages)$", member.name) else member


@contextlib.contextmanager
def engine(folder: Path) -> Iterator[Engine]:
    """An engine that ends with the block. Raises `Missing` where there can be none, with the reason."""
    if lacking := [name for name in _NEEDED if shutil.which(name) is None]:
        raise Missing(f"{lacking[0]} is not here (Debian's docker.io has the engine)")
    if os.geteuid():
        raise Missing("an engine of its own needs root")
    folder.mkdir(parents=True, exist_ok=True)
    address = folder / "s"
    command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "dockerd"]
    command += ["--host", f"unix://{address}", "--data-root", str(folder / "data"), "--exec-root", str(folder / "run")]
    command += ["--pidfile", str(folder / "pid"), "--bridge=none", "--iptables=false", "--ip6tables=false"]
    with (folder / "dockerd.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        found, end = Engine(address), time.monotonic() + PATIENCE
        while not found.ready():
            if process.poll() is not None or time.monotonic() > end:
                told = (folder / "dockerd.log").read_text(errors="replace").strip().splitlines()
                raise Missing(f"dockerd does not start: {told[-1] if told else 'it says nothing'}")
            time.sleep(0.1)
        yield found
    finally:
        process.kill()  # with it ends all of its namespace, containers too
        process.wait()
