"""The manifest's [component]: its defaults, its faults, and the routes that it makes."""

from __future__ import annotations

from pathlib import Path

import pytest

from guesthouse.assembly import with_component
from guesthouse.event import Event, Failure, Reason, Trigger
from guesthouse.manifest import Manifest, ManifestError, load
from guesthouse.plan.routes import Routes

GUESTS = "".join(f'[guests.{name}]\nmodule = "{name}.wasm"\nfunction = "f"\n' for name in ("echo", "count"))


@pytest.fixture
def read(tmp_path: Path):
    def read(text: str) -> Manifest:
        path = tmp_path / "guesthouse.toml"
        path.write_text(f'[app]\nname = "vision"\n{GUESTS}{text}')
        return load(path, {})

    return read


@pytest.fixture
def fault(read, tmp_path: Path):
    """The only thing that is wrong with this [component]."""

    def fault(text: str) -> str:
        with pytest.raises(ManifestError) as caught:
            read(f"[component]\n{text}")
        (only,) = caught.value.faults
        return only.replace(f"{tmp_path}/guesthouse.toml: ", "")

    return fault


def test_all_guests_are_operations_and_nothing_is_published(read):
    manifest = read('[component]\nname = "guests"\n')
    component = manifest.component
    assert manifest.operations == ("echo", "count")
    assert (component.replies, component.folder, component.permissions) == ((), None, 0o660)
    assert (component.unacknowledged, component.acknowledge, component.attempts) == (16, 60.0, 10)
    assert (component.buffer, component.keep) == (64 << 20, 600.0)


def test_a_guest_that_answers_invocations_alone_is_an_operation_only_where_it_is_named(read):
    filters = '[guests.auth]\nmodule = "auth.wasm"\ncalling = "http-wasm"\n'
    assert read(f'{filters}[component]\nname = "guests"\n').operations == ("echo", "count")
    named = read(f'{filters}[component]\nname = "guests"\nguests = ["auth"]\n')
    assert named.operations == ("auth",)  # which is a fault at load


def test_a_manifest_without_the_table_has_no_operations(read):
    assert read("").operations == ()


def test_the_command_line_names_the_component(read):
    named = with_component(read(""), "guests").component
    assert named is not None
    assert named.name == "guests"
    manifest = with_component(read('[component]\nname = "a"\nreplies = ["echo"]\n'), "b")
    assert manifest.component is not None
    assert (manifest.component.name, manifest.component.replies) == ("b", ("echo",))


def test_only_operations_are_routed(read):
    routes = Routes(read('[component]\nname = "guests"\nguests = ["echo"]\n'))
    assert routes.find(Event(Trigger.OPERATION, "echo")).guest == "echo"
    with pytest.raises(Failure, match="no guest answers the operation 'count'") as caught:
        routes.find(Event(Trigger.OPERATION, "count"))
    assert caught.value.reason is Reason.NOT_FOUND


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "name is missing — component.name — "),
        ('name = "My.Guests"', '"My.Guests" is no component\'s name — component.name — '),
        ('name = ""', '"" is no component\'s name — component.name — '),
        ('name = "g"\npermissions = 660', "660 is not a file's permissions — component.permissions — "),
        ('name = "g"\npermissions = "0888"', '"0888" is not a file\'s permissions — component.permissions — '),
        ('name = "g"\nguests = ["ecko"]', '"ecko" is no guest of this manifest — component.guests[0] — '),
        ('name = "g"\nreplies = ["ecko"]', '"ecko" is no guest of this manifest — component.replies[0] — '),
        ('name = "g"\nguests = []', "leaves the component without anything to do — component.guests — "),
        ('name = "g"\nunacknowledged = 0', "0 is too little — component.unacknowledged — "),
        ('name = "g"\nacknowledge = "0s"', '"0s" is too little — component.acknowledge — '),
        ('name = "g"\nbuffer = "1MiB"', '"1MiB" is too little — component.buffer — '),
    ],
)
def test_says_what_is_wrong(fault, text, said):
    assert said in fault(text)


def test_says_what_to_do(fault):
    assert "did you mean echo?" in fault('name = "g"\nreplies = ["ecko"]')
    assert "use small letters, digits and -, as in guests for bindings.guests" in fault('name = "G"')
    assert 'write three octal digits in quotes, as in "0660"' in fault('name = "g"\npermissions = "rw"')
    assert "write at least 8MiB" in fault('name = "g"\nbuffer = 1')
    assert "write more than 0s" in fault('name = "g"\nacknowledge = "0s"')
