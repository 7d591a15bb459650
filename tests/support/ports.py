"""Ports of this machine for the programs that tests start."""

from __future__ import annotations

import socket

_GIVEN: set[int] = set()


def free_port() -> int:
    """A port that nobody listens on, another one each time: the kernel gives one out again as soon as it is free."""
    while True:
        with socket.socket() as trial:
            trial.bind(("127.0.0.1", 0))
            port: int = trial.getsockname()[1]
        if port not in _GIVEN:
            _GIVEN.add(port)
            return port


def listens(port: int) -> bool:
    with socket.socket() as trial:
        return trial.connect_ex(("127.0.0.1", port)) == 0
