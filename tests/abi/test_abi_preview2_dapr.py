"""`dapr:guest`: how much a guest may say at a time. What calls do is tested with real components."""

from __future__ import annotations

import pytest

from guesthouse_abi.context import Context
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.errors import HostError
from guesthouse_abi.grants import Grants, Limits
from guesthouse_abi.imports.preview2 import dapr
from guesthouse_abi.services import Log, Services, Sidecar
from tests.support.blocks import Blocks
from tests.support.doubles import Lines

FACE = "\U0001f600"  # four bytes


@pytest.fixture
def context() -> Context:
    return Context(Deadline.after(60), Grants(), Limits(log=1 << 24), Services({Log: Lines(), Sidecar: Blocks()}))


def test_a_line_of_the_log_and_its_fields_have_a_greatest_length(context: Context) -> None:
    dapr.log(context, "info", FACE * 16_384, [(str(number), FACE) for number in range(1024)])
    for text, fields in (
        (FACE * 16_385, []),
        ("", [("a", FACE * 16_384)]),
        ("", [(str(number), "") for number in range(1025)]),
    ):
        with pytest.raises(HostError, match="of more than"):
            dapr.log(context, "info", text, fields)


def test_the_metadata_of_a_call_have_a_greatest_length(context: Context) -> None:
    request = b"\x0a\x05store\x12\x01a"
    assert dapr.start(context, "GetState", request, [("a", "b" * 16_383)], None).handle == 1
    for metadata in ([("a", FACE * 4096)], [("", "")] * 1025):
        with pytest.raises(HostError, match="of more than"):
            dapr.start(context, "GetState", request, metadata, None)
