"""`wasi:messaging` and `wasmcloud:messaging` on Dapr's pub/sub: how a component publishes.

Publishing is the sidecar's `PublishEvent`, under the grant `publish`. A client of `wasi:messaging` is a pub/sub
component by its name; a subject of wasmCloud is `PUBSUB/TOPIC`. Pub/sub has no replies: to ask for one is refused. How
messages come to a component is in `calling/messaging.py`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import NoReturn

from guesthouse_abi import blocks
from guesthouse_abi.blocks import NotDone
from guesthouse_abi.calls import Code
from guesthouse_abi.canonical.functions import Answered, Fail
from guesthouse_abi.canonical.types import Case
from guesthouse_abi.context import Context, size_of
from guesthouse_abi.errors import Denied, HostError, TooMuch

LONGEST_NAME = 256  # characters of a client's name
MOST_ENTRIES = 256  # pieces of metadata of a message
_TEXT = 1024  # characters of an error
_OVERHEAD = 128  # bytes that are counted for a message besides its own, and for a piece of metadata
_NO_REPLIES = "Dapr's pub/sub has no replies: publish to another topic"

BrokerMessage = tuple[str, bytes, "str | None"]  # subject, body, and where to reply


class Client:
    """The resource `client`."""

    def __init__(self, name: str) -> None:
        self.name = name


class Message:
    """The resource `message`. What a guest puts into it is counted until it is dropped or sent."""

    def __init__(
        self,
        data: bytes,
        topic: str | None = None,
        content_type: str | None = None,
        metadata: Iterable[tuple[str, str]] = (),
    ) -> None:
        self.data = data
        self.topic = topic
        self.content_type = content_type
        self.metadata = dict(metadata)
        self._held = 0

    def hold(self, context: Context, count: int) -> None:
        """Raises `TooMuch`."""
        context.hold(count)
        self._held += count

    def put(self, context: Context, name: str, value: str) -> None:
        """Add a piece of metadata. Raises `HostError`."""
        if name not in self.metadata and len(self.metadata) >= MOST_ENTRIES:
            raise HostError(f"a message with more than {MOST_ENTRIES} pieces of metadata")
        self.hold(context, _OVERHEAD + size_of(name) + size_of(value))
        self.metadata[name] = value

    def release(self, context: Context) -> None:
        """The guest has dropped it, or given it away."""
        context.release(self._held)
        self._held = 0


class RequestOptions:
    """The resource `request-options`, for requests, which are refused."""


TYPES = Answered("wasi:messaging/types", "0.2.0-draft", client=Client, message=Message)
PRODUCER = Answered("wasi:messaging/producer", "0.2.0-draft")
REQUEST_REPLY = Answered("wasi:messaging/request-reply", "0.2.0-draft", request_options=RequestOptions)
WASMCLOUD_TYPES = Answered("wasmcloud:messaging/types", "0.2.0")
CONSUMER = Answered("wasmcloud:messaging/consumer", "0.2.0")
INTERFACES = (TYPES, PRODUCER, REQUEST_REPLY, WASMCLOUD_TYPES, CONSUMER)


# ---- wasi:messaging ----


@TYPES.function("[static]client.connect")
def connect(context: Context, name: str) -> Client:
    if not 0 < len(name) <= LONGEST_NAME:
        raise Fail(Case("other", f"a client is the name of a pub/sub component, of at most {LONGEST_NAME} characters"))
    return Client(name)


@TYPES.function("[method]client.disconnect")
def disconnect(context: Context, client: Client) -> None:
    return None


@TYPES.function("[constructor]message")
def new_message(context: Context, data: bytes) -> Message:
    made = Message(data)
    made.hold(context, _OVERHEAD + len(data))
    return made


@TYPES.function("[method]message.topic")
def message_topic(context: Context, message: Message) -> str | None:
    return message.topic


@TYPES.function("[method]message.content-type")
def message_content_type(context: Context, message: Message) -> str | None:
    return message.content_type


@TYPES.function("[method]message.set-content-type")
def set_content_type(context: Context, message: Message, kind: str) -> None:
    message.hold(context, size_of(kind))
    message.content_type = kind


@TYPES.function("[method]message.data")
def message_data(context: Context, message: Message) -> bytes:
    return message.data


@TYPES.function("[method]message.set-data")
def set_data(context: Context, message: Message, data: bytes) -> None:
    message.hold(context, len(data))
    message.data = data


@TYPES.function("[method]message.metadata")
def message_metadata(context: Context, message: Message) -> list[tuple[str, str]] | None:
    return list(message.metadata.items()) or None


@TYPES.function("[method]message.add-metadata")
def add_metadata(context: Context, message: Message, name: str, value: str) -> None:
    message.put(context, name, value)


@TYPES.function("[method]message.set-metadata")
def set_metadata(context: Context, message: Message, items: list[tuple[str, str]]) -> None:
    message.metadata = {}
    for name, value in items:
        message.put(context, name, value)


@TYPES.function("[method]message.remove-metadata")
def remove_metadata(context: Context, message: Message, name: str) -> None:
    message.metadata.pop(name, None)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """What goes wrong with a call becomes an `error` of the guest's."""
    try:
        yield
    except (NotDone, Denied, TooMuch) as error:
        text = str(error)[:_TEXT]
        code = error.code if isinstance(error, NotDone) else None
        if code is Code.PERMISSION_DENIED or isinstance(error, Denied):
            raise Fail(Case("permission-denied", text)) from error
        if code is Code.DEADLINE_EXCEEDED:
            raise Fail(Case("timeout")) from error
        raise Fail(Case("connection" if code is Code.UNAVAILABLE else "other", text)) from error


@PRODUCER.function("send")
def send(context: Context, client: Client, topic: str, message: Message) -> None:
    message.release(context)
    with _told():
        kind, metadata = message.content_type or "", message.metadata.items()
        blocks.publish(context, client.name, topic, message.data, kind, metadata)


@REQUEST_REPLY.function("[constructor]request-options")
def new_options(context: Context) -> RequestOptions:
    return RequestOptions()


@REQUEST_REPLY.function("[method]request-options.set-timeout-ms")
@REQUEST_REPLY.function("[method]request-options.set-expected-replies")
def set_option(context: Context, options: RequestOptions, number: int) -> None:
    return None


@REQUEST_REPLY.function("request")
def request(context: Context, client: Client, topic: str, message: Message, options: RequestOptions | None) -> NoReturn:
    raise Fail(Case("other", _NO_REPLIES))


@REQUEST_REPLY.function("reply")
def reply(context: Context, to: Message, message: Message) -> NoReturn:
    message.release(context)
    raise Fail(Case("other", _NO_REPLIES))


# ---- wasmcloud:messaging ----


@CONSUMER.function("publish")
def publish(context: Context, message: BrokerMessage) -> None:
    subject, body, reply_to = message
    pubsub, slash, topic = subject.partition("/")
    if not slash:
        raise Fail(f"the subject {subject[:80]!a} names no pub/sub component: write PUBSUB/TOPIC")
    if reply_to is not None:
        raise Fail(_NO_REPLIES)
    try:
        blocks.publish(context, pubsub, topic, body)
    except (NotDone, Denied, TooMuch) as error:
        raise Fail(str(error)[:_TEXT]) from error


@CONSUMER.function("request")
def request_by_subject(context: Context, subject: str, body: bytes, milliseconds: int) -> NoReturn:
    raise Fail(_NO_REPLIES)
