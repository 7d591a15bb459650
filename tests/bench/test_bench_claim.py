"""The measurement of starts and kernels: what it compares does the same work, and it says what it cannot measure."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import claim, containers
from bench.measure import Options


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[claim.Sides]:
    if shutil.which("node") is None:
        pytest.skip("node is not here")
    with claim.sides(tmp_path_factory.mktemp("sides")) as both:
        yield both


@pytest.mark.parametrize("kernel", claim.SIZES)
def test_a_kernel_gives_the_same_on_all_sides(sides: claim.Sides, kernel: str) -> None:
    results = sides.results(f"{kernel} 7")
    assert len(results) == 4
    assert len(set(results.values())) == 1, results
    assert results["guest"] not in ("", f"{kernel} 7"), "it echoed"


def test_the_kernel_of_records_gives_the_same_by_json_parse(sides: claim.Sides) -> None:
    found = sides.node.ask("kernels", "javascript", "parsed 7")
    assert found["output"] == sides.results("records 7")["guest"]
    assert set(found) == {"cpu", "clock", "output"}


def test_the_kernel_sha256_gives_a_real_digest(sides: claim.Sides) -> None:
    assert sides.results("sha256 3")["guest"] == claim.sha256(3)


def test_the_classifier_names_the_same_labels_on_all_sides(sides: claim.Sides) -> None:
    labels = sides.labels()
    assert len(labels) == 3
    assert len(set(labels.values())) == 1, labels
    assert '"label":"espresso"' in labels["guest"]


def test_other_text_comes_back_from_the_guest_that_starts(tmp_path: Path) -> None:
    rust = next(iter(claim.languages_here(tmp_path, print)))
    with claim.opened(tmp_path) as plan:
        ways = claim.starts_of(rust, None, plan.host, tmp_path, Options(True, print))
    assert {"added", "event"} <= set(ways.found)
    assert all(len(times) == 3 for times in ways.found.values())
    assert set(ways.compiling) - set(ways.found) == {"compiled"}


def test_without_an_engine_of_containers_it_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(containers.Missing, match="dockerd is not here"), containers.engine(tmp_path / "docker"):
        pass
