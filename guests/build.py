#!/usr/bin/env python3
"""Builds the guests of this folder and keeps guests.lock, which says what the committed .wasm files were made of.

    python3 guests/build.py                     # all guests, each .wasm beside its source
    python3 guests/build.py echo classify       # some of them
    python3 guests/build.py --out /tmp/guests   # DIR/NAME/NAME.wasm, the checkout stays as it is
    python3 guests/build.py --lock              # build, then write guests.lock
    python3 guests/build.py --check             # build nothing: do sources and .wasm files match guests.lock?

What the host itself runs, the pixel kernel, is C without a library; its module goes into the package guesthouse_abi.
The guest that runs JavaScript is C with QuickJS, whose sources come with the Python package quickjs-ng; its module goes
into the package guesthouse. It needs a Python with wasmtime, and is built only where it is named:
`.venv/bin/python guests/build.py javascript`.

A component is a Rust guest for wasm32-unknown-unknown, or a C guest with a world.wit beside it. wasm-tools makes a
component of it: $WASM_TOOLS, or the one that install-toolchain.sh has put under ~/.cache.

A C guest is NAME/NAME.c, built with clang and wasi-libc; so are the programs of tests/wasi_suite and the thermostat of
demo/actors, each beside its source. A Rust guest is a member of the cargo workspace, built with a rustc that has the
wasm32-wasip1 target (`rustup target add wasm32-wasip1`), or with Debian's rustc-web, which carries the standard library
as source only (install-toolchain.sh installs it). The guests c-NAME and rust-NAME are examples of these SDKs, each
.wasm beside its source in sdk/LANGUAGE/examples. Another toolchain gives other bytes: `--check` compares what is
committed and never rebuilds.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).resolve().parent
LOCK = HERE / "guests.lock"
LABELS = HERE / "classify" / "imagenet-labels.json"
TARGET = "wasm32-wasip1"
COMPONENT_TARGET = "wasm32-unknown-unknown"  # the interfaces alone: nothing of preview 1 to be adapted

DEBIAN_RUSTC = Path("/usr/bin/rustc")
DEBIAN_CARGO = Path("/usr/bin/cargo")
DEBIAN_STD_SOURCE = Path("/usr/lib/rustlib/src/rust/library")
DEBIAN_WASI_LIBC = Path("/usr/lib/wasm32-wasi")

SOURCE_SUFFIXES = {".c", ".h", ".rs", ".toml", ".json", ".tflite", ".js", ".py"}
C_FLAGS = ["--target=wasm32-wasi", "-std=gnu11", "-O2", "-s", "-Wall", "-Wextra", "-Werror"]
C_STACK = 65_536
# All of its memory from the beginning: it has no more than it declares. Sums keep the order that is written, and no
# product is contracted with a sum.
KERNEL_FLAGS = ["--target=wasm32", "-std=gnu11", "-O2", "-s", "-Wall", "-Wextra", "-Werror", "-msimd128", "-nostdlib"]
KERNEL_FLAGS += ["-mnontrapping-fptoint", "-ffreestanding", "-ffp-contract=off", "-Wl,--no-entry,--export-memory"]
KERNEL_FLAGS += [f"-Wl,--initial-memory={8 << 20},--max-memory={8 << 20}"]


@dataclass(frozen=True)
class Guest:
    """One folder of this one, or one C file in `folder`. `also` names the files outside it that go into its module."""

    name: str
    language: str  # "c", "rust" or "javascript"
    also: tuple[str, ...]
    stack: int = C_STACK
    command: bool = False  # a program with `_start`; else a library (a WASI reactor)
    component: bool = False
    folder: Path | None = None
    workspace: str = ""  # the folder of its cargo workspace
    module: Path | None = None  # where its module goes, if not beside its source
    example: str = ""  # the name in `folder` of the example of an SDK that it is
    features: str = ""  # of its crate

    @property
    def committed(self) -> Path:
        return self.module or (self.folder or HERE / self.name) / f"{self.example or self.name}.wasm"

    @property
    def main(self) -> Path:
        """The source of a guest in C (that of JavaScript is one, too), or of an example."""
        suffix = "rs" if self.language == "rust" else "c"
        return (self.folder or HERE / self.name) / f"{self.example or self.name}.{suffix}"

    def sources(self) -> list[Path]:
        folder = (HERE / self.name).rglob("*")
        own = [self.main] if self.folder else [path for path in folder if path.suffix in SOURCE_SUFFIXES]
        return sorted([*own, *(HERE / name for name in self.also)])


SDK = "sdk/guesthouse.h"
RUST_SDK = "sdk/guesthouse.rs"
PHOTO = "sdk/photo.rs"
C_SDK = ("sdk/c/dapr.h", "sdk/wasi_nn.h")
EXAMPLES = ("hello", "photo", "forward", "ten_reads", "outcomes", "account")  # sdk/EXAMPLES.md says what they do
CARGO = ("Cargo.toml", "Cargo.lock")
RUST_CRATE = HERE / "sdk" / "rust"
KERNEL = HERE.parent / "abi" / "guesthouse_abi" / "pictures" / "kernel.wasm"
#: The texts of the interfaces that components may import.
WIT = HERE.parent / "abi" / "guesthouse_abi" / "wit"


def texts_of(*names: str) -> tuple[str, ...]:
    """Some of these texts, as `Guest.also` has them."""
    return tuple(f"../abi/guesthouse_abi/wit/{name}.wit" for name in names)


JAVASCRIPT = HERE.parent / "app" / "guesthouse" / "guests" / "javascript.wasm"
#: QuickJS: a package of Python's whose source distribution has the C files, and the digest of that.
QUICKJS = "quickjs-ng==0.17.0.2"
QUICKJS_SHA256 = "43d2e48272208721a7aaea8e3f02d4b9318f12ef20cc4f5421b59d9a470706ef"
QUICKJS_SOURCES = ("quickjs", "libregexp", "libunicode", "dtoa")
DEMO = HERE.parent / "demo" / "actors"
CHECKS = HERE.parent / "tests" / "wasi_suite" / "checks"


def rust_crate() -> tuple[str, ...]:
    """The sources of the Rust SDK, which go into each of its examples."""
    files = [RUST_CRATE / "Cargo.toml", RUST_CRATE / "Cargo.lock", RUST_CRATE / "macros" / "Cargo.toml"]
    files += [*(RUST_CRATE / "src").glob("*.rs"), *(RUST_CRATE / "macros" / "src").glob("*.rs")]
    return tuple(sorted(path.relative_to(HERE).as_posix() for path in files))


GUESTS = {
    guest.name: guest
    for guest in (
        Guest("kernel", "c", (), module=KERNEL),
        Guest("javascript", "javascript", (), stack=1_048_576, module=JAVASCRIPT),
        Guest("echo", "c", (SDK,)),
        Guest("thermostat", "c", C_SDK, folder=DEMO),
        Guest("classify_c", "c", (SDK, "classify/imagenet-labels.json")),
        Guest("tensor", "c", (SDK,)),
        Guest("tensor_nn", "c", (SDK, "sdk/wasi_nn.h")),
        Guest("classify", "rust", (*CARGO, RUST_SDK), stack=131_072),
        Guest("person", "rust", (*CARGO, RUST_SDK), stack=131_072),
        Guest("person_files", "rust", CARGO, stack=131_072, command=True),
        # A workspace of its own: what it needs is no reason to build the others again.
        Guest("values", "rust", ("values/Cargo.lock", RUST_SDK), workspace="values"),
        Guest("kernels", "rust", ("kernels/Cargo.lock",), workspace="kernels", command=True),
        # By the kits of other hosts.
        *(Guest(name, "rust", (f"{name}/Cargo.lock",), workspace=name) for name in ("extism_plugin", "wapc_plugin")),
        Guest("http_wasm_plugin", "rust", ("http_wasm_plugin/Cargo.lock",), workspace="http_wasm_plugin", command=True),
        Guest("c_component", "c", ("c_component/world.wit",), component=True),
        *(
            Guest(name, "rust", (f"{name}/Cargo.lock", *texts), workspace=name, component=True)
            for name, texts in {
                "http_component": (),
                "cli_component": (),
                "dapr_component": texts_of("dapr-guest", "wasi-keyvalue"),
                "messaging_component": texts_of("wasi-messaging", "wasi-keyvalue"),
            }.items()
        ),
        # The JPEG and PNG decoders keep their tables on the stack.
        Guest("classify_nn", "rust", (*CARGO, PHOTO, "classify/imagenet-labels.json"), stack=1_048_576, command=True),
        Guest("grayscale", "rust", (*CARGO, PHOTO), stack=1_048_576, command=True),
        *(Guest(f"c-{name}", "c", C_SDK, folder=HERE / "sdk" / "c" / "examples", example=name) for name in EXAMPLES),
        *(
            Guest(
                f"rust-{name}",
                "rust",
                rust_crate(),
                workspace="sdk/rust",
                folder=RUST_CRATE / "examples",
                example=name,
                command=name == "keep",
                features="json" if name == "account" else "",
            )
            for name in (*EXAMPLES, "keep", "clients")
        ),
        *(
            Guest(path.stem, "c", ("../tests/wasi_suite/checks/check.h",), command=True, folder=CHECKS)
            for path in sorted(CHECKS.glob("*.c"))
        ),
    )
}


class BuildError(Exception):
    """What the user reads when a build cannot go on: what is missing or failed, and what to do."""


def run(*command: str | Path, env: dict[str, str] | None = None, cwd: Path = HERE) -> None:
    try:
        subprocess.run([str(part) for part in command], check=True, cwd=cwd, env={**os.environ, **(env or {})})
    except FileNotFoundError as error:
        raise BuildError(f"{command[0]} is not there: run guests/install-toolchain.sh") from error
    except subprocess.CalledProcessError as error:
        raise BuildError(f"{Path(command[0]).name} ended with exit code {error.returncode}") from error


def output_of(*command: str | Path) -> str:
    """The first line of what a command prints; empty when it is missing or fails."""
    try:
        result = subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True, cwd=HERE)
    except (FileNotFoundError, subprocess.CalledProcessError):
        return ""
    return result.stdout.partition("\n")[0].strip()


def debian_version(package: str) -> str:
    return output_of("dpkg-query", "--show", "--showformat=${Version}", package)


def wasm_tools() -> str:
    """The program that makes components. Raises `BuildError`."""
    if found := os.environ.get("WASM_TOOLS"):
        return found
    wanted = hashlib.sha256(HERE.joinpath("wasm-tools.txt").read_bytes()).hexdigest()[:16]
    installed = Path.home() / ".cache" / "guesthouse-wasm-tools" / wanted / "bin" / "wasm-tools"
    if not installed.exists():
        raise BuildError("no wasm-tools: run guests/install-toolchain.sh, or set WASM_TOOLS to the program")
    return str(installed)


# ---- C ----


class Clang:
    """$CLANG, else clang-19, else clang. Debian's and wasi-sdk's find wasi-libc by themselves."""

    def __init__(self, work: Path) -> None:
        name = os.environ.get("CLANG") or next(filter(shutil.which, ("clang-19", "clang")), None)
        if name is None or not shutil.which(name):
            raise BuildError(
                f"no clang ({name or 'clang-19'}): run guests/install-toolchain.sh, "
                "or set CLANG to a clang with a wasm target and wasi-libc (wasi-sdk has one)"
            )
        self.clang = name
        self.work = work
        libc = debian_version("wasi-libc")
        self.provenance = output_of(name, "--version") + (f", wasi-libc {libc}" if libc else "")

    def build(self, guest: Guest) -> Path:
        folder = self.work / "c" / guest.name
        folder.mkdir(parents=True, exist_ok=True)
        if LABELS.relative_to(HERE).as_posix() in guest.also:
            (folder / "labels.h").write_text(labels_header(), encoding="utf-8")
        wasm = folder / f"{guest.name}.wasm"
        if guest.module == KERNEL:
            run(self.clang, *KERNEL_FLAGS, guest.main, f"-Wl,-z,stack-size={guest.stack}", "-o", wasm)
            return wasm
        includes = [f"-I{HERE / 'sdk'}", f"-I{HERE / 'sdk' / 'c'}", f"-I{folder}"]
        model = f"-mexec-model={'command' if guest.command else 'reactor'}"
        run(self.clang, *C_FLAGS, model, *includes, guest.main, f"-Wl,-z,stack-size={guest.stack}", "-o", wasm)
        return self._component(guest, wasm) if guest.component else wasm

    def _component(self, guest: Guest, wasm: Path) -> Path:
        texts = wasm.parent / "wit"
        shutil.rmtree(texts, ignore_errors=True)
        shutil.copytree(WIT, texts / "deps", ignore=shutil.ignore_patterns("LICENSE"))
        shutil.copyfile(guest.main.with_name("world.wit"), texts / "world.wit")
        embedded, made = wasm.with_suffix(".embedded.wasm"), wasm.with_suffix(".component.wasm")
        tools = wasm_tools()
        run(tools, "component", "embed", texts, wasm, "-o", embedded)
        run(tools, "component", "new", embedded, "-o", made)
        return made


def labels_header() -> str:
    """The class names as C strings that hold JSON strings, so that a C guest has nothing left to escape."""
    literals = [json.dumps(label, ensure_ascii=False) for label in json.loads(LABELS.read_text(encoding="utf-8"))]
    lines = [f"    {json.dumps(literal, ensure_ascii=False)}," for literal in literals]
    longest = max(len(literal.encode()) for literal in literals)
    return "\n".join(
        [
            "/* Generated by build.py from imagenet-labels.json. */",
            f"enum {{ LONGEST_LABEL = {longest} }};",
            "static const char *const labels[] = {",
            *lines,
            "};",
            "",
        ]
    )


# ---- JavaScript ----


class QuickJS:
    """Clang, with the sources of QuickJS."""

    def __init__(self, work: Path) -> None:
        self.clang = Clang(work)
        self.work = work / "javascript"
        self.provenance = f"{self.clang.provenance}, {QUICKJS}"

    def build(self, guest: Guest) -> Path:
        if find_spec("wasmtime") is None:
            raise BuildError("this Python has no wasmtime: take .venv/bin/python, which `make lint` makes")
        sources = self._sources()
        script = (HERE / guest.name / "prelude.js").read_bytes()
        header = f"static const char PRELUDE[] = {{{','.join(map(str, script))},0}};\n"
        (self.work / "prelude.h").write_text(f"{header}enum {{ PRELUDE_SIZE = {len(script)} }};\n", encoding="utf-8")
        flags = ["--target=wasm32-wasi", "-O2", "-s", "-mexec-model=reactor", f"-Wl,-z,stack-size={guest.stack}"]
        includes = ["-isystem", str(sources), f"-I{self.work}"]
        objects = []
        for name in QUICKJS_SOURCES:  # their warnings are not ours
            objects.append(self.work / f"{name}.o")
            run(self.clang.clang, *flags[:2], "-D_GNU_SOURCE", "-w", "-c", sources / f"{name}.c", "-o", objects[-1])
        plain, prepared = self.work / "plain.wasm", self.work / f"{guest.name}.wasm"
        run(
            self.clang.clang, *flags, "-Wall", "-Wextra", "-Werror", *includes, guest.main, *objects, "-lm", "-o", plain
        )
        run(sys.executable, HERE / guest.name / "snapshot.py", plain, prepared)
        return prepared

    def _sources(self) -> Path:
        """The folder with the C files. Raises `BuildError`."""
        self.work.mkdir(parents=True, exist_ok=True)
        name = QUICKJS.replace("-", "_").replace("==", "-")
        archive = self.work / f"{name}.tar.gz"
        if not archive.exists():
            get = ("-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:", "--no-build-isolation")
            run(sys.executable, *get, "--dest", self.work, QUICKJS)
        if sha256(archive.read_bytes()) != QUICKJS_SHA256:
            raise BuildError(f"{archive} has another sha256 than {QUICKJS_SHA256}: remove it")
        shutil.unpack_archive(archive, self.work, filter="data")
        return self.work / name / "upstream-quickjs"


# ---- Rust ----


class Rust:
    """One cargo workspace, one target folder. The link arguments go to each guest's own crate (`cargo rustc`), never
    to RUSTFLAGS: they differ from guest to guest, and all crates would be built again for each. From source, the
    standard library is still built twice: wasmedge-bindgen calls itself a cdylib too, and then cargo prepares what
    it depends on for both kinds of linking, while for a program it prepares bitcode only."""

    def __init__(self, work: Path, toolchain: str) -> None:
        if toolchain == "auto":
            toolchain = "rustup" if rustc_has_target() else "debian"
        if toolchain == "rustup" and not rustc_has_target():
            raise BuildError(f"the rustc in PATH has no {TARGET}: run rustup target add {TARGET}")
        if toolchain == "debian":
            missing = [path for path in (DEBIAN_RUSTC, DEBIAN_CARGO, DEBIAN_STD_SOURCE) if not path.exists()]
            missing += [path for path in (DEBIAN_WASI_LIBC / "libc.a",) if not path.exists()]
            if missing:
                raise BuildError(
                    f"no Rust for {TARGET} ({missing[0]} is not there): run guests/install-toolchain.sh, "
                    f"or, where rustup is used, rustup target add {TARGET}"
                )
        self.debian = toolchain == "debian"
        self.cargo: str | Path = DEBIAN_CARGO if self.debian else "cargo"
        self.target_dir = work / f"cargo-{toolchain}"
        self.env = {"CARGO_TARGET_DIR": str(self.target_dir)}
        flags = []
        if self.debian:
            # RUSTC_BOOTSTRAP allows -Zbuild-std, which is how this compiler gets a standard library for wasm.
            self.env |= {"RUSTC": str(DEBIAN_RUSTC), "RUSTC_BOOTSTRAP": "1"}
            flags += [f"-Lnative={DEBIAN_WASI_LIBC}", "-Clink-self-contained=no"]
        # Panic messages hold source paths; those of the machine that built are of no use to anybody else.
        run(self.cargo, "fetch", "--quiet", "--locked", "--target", TARGET, env=self.env)
        flags += [f"--remap-path-prefix={folder}=crates" for folder in registry_sources()]
        self.env["CARGO_ENCODED_RUSTFLAGS"] = "\x1f".join(flags)
        version = output_of(DEBIAN_RUSTC if self.debian else "rustc", "--version")
        libc = f", std from source, wasi-libc {debian_version('wasi-libc')}" if self.debian else f", std of {TARGET}"
        self.provenance = version + libc

    def build(self, guest: Guest) -> Path:
        if guest.component:
            return self._component(guest)
        command = [self.cargo, "rustc", "--release", "--locked", "--target", TARGET]
        command += ["--example", guest.example] if guest.example else ["-p", guest.name]
        command += ["--features", guest.features] if guest.features else []
        link = [f"-zstack-size={guest.stack}"]
        if self.debian:
            command.append("-Zbuild-std=std,panic_abort")
            start = "crt1-command.o" if guest.command else "crt1-reactor.o"
            link += [str(DEBIAN_WASI_LIBC / start)] + ([] if guest.command else ["--export=_initialize"])
        run(*command, "--", *(f"-Clink-arg={argument}" for argument in link), env=self.env, cwd=HERE / guest.workspace)
        release = self.target_dir / TARGET / "release"
        return release / "examples" / f"{guest.example}.wasm" if guest.example else release / f"{guest.name}.wasm"

    def _component(self, guest: Guest) -> Path:
        tools = wasm_tools()
        command = [self.cargo, "build", "--release", "--locked", "--target", COMPONENT_TARGET]
        if self.debian:
            command.append("-Zbuild-std=std,panic_abort")
        run(*command, env=self.env, cwd=HERE / guest.workspace)
        folder = self.target_dir / COMPONENT_TARGET / "release"
        made = folder / f"{guest.name}.component.wasm"
        run(tools, "component", "new", folder / f"{guest.name}.wasm", "-o", made)
        return made


def rustc_has_target() -> bool:
    sysroot = output_of("rustc", "--print", "sysroot")
    folder = Path(sysroot) / "lib" / "rustlib" / TARGET / "lib"
    return bool(sysroot) and any(folder.glob("libstd-*.rlib"))


def registry_sources() -> list[Path]:
    home = Path(os.environ.get("CARGO_HOME") or Path.home() / ".cargo")
    return sorted(path for path in (home / "registry" / "src").glob("*") if path.is_dir())


# ---- the lock ----


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def sources_digest(guest: Guest) -> str:
    """One digest over the sorted source files: a line `path sha256` for each."""
    lines = [
        f"{Path(os.path.relpath(path, HERE)).as_posix()} {sha256(path.read_bytes())}\n" for path in guest.sources()
    ]
    return sha256("".join(lines).encode())


def write_lock(provenance: dict[str, str]) -> None:
    lock = read_lock() if LOCK.exists() else {}
    for name, built_with in provenance.items():
        wasm = GUESTS[name].committed.read_bytes()
        lock[name] = {
            "sources": sources_digest(GUESTS[name]),
            "wasm": sha256(wasm),
            "size": len(wasm),
            "built_with": built_with,
        }
    kept = {name: lock[name] for name in sorted(lock) if name in GUESTS}
    LOCK.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")


def read_lock() -> dict[str, dict[str, str | int]]:
    lock: dict[str, dict[str, str | int]] = json.loads(LOCK.read_text(encoding="utf-8"))
    return lock


def check(names: list[str]) -> list[str]:
    """What does not match guests.lock, a line for each fault."""
    faults = []
    lock = read_lock() if LOCK.exists() else {}
    for name in names:
        guest, entry = GUESTS[name], lock.get(name)
        if entry is None:
            faults.append(f"{name}: not in guests.lock; run guests/build.py --lock {name}")
            continue
        if sources_digest(guest) != entry["sources"]:
            faults.append(f"{name}: the sources changed since the .wasm was built; run guests/build.py --lock {name}")
        if not guest.committed.exists():
            faults.append(f"{name}: {name}.wasm is missing; run guests/build.py --lock {name}")
        elif sha256(guest.committed.read_bytes()) != entry["wasm"]:
            faults.append(f"{name}: {name}.wasm is not the one in guests.lock; run guests/build.py --lock {name}")
    return faults


def build(names: list[str], toolchain: str, out: Path | None) -> dict[str, str]:
    """Builds the guests and puts each .wasm where it belongs; name -> what built it."""
    work = Path(os.environ.get("GUESTHOUSE_BUILD") or Path.home() / ".cache" / "guesthouse" / "guests-build")
    toolchains: dict[str, Clang | QuickJS | Rust] = {}
    made: dict[str, type[Clang | QuickJS]] = {"c": Clang, "javascript": QuickJS}
    provenance = {}
    for name in names:
        guest = GUESTS[name]
        if guest.language not in toolchains:
            toolchains[guest.language] = made[guest.language](work) if guest.language in made else Rust(work, toolchain)
        started = time.monotonic()
        built = toolchains[guest.language].build(guest)
        goal = out / name / f"{name}.wasm" if out else guest.committed
        goal.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(built, goal)
        provenance[name] = toolchains[guest.language].provenance
        print(f"{name}: {goal.stat().st_size:,} bytes in {time.monotonic() - started:.1f} s -> {goal}")
    return provenance


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Builds the guests of this folder, or checks them against guests.lock."
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"guests to build (all: {', '.join(GUESTS)})")
    parser.add_argument("--toolchain", choices=("auto", "rustup", "debian"), default="auto", help="which Rust")
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--out", type=Path, metavar="DIR", help="write DIR/NAME/NAME.wasm, not beside the sources")
    action.add_argument("--lock", action="store_true", help="build, then write guests.lock")
    action.add_argument("--check", action="store_true", help="build nothing, compare with guests.lock")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.names) - set(GUESTS))
    if unknown:
        parser.error(f"no guest named {unknown[0]}; there are {', '.join(GUESTS)}")
    names = arguments.names or [
        name for name, guest in GUESTS.items() if arguments.check or guest.language != "javascript"
    ]
    if arguments.check:
        faults = check(names)
        print("\n".join(faults) or f"{len(names)} guests match guests.lock", file=sys.stderr if faults else sys.stdout)
        return 1 if faults else 0
    try:
        provenance = build(names, arguments.toolchain, arguments.out)
    except BuildError as error:
        print(f"build.py: {error}", file=sys.stderr)
        return 1
    if arguments.lock:
        write_lock(provenance)
    return 0


if __name__ == "__main__":
    sys.exit(main())
