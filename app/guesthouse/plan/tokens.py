"""The tokens that a sidecar may send: those in the manifest, and those in the file that the manifest names.

Comparing them with the token of an event is in `dapr/tokens.py`.
"""

from __future__ import annotations

from pathlib import Path

from guesthouse import masking
from guesthouse.manifest.tables import Server
from guesthouse.text import fault

LARGEST = 1 << 16  # bytes of the file


class TokenFault(Exception):
    """The file of tokens cannot be used. The text says why and what to do, and shows nothing of the file's content."""


def tokens_of(server: Server) -> tuple[str, ...]:
    """All tokens that are accepted; empty where no token is checked. From now on the log does not show them.

    Raises `TokenFault`, also for a file without a token, which would otherwise switch the check off.
    """
    tokens = [token.get_secret_value() for token in server.token]
    if server.token_file is not None:
        tokens += _listed(server.token_file)
    masking.hide(tokens)
    return tuple(dict.fromkeys(tokens))


def _listed(path: Path) -> list[str]:
    where, remedy = f"server.token_file {path}", "write one token a line, of printable characters"
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except OSError as error:
        what = f"the file of tokens cannot be read ({error.strerror})"
        raise TokenFault(fault(what, where, "name a file that this process may read")) from error
    try:
        tokens = [line.strip() for line in data.decode().splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise TokenFault(fault("the file of tokens is not UTF-8", where, remedy)) from error
    if not tokens:
        raise TokenFault(fault("the file of tokens has no token", where, remedy))
    if len(data) > LARGEST or not all(token.isprintable() for token in tokens):
        raise TokenFault(fault("the file of tokens is no list of tokens", where, remedy))
    return tokens
