"""The check of `dapr-api-token`, the secret by which the application knows its sidecar. Nothing else is checked here.

The sidecar sends the token with events only: never with health probes, nor when it asks for subscriptions and bindings.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable

from guesthouse.event import Failure, Reason

TOKEN_KEY = "dapr-api-token"


class Tokens:
    """The tokens that are accepted: none for no check, several while a token is rotated. For any number of threads."""

    def __init__(self, tokens: Iterable[str] = ()) -> None:
        self.accept(tokens)

    def accept(self, tokens: Iterable[str]) -> None:
        """Accept these tokens from now on and no others, in one step: a call that is checked meanwhile is compared with
        either all earlier tokens or all of these."""
        self._tokens = tuple(token.encode() for token in tokens if token)

    def check(self, metadata: Iterable[tuple[str, str | bytes]]) -> None:
        """Raise `Failure` (`DENIED`) unless the call's gRPC metadata carries one of the tokens."""
        tokens = self._tokens
        if not tokens:
            return
        given = [value for key, value in metadata if key == TOKEN_KEY]
        if not given:
            raise Failure(
                Reason.DENIED,
                "no dapr-api-token came with the call; give the sidecar the token of this application "
                "(APP_API_TOKEN in the environment of daprd, dapr.io/app-token-secret on Kubernetes)",
            )
        # Every token is compared, so that the time of the check does not tell which token was nearly right.
        if not sum(_matches(value, tokens) for value in given):
            raise Failure(
                Reason.DENIED,
                "the dapr-api-token of the call is not one of this application's; "
                "APP_API_TOKEN must be the same for the sidecar and for the application",
            )


def _matches(value: str | bytes, tokens: Iterable[bytes]) -> int:
    given = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
    return sum(hmac.compare_digest(given, token) for token in tokens)
