"""A sidecar in memory for guests that use building blocks: a state store with etags, topics, other applications.

It reads and writes Dapr's own messages, and answers as a real one with Redis does. It is a `sidecar.SidecarApi`, and by
`calls` the `services.Sidecar` of a guest that may do everything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage

from guesthouse.dapr.api_methods import METHODS, Requests
from guesthouse_abi.calls import CallTable, Code
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.services import Account, CallRequest, Calls, Ended
from guesthouse_abi.spent import Spent

NO_STORE = b"\x12\x01x\x1a\x14DAPR_STATE_NOT_FOUND"


class Blocks(Requests):
    """One state store `store`, any topics, and applications that `answer` stands for."""

    def __init__(self) -> None:
        self.values: dict[str, tuple[bytes, int]] = {}
        self.published: list[Any] = []
        self.invoked: list[tuple[Any, dict[str, str]]] = []
        self.made: list[str] = []
        self.newest: list[bool] = []  # which reads asked for strong consistency
        self.before_save: Callable[[], object] = lambda: None  # what others do meanwhile
        self.answer: Callable[[Any], Ended] = lambda request: echoed(request)
        self.no_etags = False
        self.fails: dict[str, Ended] = {}  # by method

    def calls(self, event: Any, deadline: Deadline, spent: Spent, account: Account) -> Calls:
        """See `services.Sidecar`."""

        def begin(request: CallRequest, seconds: float, done: Callable[[Ended], None]) -> Callable[[], object]:
            return self.begin(request.method, request.message, request.metadata, seconds, done)

        return CallTable(begin, 16, 64, deadline, spent, account)

    def begin(
        self,
        method: str,
        message: bytes,
        metadata: Sequence[tuple[str, str]],
        seconds: float,
        done: Callable[[Ended], None],
    ) -> Callable[[], object]:
        self.made.append(method)
        request: Any = METHODS[method].request.FromString(message)
        if method in self.fails:
            done(self.fails[method])
        elif method == "InvokeService":
            self.invoked.append((request, dict(metadata)))
            done(self.answer(request))
        elif method == "PublishEvent":
            self.published.append(request)
            done(Ended(0, "", b""))
        elif request.store_name != "store":
            done(Ended(Code.INVALID_ARGUMENT, "state store is not found", details=NO_STORE))
        else:
            done(getattr(self, f"_{method}")(request))
        return lambda: None

    def _etag(self, key: str) -> str:
        return "" if self.no_etags or key not in self.values else str(self.values[key][1])

    def _GetState(self, request: Any) -> Ended:
        self.newest.append(request.consistency == 2)
        value, _ = self.values.get(request.key, (b"", 0))
        return responded("GetState", data=value, etag=self._etag(request.key))

    def _GetBulkState(self, request: Any) -> Ended:
        items = [
            {"key": key, "data": self.values.get(key, (b"", 0))[0], "etag": self._etag(key)}
            for key in reversed(request.keys)  # in no order
        ]
        return responded("GetBulkState", items=items)

    def _SaveState(self, request: Any) -> Ended:
        self.before_save()
        for item in request.states:
            _, now = self.values.get(item.key, (b"", 0))
            if item.HasField("etag") and item.etag.value != str(now):
                return Ended(Code.ABORTED, "possible etag mismatch")
            if item.options.concurrency == 1 and not item.HasField("etag") and now:
                return Ended(Code.INTERNAL, "failed saving state")
            self.values[item.key] = item.value, now + 1
        return Ended(0, "", b"")

    def _DeleteState(self, request: Any) -> Ended:
        self.values.pop(request.key, None)
        return Ended(0, "", b"")

    def _DeleteBulkState(self, request: Any) -> Ended:
        for item in request.states:
            self.values.pop(item.key, None)
        return Ended(0, "", b"")


def responded(method: str, **fields: Any) -> Ended:
    """A response of a method."""
    return Ended(0, "", METHODS[method].response(**fields).SerializeToString())


def echoed(request: Any) -> Ended:
    """A response with the request's body and content type."""
    kind: Any = METHODS["InvokeService"].response
    body = kind(data=AnyMessage(value=request.message.data.value), content_type=request.message.content_type)
    return Ended(0, "", body.SerializeToString())
