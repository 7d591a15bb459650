"""Properties of the small parsers, and of the whole: whatever is written, the answer is a manifest or its faults."""

from __future__ import annotations

import contextlib
import datetime
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from guesthouse.manifest import Manifest, ManifestError, parse
from guesthouse.manifest.read import tables_of
from guesthouse.manifest.text import expand, format_duration, format_size, parse_duration, parse_size
from tests.support.budget import examples


@given(st.integers(0, 1 << 60))
def test_reads_every_size_that_it_writes(size):
    assert parse_size(format_size(size)) == size


@given(st.integers(0, 10**13).map(lambda micros: micros / 1_000_000))
def test_reads_every_duration_that_it_writes(seconds):
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, abs=1e-6)


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("512", 512), ("1KB", 1000), ("1KiB", 1024), ("1.5 MiB", 3 << 19), ("2GB", 2 * 10**9), ("7B", 7)],
)
def test_reads_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MiB", "1mb", "1Mi", "-1", "1e3", "0.3B", "１MiB", "1MiB ", "9" * 20, 1.5, True])
def test_refuses_what_is_no_size(text):
    with pytest.raises(PydanticCustomError, match="not a size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0s", 0), ("5s", 5), ("200ms", 0.2), ("1m30s", 90), ("1.5s", 1.5), ("2h", 7200), ("10us", 1e-5)],
)
def test_reads_durations(text, seconds):
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "s", "5 s", "5S", "-5s", "5s!", "1d", "٣s", 5, 5.0, True])
def test_refuses_what_is_no_duration(text):
    with pytest.raises(PydanticCustomError, match="not a duration"):
        parse_duration(text)


@given(st.text())
def test_leaves_text_without_dollars_alone(text):
    text = text.replace("$", "")
    assert expand(text, {}) == text


@given(st.text())
def test_writes_any_text_with_its_dollars_doubled(text):
    assert expand(text.replace("$", "$$"), {}) == text


@given(st.text(alphabet="${}:-ANB1 "), st.dictionaries(st.sampled_from(["A", "N", "AB"]), st.text(max_size=5)))
def test_expands_or_refuses_any_use_of_dollars(text, environ):
    with contextlib.suppress(PydanticCustomError):
        expand(text, environ)


def keys(model=Manifest) -> set[str]:
    """Every key of every table, so that what hypothesis writes gets further than the first of them."""
    inner = (table for field in model.model_fields.values() for table in tables_of(field.annotation))
    return set(model.model_fields).union(*(keys(table) for table in inner))


_names = st.sampled_from(sorted(keys())) | st.text(max_size=8)
_texts = st.sampled_from(
    [
        "${A}",
        "$$",
        "${A:-b}",
        "5s",
        "12MiB",
        "auto",
        "thread",
        "command",
        "ab" * 32,
        "${",
        "echo",
        "GET",
        "1",
        "\0",
        "/",
    ]
)
_values = st.one_of(
    _texts, st.text(max_size=8), st.integers(), st.floats(), st.booleans(), st.just(datetime.date(2026, 1, 1))
)
_tables = st.dictionaries(
    _names,
    st.recursive(
        _values, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_names, inner, max_size=3), max_leaves=8
    ),
    max_size=6,
)


def faults_of(raw: dict[str, object], environ: dict[str, str]) -> list[str]:
    try:
        parse(raw, Path("guesthouse.toml"), environ)
    except ManifestError as error:
        return error.faults
    return []


@settings(max_examples=examples(50), deadline=None)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            name: st.dictionaries(_names, _tables, max_size=2) | st.lists(_tables, max_size=3) | _tables
            for name in Manifest.model_fields
        },
    ),
    st.dictionaries(st.sampled_from(["A", "APP_PORT", "APP_API_TOKEN", "GUESTHOUSE_CACHE"]), st.text(max_size=6)),
)
@example({"metrics": {"host": "\x1f"}}, {})
@example({"guests": {"a": {"models": ["\x1e"]}}, "models": {"\x1f": {}}}, {})
@example({"invoke": [{"guest": []}], "filter": [{"guest": []}]}, {})
def test_answers_any_document_with_a_manifest_or_its_faults(raw, environ):
    for fault in faults_of(raw, environ):
        assert fault.count(" — ") >= 2
        assert fault.isprintable()


@settings(max_examples=examples(50), deadline=None)
@given(st.recursive(_values, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_names, inner, max_size=4)))
def test_answers_any_value_of_any_key_with_a_manifest_or_its_faults(value):
    for name in Manifest.model_fields:
        faults_of({"app": {"name": "x"}, name: value}, {})


def test_refuses_a_document_without_end():
    deep: dict[str, object] = {}
    for _ in range(100_000):
        deep = {"a": deep}
    with pytest.raises(ManifestError, match="nested too deeply"):
        parse(deep, Path("guesthouse.toml"), {})
