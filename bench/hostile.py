"""What callers of a healthy guest notice of an attacking guest: their slowest latencies with and without it."""

from __future__ import annotations

import os
import threading
from contextlib import ExitStack
from pathlib import Path

import wasmtime

from bench import servers
from bench.engines import LIMITS, setups
from bench.measure import Figure, Findings, Options, Spread, Target, ratios, take_turns
from bench.over_grpc import invoke
from guesthouse.cli.load import Job, Load

LOOP = """(module (memory (export "memory") 1)
  (func (export "allocate") (param i32) (result i32) i32.const 1024)
  (func (export "f") (param i32 i32) (result i32) (loop br 0) i32.const 0))"""
REQUESTS = 400


def hostile(options: Options, folder: Path) -> Findings:
    """The p99 of one caller's echo beside a guest that loops until its deadline, again and again."""
    findings = Findings()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "loop.wasm").write_bytes(wasmtime.wat2wasm(LOOP))
    cores = len(os.sched_getaffinity(0))
    echo = invoke("echo", bytes(range(256)) * 4)
    for setup, (engine, isolation) in setups().items():
        keys = f'{isolation}\nlimits = {{ concurrency = {cores}, time = "500ms" }}'
        manifest = (
            engine
            + servers.guest("echo", "echo", more=LIMITS)
            + (
                f'[guests.loop]\nmodule = "{folder}/loop.wasm"\nfunction = "f"\n{keys}\n'
                '[[invoke]]\nmethod = "loop"\nguest = "loop"\n'
            )
        )
        with ExitStack() as stack:
            server = stack.enter_context(servers.guesthouse(folder / setup, manifest))
            load = stack.enter_context(Load(1))

            def tail(attackers: int) -> float:
                """The p99 of an echo in ms, while `attackers` callers call the guest that loops."""
                with Load(1) as attacking:
                    job = Job(server.address, invoke("loop", b"x"), max(1, attackers), None, 3600.0)  # noqa: B023
                    attack = threading.Thread(target=_attack, args=(attacking, job))
                    if attackers:
                        attack.start()
                    load.run(Job(server.address, echo, 1, 50))  # noqa: B023
                    found = load.run(Job(server.address, echo, 1, REQUESTS)).percentile(0.99) * 1000  # noqa: B023
                    attacking.close()
                    if attackers:
                        attack.join()
                return found

            options.say(f"hostile, {setup}")
            sides = {"quiet": lambda: tail(0), "one": lambda: tail(1), "all": lambda: tail(cores)}
            found = take_turns(sides, options.rounds(9))
            for name, what, target in (
                ("one", "one attacker", Target(2.0)),
                ("all", f"{cores} attackers, as many as cores", None),
            ):
                spread = ratios(found[name], found["quiet"])
                note = f"{Spread.of(found[name]).median:.2f} ms : {Spread.of(found['quiet']).median:.2f} ms"
                text = f"{setup}: {what}: a healthy echo's p99"
                findings.figures.append(Figure("hostile", text, spread, target=target, note=note))
    return findings


def _attack(load: Load, job: Job) -> None:
    """Call until the load is closed."""
    try:
        load.run(job)
    except (RuntimeError, OSError, ValueError):
        pass
