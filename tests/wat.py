"""Modules for tests, written as WAT beside their assertions, and the parts to run them with."""

from __future__ import annotations

import contextlib
import importlib
from dataclasses import replace
from typing import Any

import wasmtime

from guesthouse.engine.base import Engine, Instance, Linked, Module
from guesthouse.guests.guest import Shape
from guesthouse_abi.calling import Convention
from guesthouse_abi.context import Context
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.grants import Grants, Limits
from guesthouse_abi.imports import host_modules
from guesthouse_abi.services import Services


class Lines:
    """A log that keeps its lines."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def line(self, stream: str, text: str) -> None:
        self.lines.append((stream, text))


def compiled(engine: Engine, wat: str | bytes, memory: int = Limits().memory) -> Module:
    """A module, compiled in this process: the compiling children have tests of their own."""
    made = wat if isinstance(wat, bytes) else bytes(wasmtime.wat2wasm(wat))
    for step in engine.steps(memory):
        made = importlib.import_module(step.module).translate(made, *step.arguments)
    return engine.load(made)


def linked(engine: Engine, wat: str, memory: int = Limits().memory) -> Linked:
    """A module linked against the real host modules."""
    module = compiled(engine, wat, memory)
    functions, modules = [], host_modules()
    for wanted in module.imports:
        function = modules[wanted.module].functions[wanted.name]
        assert function.signature == wanted.type.function, wanted
        functions.append(function)
    return module.link(functions)


def context(seconds: float = 5.0, *, inference: Any = None, grants: Grants | None = None, **limits: Any) -> Context:
    """A context with a log that keeps its lines (`context.services.log.lines`)."""
    services = Services(inference, Lines())
    return Context(Deadline.after(seconds), grants or Grants(), replace(Limits(), **limits), services)


def run(engine: Engine, wat: str, convention: Convention, body: bytes, ctx: Context | None = None) -> bytes:
    """Call a WAT guest by a convention, in a fresh instance."""
    problems = convention.problems(Shape(compiled(engine, wat)))
    assert not problems, problems
    return called(linked(engine, wat), convention, body, ctx or context())


def called(module: Linked, convention: Convention, body: bytes, ctx: Context) -> bytes:
    """Call a linked guest by a convention, in a fresh instance."""
    with contextlib.ExitStack() as stack:

        def start() -> Instance:
            instance = module.instantiate(ctx)
            stack.callback(instance.close)
            return instance

        return convention.run(start, ctx, body)
