"""Shows what the comparisons found: as tables in a terminal, as the results page, and as JSON."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench import engines
from bench.measure import Figure, Findings, Spread
from guesthouse import __version__
from guesthouse.engine import wasmer
from guesthouse.engine.base import EngineConfig

PACKAGES = ("wasmtime", "grpcio", "dapr", "onnxruntime", "pillow", "simplejpeg", "numpy", "protobuf")
HEADER = ["comparison", "what", "median (least–greatest)", "target", "", "made of"]


def _number(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def _spread(spread: Spread, unit: str) -> str:
    sign = "x" if unit == "x" else f" {unit}"
    if spread.least == spread.greatest:
        return f"{_number(spread.median)}{sign}"
    return f"{_number(spread.median)}{sign} ({_number(spread.least)}–{_number(spread.greatest)})"


def _verdict(figure: Figure) -> str:
    return {None: "", True: "met", False: "NOT MET"}[figure.met]


def _rows(figures: Sequence[Figure]) -> list[list[str]]:
    return [
        [f.comparison, f.what, _spread(f.spread, f.unit), str(f.target or ""), _verdict(f), f.note] for f in figures
    ]


def show(findings: Findings) -> None:
    """Print all figures and tables."""
    console = Console(width=None if os.isatty(1) else 200)
    for title, header, rows in [("", HEADER, _rows(findings.figures)), *findings.tables]:
        table = Table(*header, title=title or None, box=None, pad_edge=False, header_style="bold")
        for row in rows:
            style = "red" if "NOT MET" in row else None
            table.add_row(*row, style=style)
        console.print(table)
        console.print()


def facts() -> dict[str, str]:
    """Facts about the machine and the versions that were measured."""
    model = ""
    info = Path("/proc/cpuinfo")
    if info.exists():
        model = next((li.partition(": ")[2] for li in info.read_text().splitlines() if li.startswith("model name")), "")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    system = f"{platform.system()} {platform.release()}"
    load = os.getloadavg()[0]
    busy = ", by other work: where least and greatest lie far apart, the figure says little" if load > 0.5 else ""
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{model or platform.processor()}, {cores} cores, {memory:.0f} GiB, {system}",
        "load average before the run": f"{load:.1f}{busy}",
        "Python": platform.python_version(),
        "Guesthouse": __version__,
        **{name: version(name) for name in PACKAGES},
        **_second_engine(),
    }


def _second_engine() -> dict[str, str]:
    """The versions of wasmer and of its workers' Python, where wasmer is measured."""
    if "wasmer, process" not in engines.setups():
        return {}
    interpreter = wasmer.WasmerEngine(EngineConfig(python=engines.NAMED)).interpreter
    command = [interpreter, "-c", "import platform; print(platform.python_version())"]
    python = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return {"wasmer": f"{wasmer.VERSION}, its workers under Python {python}"}


def as_json(findings: Findings, about: dict[str, str]) -> dict[str, object]:
    """Facts, figures and tables as JSON values."""
    figures = [{**asdict(f), "target": str(f.target or ""), "met": f.met} for f in findings.figures]
    tables = [{"title": title, "header": header, "rows": rows} for title, header, rows in findings.tables]
    return {"about": about, "figures": figures, "tables": tables}


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def write(path: Path, findings: Findings, about: dict[str, str], command: str) -> None:
    """Write the results page."""
    judged = [f for f in findings.figures if f.met is not None]
    parts = [
        "# Results of the benchmarks",
        f"Written by `{command}`; docs/performance.md says what is compared and how to read it.",
        "\n".join(f"- {name}: {value}" for name, value in about.items()),
        f"{sum(1 for f in judged if f.met)} of {len(judged)} targets are met. A figure in x is a ratio, Guesthouse to "
        "the other: the median of the rounds' ratios, with the least and the greatest.",
        _table(HEADER, _rows(findings.figures)),
    ]
    for title, header, rows in findings.tables:
        parts += [f"## {title}", _table(header, rows)]
    path.write_text("\n\n".join(parts) + "\n")
