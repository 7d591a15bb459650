"""`guesthouse explain`: what a module is to this host, before there is a manifest for it. Runs no guest."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from guesthouse.cli.options import Json, example_text, new_app
from guesthouse.cli.output import fail, print_json
from guesthouse.dapr.api_methods import METHODS
from guesthouse.engine import open_engine
from guesthouse.engine.base import PAGE, EngineConfig, EngineError, Module
from guesthouse.engine.cache import CodeCache
from guesthouse.engine.compiler import CompileError
from guesthouse.engine.wasm_sections import memory_minimums
from guesthouse.event import ACTOR_TRIGGERS
from guesthouse.guests.capabilities import CAPABILITIES
from guesthouse.guests.capabilities.capability import import_modules
from guesthouse.guests.capabilities.sidecar import SidecarGrant, calls_by, methods_of
from guesthouse.guests.files import opens_files_by
from guesthouse.guests.guest import GuestFaults, Shape, cache_key, core_module, over_limits, read_module, resolve
from guesthouse.guests.snapshots import WIZER
from guesthouse.manifest import read
from guesthouse.manifest.text import format_size
from guesthouse.sidecar import OWN_ACTOR
from guesthouse.text import escaped
from guesthouse_abi.calling import Options, Unfit
from guesthouse_abi.calling.bindgen import era_of, functions_in
from guesthouse_abi.calling.conventions import CONVENTIONS
from guesthouse_abi.calling.dapr import TRIGGERS
from guesthouse_abi.calling.extism import plugs_in
from guesthouse_abi.grants import Limits

app = new_app()

_LONGEST_FIRST = sorted(METHODS, key=len, reverse=True)
_ROUTES = {
    "invoke": '[[invoke]]\nmethod = "{name}"\nguest = "{name}"',
    "topic": '[[topic]]\npubsub = "PUBSUB"\ntopic = "{name}"\nguest = "{name}"',
    "binding": '[[binding]]\nname = "{name}"\nguest = "{name}"',
    "job": '[[job]]\nname = "{name}"\nguest = "{name}"',
    "actor": '[[actor]]\ntype = "{name}"\nguest = "{name}"',
}

#: The conventions that call a function by its name, and which functions of a module these may be.
_BY_NAME = {"bindgen": functions_in, "extism": plugs_in}
_NOTHING = {
    "bindgen": "exports no function for events",
    "extism": "exports no function ()->(i32), or imports nothing of Extism's",
}

Wasm = Annotated[Path, typer.Argument(metavar="FILE", help="The .wasm file.", show_default=False)]


@dataclass(slots=True)
class _Explained:
    """All that is found out about a module."""

    path: Path
    wasm: bytes
    core: bytes  # the main module of a component; else the same
    module: Module
    fits: dict[str, str] = field(default_factory=dict)  # a calling convention, and what of the module it would call
    unfit: dict[str, list[str]] = field(default_factory=dict)  # the other conventions, and why
    missing: list[str] = field(default_factory=list)  # why it cannot be served
    functions: dict[str, list[str]] = field(default_factory=dict)  # that fit, by the conventions that call one by name
    triggers: tuple[str, ...] = TRIGGERS  # events that it can answer
    methods: list[str] = field(default_factory=list)  # of the sidecar, that its data names

    @property
    def name(self) -> str:
        """For the guest in a manifest."""
        return re.sub(r"[^A-Za-z0-9_-]+", "-", self.path.stem) or "guest"

    @property
    def calling(self) -> str:
        """The convention that it was most likely written for; empty where none fits."""
        likely = ("dapr", "wapc", "http-wasm", "http", "messaging", "extism", "command", "bindgen")
        return next((name for name in likely if name in self.fits), "")

    def imports(self, module: str) -> list[str]:
        return [one.name for one in self.module.imports if one.module == module]

    @property
    def initialised_by(self) -> list[str]:
        """The exports that a snapshot of it would call once."""
        return [name for name in ("_initialize", WIZER) if name in self.module.exports]

    @property
    def infers(self) -> list[str]:
        """The import modules by which it asks for inference."""
        modules = dict.fromkeys(one.module for one in self.module.imports)
        return [name for name in modules if name.endswith("_nn") or "tensorflow" in name or name.startswith("wasi:nn/")]

    @property
    def _imported(self) -> list[tuple[str, str]]:
        return [(one.module, one.name) for one in self.module.imports]

    @property
    def opens_files(self) -> str:
        """By which import; empty for none."""
        return opens_files_by(self._imported)

    @property
    def makes_calls(self) -> str:
        """By which imports, in words."""
        return calls_by(self._imported)

    @property
    def by_interface(self) -> list[str]:
        """The methods of the sidecar that a component's interfaces call."""
        return methods_of(self._imported)

    @property
    def grants(self) -> dict[str, list[str]]:
        """The grants of calls that it would need, each with the methods that its data names. An actor's own needs
        none."""
        found: dict[str, list[str]] = {}
        for method in sorted({*self.methods, *self.by_interface}) if self.makes_calls else ():
            found.setdefault(METHODS[method].uses.grant, []).append(method)
        found.pop(OWN_ACTOR, None)
        return found

    @property
    def routes(self) -> list[str]:
        """The triggers that it gets tables for. Actors are for guests that say so: they need more than a sidecar."""
        if self.calling == "messaging":
            return ["topic"]
        if self.calling != "dapr":
            return ["invoke"]
        actor = any(
            name == f"dapr_on_{trigger.value}" or name.startswith("dapr:guest/actors-callback@")
            for trigger in ACTOR_TRIGGERS
            for name in self.module.exports
        )
        return [trigger for trigger in self.triggers if trigger in _ROUTES and (actor or trigger != "actor")]


@app.command(epilog=example_text("explain thumb.wasm"))
def explain(wasm: Wasm, json: Json = False) -> None:
    """Say what a module imports and exports, how it can be called, what it would need granted, and what is missing.

    Prints the lines of a manifest for it, to paste and to complete. Exit code 1 where the module cannot be served.
    """
    data = read_module(wasm)
    core = core_module(wasm, data).bytes()
    with _loaded(wasm, data, core) as module:
        explained = _explained(wasm, data, core, module)
    if json:
        print_json(_record(explained))
    else:
        typer.echo("\n".join(escaped(line) for line in _lines(explained)))
    if explained.missing:
        fail(explained.missing)


@contextlib.contextmanager
def _loaded(path: Path, wasm: bytes, core: bytes) -> Iterator[Module]:
    """The module, compiled as for serving. Raises `GuestFaults`."""
    settings = read.parse({"app": {"name": "explain"}}, Path("guesthouse.toml")).engine
    with (
        contextlib.closing(CodeCache(settings.cache, settings.cache_size)) as cache,
        contextlib.closing(open_engine(settings.name, EngineConfig(pooling=False))) as engine,
    ):
        try:
            module, _ = cache.load(engine, core, Limits().memory, cache_key(wasm, hashlib.sha256(wasm).hexdigest()))
        except CompileError as error:
            raise GuestFaults([f"{path} does not compile: {error}"]) from error
        except EngineError as error:
            raise GuestFaults(over_limits(core, Limits()) or [f"the engine refuses {path}: {error}"]) from error
        yield module


def _explained(path: Path, wasm: bytes, core: bytes, module: Module) -> _Explained:
    found = _Explained(path, wasm, core, module)
    shape = Shape(module)
    for name in CONVENTIONS:
        if name in _BY_NAME:
            _try_functions(found, shape, name)
            continue
        try:
            caller = CONVENTIONS[name](Options()).bind(shape)
        except Unfit as unfit:
            found.unfit[name] = unfit.problems
        else:
            found.fits[name] = caller.what
            if name == "dapr" and caller.triggers is not None:
                found.triggers = tuple(trigger for trigger in TRIGGERS if trigger in caller.triggers)
    if not found.fits:
        found.missing.append(f"{path.name} fits no way to call it: {'; '.join(_first(found.unfit.values()))}")
    found.missing += resolve(module, import_modules(CAPABILITIES))[1]
    found.missing += over_limits(core, Limits())
    found.methods = _names(core, _LONGEST_FIRST)
    return found


def _try_functions(found: _Explained, shape: Shape, convention: str) -> None:
    """Which functions could be called by their names."""
    handlers = {f"dapr_on_{trigger}" for trigger in (*TRIGGERS, "event")}
    why = {name: _unfit(convention, name, shape) for name in _BY_NAME[convention](shape) if name not in handlers}
    fit = [name for name, problems in why.items() if not problems]
    if fit:
        found.functions[convention] = fit
        before = f"era {era_of(shape)}, " if convention == "bindgen" else ""
        found.fits[convention] = before + ", ".join(fit)
    else:
        found.unfit[convention] = next(iter(why.values()), [_NOTHING[convention]])


def _unfit(convention: str, function: str, shape: Shape) -> list[str]:
    """Why a convention cannot call a function."""
    try:
        CONVENTIONS[convention](Options(function=function)).bind(shape)
    except Unfit as unfit:
        return unfit.problems
    return []


def _first(lists: Iterable[Sequence[str]]) -> Iterator[str]:
    return (one[0] for one in lists)


def _names(wasm: bytes, names: Sequence[str]) -> list[str]:
    """Which names the module has in it, as UTF-8 or UTF-16: of several that begin alike, the longest."""
    found = set()
    for encoding in ("utf-8", "utf-16-le"):
        pattern = re.compile(b"|".join(re.escape(name.encode(encoding)) for name in names))
        found |= {match.group().decode(encoding) for match in pattern.finditer(wasm)}
    return sorted(found)


def _lines(found: _Explained) -> Iterator[str]:
    pages = memory_minimums(found.core)
    memory = f", memory from {format_size(pages[0] * PAGE)} on" if pages else ""
    yield f"{found.path}: {len(found.wasm):,} bytes{memory}"
    if found.core is not found.wasm:
        yield f"a component, of which its main module is served: {len(found.core):,} bytes"
    yield f"sha256 {hashlib.sha256(found.wasm).hexdigest()}"
    yield from ("", "imports")
    for module in sorted({one.module for one in found.module.imports}):
        yield f"  {module}: {', '.join(sorted(set(found.imports(module))))}"
    if not found.module.imports:
        yield "  nothing"
    yield from ("", "exports")
    for name, kind in sorted(found.module.exports.items()):
        yield f"  {name}: {kind}"
    yield from ("", "calling")
    for name in CONVENTIONS:
        if name in found.fits:
            yield f'  "{name}" fits: {found.fits[name]}'
        else:
            yield f'  "{name}" does not fit: {found.path.name} {"; ".join(found.unfit[name])}'
    if found.initialised_by:
        yield from ("", "snapshot")
        yield f"  with snapshot = true, {' and '.join(found.initialised_by)} would run once, when it is loaded"
    yield from ("", "it would need granted")
    yield from _needs(found) or ["  nothing"]
    if not found.missing:
        yield from ("", "for guesthouse.toml; what is in capitals is to be written", "", *_manifest(found).split("\n"))


def _needs(found: _Explained) -> list[str]:
    lines = []
    if found.infers:
        lines.append(f"  models, if it asks for inference (it imports {', '.join(found.infers)})")
    if found.opens_files:
        lines.append(f"  files, body_file or scratch, if it opens files (it imports {found.opens_files})")
    if found.makes_calls:
        named = f"its data names {', '.join(found.methods)}" if found.methods else "its data names no method of it"
        if found.by_interface:
            named = f"its interfaces call {', '.join(found.by_interface)}"
        lines.append(f"  dapr, for calls to the sidecar (it imports {found.makes_calls}); {named}")
    return lines


def _manifest(found: _Explained) -> str:
    """Lines to paste."""
    lines = [f"[guests.{found.name}]", f'module = "{found.path}"', f'calling = "{found.calling}"']
    if found.calling in found.functions:
        lines.append(f'function = "{found.functions[found.calling][0]}"')
    if WIZER in found.initialised_by:
        lines.append("snapshot = true")
    if found.infers:
        lines.append('models = ["MODEL"]')
    if found.makes_calls:
        forms = SidecarGrant.forms()
        lines += ["", f"[guests.{found.name}.dapr]"]
        lines += [f'{grant} = ["{forms[grant]}"]  # {", ".join(m)}' for grant, m in found.grants.items()]
        if not found.grants:
            lines.append('# read_state = ["STORE/KEY"], and so on: docs/guests.md')
    for trigger in found.routes:
        lines += ["", _ROUTES[trigger].format(name=found.name)]
    return "\n".join(lines)


def _record(found: _Explained) -> dict[str, object]:
    return {
        "file": str(found.path),
        "bytes": len(found.wasm),
        "component": found.core is not found.wasm,
        "sha256": hashlib.sha256(found.wasm).hexdigest(),
        "imports": [f"{one.module}.{one.name}" for one in found.module.imports],
        "exports": {name: str(kind) for name, kind in found.module.exports.items()},
        "fits": found.fits,
        "does_not_fit": found.unfit,
        "triggers": found.triggers if "dapr" in found.fits else None,
        "initialised_by": found.initialised_by,
        "inference_by": found.infers,
        "opens_files": bool(found.opens_files),
        "makes_calls": bool(found.makes_calls),
        "grants": found.grants,
        "missing": found.missing,
        "manifest": "" if found.missing else _manifest(found),
    }
