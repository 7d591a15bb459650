"""An actor's state as a file that a person reads and writes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guesthouse.scripted.actors import actor_in, read_state, written_state
from guesthouse.scripted.tables import LARGEST, ScriptFaults

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["text", "json", "base64", "a"]), inner, max_size=2)
    ),
    max_leaves=6,
)


def values() -> st.SearchStrategy[bytes]:
    import json

    written = st.builds(lambda value, compact: json.dumps(value, separators=(",", ":") if compact else None).encode(),
                        JSON, st.booleans())  # fmt: skip
    return st.binary(max_size=16) | st.text(max_size=16).map(str.encode) | written


@given(st.dictionaries(st.text(max_size=6), values(), max_size=4))
def test_a_state_that_is_written_is_read_as_it_was(tmp_path_factory: pytest.TempPathFactory, state: dict[str, bytes]):
    path = tmp_path_factory.getbasetemp() / "state.json"
    path.write_text(written_state(state))
    assert read_state(path) == state


def test_a_value_of_a_file_is_its_json_without_spaces(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_text('{"a": {"n": [1, "ä"]}, "b": {"text": "no JSON"}, "c": {"json": {"text": 1}}, "d": "x"}')
    assert read_state(path) == {"a": '{"n":[1,"ä"]}'.encode(), "b": b"no JSON", "c": b'{"text":1}', "d": b'"x"'}


def test_there_is_no_state_where_there_is_no_file(tmp_path: Path) -> None:
    assert read_state(tmp_path / "none.json") == {}
    with pytest.raises(ScriptFaults, match="cannot be read"):
        read_state(tmp_path)


def test_a_state_that_is_huge_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "state.json").open("wb") as file:
        file.truncate(LARGEST + 1)
    with pytest.raises(ScriptFaults, match=f"over {LARGEST} bytes large"):
        read_state(tmp_path / "state.json")


@pytest.mark.parametrize("name", ["Cart", "/7", "Cart/", "Cart/a/b", "Ca#rt/7", "Cart/7?", "Cart/a\\b", "Cart/a\n"])
def test_some_names_are_no_actors(name: str) -> None:
    with pytest.raises(ValueError, match=r"names no actor|is no name of an actor"):
        actor_in(name, "m")
