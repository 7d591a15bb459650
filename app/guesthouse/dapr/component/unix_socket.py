"""The Unix socket by which sidecars find our component: its folder, its name, how it is made and removed.

A sidecar looks through the folder once, when it starts, and waits without end for a socket that nobody serves. So the
socket gets its name only when it is served already, and is removed when this process ends.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from guesthouse.dapr.transport import ServeError

#: daprd reads the first; Dapr's injector on Kubernetes sets the second in the component's container; Dapr's Go SDK
#: knows the third too.
FOLDER_VARIABLES = (
    "DAPR_COMPONENTS_SOCKETS_FOLDER",
    "DAPR_COMPONENT_SOCKETS_FOLDER",
    "DAPR_COMPONENT_SOCKET_FOLDER",
)
DEFAULT_FOLDER = Path("/tmp/dapr-components-sockets")
_LONGEST = 107  # bytes of a socket's path


def socket_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Where sidecars of this environment look for components."""
    return Path(next((folder for name in FOLDER_VARIABLES if (folder := environment.get(name))), DEFAULT_FOLDER))


class Socket:
    """The socket `NAME.sock` of a folder, from `place` to `remove`."""

    def __init__(self, folder: Path, name: str, permissions: int) -> None:
        self.path = folder.absolute() / f"{name}.sock"
        self._permissions = permissions
        self._identity: tuple[int, int] | None = None

    def place(self, serve: Callable[[Path], None]) -> None:
        """Let `serve` listen on a socket, then show it under its name. Makes the folder; replaces a stale socket.

        Raises `ServeError`, also when another process serves the name.
        """
        folder = self.path.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with _alone(folder), tempfile.TemporaryDirectory(prefix=".", dir=folder) as private:
                # A sidecar ignores folders, and no other user can look into this one.
                hidden = Path(private) / "s"
                self._check(hidden)
                serve(hidden)
                hidden.chmod(self._permissions)
                self._identity = _identity(hidden)
                hidden.rename(self.path)
        except OSError as error:
            raise ServeError(
                f"no socket can be made in {folder} ({error.strerror}); give a folder that this process may write to, "
                "in $DAPR_COMPONENTS_SOCKETS_FOLDER or as folder of the manifest's [component]"
            ) from error

    def remove(self) -> None:
        """Remove the socket, unless another process has put its own there since. Connections stay open."""
        with contextlib.suppress(OSError), _alone(self.path.parent):
            if self._identity == _identity(self.path):
                self.path.unlink()
        self._identity = None

    def _check(self, hidden: Path) -> None:
        longest = max(self.path, hidden, key=lambda path: len(os.fsencode(path)))
        if len(os.fsencode(longest)) > _LONGEST:
            raise ServeError(f"the path {longest} is too long for a socket ({_LONGEST} bytes); give a shorter folder")
        try:
            mode = self.path.lstat().st_mode
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(mode):
            raise ServeError(f"{self.path} is there and is no socket; remove it, or choose another --component")
        with socket.socket(socket.AF_UNIX) as trial:
            trial.settimeout(1.0)
            code = trial.connect_ex(str(self.path))
        if code not in (errno.ECONNREFUSED, errno.ENOENT):
            raise ServeError(
                f"another process serves {self.path} ({os.strerror(code) if code else 'it answers'}); "
                "stop it, or choose another --component"
            )


def _identity(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_dev, found.st_ino


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Meanwhile no other process of Guesthouse looks at, places or removes sockets of the folder."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
