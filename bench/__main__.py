"""`python -m bench`: run the comparisons, print them and write the results page."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from time import monotonic

from bench import (
    actors,
    claim,
    cold,
    dapr,
    engines,
    hostile,
    loaded,
    many,
    memory,
    micro,
    over_grpc,
    page,
    pictures,
    sidecars,
    snapshots,
    stages,
)
from bench.measure import Findings, Options
from bench.servers import ROOT

COMPARISONS = {
    "stages": stages.stages,
    "cycle": micro.cycle,
    "files": micro.files,
    "snapshots": snapshots.snapshots,
    "calls": micro.calls,
    "embedded": micro.embedded,
    "pictures": pictures.pictures,
    "cold": cold.cold,
    "echo": over_grpc.echo,
    "classify": over_grpc.classify,
    "photo": over_grpc.photo,
    "tensor": over_grpc.tensor,
    "programs": over_grpc.programs,
    "components": over_grpc.components,
    "plugins": over_grpc.plugins,
    "loaded": loaded.loaded,
    "memory": memory.memory,
    "engines": engines.engines,
    "many": many.many,
    "hostile": hostile.hostile,
    "sidecars": sidecars.through,
    "component": sidecars.component,
    "mqtt": sidecars.mqtt,
    "dapr": dapr.calls,
    "actors": actors.actors,
    "claim": claim.claim,
}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure Guesthouse against the same work written by hand. No target that is missed fails the run.",
    )
    parser.add_argument("--quick", action="store_true", help="fewer rounds: two minutes instead of ten")
    parser.add_argument("--only", action="append", choices=COMPARISONS, metavar="NAME", help=", ".join(COMPARISONS))
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--out", type=Path, help="the results page (bench/results.md after a full run)")
    return parser.parse_args()


def _measured(findings: Findings, options: Options, name: str, folder: Path) -> bool:
    """Run one comparison. Returns whether it could be measured; after an error, the others still run."""
    try:
        findings.add(COMPARISONS[name](options, folder))
    except Exception as error:
        options.say(f"{name} could not be measured: {type(error).__name__}: {error}")
        return False
    return True


def main() -> None:
    """Run the comparisons that the command line names."""
    arguments = _arguments()
    began = monotonic()

    def say(text: str) -> None:
        print(f"[{monotonic() - began:4.0f} s] {text}", file=sys.stderr, flush=True)

    options, findings, about = Options(arguments.quick, say), Findings(), page.facts()
    names = arguments.only or list(COMPARISONS)
    with tempfile.TemporaryDirectory(prefix="guesthouse-bench-") as folder:
        failed = [name for name in names if not _measured(findings, options, name, Path(folder) / name)]
    say("done")
    if arguments.json:
        print(json.dumps(page.as_json(findings, about), indent=2, ensure_ascii=False))
    else:
        page.show(findings)
    full = not arguments.quick and not arguments.only
    out = arguments.out or (ROOT / "bench" / "results.md" if full else None)
    if failed:
        sys.exit(f"not measured: {', '.join(failed)}; no page is written")
    if out is not None:
        switches = [*(["--quick"] if arguments.quick else []), *(f"--only {name}" for name in arguments.only or ())]
        page.write(out, findings, about, " ".join(["python -m bench", *switches]))
        say(f"written: {out}")


if __name__ == "__main__":
    main()
