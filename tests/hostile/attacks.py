"""Guests that attack, as WAT. Each is a function of wasmedge-bindgen, `f`, unless it says how it is called."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from guesthouse.event import Reason
from guesthouse_abi.host import HostFunction, ValType
from guesthouse_abi.imports import host_modules

ALLOCATOR = """(global $at (mut i32) (i32.const 4096))
  (func (export "allocate") (param i32) (result i32)
    global.get $at (global.set $at (i32.add (global.get $at) (local.get 0))))"""
_DONE = "(i32.const 16)"  # a record of nothing but zeros: no error, no values


def _escaped(data: bytes) -> str:
    return "".join(f"\\{byte:02x}" for byte in data)


def function(body: str, *, imports: str = "", more: str = "", allocator: str = ALLOCATOR, data: bytes = b"") -> str:
    """A module whose `f` has this body."""
    return f"""(module {imports} (memory (export "memory") 2) {allocator} {more}
      (data (i32.const 16) "{_escaped(data)}")
      (func (export "f") (param i32 i32) (result i32) (local $n i32) {body}))"""


def program(body: str, *, imports: str = "", data: bytes = b"") -> str:
    """A program with this body."""
    return f"""(module {imports} (memory (export "memory") 2) (data (i32.const 64) "{_escaped(data)}")
      (func (export "_start") (local $n i32) {body}))"""


def extism(body: str) -> str:
    """A plug-in of Extism with this body, and all imports by their names."""
    functions = {**host_modules()["extism:host/env"].functions, **host_modules()["extism:host/user"].functions}
    imports = " ".join(imported(host, f"${name}") for name, host in functions.items())
    return f"""(module {imports} (memory 1)
      (func (export "f") (result i32) (local $n i64) {body} (i32.const 0)))"""


def http(body: str, *, data: str = "") -> str:
    """A guest of http-wasm with this body, and all imports by their names."""
    imports = " ".join(imported(host, f"${name}") for name, host in host_modules()["http_handler"].functions.items())
    return f"""(module {imports} (memory (export "memory") 2) (data (i32.const 64) "{data}")
      (func (export "handle_request") (result i64) {body} (i64.const 0))
      (func (export "handle_response") (param i32 i32)))"""


def wapc(body: str, *, more: str = "") -> str:
    """A guest of waPC with this body, and all imports by their names."""
    imports = " ".join(imported(host, f"${name}") for name, host in host_modules()["wapc"].functions.items())
    return f"""(module {imports} (memory (export "memory") 2) {more}
      (func (export "__guest_call") (param i32 i32) (result i32) {body} (i32.const 1)))"""


def wasi(*names: str) -> str:
    """Imports of WASI, each as `$name`."""
    functions = host_modules()["wasi_snapshot_preview1"].functions
    return " ".join(imported(functions[name], f"${name}") for name in names)


def imported(host: HostFunction, name: str) -> str:
    params = " ".join(kind.value for kind in host.signature.params)
    results = " ".join(kind.value for kind in host.signature.results)
    return f'(import "{host.module}" "{host.name}" (func {name} (param {params}) (result {results})))'


#: What guests that attack are granted: the same file as a healthy one, the body as one, and what they may write.
FILES = """files = { "/granted" = "granted", "/d/granted" = "granted" }
scratch = "1MiB"
body_file = "/body"
"""
GRANTED = b"granted to the healthy and to the others " * 20


@dataclass(frozen=True)
class Attack:
    """A guest, and how its events may end (None: with a reply)."""

    wat: str
    ends: tuple[Reason | None, ...]
    grants: str = FILES  # keys of its table, besides those that all have
    calling: str = "bindgen"


#: What guests are granted that attack by calls to the sidecar, of which there is none.
CALLS = """dapr = { read_state = ["s/*"] }
"""
_DAPR = " ".join(
    imported(host_modules()["dapr_v1"].functions[name], f"${name.removeprefix('call_')}")
    for name in ("call_start", "call_status", "call_close")
)
#: GetState, and the request that asks for the key k of the store s.
_GET = '(data (i32.const 2048) "GetState\\0a\\01s\\12\\01k")'
_CALL = """(call $start (i32.const 2048) (i32.const 8) (i32.const 2056) (i32.const 6)
  (i32.const 0) (i32.const 0) (i32.const 0))"""
_BINDING = '(data (i32.const 2064) "dapr")'
_HOST_CALL = """(call $__host_call (i32.const 2064) (i32.const 4) (i32.const 0) (i32.const 0)
  (i32.const 2048) (i32.const 8) (i32.const 2056) (i32.const 6))"""
_IOVEC = struct.pack("<II", 1024, 65536)
_WRITE = "(drop (call $fd_write (i32.const {fd}) (i32.const 64) (i32.const 1) (i32.const 32)))"
_FOREVER = "(loop $more {0} (br $more))"
_TF = host_modules()["wasmedge_tensorflow"].functions
#: How it opens the path at 64, as the descriptor at 32: the error number. Rights: to read 2, to write 64.
_OPEN = """(call $path_open (i32.const 3) (i32.const 1) (i32.const 64) (i32.const {size}) (i32.const {flags})
  (i64.const {rights}) (i64.const 0) (i32.const 0) (i32.const 32))"""
_FD = "(i32.load (i32.const 32))"
_FAILS = "(if (i32.eqz {0}) (then unreachable))"
_WORKS = "(if {0} (then unreachable))"
#: Paths of 13 bytes that lead, or seem to lead, out of what was granted.
_OUT = (b"../etc/passwd", b"/etc/passwd\0\0", b"d/../../../..", b"./.././../etc", b"tmp/../..////", b"/proc/self/fd")
#: A subscription of poll_oneoff to the monotonic clock, an hour from now.
_AN_HOUR = struct.pack("<QB7xIxxxxQQH", 1, 0, 1, 3600 * 10**9, 0, 0)
_CREATE = "(call $create (i32.const 16) (i32.const 23) (i32.const 8))"
_MARKER = b"guesthouse:model/person"

ATTACKS = {
    "loops": Attack(function(f"{_FOREVER.format('')} {_DONE}"), (Reason.DEADLINE,)),
    "loops-at-its-start": Attack(function(_DONE, more="(func $s (loop br 0)) (start $s)"), (Reason.DEADLINE,)),
    "loops-in-allocate": Attack(
        function(_DONE, allocator='(func (export "allocate") (param i32) (result i32) (loop br 0) i32.const 0)'),
        (Reason.DEADLINE,),
    ),
    "sleeps": Attack(
        function(
            f"(drop (call $poll_oneoff (i32.const 512) (i32.const 1024) (i32.const 1) (i32.const 32))) {_DONE}",
            imports=wasi("poll_oneoff"),
            more=f'(data (i32.const 512) "{_escaped(_AN_HOUR)}")',
        ),
        (Reason.DEADLINE,),
    ),
    "grows-its-memory": Attack(
        function(f"(loop $more (br_if $more (i32.ne (i32.const -1) (memory.grow (i32.const 1))))) {_DONE}"), (None,)
    ),
    "grows-and-touches": Attack(
        function(
            """(loop $more (if (i32.eq (i32.const -1) (memory.grow (i32.const 16))) (then unreachable))
              (memory.fill (i32.mul (i32.sub (memory.size) (i32.const 16)) (i32.const 65536)) (i32.const 7)
                (i32.const 1048576)) (br $more)) i32.const 16"""
        ),
        (Reason.TRAP,),
    ),
    "grows-its-table": Attack(
        function(
            f"""(loop $more (br_if $more (i32.ne (i32.const -1) (table.grow (ref.null func) (i32.const 1000)))))
              {_DONE}""",
            more="(table 1 funcref)",
        ),
        (None,),
    ),
    "recurses": Attack(function("call $r i32.const 16", more="(func $r call $r)"), (Reason.TRAP,)),
    "calls-without-end": Attack(
        function(
            f"{_FOREVER.format(f'(if (i32.eqz {_CALL}) (then unreachable))')} {_DONE}",
            imports=_DAPR,
            more=_GET,
        ),
        (Reason.DEADLINE,),
        grants=CALLS,
    ),
    "leaves-calls-open": Attack(
        function(f"(drop {_CALL}) (drop {_CALL}) {_DONE}", imports=_DAPR, more=_GET), (None,), grants=CALLS
    ),
    "makes-up-handles": Attack(
        function(
            f"""(drop {_CALL}) (loop $more
              (local.set $n (i32.sub (local.get $n) (i32.const 1048577)))
              (if (i32.ne (call $status (local.get $n)) (i32.const -3)) (then unreachable))
              (if (i32.ne (call $close (local.get $n)) (i32.const -3)) (then unreachable))
              (br_if $more (i32.lt_s (local.get $n) (i32.const 0)))) {_DONE}""",
            imports=_DAPR,
            more=_GET,
        ),
        (None,),
        grants=CALLS,
    ),
    "begins-huge-calls": Attack(
        function(
            f"""(drop (memory.grow (i32.const 40)))
              (loop $more (br_if $more (i32.ge_s (call $start (i32.const 2048) (i32.const 8) (i32.const 0)
                (i32.const 2621440) (i32.const 0) (i32.const 0) (i32.const 0)) (i32.const 0)))) {_DONE}""",
            imports=_DAPR,
            more=_GET,
        ),
        (None,),
        grants=CALLS,
    ),
    "allocates-without-end": Attack(
        extism(_FOREVER.format("(drop (call $alloc (i64.const 65536))) (drop (call $alloc (i64.const -1)))")),
        (Reason.DEADLINE,),
        calling="extism",
    ),
    "allocates-many": Attack(
        extism("(loop $more (br_if $more (i64.ne (call $alloc (i64.const 1)) (i64.const 0))))"),
        (None,),
        calling="extism",
    ),
    "allocates-and-frees-without-end": Attack(
        extism(
            """(drop (call $alloc (i64.const 8)))
            (loop $more (call $free (call $alloc (i64.const 4194304))) (br $more))"""
        ),
        (Reason.DEADLINE,),
        calling="extism",
    ),
    "keeps-variables-without-end": Attack(
        extism(
            """(drop (call $alloc (i64.const 8))) (drop (call $alloc (i64.const 262144)))
            (loop $more
              (local.set $n (i64.add (local.get $n) (i64.const 1)))
              (call $store_u64 (i64.const 136) (local.get $n))
              (call $var_set (i64.const 136) (i64.const 208)) (br $more))"""
        ),
        (Reason.TRAP,),
        calling="extism",
    ),
    "plugs-in-calls-without-end": Attack(
        extism(_FOREVER.format("(drop (call $dapr_call (i64.const 0)))")), (Reason.DEADLINE,), CALLS, "extism"
    ),
    "writes-bodies-without-end": Attack(
        http(_FOREVER.format("(call $write_body (i32.const 1) (i32.const 0) (i32.const 131072))")),
        (Reason.TRAP,),
        calling="http-wasm",
    ),
    "adds-headers-without-end": Attack(
        http(
            _FOREVER.format(
                "(call $add_header_value (i32.const 1) (i32.const 64) (i32.const 1) (i32.const 0) (i32.const 0))"
            ),
            data="a",
        ),
        (Reason.TRAP,),
        calling="http-wasm",
    ),
    "sets-headers-without-end": Attack(
        http(
            _FOREVER.format(
                "(call $set_header_value (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 64) (i32.const 8192))"
            ),
            data="a" * 8192,
        ),
        (Reason.DEADLINE,),
        calling="http-wasm",
    ),
    "answers-without-end": Attack(
        wapc(_FOREVER.format("(call $__guest_response (i32.const 0) (i32.const 131072))")),
        (Reason.DEADLINE,),
        calling="wapc",
    ),
    "asks-for-its-request-without-end": Attack(
        wapc(_FOREVER.format("(call $__guest_request (i32.const 131000) (i32.const 131071))")),
        (Reason.DEADLINE,),
        calling="wapc",
    ),
    "calls-its-host-without-end": Attack(
        wapc(_FOREVER.format(f"(drop {_HOST_CALL})"), more=_GET + _BINDING), (Reason.DEADLINE,), CALLS, "wapc"
    ),
    "calls-its-host-with-all-its-memory": Attack(
        wapc(
            f"(drop (memory.grow (i32.const 120))) (drop {_HOST_CALL.replace('(i32.const 6)', '(i32.const 7929856)')})",
            more=_GET + _BINDING,
        ),
        (None,),
        CALLS,
        "wapc",
    ),
    "floods-standard-output": Attack(
        program(_FOREVER.format(_WRITE.format(fd=1)), imports=wasi("fd_write"), data=_IOVEC),
        (Reason.BAD_REPLY, Reason.TRAP, Reason.GUEST, Reason.DEADLINE),
        calling="command",
    ),
    "floods-standard-error": Attack(
        program(_FOREVER.format(_WRITE.format(fd=2)), imports=wasi("fd_write"), data=_IOVEC),
        (Reason.DEADLINE,),
        calling="command",
    ),
    "floods-the-log": Attack(
        function(
            f"{_FOREVER.format('(drop (call $run (i32.const 77)))')} {_DONE}",
            imports=imported(_TF["run_session"], "$run"),
        ),
        (Reason.DEADLINE,),
    ),
    "floods-handles": Attack(
        function(
            f"""(loop $more (br_if $more (i32.eqz {_CREATE})))
              (loop $more (drop {_CREATE})
                (br_if $more (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 10000))))
              i32.const 2048""",
            imports=imported(host_modules()["wasmedge_tensorflowlite"].functions["create_session"], "$create"),
            data=_MARKER,
        ),
        (None, Reason.DEADLINE),
    ),
    "returns-a-pointer-outside": Attack(function("i32.const -1"), (Reason.BAD_REPLY,)),
    "returns-a-record-at-the-end": Attack(function("i32.const 131070"), (Reason.BAD_REPLY,)),
    "returns-values-outside": Attack(
        function("i32.const 16", data=struct.pack("<BII", 0, 0xFFFFFFF0, 1)), (Reason.BAD_REPLY,)
    ),
    "returns-many-values": Attack(
        function("i32.const 16", data=struct.pack("<BII", 0, 32, 0xFFFFFFFF)), (Reason.BAD_REPLY,)
    ),
    "returns-a-length-that-wraps": Attack(
        function(
            "i32.const 16", data=struct.pack("<BII", 0, 32, 1) + bytes(7) + struct.pack("<III", 64, 21, 0xFFFFFFF0)
        ),
        (Reason.BAD_REPLY,),
    ),
    "returns-an-error-that-wraps": Attack(
        function("i32.const 16", data=struct.pack("<BII", 1, 0xFFFFFFF0, 0x20)), (Reason.BAD_REPLY,)
    ),
    "allocates-outside": Attack(
        function(_DONE, allocator='(func (export "allocate") (param i32) (result i32) i32.const -16)'),
        (Reason.BAD_REPLY,),
    ),
    "allocates-nothing": Attack(
        function(_DONE, allocator='(func (export "allocate") (param i32) (result i32) i32.const 0)'), (None,)
    ),
    "wants-files": Attack(
        program(
            """(loop $more (if (i32.eqz (call $fd_prestat_get (local.get $n) (i32.const 32))) (then unreachable))
              (br_if $more (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 2000))))
              (if (i32.eqz (call $path_open (i32.const 3) (i32.const 0) (i32.const 64) (i32.const 11) (i32.const 0)
                (i64.const -1) (i64.const -1) (i32.const 0) (i32.const 32))) (then unreachable))""",
            imports=wasi("fd_prestat_get", "path_open"),
            data=b"/etc/passwd",
        ),
        (None,),
        calling="command",
        grants="",
    ),
    "climbs-out-of-its-files": Attack(
        program(
            " ".join(
                f"(memory.copy (i32.const 64) (i32.const {64 + 16 * place}) (i32.const 13))"
                + _FAILS.format(_OPEN.format(size=13, flags=flags, rights=2))
                for place in range(1, 1 + len(_OUT))
                for flags in (0, 1, 2)  # as it is, made, as a directory
            ),
            imports=wasi("path_open"),
            data=bytes(16) + b"".join(path.ljust(16) for path in _OUT),
        ),
        (None,),
        calling="command",
    ),
    "opens-files-without-end": Attack(
        program(
            f"(loop $more (br_if $more (i32.eqz {_OPEN.format(size=7, flags=0, rights=2)})))",
            imports=wasi("path_open"),
            data=b"granted",
        ),
        (None,),
        calling="command",
    ),
    "reads-its-files-for-ever": Attack(
        program(
            _WORKS.format(_OPEN.format(size=7, flags=0, rights=2))
            + "(i32.store (i32.const 16) (i32.const 1024)) (i32.store (i32.const 20) (i32.const 65536))"
            + _FOREVER.format(
                f"(drop (call $fd_pread {_FD} (i32.const 16) (i32.const 1) (i64.const 0) (i32.const 8)))"
                "(drop (call $fd_readdir (i32.const 3) (i32.const 1024) (i32.const 65536) (i64.const 0) (i32.const 8)))"
            ),
            imports=wasi("path_open", "fd_pread", "fd_readdir"),
            data=b"granted",
        ),
        (Reason.DEADLINE,),
        calling="command",
    ),
    "changes-what-it-was-granted": Attack(
        program(
            _FAILS.format(_OPEN.format(size=7, flags=8, rights=2))  # made empty
            + _FAILS.format(_OPEN.format(size=7, flags=0, rights=64))
            + _FAILS.format("(call $path_unlink_file (i32.const 3) (i32.const 64) (i32.const 7))")
            + _FAILS.format(
                """(call $path_rename (i32.const 3) (i32.const 64) (i32.const 7)
                  (i32.const 3) (i32.const 72) (i32.const 5))"""
            )
            + _FAILS.format(
                """(call $path_link (i32.const 3) (i32.const 0) (i32.const 64) (i32.const 7)
                  (i32.const 3) (i32.const 72) (i32.const 5))"""
            )
            + _WORKS.format(_OPEN.format(size=7, flags=0, rights=2))
            + _FAILS.format(f"(call $fd_filestat_set_size {_FD} (i64.const 0))")
            + "(i32.store (i32.const 16) (i32.const 64)) (i32.store (i32.const 20) (i32.const 7))"
            + _FAILS.format(f"(call $fd_write {_FD} (i32.const 16) (i32.const 1) (i32.const 8))"),
            imports=wasi(
                "path_open", "path_unlink_file", "path_rename", "path_link", "fd_filestat_set_size", "fd_write"
            ),
            data=b"granted tmp/x",
        ),
        (None,),
        calling="command",
    ),
    "fills-its-scratch-folder": Attack(
        program(
            _WORKS.format(_OPEN.format(size=5, flags=1, rights=64 + 2 + (1 << 22)))
            + "".join(
                _FAILS.format(call)
                for call in (
                    f"(call $fd_filestat_set_size {_FD} (i64.const 0x7000000000000000))",
                    f"(call $fd_allocate {_FD} (i64.const 0) (i64.const 0x7000000000000000))",
                    f"(call $fd_allocate {_FD} (i64.const 0) (i64.const 2000000))",
                )
            )
            + "(i32.store (i32.const 16) (i32.const 1024)) (i32.store (i32.const 20) (i32.const 65536))"
            + _FAILS.format(
                f"(call $fd_pwrite {_FD} (i32.const 16) (i32.const 1) (i64.const 0x7000000000000000) (i32.const 8))"
            )
            + f"(loop $more (br_if $more (i32.eqz (call $fd_write {_FD} (i32.const 16) (i32.const 1) (i32.const 8)))))",
            imports=wasi("path_open", "fd_filestat_set_size", "fd_allocate", "fd_pwrite", "fd_write"),
            data=b"tmp/x",
        ),
        (None,),
        calling="command",
    ),
    "makes-names-without-end": Attack(
        program(
            """(loop $more
              (i32.store (i32.const 68) (i32.or (i32.const 0x30303030) (i32.and (local.get $n) (i32.const 0x0f0f0f0f))))
              (i32.store8 (i32.const 72) (i32.or (i32.const 0x40) (i32.and (i32.shr_u (local.get $n) (i32.const 4))
                (i32.const 0x0f))))
              (local.set $n (i32.add (local.get $n) (i32.const 1)))
              (br_if $more (i32.eqz (call $path_create_directory (i32.const 3) (i32.const 64) (i32.const 9))))
              (br_if $more (i32.lt_u (local.get $n) (i32.const 5000))))""",
            imports=wasi("path_create_directory"),
            data=b"tmp/",
        ),
        (None,),
        calling="command",
    ),
    "links-in-a-circle": Attack(
        program(
            _WORKS.format(
                "(call $path_symlink (i32.const 68) (i32.const 1) (i32.const 3) (i32.const 64) (i32.const 5))"
            )
            + _FAILS.format(_OPEN.format(size=5, flags=0, rights=2)),
            imports=wasi("path_symlink", "path_open"),
            data=b"tmp/x",
        ),
        (None,),
        calling="command",
    ),
    "replies-with-a-file-that-is-too-large": Attack(
        program(
            _WORKS.format(_OPEN.format(size=5, flags=1, rights=64 + (1 << 22)))
            + _WORKS.format(f"(call $fd_filestat_set_size {_FD} (i64.const 1100000))"),
            imports=wasi("path_open", "fd_filestat_set_size"),
            data=b"tmp/x",
        ),
        (Reason.BAD_REPLY,),
        calling="command",
        grants=FILES.replace("1MiB", "2MiB") + 'reply_file = "/tmp/x"\n',
    ),
    "replies-with-a-file-that-it-never-makes": Attack(
        program(""), (Reason.BAD_REPLY,), calling="command", grants=FILES + 'reply_file = "/tmp/x"\n'
    ),
    "grows-and-cuts-a-file": Attack(
        program(
            """(if (call $path_open (i32.const 3) (i32.const 0) (i32.const 80) (i32.const 5) (i32.const 1)
                (i64.const 4194368) (i64.const 0) (i32.const 0) (i32.const 32)) (then unreachable))
              (loop $more
                (drop (call $fd_filestat_set_size (i32.const 5) (i64.const 4190000)))
                (drop (call $fd_filestat_set_size (i32.const 5) (i64.const 4189999)))
                (br $more))""",
            imports=wasi("path_open", "fd_filestat_set_size"),
            data=bytes(16) + b"tmp/x",
        ),
        (Reason.DEADLINE,),
        calling="command",
        grants='scratch = "4MiB"\n',
    ),
    "makes-names-and-lists-them": Attack(
        program(
            """(if (call $path_open (i32.const 3) (i32.const 0) (i32.const 64) (i32.const 3) (i32.const 2)
                (i64.const 16384) (i64.const 0) (i32.const 0) (i32.const 32)) (then unreachable))
              (loop $more
                (i32.store8 (i32.const 68) (i32.add (i32.const 65) (i32.and (local.get $n) (i32.const 15))))
                (i32.store8 (i32.const 69) (i32.add (i32.const 65)
                  (i32.and (i32.shr_u (local.get $n) (i32.const 4)) (i32.const 15))))
                (i32.store8 (i32.const 70) (i32.add (i32.const 65)
                  (i32.and (i32.shr_u (local.get $n) (i32.const 8)) (i32.const 15))))
                (local.set $n (i32.add (local.get $n) (i32.const 1)))
                (drop (call $path_create_directory (i32.const 3) (i32.const 64) (i32.const 7)))
                (drop (call $fd_readdir (i32.const 5) (i32.const 1024) (i32.const 100000) (i64.const 0)
                  (i32.const 32)))
                (br $more))""",
            imports=wasi("path_open", "path_create_directory", "fd_readdir"),
            data=b"tmp/xxx",
        ),
        (Reason.DEADLINE,),
        calling="command",
        grants='scratch = "4MiB"\n',
    ),
    "wants-sockets": Attack(
        program(
            """(loop $more (if (i32.eqz (call $sock_accept (local.get $n) (i32.const 0) (i32.const 32)))
                (then unreachable))
              (if (i32.eqz (call $sock_send (local.get $n) (i32.const 64) (i32.const 0) (i32.const 0) (i32.const 32)))
                (then unreachable))
              (br_if $more (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 2000))))""",
            imports=wasi("sock_accept", "sock_send"),
        ),
        (None,),
        calling="command",
    ),
    "wants-the-environment": Attack(
        program(
            """(if (call $environ_sizes_get (i32.const 32) (i32.const 36)) (then unreachable))
              (if (i32.gt_u (i32.load (i32.const 32)) (i32.const 7)) (then unreachable))""",
            imports=wasi("environ_sizes_get"),
        ),
        (None,),
        calling="command",
    ),
}


# ---- every import, with any numbers ----

CALLABLE = [host for module in host_modules().values() for host in module.functions.values()]


def caller(pages: int = 2, *, whole: bool = False) -> str:
    """A guest that calls any import with any numbers.

    The body of its event is a row of calls, {u32 index of `CALLABLE`, u32 answer, 9 u64 arguments} each, up to the end
    or to an index of all ones. Answers are ignored and the reply is empty; with `whole`, answers are put into the rows
    (of 64 bits, in place of the first argument) and the reply is the guest's whole memory.
    """
    imports = "\n".join(imported(host, f"$i{index}") for index, host in enumerate(CALLABLE))
    blocks = "".join("(block " for _ in CALLABLE)
    table = " ".join(str(index) for index in range(len(CALLABLE)))
    cases = []
    for index, host in enumerate(CALLABLE):
        arguments = " ".join(_argument(place, kind) for place, kind in enumerate(host.signature.params))
        call = f"(call $i{index} {arguments})"
        if host.signature.results:
            kind = host.signature.results[0]
            store = f"({kind.value}.store offset={4 if kind is ValType.I32 else 8} (local.get 0) {call})"
            call = store if whole else f"(drop {call})"
        cases.append(call + " (return)")
    result = next(i for i, host in enumerate(CALLABLE) if (host.module, host.name) == ("env", "return_result"))
    switch = f"{blocks} (br_table {table} (i32.load (local.get 0))) " + " ".join(f") {case}" for case in cases)
    reply = "(i32.mul (memory.size) (i32.const 65536))" if whole else "(i32.const 0)"
    return f"""(module {imports} (memory (export "memory") {pages}) {ALLOCATOR}
      (func $call (param i32) {switch})
      (func (export "f") (param $table i32) (param i32) (local $at i32) (local $end i32)
        (local.set $at (i32.load (local.get $table)))
        (local.set $end (i32.add (local.get $at) (i32.load offset=4 (local.get $table))))
        (loop $more
          (if (i32.lt_u (local.get $at) (local.get $end)) (then
            (br_if 0 (i32.eq (i32.load (local.get $at)) (i32.const -1)))
            (call $call (local.get $at))
            (local.set $at (i32.add (local.get $at) (i32.const {SIZE})))
            (br $more))))
        (call $i{result} (i32.const 0) {reply})))"""


_INDEX = {(host.module, host.name): index for index, host in enumerate(CALLABLE)}
MOST = max(len(host.signature.params) for host in CALLABLE)
SIZE = 8 + 8 * MOST
ALLOCATED_AT = 4096 + 8  # where the allocator puts an event's body: behind the table of parameters


def _argument(place: int, kind: ValType) -> str:
    return f"({kind.value}.load offset={8 + 8 * place} (local.get 0))"


def call(host: HostFunction, values: list[int]) -> bytes:
    """One call of the caller's body."""
    padded = [value & 0xFFFFFFFFFFFFFFFF for value in values] + [0] * (MOST - len(values))
    return struct.pack(f"<II{MOST}Q", _INDEX[host.module, host.name], 0, *padded)


#: Ends of memory (2 pages), ends of 32 and 64 bits, negative, unaligned, zero, and small numbers that may be handles.
NUMBERS = (
    0,
    1,
    2,
    3,
    5,
    7,
    64,
    4097,
    131068,
    131071,
    131072,
    131073,
    1 << 31,
    (1 << 31) - 1,
    -1,
    -4,
    -16,
    1 << 32,
    1 << 40,
    1 << 63,
)


def each_number_in_each_place() -> Iterator[tuple[HostFunction, bytes]]:
    """Every import, with every number in every place, the other places being small and right, or as bad."""
    for host in CALLABLE:
        if host.name == "proc_exit":
            continue  # ends the event, and those behind it
        count = len(host.signature.params)
        for place in range(count):
            for number in NUMBERS:
                for other in (1, 64, number):
                    values = [other] * count
                    values[place] = number
                    yield host, call(host, values)
