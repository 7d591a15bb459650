"""How tests ended, in the XML form of JUnit, which tools of continuous integration read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from guesthouse.scripted.cases import Outcome
from guesthouse.text import escaped


def write(file: Path, suite: str, outcomes: Sequence[Outcome]) -> None:
    """Write the file. Raises `OSError`."""
    failed = sum(bool(one.problems) for one in outcomes)
    seconds = sum(one.seconds for one in outcomes)
    counts = {"tests": str(len(outcomes)), "failures": str(failed), "errors": "0", "skipped": "0"}
    root = ElementTree.Element("testsuite", {"name": escaped(suite), **counts, "time": f"{seconds:.3f}"})
    for outcome in outcomes:
        attributes = {"classname": escaped(suite), "name": escaped(outcome.case.name), "time": f"{outcome.seconds:.3f}"}
        element = ElementTree.SubElement(root, "testcase", attributes)
        if outcome.problems:
            problems = [escaped(problem) for problem in outcome.problems]
            ElementTree.SubElement(element, "failure", {"message": problems[0]}).text = "\n".join(problems)
    ElementTree.ElementTree(root).write(file, encoding="utf-8", xml_declaration=True)
