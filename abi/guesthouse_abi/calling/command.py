"""The calling convention of a WASI command: a program with standard streams, arguments and an exit code.

Standard input is the event's body, standard output the reply, standard error log lines. With the grant `reply_file`
that file's content is the reply, and standard output is log lines, too. With `reply = "cgi"` the reply begins with
headers, as a CGI script's does (`cgi.py`). How a program asks for its arguments, its environment and its files is in
`imports/wasi_preview1`; what stands in them is up to the sandbox.

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

from guesthouse_abi.calling import Request, Response, Shape, Start, Unfit
from guesthouse_abi.calling.cgi import response_of
from guesthouse_abi.canonical.functions import enter, versionless
from guesthouse_abi.context import Context
from guesthouse_abi.errors import CallError, Exit, GuestError, MalformedEvent, TryAgain
from guesthouse_abi.host import FuncType, ValType
from guesthouse_abi.imports.wasi_preview1 import flush, give_body, last_words, read_reply

_START = "_start"
_RUN = "wasi:cli/run"
_RUNS = FuncType((), (ValType.I32,))
_INITIALIZE = "_initialize"
_OUTCOMES: dict[int, type[CallError]] = {64: MalformedEvent, 65: MalformedEvent, 75: TryAgain}


class Command:
    """Runs a program once per event. `cgi`: its reply begins with a block of headers (`cgi.py`)."""

    triggers: frozenset[str] | None = None

    def __init__(self, cgi: bool = False) -> None:
        self._cgi = cgi
        self._run = ""  # the export of a component for `wasi:cli/run`, which gives 1 for an error
        self._initialize = False

    def bind(self, shape: Shape) -> Command:
        """See `Convention.bind`."""
        run = next((name for name in shape.functions if _is_run(name)), None)
        if run is not None:
            if shape.functions[run] != _RUNS:
                raise Unfit([f"export {run!r} is {shape.functions[run] or 'of another type'}, not {_RUNS}"])
            self._run, self._initialize = run, shape.functions.get(_INITIALIZE) == FuncType()
            return self
        if _START not in shape.functions:
            raise Unfit([f"exports no function {_START!r}: it is not a program (a library is called as 'bindgen')"])
        if shape.functions[_START] != FuncType():
            raise Unfit([f"export {_START!r} is {shape.functions[_START] or 'of another type'}, not {FuncType()}"])
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
        instance = start()
        if not self._run:
            instance.call(_START)
            return 0
        enter(context, instance)
        if self._initialize:
            instance.call(_INITIALIZE)
        return instance.call(self._run) & 1


def _is_run(name: str) -> bool:
    interface, _, function = name.rpartition("#")
    return function == "run" and bool(versionless(interface, {_RUN: "2"}))


def _failure(code: int, reason: str) -> CallError:
    text = f"exit code {code}: {reason}" if reason else f"exit code {code}, and nothing on standard error"
    outcome = _OUTCOMES.get(code)
    if outcome is None:
        return GuestError(text)
    return outcome(reason or text)
