"""The calling convention of a WASI command: a program with standard streams, arguments and an exit code.

Standard input is the event's body, standard output the reply, standard error log lines. With the grant `reply_file`
that file's content is the reply, and standard output is log lines, too. With `reply = "cgi"` the reply begins with
headers, as a CGI script's does (`cgi.py`). How a program asks for its arguments, its environment and its files is in
`imports/wasi_preview1` and `imports/preview2`; what stands in them is up to the sandbox.

A component for `wasi:cli/run` is a program too. Its result is the exit code 0 for `ok` and 1 for an error, unless it
ends itself by `exit`.

======  ==============================================================================================================
exit    meaning (64, 65 and 75 as in BSD's `sysexits.h`)
======  ==============================================================================================================
0       standard output is the reply; returning from `main` without a code is the same
64, 65  the event is at fault: `MalformedEvent`
75      the same event may succeed later: `TryAgain`
others  the guest's own error: `GuestError`
======  ==============================================================================================================
"""

from __future__ import annotations

from guesthouse_abi.calling import Request, Response, Shape, Start, Unfit, type_fault
from guesthouse_abi.calling.cgi import response_of
from guesthouse_abi.calling.component import Export, export_of
from guesthouse_abi.context import Context
from guesthouse_abi.errors import CallError, Exit, GuestError, MalformedEvent, TryAgain
from guesthouse_abi.host import FuncType, ValType
from guesthouse_abi.imports.wasi_preview1 import flush, give_body, last_words, read_reply

_START = "_start"
_RUN = "wasi:cli/run"
_RUNS = FuncType((), (ValType.I32,))
_OUTCOMES: dict[int, type[CallError]] = {64: MalformedEvent, 65: MalformedEvent, 75: TryAgain}


class Command:
    """Runs a program once per event. `cgi`: its reply begins with a block of headers (`cgi.py`)."""

    triggers: frozenset[str] | None = None

    def __init__(self, cgi: bool = False) -> None:
        self._cgi = cgi
        self._run: Export | None = None  # a component's, for `wasi:cli/run`, which gives 1 for an error

    @property
    def entry(self) -> str:
        """The export that is called, once a module is bound."""
        return _START if self._run is None else self._run.name

    @property
    def what(self) -> str:
        """See `Caller.what`."""
        return f"a program ({self.entry})"

    @property
    def starts(self) -> tuple[str, ...]:
        """See `Caller.starts`. A program has none: what it does, it does for its event."""
        return () if self._run is None else self._run.starts

    def bind(self, shape: Shape) -> Command:
        """See `Convention.bind`."""
        self._run = export_of(shape, _RUN, "run", _RUNS)
        if self._run is not None:
            return self
        if _START not in shape.functions:
            raise Unfit([f"exports no function {_START!r}: it is not a program (a library is called as 'bindgen')"])
        if shape.functions[_START] != FuncType():
            raise Unfit([type_fault(shape, _START, FuncType())])
        return self

    def run(self, start: Start, context: Context, request: Request) -> Response:
        """See `Caller.run`: the program's standard output, or the content of `reply_file`.

        Raises `MalformedEvent`, `TryAgain` and `GuestError` by the exit code, with the program's last words, and what
        the call itself raises.
        """
        context.stdin, context.input_at = request.body, 0
        give_body(context, request.body)
        reply = bytearray()
        context.stdout = None if context.grants.reply_file else reply
        code = 0
        try:
            code = self._called(start, context)
        except Exit as end:
            code = end.code
        finally:
            flush(context)
        if code:
            raise _failure(code, last_words(context))
        output = read_reply(context) if context.grants.reply_file else bytes(reply)
        return response_of(output) if self._cgi else Response(output)

    def _called(self, start: Start, context: Context) -> int:
        """Run the program; its exit code, if it did not end itself by one."""
        if self._run is not None:
            return self._run.ready(start, context).call(self._run.name) & 1
        start().call(_START)
        return 0


def _failure(code: int, reason: str) -> CallError:
    text = f"exit code {code}: {reason}" if reason else f"exit code {code}, and nothing on standard error"
    outcome = _OUTCOMES.get(code)
    if outcome is None:
        return GuestError(text)
    return outcome(reason or text)
