"""Taking the main module out of a component: what toolchains make, and what is refused, whoever wrote the bytes."""

from __future__ import annotations

import contextlib
import tracemalloc
from pathlib import Path

import pytest
import wasmtime
from hypothesis import given, settings
from hypothesis import strategies as st

from guesthouse.engine.component import Core, NotUnwrapped, is_component, unwrapped
from guesthouse.engine.wasm_sections import leb128

GUESTS = Path(__file__).resolve().parents[2] / "guests"
HTTP = (GUESTS / "http_component" / "http_component.wasm").read_bytes()
CLI = (GUESTS / "cli_component" / "cli_component.wasm").read_bytes()

IMPORTS = """
  (import "wasi:io/error@0.2.0" (instance $error (export "error" (type (sub resource)))))
  (import "my:host/log@1.0.0" (instance $log (export "say" (func (param "text" string)))))
"""
MAIN = """
  (core module $Main
    (import "any" "say" (func (param i32 i32)))
    (import "any" "drop" (func (param i32)))
    (memory (export "memory") 1)
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 64)
    (func (export "go")))
"""
SHIM = """
  (core module $Shim
    (table (export "$imports") 1 1 funcref)
    (type $say (func (param i32 i32)))
    (func (export "0") (param i32 i32)
      (call_indirect (type $say) (local.get 0) (local.get 1) (i32.const 0))))
  (core module $Fixup
    (import "" "$imports" (table 1 1 funcref))
    (import "" "0" (func $real (param i32 i32)))
    (elem (i32.const 0) func $real))
"""
#: As `wit-component` made components until 2025: with a shim, since the function needs the memory of the module that
#: imports it.
WHOLE = f"""(component {IMPORTS} {MAIN} {SHIM}
  (core instance $shim (instantiate $Shim))
  (alias core export $shim "0" (core func $indirect))
  (alias export $error "error" (type $resource))
  (core func $drop (canon resource.drop $resource))
  (core instance $any (export "say" (func $indirect)) (export "drop" (func $drop)))
  (core instance $main (instantiate $Main (with "any" (instance $any))))
  (alias core export $main "memory" (core memory $memory))
  (alias core export $main "cabi_realloc" (core func $realloc))
  (core func $lowered (canon lower (func $log "say") OPTIONS))
  (alias core export $shim "$imports" (core table $table))
  (core instance $filled (export "$imports" (table $table)) (export "0" (func FILLED)))
  (core instance (instantiate $Fixup (with "" (instance $filled))))
  (func $go (canon lift (core func $main "go")))
  (export "go" (func $go)) MORE)"""
OPTIONS = "(memory $memory) (realloc $realloc)"


def component(text: str = WHOLE, options: str = OPTIONS, filled: str = "$lowered", more: str = "") -> bytes:
    text = text.replace("OPTIONS", options).replace("FILLED", filled).replace("MORE", more)
    return bytes(wasmtime.wat2wasm(text))


def imports(core: bytes) -> list[tuple[str, str | None]]:
    return [(one.module, one.name) for one in wasmtime.Module(wasmtime.Engine(), core).imports]


def refusal(wasm: bytes) -> str:
    with pytest.raises(NotUnwrapped) as refused:
        unwrapped(wasm)
    return str(refused.value)


def test_a_components_main_module_is_taken_out_as_it_is() -> None:
    assert is_component(HTTP)
    core = unwrapped(HTTP)
    assert core in HTTP
    assert ("wasi:http/types@0.2.12", "[method]incoming-request.consume") in imports(core)
    assert ("wasi:io/streams@0.2.12", "[resource-drop]input-stream") in imports(core)
    assert {name for name, _ in imports(unwrapped(CLI))} >= {"wasi:cli/environment@0.2.12", "wasi:cli/exit@0.2.12"}


def test_no_byte_of_a_component_is_copied_before_its_module_is_asked_for() -> None:
    large = HTTP + b"\0" + leb128(1 << 24) + bytes(1 << 24)  # with a custom section
    tracemalloc.start()
    try:
        core = Core(large)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    assert core.bytes() == unwrapped(HTTP)
    assert bytes(core.inside) in HTTP


def test_a_core_module_is_what_its_file_has() -> None:
    core = unwrapped(CLI)
    assert Core(core).bytes() is core
    assert bytes(Core(core).inside) == core


def test_imports_have_the_names_of_what_they_stand_for_whatever_the_module_calls_them() -> None:
    assert imports(unwrapped(component())) == [
        ("my:host/log@1.0.0", "say"),
        ("wasi:io/error@0.2.0", "[resource-drop]error"),
    ]


def test_an_import_that_needs_no_shim_is_followed_too() -> None:
    text = """(component
      (import "wasi:cli/exit@0.2.3" (instance $exit (export "exit-with-code" (func (param "code" u8)))))
      (core func $lowered (canon lower (func $exit "exit-with-code")))
      (core module $Main (import "x" "y" (func (param i32))) (func (export "go")))
      (core instance $x (export "y" (func $lowered)))
      (core instance $main (instantiate $Main (with "x" (instance $x))))
      (func $go (canon lift (core func $main "go")))
      (export "go" (func $go)))"""
    assert imports(unwrapped(component(text))) == [("wasi:cli/exit@0.2.3", "exit-with-code")]


ADAPTED = """(component
  (core module $Main
    (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1) (func (export "_start")))
  (core module $Adapter
    (import "env" "memory" (memory 0)) (import "__main_module__" "_start" (func $start))
    (func (export "fd_write") (param i32 i32 i32 i32) (result i32) i32.const 8)
    (func (export "wasi:cli/run@0.2.3#run") (result i32) call $start i32.const 0))
  (core module $Shim
    (table (export "$imports") 1 1 funcref)
    (type $t (func (param i32 i32 i32 i32) (result i32)))
    (func (export "0") (param i32 i32 i32 i32) (result i32)
      (call_indirect (type $t) (local.get 0) (local.get 1) (local.get 2) (local.get 3) (i32.const 0))))
  (core module $Fixup
    (import "actual" "0" (func $real (param i32 i32 i32 i32) (result i32)))
    (import "shim" "$imports" (table 1 1 funcref))
    (elem (i32.const 0) func $real))
  (core instance $shim (instantiate $Shim))
  (core instance $p1 (export "fd_write" (func $shim "0")))
  (core instance $main (instantiate $Main (with "wasi_snapshot_preview1" (instance $p1))))
  (core instance $env (export "memory" (memory $main "memory")))
  (core instance $adapter (instantiate $Adapter
    (with "env" (instance $env)) (with "__main_module__" (instance $main))))
  (core instance $actual (export "0" (func $adapter "fd_write")))
  (core instance (instantiate $Fixup (with "actual" (instance $actual)) (with "shim" (instance $shim))))
  (alias core export $main "memory" (core memory $memory))
  (func $run (result (result)) (canon lift (core func $adapter "wasi:cli/run@0.2.3#run") (memory $memory)))
  (instance $exported (export "run" (func $run)))
  (export "wasi:cli/run@0.2.3" (instance $exported)))""".replace(
    "(func $run (result (result)) (canon lift", "(type $r (func (result (result)))) (func $run (type $r) (canon lift"
)


def test_an_adapter_of_preview_1_is_left_out_for_the_host_has_preview_1_itself() -> None:
    core = unwrapped(component(ADAPTED))
    assert imports(core) == [("wasi_snapshot_preview1", "fd_write")]
    assert [one.name for one in wasmtime.Module(wasmtime.Engine(), core).exports] == ["memory", "_start"]


def test_a_module_that_only_calls_initialize_is_left_out_for_the_host_calls_it_itself() -> None:
    text = """(component
      (core module $Main (memory (export "memory") 1) (func (export "_initialize")) (func (export "go")))
      (core module $Init (import "" "" (func $i)) (start $i))
      (core instance $main (instantiate $Main))
      (core instance $given (export "" (func $main "FUNCTION")))
      (core instance (instantiate $Init (with "" (instance $given))))
      (func $go (canon lift (core func $main "go")))
      (export "go" (func $go)))"""
    assert imports(unwrapped(component(text.replace("FUNCTION", "_initialize")))) == []
    assert refusal(component(text.replace("FUNCTION", "go"))).startswith("it has several main modules")


SECOND = """(core module $Other (memory (export "memory") 1) (func (export "f")))
  (core instance $other (instantiate $Other))"""


@pytest.mark.parametrize(
    ("wasm", "why"),
    [
        (component(options=f"{OPTIONS} string-encoding=utf16"), "any.say has texts in UTF-16, and UTF-8 alone"),
        (component(options=f"{OPTIONS} string-encoding=latin1+utf16"), "any.say has texts in Latin-1 or UTF-16"),
        (component(WHOLE.replace('$main "go")', '$main "go") async')), "it has asynchronous functions (WASI 0.3)"),
        (component(options=f"{OPTIONS} async"), "it has asynchronous functions (WASI 0.3)"),
        (component(more=SECOND), "it has several main modules"),
        (
            component(more=f'{SECOND} (func $f (canon lift (core func $other "f"))) (export "f" (func $f))'),
            "it has several main modules",
        ),
        (component(more="(component (core module))"), "it has several main modules"),
        (component(more="(component (component))"), "it has several main modules"),
        (component(more='(import "m" (core module $m))'), "it takes a core module from elsewhere"),
        (component(filled="$indirect"), "the import any.say leads around in a circle"),
        (component("(component)"), "it exports no function of a core module"),
        (
            component(
                '(component (core module $M (memory (export "m") 1) (func (export "go")))'
                ' (core instance $i (instantiate $M)) (alias core export $i "m" (core memory $memory))'
                ' (func $go (canon lift (core func $i "go") (memory $memory))) (export "go" (func $go)))'
            ),
            "go has its values in another memory than the main module's export memory",
        ),
        (
            component(WHOLE.replace('"cabi_realloc"', '"malloc"')),
            "any.say has another allocator than the main module's export cabi_realloc",
        ),
        (
            component(
                '(component (core module $M (func (export "a:b/c#go"))) (core instance $i (instantiate $M))'
                ' (func $go (canon lift (core func $i "a:b/c#go"))) (export "go" (func $go)))'
            ),
            "its main module has a:b/c#go, and it exports no a:b/c",
        ),
        (b"\0asm\x0d\0\1\0\x08\x01\x01", "it ends in the middle of a section"),
        (b"\0asm\x0d\0\1\0\x08\x05\xff\xff\xff\xff\x7f", "it has a number of more than 32 bits"),
        (b"\0asm\x0d\0\1\0\x07\x05\xff\xff\xff\xff\x0f", "it has more than 100000 entries"),
        (b"\0asm\x0d\0\1\0\x09\x01\x00", "it has a start function of its own"),
        (b"\0asm\x0d\0\1\0\x08\x02\x01\x05", "it has asynchronous functions (WASI 0.3)"),
        (b"\0asm\x0d\0\1\0\x02\x04\x01\x00\x00\x00", "it names the core module 0, and has only 0 before that"),
        (b"\0asm\x0d\0\1\0\x06\x06\x01\x00\x00\x01\x07\x00", "it names the instance 7, and has only 0 before that"),
        (b"\0asm\x0d\0\1\0" + b"\0\0" * 100_001, "it has more than 100000 entries"),
    ],
)
def test_what_cannot_be_taken_apart_is_refused_with_the_reason(wasm: bytes, why: str) -> None:
    assert refusal(wasm).startswith(why)


@pytest.mark.parametrize("whole", [component(), component(ADAPTED)], ids=["shim", "adapter"])
def test_a_component_that_ends_early_is_refused_or_loses_what_is_not_needed(whole: bytes) -> None:
    for length in range(8, len(whole)):
        try:
            core = unwrapped(whole[:length])
        except NotUnwrapped:
            continue
        assert core[:8] == b"\0asm\1\0\0\0"


@pytest.mark.parametrize(
    "alias",
    [
        b"\0\2\0\1\1m",  # a memory of the component's instance 1
        b"\0\0\0\1\1m",  # a core function of it
        b"\1\1\0\1m",  # a function of the core instance 0
    ],
)
def test_a_core_definition_is_of_a_core_instance_and_no_other(alias: bytes) -> None:
    two_instances, module = b"\x0a\x0b\2" + b"\0\1i\5\0" * 2, b"\1\x08\0asm\1\0\0\0\2\4\1\0\0\0"
    section = bytes((6, 1 + len(alias), 1)) + alias
    wasm = b"\0asm\x0d\0\1\0" + two_instances + module + section
    assert refusal(wasm).startswith("it has an alias that takes a definition from an instance which has none such")


def test_many_imports_of_a_function_with_a_long_name_do_not_make_a_module_of_a_thousand_times_the_size() -> None:
    one = '(import "any" "say" (func (param i32 i32)))'
    whole = component(WHOLE.replace("my:host/log@1.0.0", f"my:host/{'g' * 4000}@1.0.0").replace(one, one * 1100, 1))
    assert len(whole) < 40_000
    assert refusal(whole).startswith("its main module's imports have names of more than 4194304 characters")


def test_what_is_looked_at_of_an_instance_does_not_grow_with_its_arguments_times_their_exports() -> None:
    many = 1000
    exports = " ".join(f'(export "e{number}" (func $go))' for number in range(many))
    arguments = " ".join(f'(with "a{number}" (instance $many))' for number in range(many))
    whole = component(
        more=f"""(core module $Other) (alias core export $main "go" (core func $go))
        (core instance $many {exports}) (core instance (instantiate $Other {arguments}))"""
    )
    tracemalloc.start()
    try:
        assert refusal(whole).startswith("it has several main modules")
        assert tracemalloc.get_traced_memory()[1] < many * many
    finally:
        tracemalloc.stop()


@settings(max_examples=300)
@given(st.data())
def test_no_damaged_component_raises_anything_else(data: st.DataObject) -> None:
    whole = bytearray(data.draw(st.sampled_from([component(), component(ADAPTED), CLI])))
    core = whole.find(b"\0asm\1\0\0\0")  # the code of modules is not read, so it is left alone most times
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(8, len(whole) - 1) | st.integers(8, max(9, core)))
        whole[at] = data.draw(st.integers(0, 255))
    with contextlib.suppress(NotUnwrapped):
        assert unwrapped(bytes(whole))[:8] == b"\0asm\1\0\0\0"


@settings(max_examples=100)
@given(st.binary(max_size=400))
def test_no_sequence_of_bytes_raises_anything_else(rest: bytes) -> None:
    assert refusal(b"\0asm\x0d\0\1\0" + rest)
