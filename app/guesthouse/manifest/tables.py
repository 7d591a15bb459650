"""The tables of `guesthouse.toml`: one frozen class for each table, with every key and its default.

How the file is read is in `read.py`; what tables must agree on is in `rules.py`. Whether the files that a manifest
names exist and are right is found when a plan is built. The descriptions here are generated into docs/manifest.md.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationInfo
from pydantic_core import PydanticCustomError

from guesthouse.event import Trigger
from guesthouse.inference.cores import cores
from guesthouse.manifest.addresses import ACTOR_NAME, Address, AddressFault
from guesthouse.manifest.text import kind_of, parse_duration, parse_size, wrong
from guesthouse.system.folders import user_cache
from guesthouse_abi import grants
from guesthouse_abi.bindgen_values import TYPES
from guesthouse_abi.files import path_problem

MiB = 1 << 20
GiB = 1 << 30
_LONGEST_MODEL_NAME = 256  # bytes
_NAME = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_CONTENT_TYPE = re.compile(r"[\w.+-]{1,64}/[\w.+*-]{1,64}", re.ASCII)
COMPONENT_NAME = re.compile(r"[a-z0-9][a-z0-9-]*", re.ASCII)
GUEST_PATH = "write a path as the guest names it, as in /models/m.tflite"
#: Where a guest finds its script, by the runtime, and a script in Python its packages and its file of calls.
SCRIPTS_AT = {None: "/script.js", "javascript": "/script.js", "python": "/script.py"}
PACKAGES_AT = "/packages"
CALLS_AT = "/dev/guesthouse"
#: The beginning of the names of the host's own methods.
RESERVED = "_guesthouse/"
VERBS = ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")
#: Verbs that ask about a method (a browser's preflight is an OPTIONS). They run a guest only where `verbs` names them.
ASKING_VERBS = ("HEAD", "OPTIONS", "CONNECT", "TRACE")


@dataclass(frozen=True)
class ValueKind:
    """What the documentation calls the values of a key."""

    text: str


# ---- values ----


def _text(value: object) -> object:
    if isinstance(value, str) and any(ord(char) < 32 or ord(char) == 127 for char in value):
        raise wrong("has a control character in it", "write plain text on one line")
    return value


def _lines(value: object) -> object:
    if isinstance(value, str) and any((ord(char) < 32 and char not in "\n\r\t") or ord(char) == 127 for char in value):
        raise wrong("has a control character in it", "write text, with newlines and tabs at most")
    return value


def _some_text(value: object) -> object:
    if value == "":
        raise wrong("is empty", "write a name, or leave the table out")
    return _text(value)


def _name(value: object) -> object:
    if isinstance(value, str) and not _NAME.fullmatch(value):
        raise wrong("is not a name", "use letters, digits, _ and -")
    return value


def _model_name(value: object) -> object:
    if isinstance(value, str):
        if not value or any(unicodedata.category(char) == "Cc" for char in value):
            raise wrong("is not a model's name", "write any text on one line, without control characters")
        if len(value.encode()) > _LONGEST_MODEL_NAME:
            raise wrong("is too long for a model's name", f"use at most {_LONGEST_MODEL_NAME} bytes")
    return value


def _models(value: object) -> object:
    """A list of models' names, or a table from the guest's names to the models' names."""
    if isinstance(value, Mapping):
        return value
    if not isinstance(value, (list, tuple)):
        raise wrong(f"is {kind_of(value)}, not a list of models", 'write a list, or a table { "name" = "model" }')
    for name in value:
        if not isinstance(name, str):
            raise wrong(f"has {kind_of(name)} in it", "write names of models in quotes")
    return {name: name for name in value}


def _warm_up(value: object, info: ValidationInfo) -> object:
    if isinstance(value, str) and value not in ("true", "false"):
        return _path(value, info)
    try:
        return _switch(value)
    except PydanticCustomError:
        raise wrong("is neither true, false nor a path", 'write one of them, as in "samples.npz"') from None


def _whole(value: object) -> object:
    """A whole number, or its digits as text, for a value from the environment is text."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        return int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise wrong("is not a whole number", "write digits alone")
    return value


def _switch(value: object) -> object:
    if isinstance(value, str) and value in ("true", "false"):
        return value == "true"
    if not isinstance(value, bool):
        raise wrong("is neither true nor false", "write true or false, without quotes")
    return value


def _digest(value: object) -> object:
    digits = set("0123456789abcdefABCDEF")
    if isinstance(value, str) and not (len(value) == 64 and set(value) <= digits):
        raise wrong("is not a sha256", "write the 64 hexadecimal digits that `sha256sum FILE` prints")
    return value.lower() if isinstance(value, str) else value


def _path(value: object, info: ValidationInfo) -> object:
    if value == "" or (isinstance(value, str) and "\0" in value):
        raise wrong("is not a path", "write the path of a file, from the manifest's folder")
    if isinstance(value, str) and info.context is not None:
        return Path(os.path.normpath(info.context / value))
    return value


def _program(value: object, info: ValidationInfo) -> object:
    """A program: a name that is looked for in $PATH, or a path from the manifest's folder."""
    if not isinstance(value, str) or "/" not in value:
        return _some_text(value)
    return str(_path(value, info))


def _guest_folder(value: object) -> object:
    if value == "":
        raise wrong("is empty", GUEST_PATH)
    return value if value == "/" else _guest_path(value)


def _guest_path(value: object) -> object:
    if isinstance(value, str) and value and (problem := path_problem(value)):
        raise wrong(problem, GUEST_PATH)
    return value


def _granted(value: object, info: ValidationInfo) -> object:
    """A path alone stands for a table with that path."""
    if isinstance(value, str):
        return GrantedFile.model_construct(path=_path(value, info))
    if not isinstance(value, dict):
        raise wrong(
            f"is {kind_of(value)}, not a path", "write the path of a file or folder, from the manifest's folder"
        )
    return value


def _tokens(value: object) -> object:
    tokens = value if isinstance(value, list) else [value]
    if not tokens or not all(isinstance(token, str) and token and token.isprintable() for token in tokens):
        raise wrong("is not a token", "write one text, or a list of them while a token is being changed")
    return tuple(tokens)


def _threads(value: object) -> object:
    if value == "auto":
        return value
    try:
        threads = _whole(value)
    except ValueError:
        threads = 0
    if not isinstance(threads, int) or not 1 <= threads <= 256:
        raise wrong('is neither "auto" nor a number of threads', 'write "auto", or a number from 1 to 256')
    return threads


def _outputs(value: object) -> object:
    if value == []:
        raise wrong("is empty", "name the output bindings that receive the reply, or leave it out")
    return value


def _verbs(value: object) -> object:
    if value == []:
        raise wrong("is empty", "name the verbs that are answered, or leave it out for the usual ones")
    return value


def _verb(value: object) -> object:
    if isinstance(value, str) and value.upper() not in VERBS:
        raise wrong("is not an HTTP verb", f"use {', '.join(VERBS)}")
    return value.upper() if isinstance(value, str) else value


def _content_type(value: object) -> object:
    if isinstance(value, str) and not _CONTENT_TYPE.fullmatch(value):
        raise wrong("is not a content type", 'write one as in "image/jpeg" or "text/plain"')
    return value.lower() if isinstance(value, str) else value


def _method(value: object) -> object:
    method = _some_text(value.strip("/") if isinstance(value, str) else value)
    if isinstance(method, str) and method.startswith(RESERVED):
        raise wrong("is a name that the host keeps for itself", f"choose one that does not begin with {RESERVED}")
    return method


def _pattern(value: object) -> object:
    pattern = _some_text(value.strip("/") if isinstance(value, str) else value)
    if isinstance(pattern, str) and "*" in pattern[:-1]:
        raise wrong("has a * before its end", "write * at the end alone, for all methods that begin so")
    return pattern


def _apps(value: object) -> object:
    if value == []:
        raise wrong("is empty", "name the applications that may ask, or leave the table out")
    return value


def _keys(value: object) -> object:
    if value == []:
        raise wrong("is empty", "name the public keys, or leave the table out")
    return value


def _value_type(value: object) -> object:
    if isinstance(value, str) and value not in TYPES:
        raise wrong("is no type of a parameter", f"write {', '.join(TYPES[:-1])} or {TYPES[-1]}")
    return value


def _component_name(value: object) -> object:
    if isinstance(value, str) and not COMPONENT_NAME.fullmatch(value):
        raise wrong("is no component's name", "use small letters, digits and -, as in guests for bindings.guests")
    return value


def _actor_type(value: object) -> object:
    value = _some_text(value)
    if isinstance(value, str) and not ACTOR_NAME.fullmatch(value):
        raise wrong("is no type of actors", "leave out / \\ # ? and control characters, as in Cart")
    if isinstance(value, str) and value.startswith("dapr.internal."):
        raise wrong("is a type of Dapr's workflow engine", "choose another name")
    return value


def _address(value: object) -> object:
    value = _some_text(value)
    if isinstance(value, str):
        try:
            Address.parse(value)
        except AddressFault as fault:
            raise wrong(fault.what, fault.remedy) from None
    return value


def _permissions(value: object) -> object:
    if not isinstance(value, str) or not re.fullmatch(r"0?[0-7]{3}", value, re.ASCII):
        raise wrong("is not a file's permissions", 'write three octal digits in quotes, as in "0660"')
    return int(value, 8)


Text = Annotated[str, BeforeValidator(_text), ValueKind("text")]
Lines = Annotated[str, BeforeValidator(_lines), ValueKind("text")]
SomeText = Annotated[str, BeforeValidator(_some_text), ValueKind("text")]
Name = Annotated[str, BeforeValidator(_name), ValueKind("name")]
ModelName = Annotated[str, BeforeValidator(_model_name), ValueKind("name")]
Size = Annotated[int, BeforeValidator(parse_size), ValueKind("size")]
Duration = Annotated[float, BeforeValidator(parse_duration), ValueKind("duration")]
Count = Annotated[int, BeforeValidator(_whole), ValueKind("number")]
Switch = Annotated[bool, BeforeValidator(_switch), ValueKind("true or false")]
Digest = Annotated[str, BeforeValidator(_digest), ValueKind("sha256")]
File = Annotated[Path, BeforeValidator(_path), ValueKind("path")]
GuestPath = Annotated[str, BeforeValidator(_guest_path), ValueKind("path in the guest")]
GuestFolder = Annotated[str, BeforeValidator(_guest_folder), ValueKind("path in the guest")]
ValueType = Annotated[str, BeforeValidator(_value_type), ValueKind("type")]
ContentTypes = Annotated[tuple[Annotated[str, BeforeValidator(_content_type)], ...], ValueKind("list of content types")]
OnError = Literal["retry", "drop"]


# ---- tables ----


class Table(BaseModel):
    """A table of the manifest: frozen, and every unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class App(Table):
    """The application, as its sidecar knows it."""

    name: SomeText = Field(description="the Dapr app id that this manifest is meant for")


class Engine(Table):
    """What runs the guests."""

    name: Literal["wasmtime", "wasmer"] = Field(default="wasmtime", description="the Wasm engine (docs/engines.md)")
    python: Annotated[str, BeforeValidator(_program), ValueKind("text")] | None = Field(
        default=None,
        description="wasmer: the Python 3.10 that has it (the extra `guesthouse[wasmer]`), a path or a name",
        json_schema_extra={"default": "the one that serves"},
    )
    cache: File = Field(
        default_factory=user_cache,
        description="the folder for compiled guests; only you may be able to write there",
        json_schema_extra={"default": "`$GUESTHOUSE_CACHE`, else `~/.cache/guesthouse`"},
    )
    cache_size: Size = Field(
        default=2 * GiB,
        ge=0,
        le=1024 * GiB,
        description="how large that folder may become: what was not used for longest is removed, but nothing in use",
    )
    pooling: Switch = Field(
        default=True, description="keep memory for instances ready, where the guests' limits allow it"
    )


class Process(Table):
    """The worker processes of guests with `isolation = "process"` (docs/security.md)."""

    stock: Count = Field(
        default=2,
        ge=0,
        le=64,
        description="how many workers are started ahead; each becomes the worker of the first guest that needs one",
    )
    confinement: Literal["best", "required"] = Field(
        default="best",
        description='where the kernel cannot confine workers as docs/security.md says: "best" warns of what is '
        'missing, "required" refuses to serve',
    )


class Drain(Table):
    """What happens between SIGTERM and the end."""

    notice: Duration = Field(
        default=0.0, description="how long health checks already fail while all calls are still served"
    )
    limit: Duration = Field(
        default=20.0, description="how long running calls may then take to finish; no new call is taken"
    )


class Tls(Table):
    """For a sidecar that connects with `grpcs`."""

    certificate: File = Field(description="the certificate chain, PEM")
    key: File = Field(description="its private key, PEM")


class Server(Table):
    """The gRPC server that the sidecar calls."""

    host: SomeText = Field(default="127.0.0.1", description="the address to listen on")
    port: Count = Field(
        default=50051,
        ge=0,
        le=65535,
        description="the port to listen on; 0 takes a free one",
        json_schema_extra={"default": "`$APP_PORT`, else 50051"},
    )
    message: Size = Field(
        default=16 * MiB + 65536,
        ge=65536,
        lt=2 * GiB,
        description="the largest gRPC message, both ways; the sidecar's own limit is `--max-body-size`",
        json_schema_extra={"default": "the largest `input` of all guests and 64KiB"},
    )
    metadata: Size = Field(
        default=16384,
        ge=8192,
        le=MiB,
        description="the headers of one call together; the sidecar's own limit is `--read-buffer-size`",
    )
    drain: Drain = Field(default=Drain(), description="how the server ends")
    token: Annotated[tuple[SecretStr, ...], BeforeValidator(_tokens), ValueKind("text, or a list")] = Field(
        default=(),
        description="the token that the sidecar must send as `dapr-api-token`; a list while it is being changed",
        json_schema_extra={"default": "`$APP_API_TOKEN` where there is no `token_file`, else no check"},
    )
    token_file: File | None = Field(
        default=None, description="a file with more tokens, one a line; a reload reads it again"
    )
    tls: Tls | None = Field(default=None, description="serve with TLS")
    core: Literal["auto", "native", "grpcio"] = Field(
        default="auto",
        description="what reads and writes HTTP/2: `native` is faster; `grpcio` has TLS, and looks at a message's size "
        "before it takes the message in; `auto` is `native` where that is installed, there is no TLS, and `host` is a "
        "loopback address (docs/operations.md)",
    )
    reflection: Switch = Field(
        default=False, description="answer gRPC reflection, for grpcurl and the like; needs no token"
    )


class Batch(Table):
    """Requests that meet run as one batch. Rows must be independent, which is checked at load (docs/security.md)."""

    size: Count = Field(ge=2, le=4096, description="the most rows of one run")
    delay: Duration = Field(default=0.002, le=10.0, description="how long a request waits for others")


class Model(Table):
    """A model that the host serves to its guests."""

    path: File = Field(description="the ONNX file")
    sha256: Digest | None = Field(default=None, description="pin: the file must have this digest")
    stands_for: tuple[Digest, ...] = Field(
        default=(), description="digests of model files that guests embed: they get this model instead"
    )
    threads: Annotated[Literal["auto"] | int, BeforeValidator(_threads), ValueKind('"auto" or number')] = Field(
        default="auto",
        description='threads of one run; "auto": all cores for a run that is alone, one each when several meet',
    )
    batch: Batch | None = Field(default=None, description="run requests of several guests together")
    max_batch: Count | None = Field(
        default=None,
        ge=1,
        le=2**31 - 1,
        description="the most rows that one guest may ask for in one run, where the first dimension is free",
        json_schema_extra={"default": "with `batch` 32, or its `size`; else only elements are counted"},
    )
    max_elements: Count = Field(
        default=1 << 24,
        ge=1,
        le=2**31 - 1,
        description="the most elements of one input that has a free dimension",
    )
    warm_up: Annotated[bool | Path, BeforeValidator(_warm_up), ValueKind("true, false or path")] = Field(
        default=True,
        description="whether the model is run when it is loaded: on zeros, or on the arrays in an `.npz` file, which "
        "have the names of its inputs",
    )
    inputs: Mapping[str, SomeText] = Field(
        default_factory=dict, description="`{ guest's name = model's name }`, where a guest calls an input otherwise"
    )
    outputs: Mapping[str, SomeText] = Field(default_factory=dict, description="the same for outputs")


class GuestLimits(Table):
    """What one guest may use."""

    memory: Size = Field(default=128 * MiB, ge=65536, le=4 * GiB, description="its linear memory")
    time: Duration = Field(
        default=5.0, gt=0, le=86400, description="from the start of the instance to the reply; compiling does not count"
    )
    concurrency: Count = Field(
        default_factory=lambda: 2 * cores(),
        ge=1,
        le=1024,
        description="events that it answers at the same time",
        json_schema_extra={"default": "twice the cores"},
    )
    queue: Count = Field(default=64, ge=0, le=65536, description="events that may wait for a slot")
    queue_wait: Duration = Field(default=5.0, le=86400, description="how long they wait; then the caller is refused")
    input: Size = Field(default=16 * MiB, ge=1, le=GiB, description="the body of an event")
    output: Size = Field(default=16 * MiB, ge=1, le=GiB, description="the body of a reply")
    pixels: Count = Field(
        default=50_000_000, ge=1, le=1_000_000_000, description="pixels of one picture; looked at before it is decoded"
    )
    host_memory: Size = Field(
        default=256 * MiB,
        ge=65536,
        le=64 * GiB,
        description="what the host holds for one event: tensors, decoded pictures, output",
    )
    log: Size = Field(default=65536, ge=0, le=GiB, description="what one event may log; the rest is dropped")
    files: Size = Field(
        default=256 * MiB,
        ge=0,
        le=64 * GiB,
        description="all files that it is granted, together; they are in memory once",
    )

    def limits(self) -> grants.Limits:
        return grants.Limits(**self.model_dump())


class GrantedFile(Table):
    """A file or folder that a guest is granted. A path alone, instead of a table, says the same without a pin."""

    path: File = Field(description="the file, or the folder with all that is in it")
    sha256: Digest | None = Field(
        default=None, description="pin: it must have this digest; `guesthouse check` prints it, also a folder's"
    )


class Guest(Table):
    """A Wasm module and what it is granted."""

    #: The tables of capabilities that it may have besides, as dataclasses by name (`grant_tables`).
    grant_kinds: ClassVar[Mapping[str, type[Any]]] = {}

    module: File | None = Field(default=None, description="the .wasm file; not for a guest with a `script`")
    script: File | None = Field(
        default=None,
        description='a script in JavaScript or Python in place of `module`, with `calling = "dapr"`',
    )
    runtime: Literal["javascript", "python"] | None = Field(
        default=None,
        description='what runs the script: "javascript", or "python" (docs/guests.md)',
        json_schema_extra={"default": '`"javascript"`'},
    )
    packages: Annotated[GrantedFile, BeforeValidator(_granted)] | None = Field(
        default=None, description="a folder with packages of pure Python, which a script in Python may import"
    )
    sha256: Digest | None = Field(default=None, description="pin: the module, or the script, must have this digest")
    calling: Literal["bindgen", "command", "dapr", "extism", "http", "http-wasm", "messaging", "wapc"] = Field(
        default="bindgen",
        description='how it is called: "dapr" (handlers for events, by the ABI dapr_v1), "bindgen" (an exported '
        'function), "command" (a WASI program), "extism" (a plug-in of Extism), '
        '"http" (a component for wasi:http), "http-wasm" (a handler of HTTP requests), '
        '"messaging" (a component for wasi:messaging or wasmcloud:messaging) or "wapc" (a guest of waPC)',
    )
    function: Text = Field(
        default="",
        description="bindgen and extism: the export to call; wapc: the operation, where it is not the event's name",
    )
    values: Literal["json"] | None = Field(
        default=None,
        description='bindgen: "json" for a function of no, one or several values: the body is a JSON array with an '
        "element for each parameter, the reply one with an element for each result (docs/abi.md)",
    )
    parameters: tuple[ValueType, ...] = Field(
        default=(), description='with `values = "json"`: the types of the parameters, as in `["String", "i32"]`'
    )
    args: tuple[Lines, ...] = Field(
        default=(), description="command: arguments after the program's name; newlines and tabs may be in them"
    )
    env: Mapping[str, Lines] = Field(
        default_factory=dict,
        repr=False,
        description="environment variables; newlines and tabs may be in them; the host's own are not passed on",
    )
    config: Mapping[SomeText, Lines] = Field(
        default_factory=dict, description="what it reads by `config_read` of dapr_v1: text by name"
    )
    models: Annotated[
        Mapping[ModelName, ModelName], BeforeValidator(_models), ValueKind("list of names, or a table of them")
    ] = Field(
        default_factory=dict,
        description="the models that it may use; in a table by names of its own, as in "
        '`{ "mobilenet.v2" = "classifier" }`',
    )
    files: Annotated[
        Mapping[str, Annotated[GrantedFile, BeforeValidator(_granted)]], ValueKind("table of paths, or of tables")
    ] = Field(
        default_factory=dict,
        description='`{ "/m.tflite" = "models/m.tflite", "/data" = "data/" }`: files and folders that it may read, '
        "by the path that it opens them by (docs/guests.md)",
    )
    body_file: GuestPath = Field(default="", description="the path at which it finds the event's body as a file")
    scratch: Size = Field(
        default=0,
        le=64 * GiB,
        description="bytes of files that it may write, in memory and gone with the event; part of `host_memory`",
        json_schema_extra={"default": "none"},
    )
    scratch_path: GuestFolder = Field(default="/tmp", description="the folder for these files; `/`: anywhere")
    reply_file: GuestPath = Field(
        default="", description="the file whose content is the reply, not what it returns or prints"
    )
    reply_type: Text = Field(default="", description="the content type of its replies")
    reply: Literal["cgi"] | None = Field(
        default=None,
        description='command: "cgi" for replies that begin with headers (`Content-Type`, `Status`, others) and a blank '
        "line (docs/guests.md)",
    )
    takes: ContentTypes = Field(
        default=(),
        description="the content types of the events that it understands, for a sender that chooses a guest by them "
        "(the page, docs/page.md); no event is refused for its type",
        json_schema_extra={"default": "pictures, where it imports `wasmedge_image`; else unknown"},
    )
    image: Literal["0.14", "0.15"] | None = Field(
        default=None,
        description="decode and resize pictures as this WasmEdge version does",
        json_schema_extra={"default": '"0.14" for v1 imports, "0.15" for v2'},
    )
    scale: Switch = Field(
        default=False,
        description="large JPEG pictures may be decoded at a reduced scale: faster, slightly other pixels",
    )
    wasi_nn: Literal["0.1", "0.2", "0.5", "0.6"] | None = Field(
        default=None,
        description="the version of wasi-nn (by its Rust crate) whose error numbers and tensor types it uses",
        json_schema_extra={"default": "the newest errors; types by their size"},
    )
    snapshot: Switch = Field(
        default=False,
        description="it is initialised once, when it is loaded, and each event begins with the memory that it has then "
        "(docs/guests.md)",
    )
    isolation: Literal["thread", "process"] | None = Field(
        default=None,
        description='where it runs: "thread" (of this process) or "process" (worker processes, docs/security.md)',
        json_schema_extra={"default": '`"thread"` with wasmtime, `"process"` with wasmer'},
    )
    idle: Duration = Field(
        default=60.0, description="how long a worker process of the guest waits for an event; then it ends"
    )
    least: Count = Field(
        default=0,
        ge=0,
        description="how many of its worker processes never end for being idle; they are ready from the start",
    )
    allow_guest_models: Switch = Field(default=False, description="it may bring its own ONNX models, within its limits")
    signature: File | None = Field(
        default=None,
        description="the file with the module's signature, by a key of `[signatures]`",
        json_schema_extra={"default": "`module` and `.sig`"},
    )
    enabled: Switch = Field(
        default=True, description="false: it is not loaded, and its events are refused for now (`OFF`)"
    )
    limits: GuestLimits = Field(default_factory=lambda: GuestLimits(), description="what it may use; all have defaults")

    @property
    def signed_by(self) -> Path:
        """Where the module's signature is, if it has one."""
        return self.signature or self.file.with_name(self.file.name + ".sig")

    @property
    def file(self) -> Path:
        """The module, or the script."""
        found = self.module or self.script
        assert found is not None  # the rules demand one of them
        return found

    @property
    def reads(self) -> Mapping[str, GrantedFile]:
        """The files and folders that it may read besides its script, by the guest's paths."""
        return self.files if self.packages is None else {PACKAGES_AT: self.packages, **self.files}

    @property
    def script_at(self) -> str:
        """Where the guest finds its script."""
        return SCRIPTS_AT[self.runtime]

    def grants(self) -> grants.Grants:
        return grants.Grants(
            calls_file=CALLS_AT if self.runtime == "python" else "",
            models=frozenset(self.models.values()),
            aliases=tuple((alias, model) for alias, model in self.models.items() if alias != model),
            env=tuple(self.env.items()),
            config=tuple(self.config.items()),
            args=self.args,
            image=self.image,
            scale=self.scale,
            allow_guest_models=self.allow_guest_models,
            wasi_nn=self.wasi_nn,
            body_file=self.body_file,
            scratch=self.scratch,
            scratch_path=self.scratch_path,
            reply_file=self.reply_file,
        )

    def capabilities(self) -> tuple[Any, ...]:
        """What its tables of capabilities grant: the dataclasses that these tables were made of."""
        found = []
        for name, kind in self.grant_kinds.items():
            table: Table | None = getattr(self, name)
            if table is not None:
                found.append(kind(**{key: getattr(table, key) for key in type(table).model_fields}))
        return tuple(found)


class Invoke(Table):
    """A method that other applications invoke through their sidecars."""

    method: Annotated[str, BeforeValidator(_method), ValueKind("text")] = Field(
        description="the method, as in `api/image`"
    )
    guest: Name = Field(description="the guest that answers")
    verbs: Annotated[
        tuple[Annotated[str, BeforeValidator(_verb)], ...], BeforeValidator(_verbs), ValueKind("list of verbs")
    ] = Field(
        default=(),
        description="the HTTP verbs that are answered",
        json_schema_extra={"default": "all but `HEAD`, `OPTIONS`, `CONNECT`, `TRACE`"},
    )
    enabled: Switch = Field(default=True, description="false: its events are refused for now (`OFF`)")


class Filter(Table):
    """A guest of http-wasm that invocations go through before they reach their route: it may answer them itself, and
    change request and reply. Filters stand one behind the other, in the order of the file."""

    guest: Name = Field(description='the guest, with `calling = "http-wasm"`')
    methods: Annotated[tuple[Annotated[str, BeforeValidator(_pattern)], ...], ValueKind("list of methods")] = Field(
        default=("*",),
        description='the methods that it is for, as in `["orders/*", "login"]`; a `*` stands at the end alone',
        json_schema_extra={"default": '`["*"]`: all'},
    )
    on_error: Literal["refuse", "pass"] = Field(
        default="refuse",
        description='when the filter itself fails: "refuse" fails the event, "pass" goes on as if there were no filter',
    )
    enabled: Switch = Field(default=True, description="false: it is left out for now")


class State(Table):
    """A key of a state store."""

    store: SomeText = Field(description="the state store component")
    key: SomeText = Field(description="the key")


To = Annotated[tuple[SomeText, ...], BeforeValidator(_outputs), ValueKind("list of text")]


class Binding(Table):
    """A Dapr input binding."""

    name: SomeText = Field(description="the component's name")
    guest: Name = Field(description="the guest that answers")
    to: To = Field(default=(), description="output bindings that receive the reply")
    state: State | None = Field(default=None, description="where the reply is stored")
    on_error: OnError = Field(
        default="retry",
        description='when the guest or the event is at fault: "retry" answers with an error, "drop" acknowledges it',
    )
    attempts: Count | None = Field(
        default=None,
        ge=1,
        le=10_000,
        description="after so many failures an event is given up: logged and acknowledged (docs/bindings.md); an event "
        "that is at fault itself is given up at once",
        json_schema_extra={"default": "never given up"},
    )
    dead_letter: SomeText | None = Field(
        default=None, description="the output binding that receives an event that is given up"
    )
    enabled: Switch = Field(default=True, description="false: its events are refused for now (`OFF`)")


class Match(Table):
    """Which events of a topic are meant."""

    match: Text = Field(
        default="",
        description='CEL over `event`, as in `event.type == "photo"`; without it: all other events of the topic',
    )
    path: SomeText = Field(description="the path under which the sidecar delivers them")


class Bulk(Table):
    """Many messages in one call."""

    messages: Count | None = Field(
        default=None,
        ge=1,
        le=100_000,
        description="the most messages in one call",
        json_schema_extra={"default": "the sidecar's"},
    )
    wait: Duration | None = Field(
        default=None,
        le=3600,
        description="how long the sidecar collects them",
        json_schema_extra={"default": "the sidecar's"},
    )


class Topic(Table):
    """A Dapr subscription."""

    pubsub: SomeText = Field(description="the pub/sub component")
    topic: SomeText = Field(description="the topic")
    guest: Name | None = Field(default=None, description="the guest that answers; a table has a guest or an actor")
    actor: Annotated[str, BeforeValidator(_address), ValueKind("TYPE/ID")] | None = Field(
        default=None,
        description="instead of a guest: the actor that answers, as in `Cart/{data.customer.id}`; "
        "`{data.NAME.NAME}` is a value of the JSON body, `{metadata.NAME}` of the metadata",
    )
    method: SomeText | None = Field(default=None, description="the actor's method; left out: the topic's name")
    route: Match | None = Field(
        default=None, description="only some of the topic's events; several tables may share a topic"
    )
    bulk: Bulk | None = Field(default=None, description="take many messages in one call")
    raw: Switch = Field(
        default=False,
        description="messages are no CloudEvents: the guest gets the bytes that were published, as they are",
    )
    dead_letter: SomeText | None = Field(default=None, description="the topic for messages that could not be handled")
    to: To = Field(default=(), description="output bindings that receive the reply")
    state: State | None = Field(default=None, description="where the reply is stored")
    on_error: OnError = Field(default="retry", description='when the guest fails: "retry" or "drop" the message')
    enabled: Switch = Field(default=True, description="false: its events are refused for now (`OFF`)")


class Job(Table):
    """A scheduled job."""

    name: SomeText = Field(description="the job's name")
    guest: Name = Field(description="the guest that answers")
    enabled: Switch = Field(default=True, description="false: its events are refused for now (`OFF`)")


class Actor(Table):
    """A type of actors that a guest is (docs/actors.md)."""

    type: Annotated[str, BeforeValidator(_actor_type), ValueKind("name")] = Field(description="the type's name")
    guest: Name = Field(description="the guest that takes the turns")
    idle: Duration = Field(default=3600.0, gt=0, description="without a turn for so long, the sidecar lets an actor go")
    drain: Duration = Field(
        default=2.0, ge=0, description="how long turns may go on when actors move to another host; then they are cut"
    )
    reentrant: Switch = Field(
        default=False, description="a turn may call its own actor again, also by way of other actors"
    )
    enabled: Switch = Field(default=True, description="false: its events are refused for now (`OFF`)")


class Component(Table):
    """A pluggable component (docs/component.md): guests as an output binding, replies as an input binding."""

    name: Annotated[str, BeforeValidator(_component_name), ValueKind("name")] = Field(
        description="sidecars know it as `bindings.NAME`; `serve --component` goes before it"
    )
    guests: tuple[Name, ...] | None = Field(
        default=None,
        description="the guests that are operations of the output binding",
        json_schema_extra={"default": 'all but those with `calling = "http-wasm"`'},
    )
    replies: tuple[Name, ...] = Field(
        default=(),
        description="the guests whose replies are events of the input binding",
        json_schema_extra={"default": "none"},
    )
    folder: File | None = Field(
        default=None,
        description="the folder where sidecars look for sockets",
        json_schema_extra={"default": "`$DAPR_COMPONENTS_SOCKETS_FOLDER`, else `/tmp/dapr-components-sockets`"},
    )
    permissions: Annotated[int, BeforeValidator(_permissions), ValueKind("text")] = Field(
        default=0o660,
        description="the permissions of the socket; a sidecar must be able to write to it",
        json_schema_extra={"default": '`"0660"`'},
    )
    unacknowledged: Count = Field(
        default=16, ge=1, le=4096, description="replies that a sidecar may hold without having acknowledged them"
    )
    acknowledge: Duration = Field(
        default=60.0,
        gt=0,
        le=86400,
        description="how long a sidecar may hold a reply unacknowledged; then it is sent again",
    )
    attempts: Count = Field(
        default=10, ge=1, le=1000, description="how often a reply is sent to an application that fails on it"
    )
    buffer: Size = Field(
        default=64 * MiB,
        ge=8 * MiB,
        le=64 * GiB,
        description="bytes of replies that are held for one sidecar; beyond it the oldest are given up",
    )
    keep: Duration = Field(
        default=600.0, le=86400 * 7, description="how long replies are held for a sidecar that is away"
    )


class Outputs(Table):
    """Replies on their way to output bindings and state stores (`to`, `state`, `dead_letter`)."""

    time: Duration = Field(
        default=10.0,
        ge=1.0,
        description="for all outputs of one event, however long its guest took; less than 1s leaves no second try",
    )


class Page(Table):
    """The page (docs/page.md): who may ask for the host's status, its latest events and their pictures."""

    apps: Annotated[tuple[SomeText, ...], BeforeValidator(_apps), ValueKind("list of text")] = Field(
        default=(), description="the Dapr app ids that are answered", json_schema_extra={"default": "nobody"}
    )


class Metrics(Table):
    """Prometheus metrics and probes over HTTP (docs/observability.md); off unless there is this section."""

    host: SomeText = Field(default="127.0.0.1", description="the address to listen on")
    port: Count = Field(default=9464, ge=0, le=65535, description="the port to listen on; 0 takes a free one")
    token: Annotated[tuple[SecretStr, ...], BeforeValidator(_tokens), ValueKind("text, or a list")] = Field(
        default=(),
        description="what `/metrics` asks for as `Authorization: Bearer`; a list while it is being changed",
        json_schema_extra={"default": "no check on loopback; **required** elsewhere"},
    )
    open: Switch = Field(
        default=False, description="answer without a token on an address that others than this machine can reach"
    )


class Traces(Table):
    """OpenTelemetry traces over OTLP (docs/observability.md); also on by `$OTEL_EXPORTER_OTLP_ENDPOINT`."""

    endpoint: SomeText | None = Field(
        default=None,
        description="the collector's OTLP/HTTP address, as in `http://collector:4318`",
        json_schema_extra={"default": "`$OTEL_EXPORTER_OTLP_ENDPOINT`, else `http://localhost:4318`"},
    )


class Signatures(Table):
    """Every guest's module must be signed (docs/security.md). Needs the extra `guesthouse[signatures]`."""

    keys: Annotated[tuple[File, ...], BeforeValidator(_keys), ValueKind("list of paths")] = Field(
        description="public keys, PEM (ECDSA on P-256, or Ed25519): one of them must have signed"
    )


class RouteEntry(NamedTuple):
    """One route, as `Manifest.routes` lists it. `table` has all that the manifest says about it."""

    trigger: Trigger
    name: str  # the `name` of its events
    guest: str  # "": an actor answers
    enabled: bool
    table: Invoke | Binding | Topic | Job | Actor | None  # None for an operation of the component


class Manifest(Table):
    """The whole of `guesthouse.toml`."""

    require_digests: Switch = Field(
        default=False, description="every guest and every model must have its `sha256` (docs/security.md)"
    )
    app: App = Field(description="[app] with the application's name")
    engine: Engine = Engine()
    process: Process = Process()
    outputs: Outputs = Outputs()
    server: Server = Server()
    page: Page = Page()
    component: Component | None = None
    metrics: Metrics | None = None
    traces: Traces | None = None
    signatures: Signatures | None = None
    models: Mapping[ModelName, Model] = Field(default_factory=dict)
    guests: Mapping[Name, Guest] = Field(default_factory=dict)
    filter: tuple[Filter, ...] = ()
    invoke: tuple[Invoke, ...] = ()
    binding: tuple[Binding, ...] = ()
    topic: tuple[Topic, ...] = ()
    job: tuple[Job, ...] = ()
    actor: tuple[Actor, ...] = ()

    def routes(self) -> Iterator[RouteEntry]:
        """Every route of the manifest, trigger by trigger. All code that needs routes gets them here."""
        for invoke in self.invoke:
            yield RouteEntry(Trigger.INVOKE, invoke.method, invoke.guest, invoke.enabled, invoke)
        for binding in self.binding:
            yield RouteEntry(Trigger.BINDING, binding.name, binding.guest, binding.enabled, binding)
        for topic in self.topic:
            name = f"{topic.pubsub}/{topic.topic}"
            yield RouteEntry(Trigger.TOPIC, name, topic.guest or "", topic.enabled, topic)
        for job in self.job:
            yield RouteEntry(Trigger.JOB, job.name, job.guest, job.enabled, job)
        for actor in self.actor:
            yield RouteEntry(Trigger.ACTOR, actor.type, actor.guest, actor.enabled, actor)
        for name in self.operations:
            yield RouteEntry(Trigger.OPERATION, name, name, True, None)

    def isolation_of(self, guest: Guest) -> Literal["thread", "process"]:
        """Where a guest runs: what its table says, else the engine's default."""
        return guest.isolation or ("process" if self.engine.name == "wasmer" else "thread")

    @property
    def operations(self) -> tuple[str, ...]:
        """The guests that are operations of the component."""
        if self.component is None:
            return ()
        named = self.component.guests
        if named is None:
            return tuple(name for name, guest in self.guests.items() if guest.calling != "http-wasm")
        return tuple(name for name in self.guests if name in named)
