"""The handles of one instance: the numbers by which a guest names sessions, graphs and tensors.

All import modules for inference count in one row, from 1 upwards, and no number is used twice. So a number means one
thing at most, whichever module it is handed to, and a module that did not give it out refuses it.
"""

from __future__ import annotations

from typing import NamedTuple, TypeVar

from guesthouse_abi.context import Context
from guesthouse_abi.errors import BadHandle, TooMuch
from guesthouse_abi.services import Model
from guesthouse_abi.sessions.session import Output, Session

MOST_SESSIONS = 64
MOST_GRAPHS = 64
MOST_TENSORS = 1024

AnySession = TypeVar("AnySession", bound=Session)


class _OpenTensor(NamedTuple):
    session: Session
    output: Output


class Handles:
    """What is open, by its number. Made by `Context.state`: one for each event."""

    def __init__(self) -> None:
        self._last = 0
        self._sessions: dict[int, Session] = {}
        self._graphs: dict[int, Model] = {}
        self._tensors: dict[int, _OpenTensor] = {}

    def _next(self) -> int:
        self._last += 1
        return self._last

    # sessions

    def add_session(self, session: Session) -> int:
        """Raises `TooMuch`."""
        if len(self._sessions) >= MOST_SESSIONS:
            raise TooMuch(f"{MOST_SESSIONS} sessions are open; delete one first")
        session.handle = self._next()
        self._sessions[session.handle] = session
        return session.handle

    def session(self, handle: int, kind: type[AnySession]) -> AnySession:
        """The session of that number, if it is of this kind. Raises `BadHandle`."""
        found = self._sessions.get(handle)
        if not isinstance(found, kind):
            raise self._unknown(handle, kind.noun, kind.interface)
        return found

    def close_session(self, context: Context, handle: int, kind: type[Session]) -> None:
        """Free a session and all its tensors. Raises `BadHandle`."""
        session = self.session(handle, kind)
        self.remove_tensors(session)
        session.clear_inputs(context)
        session.clear_results(context)
        del self._sessions[handle]

    # graphs of wasi-nn

    def add_graph(self, model: Model) -> int:
        """Raises `TooMuch`."""
        if len(self._graphs) >= MOST_GRAPHS:
            raise TooMuch(f"{MOST_GRAPHS} graphs are loaded; unload one first")
        handle = self._next()
        self._graphs[handle] = model
        return handle

    def graph(self, handle: int) -> Model:
        """Raises `BadHandle`."""
        model = self._graphs.get(handle)
        if model is None:
            raise self._unknown(handle, "graph", "wasi-nn")
        return model

    def remove_graph(self, handle: int) -> None:
        """Raises `BadHandle`."""
        self.graph(handle)
        del self._graphs[handle]

    # tensors of sessions

    def tensor_handle(self, session: Session, output: Output) -> int:
        """The number of an output's tensor, the same one each time. Raises `TooMuch`."""
        for handle, known in self._tensors.items():
            if known.session is session and known.output is output:
                return handle
        if len(self._tensors) >= MOST_TENSORS:
            raise TooMuch(f"{MOST_TENSORS} tensors are open; delete a session first")
        handle = self._next()
        self._tensors[handle] = _OpenTensor(session, output)
        return handle

    def tensor(self, handle: int, kind: type[AnySession]) -> tuple[AnySession, Output]:
        """The session, if it is of this kind, and the output behind a tensor's number. Raises `BadHandle`."""
        found = self._tensors.get(handle)
        if found is None or not isinstance(found.session, kind):
            raise self._unknown(handle, "tensor", kind.interface)
        return found.session, found.output

    def remove_tensors(self, session: Session) -> None:
        """Forget the numbers of all tensors of a session."""
        self._tensors = {handle: known for handle, known in self._tensors.items() if known.session is not session}

    def _unknown(self, handle: int, noun: str, interface: str) -> BadHandle:
        session, tensor = self._sessions.get(handle), self._tensors.get(handle)
        if session is not None:
            return BadHandle(f"{handle} is a {session.noun} of {session.interface}, and no {noun} of {interface}")
        if tensor is not None:
            return BadHandle(f"{handle} is a tensor of {tensor.session.interface}, and no {noun} of {interface}")
        if handle in self._graphs:
            return BadHandle(f"{handle} is a graph of wasi-nn, and no {noun} of {interface}")
        return BadHandle(f"there is no {noun} {handle}")
