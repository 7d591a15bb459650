"""The methods of the sidecar's API that guests may call, and which grants each request needs.

The API is `dapr/proto/runtime/v1/dapr.proto`; the table is the one of abi/spec/dapr_v1.md, section 4. What a guest was
granted is compared elsewhere (`guests/capabilities/sidecar.py`).
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn
from urllib.parse import unquote

from dapr.proto.runtime.v1 import dapr_pb2
from google.protobuf import proto
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from guesthouse.sidecar import OWN_ACTOR, Checked, NotMade, Use, refused_metadata
from guesthouse_abi import protobuf
from guesthouse_abi.calls import Code

SERVICE = "dapr.proto.runtime.v1.Dapr"

_NAMES = 1000  # keys, operations or entries of one request
_FIELDS = 100_000  # of one request, with those of its parts
_FIELD = 2  # bytes of a field at least, those of its parts not counted
_MESSAGES = 10_000  # of one request with a stream
#: Metadata of GetSecret that choose a version of the same secret; others may choose another one.
_VERSIONS = frozenset({"version_id", "versionID", "version_stage"})
# What a method of an invocation must not have: as it is written; and also once it is decoded, as often as a server and
# a proxy before it may do that. Some servers end a part of a path at `;`, others decode it before they look for `?`.
_UNWRITTEN = re.compile(r"[\x00-\x20\x7f#]")
_DOTS = re.compile(r"(?:^|[/\\])\.\.?(?:$|[/\\;?#])")
_PATH = re.compile(rf"{_DOTS.pattern}|[\x00-\x1f\x7f\ufffd]")
_DECODED = 3
#: Methods in whose message the host's own metadata go: a sidecar hands on those of the call itself for others alone.
CARRIERS = frozenset({"InvokeActor"})
NO_METADATA: Mapping[str, str] = {}
_ABSENT_APP = "a workflow of another application cannot be used"


class Uses(NamedTuple):
    """What a method's requests would do: the grant that they need, and each use of one request."""

    grant: str
    of: Callable[[Any], Iterator[Use]]


def _within(owner: str, name: str) -> str:
    """`OWNER/NAME`, as it is granted. Raises `NotMade`."""
    if "/" in owner:  # it would be taken for the granted name of another owner
        _invalid(f"{owner[:80]!a} is no name of a component, application or actor type: it has a /")
    # Some components make a path of a name: the secret app/../other of a vault is other.
    if ("." in name or "%" in name) and any(map(_DOTS.search, _forms(name))):
        _invalid(f"{name[:80]!a} has a part . or .., which a component may take for another path")
    return f"{owner}/{name}"


def _of(grant: str, *fields: str) -> Uses:
    """Uses of a request whose name is made of these fields."""

    def uses(request: Any) -> Iterator[Use]:
        *owners, name = (getattr(request, field) for field in fields)
        yield Use(grant, _within(owners[0], name) if owners else name)

    return Uses(grant, uses)


def _keys(grant: str, keys: Callable[[Any], Sequence[str]], store: str = "store_name") -> Uses:
    """Uses of a request with several keys of one store."""

    def uses(request: Any) -> Iterator[Use]:
        for key in keys(request):
            yield Use(grant, _within(getattr(request, store), key))

    return Uses(grant, uses)


def _all(grant: str) -> Uses:
    """Uses of a request that is about all of a store."""

    def uses(request: Any) -> Iterator[Use]:
        yield Use(grant, _within(request.store_name, ""), every=True)

    return Uses(grant, uses)


def _configuration(request: Any) -> Iterator[Use]:
    if not request.keys:
        yield Use("configuration", _within(request.store_name, ""), every=True)
    for key in request.keys:
        yield Use("configuration", _within(request.store_name, key))


def _secret(request: Any) -> Iterator[Use]:
    if other := sorted(set(request.metadata) - _VERSIONS):
        _invalid(
            f"metadata {other[0][:80]!a} of GetSecret may choose another secret: only {', '.join(sorted(_VERSIONS))} go"
        )
    yield Use("secrets", _within(request.store_name, request.key))


def _invoke(request: Any) -> Iterator[Use]:
    method = request.message.method
    path = method.partition("?")[0]
    # The whole method: a sidecar may resolve .. also behind ?, up to before it.
    if _UNWRITTEN.search(method) or any(map(_PATH.search, _forms(method))):
        _invalid(f"the method {method[:80]!a} has a part that an application may take for another path")
    if not request.id:
        _invalid("an invocation of no application")
    # Some sidecars leave out slashes that say nothing, and then public/ is public: both must be granted.
    cleaned = "/".join(part for part in path.split("/") if part)
    for name in dict.fromkeys((cleaned, path.lstrip("/"))):
        yield Use("invoke", _within(request.id, name))


def _invoke_actor(request: Any) -> Iterator[Use]:
    for name, value in request.metadata.items():
        if name.lower() != "content-type" and (why := refused_metadata(name.lower(), value)):
            _invalid(why)
    yield Use("actors", _within(request.actor_type, request.actor_id))


def _own_named(request: Any) -> Iterator[Use]:
    """Of a timer or a reminder, which a sidecar finds by type, id and name, joined by `||`."""
    if "||" in request.name or request.name.startswith("|"):
        _invalid(f"the name {request.name[:80]!a} has || or begins with |: it may be another actor's")
    yield Use(OWN_ACTOR, _within(request.actor_type, request.actor_id))


def _forms(name: str) -> Iterator[str]:
    """A name as it is written, and as it is after each decoding. What is no UTF-8, such as %c0%ae, becomes U+FFFD."""
    yield name
    for _ in range(_DECODED - 1):
        if "%" not in name:
            return
        name = unquote(name)
        yield name


def _prefix(request: Any) -> Iterator[Use]:
    yield Use("write_jobs", request.name_prefix, every=True)


def _every_job(_request: Any) -> Iterator[Use]:
    yield Use("read_jobs", "", every=True)


def _decrypt(request: Any) -> Iterator[Use]:
    options = request.options
    if options.key_name:
        yield Use("decrypt", _within(options.component_name, options.key_name))
    else:  # the name is inside the data
        yield Use("decrypt", _within(options.component_name, ""), every=True)


def _encrypt(request: Any) -> Iterator[Use]:
    yield Use("encrypt", _within(request.options.component_name, request.options.key_name))


def _workflow(grant: str, field: str) -> Uses:
    def uses(request: Any) -> Iterator[Use]:
        if request.app_id:
            _invalid(_ABSENT_APP)
        yield Use(grant, getattr(request, field))

    return Uses(grant, uses)


def _invalid(text: str) -> NoReturn:
    raise NotMade(Code.INVALID_ARGUMENT, text)


_bulk = _of("publish", "pubsub_name", "topic")
_schedule = Uses("write_jobs", lambda request: iter((Use("write_jobs", request.job.name),)))
_state_keys = _keys("write_state", lambda request: [item.key for item in request.states])
_subtle_encrypt = _of("encrypt", "component_name", "key_name")
_subtle_decrypt = _of("decrypt", "component_name", "key_name")

_TABLE: Mapping[str, Uses] = {
    "GetState": _of("read_state", "store_name", "key"),
    "GetBulkState": _keys("read_state", lambda request: request.keys),
    "QueryStateAlpha1": _of("query_state", "store_name"),
    "SaveState": _state_keys,
    "DeleteState": _of("write_state", "store_name", "key"),
    "DeleteBulkState": _state_keys,
    "ExecuteStateTransaction": _keys(
        "write_state", lambda request: [operation.request.key for operation in request.operations], "storeName"
    ),
    "PublishEvent": _of("publish", "pubsub_name", "topic"),
    "BulkPublishEvent": _bulk,
    "BulkPublishEventAlpha1": _bulk,
    "InvokeService": Uses("invoke", _invoke),
    "InvokeBinding": _of("bindings", "name", "operation"),
    "GetSecret": Uses("secrets", _secret),
    "GetBulkSecret": _all("secrets"),
    "GetConfiguration": Uses("configuration", _configuration),
    "GetConfigurationAlpha1": Uses("configuration", _configuration),
    "TryLockAlpha1": _of("locks", "store_name", "resource_id"),
    "UnlockAlpha1": _of("locks", "store_name", "resource_id"),
    "EncryptAlpha1": Uses("encrypt", _encrypt),
    "DecryptAlpha1": Uses("decrypt", _decrypt),
    "SubtleGetKeyAlpha1": _of("encrypt", "component_name", "name"),
    "SubtleEncryptAlpha1": _subtle_encrypt,
    "SubtleWrapKeyAlpha1": _subtle_encrypt,
    "SubtleVerifyAlpha1": _subtle_encrypt,
    "SubtleDecryptAlpha1": _subtle_decrypt,
    "SubtleUnwrapKeyAlpha1": _subtle_decrypt,
    "SubtleSignAlpha1": _subtle_decrypt,
    "ConverseAlpha1": _of("conversation", "name"),
    "ConverseAlpha2": _of("conversation", "name"),
    "GetJob": _of("read_jobs", "name"),
    "GetJobAlpha1": _of("read_jobs", "name"),
    "ListJobs": Uses("read_jobs", _every_job),
    "ListJobsAlpha1": Uses("read_jobs", _every_job),
    "ScheduleJob": _schedule,
    "ScheduleJobAlpha1": _schedule,
    "DeleteJob": _of("write_jobs", "name"),
    "DeleteJobAlpha1": _of("write_jobs", "name"),
    "DeleteJobsByPrefix": Uses("write_jobs", _prefix),
    "DeleteJobsByPrefixAlpha1": Uses("write_jobs", _prefix),
    "InvokeActor": Uses("actors", _invoke_actor),
    **{name: _of(OWN_ACTOR, "actor_type", "actor_id") for name in ("GetActorState", "ExecuteActorStateTransaction")},
    **{
        name: Uses(OWN_ACTOR, _own_named)
        for name in (
            "RegisterActorTimer",
            "UnregisterActorTimer",
            "RegisterActorReminder",
            "UnregisterActorReminder",
            "GetActorReminder",
        )
    },
    **{f"StartWorkflow{version}": _workflow("workflows", "workflow_name") for version in ("Alpha1", "Beta1")},
    **{
        f"{what}Workflow{version}": _workflow("workflow_instances", "instance_id")
        for what in ("Get", "Purge", "Terminate", "Pause", "Resume")
        for version in ("Alpha1", "Beta1")
    },
    **{
        f"RaiseEventWorkflow{version}": _workflow("workflow_instances", "instance_id")
        for version in ("Alpha1", "Beta1")
    },
}


@dataclass(frozen=True, slots=True)
class Method:
    """A method that guests may call. `streams`: its messages are one behind the other, each after its length."""

    name: str
    request: type[Message]
    response: type[Message]
    uses: Uses
    streams: bool

    @property
    def path(self) -> str:
        """As gRPC has it."""
        return f"/{SERVICE}/{self.name}"

    def checked(self, message: bytes, added: Mapping[str, str] = NO_METADATA) -> Checked:
        """A request, read whole; see `SidecarApi.checked`. Raises `NotMade`."""
        return self._stream(message) if self.streams else self._single(message, added)

    def _single(self, message: bytes, added: Mapping[str, str]) -> Checked:
        if len(message) > _FIELDS * _FIELD:
            self._count(message, "the request", _FIELDS)
        request, sent = self._parsed(message, "the request")
        uses = self._uses(request)
        if added and self.name in CARRIERS:
            request.metadata.update(added)
            sent = request.SerializeToString()
        return Checked(sent, uses)

    def _stream(self, message: bytes) -> Checked:
        checked = io.BytesIO()
        uses: tuple[Use, ...] = ()
        at, left = 0, _FIELDS
        for number in range(_MESSAGES):
            if at == len(message):
                break
            what = f"message {number}"
            try:
                size, begin = protobuf.varint(message, at, len(message))
            except protobuf.Malformed:
                self._malformed(what)
            if size > len(message) - begin:
                self._malformed(what)
            at = begin + size
            left = self._count(message[begin:at], what, left)
            request, sent = self._parsed(message[begin:at], what)
            if number == 0:
                uses = self._uses(request)
            elif request.HasField("options"):
                _invalid("only the first message may have options")
            checked.write(protobuf.encoded(len(sent)))
            checked.write(sent)
        if at < len(message):
            _invalid(f"more than {_MESSAGES} messages")
        if not uses:
            _invalid("a stream without a message")
        return Checked(checked.getvalue(), uses)

    def _count(self, message: bytes, what: str, most: int) -> int:
        """How many fields there may be after a message, where there may be `most` with it."""
        try:
            return _fields_left(message, self.request.DESCRIPTOR, most)
        except protobuf.Malformed:
            self._malformed(what)

    def _parsed(self, message: bytes, what: str) -> tuple[Any, bytes]:
        """A message, and its bytes as they are sent: written anew."""
        try:
            request = self.request.FromString(message)
        except DecodeError:
            self._malformed(what)
        request.DiscardUnknownFields()
        sent = request.SerializeToString()
        # Most guests write a message as it is written here. Of another one, the size tells what was discarded: a field
        # that is not known here could name what was not granted.
        if sent != message and self.request.FromString(message).ByteSize() != len(sent):
            _invalid("the request has fields that this host does not know")
        return request, sent

    def _malformed(self, what: str) -> NoReturn:
        _invalid(f"{what} is no {self.request.DESCRIPTOR.name}")

    def _uses(self, request: Message) -> tuple[Use, ...]:
        found: list[Use] = []
        for use in self.uses.of(request):
            if len(found) == _NAMES:
                raise NotMade(Code.INVALID_ARGUMENT, f"more than {_NAMES} names in one request")
            found.append(use)
        if not found:
            raise NotMade(Code.INVALID_ARGUMENT, "the request names nothing")
        return tuple(found)

    def messages(self, message: bytes) -> Iterator[bytes]:
        """The messages of a request that was checked, as they are sent."""
        source = io.BytesIO(message)
        while source.tell() < len(message):
            yield proto.parse_length_prefixed(self.request, source).SerializeToString()


def _fields_left(message: bytes, kind: Any, most: int) -> int:
    """`most` less the fields of a message and of all that it contains. Raises `Malformed`, and `NotMade` below 0.

    A parser makes an object of a hundred bytes for a part of two bytes, and lets no other thread run meanwhile.
    """
    parts = [(0, len(message), kind)]
    while parts:
        begin, end, kind = parts.pop()
        for number, wire, start, stop in protobuf.fields(message, begin, end):
            most -= 1
            if most < 0:
                _invalid(f"more than {_FIELDS} fields in one request")
            field = kind.fields_by_number.get(number)
            if wire == protobuf.BYTES and field is not None and field.message_type is not None:
                parts.append((start, stop, field.message_type))
    return most


def _methods() -> Iterator[Method]:
    service = dapr_pb2.DESCRIPTOR.services_by_name["Dapr"]
    for method in service.methods:
        if method.name in _TABLE:
            streams = method.client_streaming or method.server_streaming
            request, response = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
            yield Method(method.name, request, response, _TABLE[method.name], streams)


METHODS: Mapping[str, Method] = {method.name: method for method in _methods()}
#: Methods of the sidecar that no guest may call.
CLOSED = frozenset(method.name for method in dapr_pb2.DESCRIPTOR.services_by_name["Dapr"].methods) - METHODS.keys()


class Requests:
    """The half of `sidecar.SidecarApi` that is the same whoever makes the calls: how a request is read."""

    __slots__ = ()

    def checked(self, method: str, message: bytes, added: Mapping[str, str] = NO_METADATA) -> Checked:
        """See `sidecar.SidecarApi`."""
        return method_of(method).checked(message, added)


def method_of(name: str) -> Method:
    """The method of this name. Raises `NotMade`."""
    method = METHODS.get(name)
    if method is not None:
        return method
    if name.startswith("Subscribe") or name not in CLOSED:
        raise NotMade(Code.UNIMPLEMENTED, f"{name[:128]!a} is no method that guests may call by this host")
    raise NotMade(Code.PERMISSION_DENIED, f"no guest may call {name}")
