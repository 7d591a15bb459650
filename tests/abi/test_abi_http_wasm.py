"""The calling convention of http-wasm, without an engine: what becomes of the response's headers."""

from __future__ import annotations

import pytest

from guesthouse_abi.calling import Request, Response
from guesthouse_abi.calling.http_wasm import HttpHandlers
from guesthouse_abi.context import Context
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.errors import BadReply
from guesthouse_abi.facts import PlainFacts
from guesthouse_abi.grants import Grants, Limits
from guesthouse_abi.headers import BLOCK
from guesthouse_abi.imports.http_handler import Headers, _exchange
from guesthouse_abi.services import Log, Services
from tests.support.doubles import Lines


class Setting:
    """An instance whose handler answers with these headers."""

    def __init__(self, context: Context, *pairs: tuple[str, str]) -> None:
        self._context = context
        self._pairs = pairs

    def call(self, export: str, *arguments: int) -> int:
        _exchange(self._context).response.headers = Headers(self._pairs)
        return 0


def answered(*pairs: tuple[str, str]) -> Response:
    event = PlainFacts("invoke", "greet", b"")
    context = Context(Deadline.after(60), Grants(), Limits(), Services({Log: Lines()}), event=event)
    setting = Setting(context, *pairs)
    return HttpHandlers(()).run(lambda: setting, context, Request(b""))


def test_the_content_type_counts_against_the_bound_of_headers() -> None:
    value = "v" * (BLOCK - len("content-type") - len("x-a") - 1)
    pairs = [("x-a", "b"), ("content-type", value)]
    assert answered(*pairs).content_type == value
    with pytest.raises(BadReply, match=f"headers of {BLOCK + 1} bytes; at most {BLOCK}"):
        answered(*pairs, ("content-type", value + "v"))


def test_a_header_that_is_not_sent_does_not_count() -> None:
    assert answered(("dapr-x", "v" * 5000), ("x-a", "b")).headers == (("x-a", "b"),)
