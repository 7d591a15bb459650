"""The import modules `extism:host/env` and `extism:host/user`: blocks of memory, input and output, variables and the
log, as plug-ins of Extism use them.

A plug-in's data are in blocks that belong to its host, which it fills and reads by calls, eight bytes at a time. In
Extism a module of its own keeps them (its kernel); here the host does, with the same answers: an address that is in no
block is read as 0, and nothing is written there. `extism:host/user` has one function, which calls the sidecar. How a
plug-in is called is in `calling/extism.py`. Described at https://extism.org/docs/concepts/plug-in-system.
"""

from __future__ import annotations

from bisect import bisect_right

from guesthouse_abi.calls import Code, call
from guesthouse_abi.context import Context
from guesthouse_abi.errors import BadText, Denied, HostError, TooMuch
from guesthouse_abi.host import I32, U32, U64, HostModule
from guesthouse_abi.services import CallRequest

MODULE = HostModule("extism:host/env")
USER = HostModule("extism:host/user")

_FIRST = 64  # the first block's address; 0 is no block
_GAP = 64  # bytes that no block has, between two of them; each block is counted with as many
_BLOCKS = 65536  # at once
_NAME = 4096  # bytes of a name of configuration or of a variable
_METHOD = 128  # bytes of a method's name
_LINE = 1 << 16  # bytes of a line of the log


class Kernel:
    """The blocks of one event, and which of them are input, output and error. Addresses are never used again."""

    def __init__(self) -> None:
        self._starts: list[int] = []  # in order
        self._blocks: dict[int, bytearray] = {}
        self._next = _FIRST
        self.input = self.input_length = 0
        self.output = self.output_length = 0
        self.error = 0
        self.variables: dict[str, bytes] = {}

    def allocate(self, context: Context, size: int) -> int:
        """A block of zeros; 0 where the guest has too many bytes or blocks, or wants none."""
        if size == 0 or len(self._starts) >= _BLOCKS:
            return 0
        try:
            context.hold(size + _GAP)
        except TooMuch as error:
            context.log_refusal("extism:host/env.alloc", error)
            return 0
        start = self._next
        self._starts.append(start)
        self._blocks[start] = bytearray(size)
        self._next += (size + _GAP + 7) & ~7
        return start

    def put(self, context: Context, data: bytes, first: bytes = b"") -> int:
        """A block with these bytes, behind the `first` ones; 0 for none."""
        start = self.allocate(context, len(first) + len(data))
        if start:
            block = memoryview(self._blocks[start])  # a bytearray's own slices would copy `data` once more
            block[: len(first)], block[len(first) :] = first, data
        return start

    def free(self, context: Context, start: int) -> None:
        block = self._blocks.pop(start, None)
        if block is not None:
            del self._starts[bisect_right(self._starts, start) - 1]
            context.release(len(block) + _GAP)

    def clear(self, context: Context) -> None:
        """Free all blocks: there is no input, output or error any more."""
        context.release(sum(len(block) + _GAP for block in self._blocks.values()))
        self._blocks, self._starts = {}, []
        self.input = self.input_length = self.output = self.output_length = self.error = 0

    def length(self, start: int) -> int:
        """Of the block that begins there; 0 where none does."""
        return len(self._blocks.get(start, b""))

    def check(self, start: int, length: int) -> tuple[bytearray | None, int]:
        """What `find` finds, with so many bytes behind it in the block. Raises `HostError`."""
        block, at = self.find(start)
        if length and (block is None or at + length > len(block)):
            raise HostError(f"{length} bytes at {start} are in no block")
        return block, at

    def bytes_at(self, start: int, length: int) -> bytes:
        """So many bytes from an address within one block. Raises `HostError`."""
        block, at = self.check(start, length)
        return bytes(memoryview(block)[at : at + length]) if block is not None else b""

    def whole(self, start: int) -> bytes:
        """The block that begins there; nothing where none does."""
        return bytes(self._blocks.get(start, b""))

    def request(self, context: Context, start: int) -> CallRequest:
        """A method's name, a newline, and a message, in the block that begins there. The message is copied once, and
        only where there is room for it. Raises `BadText` and `TooMuch`."""
        block = self._blocks.get(start, bytearray())
        end = block.find(b"\n", 0, _METHOD + 1)
        end = len(block) if end < 0 else end
        if end > _METHOD:
            raise BadText(f"a method's name of more than {_METHOD} bytes")
        size = max(0, len(block) - end - 1)
        context.hold(size)
        message = bytes(memoryview(block)[end + 1 :])
        context.release(size)  # the call counts it from now on
        return CallRequest(block[:end].decode("utf-8", "replace"), message)

    def beginning(self, start: int, most: int) -> bytes:
        """At most so many bytes of the block that begins there."""
        return bytes(memoryview(self._blocks.get(start, b""))[:most])

    def find(self, address: int) -> tuple[bytearray | None, int]:
        """The block that has this address, and where in it."""
        index = bisect_right(self._starts, address) - 1
        if index >= 0:
            start = self._starts[index]
            block = self._blocks[start]
            if address - start < len(block):
                return block, address - start
        return None, 0

    def load(self, address: int, size: int) -> int:
        block, at = self.find(address)
        return int.from_bytes(block[at : at + size], "little") if block is not None else 0

    def store(self, address: int, value: int, size: int) -> None:
        block, at = self.find(address)
        if block is not None and at + size <= len(block):
            block[at : at + size] = value.to_bytes(size, "little")


def _kernel(context: Context) -> Kernel:
    return context.state(Kernel)


def begin(context: Context, body: bytes) -> Kernel:
    """The blocks of an event, with its body as the input. Raises `TooMuch`."""
    kernel = _kernel(context)
    kernel.input = kernel.put(context, body)
    kernel.input_length = len(body)
    if body and not kernel.input:
        raise TooMuch(f"a body of {len(body)} bytes; the limit host_memory is {context.limits.host_memory}")
    return kernel


# ---- blocks ----


@MODULE.function()
def alloc(context: Context, size: U64) -> U64:
    return U64(_kernel(context).allocate(context, size))


@MODULE.function()
def free(context: Context, block: U64) -> None:
    _kernel(context).free(context, block)


@MODULE.function()
def length(context: Context, block: U64) -> U64:
    return U64(_kernel(context).length(block))


@MODULE.function()
def length_unsafe(context: Context, block: U64) -> U64:
    return U64(_kernel(context).length(block))


@MODULE.function()
def load_u8(context: Context, address: U64) -> U32:
    return U32(_kernel(context).load(address, 1))


@MODULE.function()
def load_u64(context: Context, address: U64) -> U64:
    return U64(_kernel(context).load(address, 8))


@MODULE.function()
def store_u8(context: Context, address: U64, value: U32) -> None:
    _kernel(context).store(address, value & 0xFF, 1)


@MODULE.function()
def store_u64(context: Context, address: U64, value: U64) -> None:
    _kernel(context).store(address, value, 8)


@MODULE.function()
def memory_bytes(context: Context) -> U64:
    return U64(context.held)


@MODULE.function()
def reset(context: Context) -> None:
    _kernel(context).clear(context)


# ---- input, output, error ----


@MODULE.function()
def input_length(context: Context) -> U64:
    return U64(_kernel(context).input_length)


@MODULE.function()
def input_offset(context: Context) -> U64:
    return U64(_kernel(context).input)


@MODULE.function()
def input_set(context: Context, block: U64, length: U64) -> None:
    kernel = _kernel(context)
    kernel.check(block, length)
    kernel.input, kernel.input_length = block, length


@MODULE.function()
def input_load_u8(context: Context, offset: U64) -> U32:
    kernel = _kernel(context)
    return U32(kernel.load(kernel.input + offset, 1) if offset < kernel.input_length else 0)


@MODULE.function()
def input_load_u64(context: Context, offset: U64) -> U64:
    kernel = _kernel(context)
    return U64(kernel.load(kernel.input + offset, 8) if offset + 8 <= kernel.input_length else 0)


@MODULE.function()
def output_set(context: Context, block: U64, length: U64) -> None:
    kernel = _kernel(context)
    if length > context.limits.output:
        raise TooMuch(f"a reply of {length} bytes; the limit output is {context.limits.output}")
    kernel.check(block, length)
    kernel.output, kernel.output_length = block, length


@MODULE.function()
def output_length(context: Context) -> U64:
    return U64(_kernel(context).output_length)


@MODULE.function()
def output_offset(context: Context) -> U64:
    return U64(_kernel(context).output)


@MODULE.function()
def error_set(context: Context, block: U64) -> None:
    kernel = _kernel(context)
    if block and not kernel.length(block):
        raise HostError(f"no block begins at {block}")
    kernel.error = block


@MODULE.function()
def error_get(context: Context) -> U64:
    return U64(_kernel(context).error)


# ---- configuration, variables, the log, HTTP ----


def _text(context: Context, block: int, most: int) -> str:
    kernel = _kernel(context)
    if (size := kernel.length(block)) > most:
        raise BadText(f"a string of {size} bytes; at most {most} are read here")
    try:
        return kernel.whole(block).decode()
    except UnicodeDecodeError:
        raise BadText("a string that is not UTF-8") from None


@MODULE.function()
def config_get(context: Context, name: U64) -> U64:
    wanted = _text(context, name, _NAME)
    found = next((value for key, value in context.grants.config if key == wanted), "")
    return U64(_kernel(context).put(context, found.encode()))


@MODULE.function()
def var_get(context: Context, name: U64) -> U64:
    kernel = _kernel(context)
    return U64(kernel.put(context, kernel.variables.get(_text(context, name, _NAME), b"")))


@MODULE.function()
def var_set(context: Context, name: U64, value: U64) -> None:
    kernel, key = _kernel(context), _text(context, name, _NAME)
    old = kernel.variables.pop(key, None)
    if old is not None:
        context.release(len(key) + len(old) + _GAP)
    if value:
        context.hold(len(key) + kernel.length(value) + _GAP)
        kernel.variables[key] = kernel.whole(value)


def _log(context: Context, level: str, block: int) -> None:
    context.log_entry(level, _kernel(context).beginning(block, _LINE).decode("utf-8", "replace"), {})


@MODULE.function()
def log_trace(context: Context, text: U64) -> None:
    _log(context, "debug", text)


@MODULE.function()
def log_debug(context: Context, text: U64) -> None:
    _log(context, "debug", text)


@MODULE.function()
def log_info(context: Context, text: U64) -> None:
    _log(context, "info", text)


@MODULE.function()
def log_warn(context: Context, text: U64) -> None:
    _log(context, "warning", text)


@MODULE.function()
def log_error(context: Context, text: U64) -> None:
    _log(context, "error", text)


@MODULE.function()
def get_log_level(context: Context) -> I32:
    return I32(0)  # all: what is shown is the host's business


@MODULE.function()
def http_request(context: Context, request: U64, body: U64) -> U64:
    raise Denied("guests have no network: call another application by extism:host/user.dapr_call")


@MODULE.function()
def http_status_code(context: Context) -> I32:
    return I32(0)


@MODULE.function()
def http_headers(context: Context) -> U64:
    return U64(0)


# ---- the sidecar ----


@USER.function()
def dapr_call(context: Context, request: U64) -> U64:
    kernel = _kernel(context)
    try:
        ended = call(context, kernel.request(context, request))
        code, content = ended.code, ended.text.encode("utf-8", "replace")
        if code == Code.OK:
            content = ended.message or b""
        refusal = ended.text if ended.refused else ""
    except (BadText, TooMuch) as error:
        kind = Code.RESOURCE_EXHAUSTED if isinstance(error, TooMuch) else Code.INVALID_ARGUMENT
        code, refusal = kind, str(error)
        content = refusal.encode("utf-8", "replace")
    if refusal:
        context.log("host", f"extism:host/user.dapr_call: {refusal}")
    return U64(kernel.put(context, content, bytes((code,))))
