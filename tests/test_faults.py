"""What a user can mend is one kind of exception, which a command prints without calling it a fault of its own."""

from __future__ import annotations

import pytest

from guesthouse.cli.output import report
from guesthouse.cli.telemetry import ExtraMissing
from guesthouse.dapr.transport import ServeError
from guesthouse.engine.cache import CacheError
from guesthouse.engine.wasmer import NoWasmer
from guesthouse.faults import Faults
from guesthouse.guests.files import FileFaults
from guesthouse.guests.guest import GuestFaults
from guesthouse.guests.signatures import SignatureFaults
from guesthouse.inference.registry import ModelFaults
from guesthouse.manifest import ManifestError
from guesthouse.observe.probes import ProbesError
from guesthouse.observe.traces import TracesError
from guesthouse.plan.plan import PlanFaults
from guesthouse.plan.tokens import TokenFault

ONE = [CacheError, ExtraMissing, NoWasmer, ProbesError, ServeError, TokenFault, TracesError]
MANY = [FileFaults, GuestFaults, ManifestError, ModelFaults, PlanFaults, SignatureFaults]


def name(kind: type) -> str:
    return kind.__name__


@pytest.mark.parametrize("kind", ONE, ids=name)
def test_a_fault_is_printed_as_it_reads(kind: type[Faults], capsys: pytest.CaptureFixture[str]):
    report(kind("port 1 is in use; choose another"))
    assert capsys.readouterr().err == "error: port 1 is in use; choose another\n"


@pytest.mark.parametrize("kind", MANY, ids=name)
def test_each_of_many_faults_is_printed(kind: type[Faults], capsys: pytest.CaptureFixture[str]):
    report(kind(["one", "another"]))
    assert capsys.readouterr().err == "error: one\nerror: another\n"


def test_any_other_exception_is_reported_as_our_own_fault(capsys: pytest.CaptureFixture[str]):
    error = RuntimeError("so it went")
    error.faults = ["not this"]  # type: ignore[attr-defined]
    report(error)
    assert capsys.readouterr().err.startswith("error: RuntimeError: so it went — inside guesthouse — ")
