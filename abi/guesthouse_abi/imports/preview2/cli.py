"""`wasi:cli`: arguments, environment, standard streams, and how a program ends. All as in preview 1."""

from __future__ import annotations

from guesthouse_abi.canonical.functions import Answered, Fail
from guesthouse_abi.canonical.types import Case
from guesthouse_abi.context import Context
from guesthouse_abi.errors import Exit
from guesthouse_abi.imports.preview2.io import CHUNK, InputStream, Writer
from guesthouse_abi.imports.wasi_preview1.descriptors import STDERR, STDOUT
from guesthouse_abi.imports.wasi_preview1.process import variables_of
from guesthouse_abi.imports.wasi_preview1.streams import LOG_CHUNK, hold_reply, write_lines


class Stdin(InputStream):
    """Standard input, which all its streams read on."""

    def take(self, context: Context, length: int) -> bytes:
        """See `InputStream.take`."""
        part = context.stdin[context.input_at : context.input_at + min(length, CHUNK)]
        if not part and length:
            raise Fail(Case("closed"))
        context.input_at += len(part)
        return part


class Lines:
    """Standard output or error as log lines."""

    chunk = LOG_CHUNK

    def __init__(self, stream: int) -> None:
        self._stream = stream

    def give(self, context: Context, data: bytes) -> None:
        """See `OutputStream.give`."""
        write_lines(context, self._stream, data)


class Reply:
    """Standard output as the reply."""

    chunk = CHUNK

    def __init__(self, reply: bytearray) -> None:
        self._reply = reply

    def give(self, context: Context, data: bytes) -> None:
        """See `OutputStream.give`."""
        hold_reply(context, self._reply, len(data))
        self._reply += data


class Terminal:
    """The resources `terminal-input` and `terminal-output`, of which there are none."""


ENVIRONMENT = Answered("wasi:cli/environment")
EXIT = Answered("wasi:cli/exit")
STANDARD_INPUT = Answered("wasi:cli/stdin")
STANDARD_OUTPUT = Answered("wasi:cli/stdout")
STANDARD_ERROR = Answered("wasi:cli/stderr")
TERMINAL_STDIN = Answered("wasi:cli/terminal-stdin")
TERMINAL_STDOUT = Answered("wasi:cli/terminal-stdout")
TERMINAL_STDERR = Answered("wasi:cli/terminal-stderr")
INTERFACES = (
    ENVIRONMENT,
    EXIT,
    STANDARD_INPUT,
    STANDARD_OUTPUT,
    STANDARD_ERROR,
    Answered("wasi:cli/terminal-input", terminal_input=Terminal),
    Answered("wasi:cli/terminal-output", terminal_output=Terminal),
    TERMINAL_STDIN,
    TERMINAL_STDOUT,
    TERMINAL_STDERR,
)


@ENVIRONMENT.function("get-environment")
def get_environment(context: Context) -> list[tuple[str, str]]:
    return variables_of(context)


@ENVIRONMENT.function("get-arguments")
def get_arguments(context: Context) -> list[str]:
    return [text.replace("\0", "") for text in context.arguments]


@ENVIRONMENT.function("initial-cwd")
def initial_cwd(context: Context) -> str | None:
    return None


@EXIT.function("exit")
def exit_with(context: Context, status: Case) -> None:
    raise Exit(0 if status.name == "ok" else 1)


@EXIT.function("exit-with-code")
def exit_with_code(context: Context, code: int) -> None:
    raise Exit(code)


@STANDARD_INPUT.function("get-stdin")
def get_stdin(context: Context) -> InputStream:
    return Stdin()


@STANDARD_OUTPUT.function("get-stdout")
def get_stdout(context: Context) -> Writer:
    return Writer(Lines(STDOUT) if context.stdout is None else Reply(context.stdout))


@STANDARD_ERROR.function("get-stderr")
def get_stderr(context: Context) -> Writer:
    return Writer(Lines(STDERR))


@TERMINAL_STDIN.function("get-terminal-stdin")
@TERMINAL_STDOUT.function("get-terminal-stdout")
@TERMINAL_STDERR.function("get-terminal-stderr")
def get_terminal(context: Context) -> None:
    return None
