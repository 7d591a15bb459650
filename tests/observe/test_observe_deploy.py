"""The dashboard and the alert rules: every metric and label they name is one that a served application has."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.observe.watched import Samples, Watched

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
# What the scrape itself adds, and what is no series of an application's.
SCRAPED = {"instance", "job"}
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"')
_GROUPING = re.compile(r"\b(?:by|on|without|ignoring) \(([^)]*)\)")
_WORDS = {"sum", "max", "min", "count", "rate", "increase", "histogram_quantile", "time", "and", "label_values"}


def alerts() -> list[str]:
    return re.findall(r"^        expr: (.+)$", (DEPLOY / "alerts.yaml").read_text(), re.MULTILINE)


def panels() -> Iterator[dict[str, Any]]:
    yield from json.loads((DEPLOY / "grafana-dashboard.json").read_text())["panels"]


def queries() -> list[str]:
    dashboard = json.loads((DEPLOY / "grafana-dashboard.json").read_text())
    variables = [v["query"] for v in dashboard["templating"]["list"] if v["type"] == "query"]
    targets = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    return [*variables, *targets]


def problems(query: str, found: Samples) -> list[str]:
    """What a query names that is not there, or what is no query."""
    plain = _TEXT.sub('""', query)
    wrong = [f"unbalanced {pair}" for pair in ("()", "{}", "[]") if plain.count(pair[0]) != plain.count(pair[1])]
    labels = {label.strip() for group in _GROUPING.findall(plain) for label in group.split(",")}
    labels |= {name for braces in re.findall(r"\{([^}]*)\}", plain) for name in _NAME.findall(braces)}
    if of := re.fullmatch(r"label_values\((\w+), (\w+)\)", plain):
        labels, plain = {of[2]}, f"label_values({of[1]})"
    rest = re.sub(r"\{[^}]*\}|\[[^\]]*\]", "", _GROUPING.sub("", plain))
    names = set(re.findall(r"(?<![\w.])[a-zA-Z_:][\w:]*", rest)) - _WORDS - {"by", "on"}
    wrong += [f"no metric {name}" for name in names if name not in found.names and name != "up"]
    known = {key for (name, series) in found.values for key, _ in series if name in names} | SCRAPED
    return wrong + [f"no label {label}" for label in labels if label not in known]


@pytest.fixture
def found(app: Watched) -> Samples:
    return app.scrape()


def test_everything_that_is_asked_for_exists(found: Samples):
    assert len(alerts()) == 12
    assert len(queries()) > 25
    assert {query: wrong for query in (*queries(), *alerts()) if (wrong := problems(query, found))} == {}


@pytest.mark.parametrize(
    ("query", "wrong"),
    [
        ("sum(rate(guesthouse_nothing_total[5m]))", ["no metric guesthouse_nothing_total"]),
        ("sum by (nobody) (guesthouse_slots_busy)", ["no label nobody"]),
        ('guesthouse_slots_busy{trigger="x"}', ["no label trigger"]),
        ("label_values(guesthouse_slots_limit, model)", ["no label model"]),
        ("sum(guesthouse_slots_busy", ["unbalanced ()"]),
        ("rates(guesthouse_slots_busy)", ["no metric rates"]),
    ],
)
def test_what_does_not_exist_is_found(found: Samples, query, wrong):
    assert problems(query, found) == wrong


def test_every_metric_is_on_the_dashboard(found: Samples):
    ours = {re.sub(r"_(bucket|sum|count)$", "", name) for name in found.names if name.startswith("guesthouse_")}
    asked = " ".join(queries())
    assert {name for name in ours if name not in asked} == set()


def test_every_metric_is_explained(found: Samples):
    page = (DEPLOY.parent / "docs" / "observability.md").read_text()
    ours = {re.sub(r"_(bucket|sum|count)$", "", name) for name in found.names if name.startswith("guesthouse_")}
    rows = "\n".join(line.split("|")[1] for line in page.splitlines() if line.startswith("| `guesthouse_"))
    ours.add("guesthouse_topic_subscribed")  # has a value once a sidecar has asked for the topics
    ours.add("guesthouse_event_capability_seconds")  # has a value once a guest has called a capability
    ours.add("guesthouse_call_seconds")  # has a value once a guest has called the sidecar
    assert set(re.findall(r"`(guesthouse_\w+)`", rows)) == ours
    rules = re.findall(r"- alert: (\w+)", (DEPLOY / "alerts.yaml").read_text())
    assert set(re.findall(r"`(Guesthouse\w+)`", page)) == set(rules)


def test_legends_and_summaries_name_labels_that_their_queries_keep():
    for panel in panels():
        for target in panel.get("targets", ()):
            named = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            kept = {label.strip() for group in _GROUPING.findall(target["expr"]) for label in group.split(",")}
            assert named <= kept, target
    text = (DEPLOY / "alerts.yaml").read_text()
    for rule in text.split("- alert: ")[1:]:
        expr = re.search(r"expr: (.+)", rule)
        assert expr is not None
        kept = {label.strip() for group in re.findall(r"by \(([^)]*)\)", expr[1]) for label in group.split(",")}
        if not kept:
            kept = {"guest", "instance"}  # nothing is summed: the series' own
        assert set(re.findall(r"\$labels\.(\w+)", rule)) <= kept, rule


def test_panels_do_not_overlap():
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert all(x < 24 for x, _ in cells)
        taken |= cells
