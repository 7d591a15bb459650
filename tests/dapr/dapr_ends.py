"""The two ends of the tests: a handler that does what a test says, and the application as its caller has it."""

from __future__ import annotations

import threading
from collections.abc import Callable

import grpc
from dapr.proto.common.v1.common_pb2 import InvokeRequest, InvokeResponse
from dapr.proto.runtime.v1.appcallback_pb2 import (
    BindingEventRequest,
    BindingEventResponse,
    HealthCheckResponse,
    JobEventRequest,
    JobEventResponse,
    ListInputBindingsResponse,
    ListTopicSubscriptionsResponse,
    TopicEventRequest,
    TopicEventResponse,
)
from dapr.proto.runtime.v1.appcallback_pb2_grpc import (
    AppCallbackAlphaStub,
    AppCallbackHealthCheckStub,
    AppCallbackStub,
)
from google.protobuf.empty_pb2 import Empty

from guesthouse.event import Event, Reply
from guesthouse_abi.deadline import Deadline


def echo(event: Event, deadline: Deadline) -> Reply:
    return Reply(event.body, event.content_type)


class Script:
    """`answer` is what `dispatch` does; `events` and `deadlines` what it was given."""

    def __init__(self, answer: Callable[[Event, Deadline], Reply] = echo) -> None:
        self.answer = answer
        self.events: list[Event] = []
        self.deadlines: list[Deadline] = []

    def dispatch(self, event: Event, deadline: Deadline | None = None) -> Reply:
        assert deadline is not None
        if event.fault is not None:  # as the dispatcher does
            raise event.fault
        self.events.append(event)
        self.deadlines.append(deadline)
        return self.answer(event, deadline)

    def fail(self, error: Exception) -> None:
        def answer(event: Event, deadline: Deadline) -> Reply:
            raise error

        self.answer = answer


class Blocked:
    """An answer that waits until the test lets it go (`release`), or until its caller hangs up."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.entered = threading.Semaphore(0)
        self.cancelled = threading.Event()

    def __call__(self, event: Event, deadline: Deadline) -> Reply:
        def hang_up() -> None:
            self.cancelled.set()
            self.release.set()

        deadline.on_cancel(hang_up)
        self.entered.release()
        assert self.release.wait(20)
        return Reply(event.body)


class Application:
    """All three of the application's services, as a sidecar calls them."""

    OnInvoke: grpc.UnaryUnaryMultiCallable[InvokeRequest, InvokeResponse]
    OnTopicEvent: grpc.UnaryUnaryMultiCallable[TopicEventRequest, TopicEventResponse]
    OnBindingEvent: grpc.UnaryUnaryMultiCallable[BindingEventRequest, BindingEventResponse]
    OnJobEvent: grpc.UnaryUnaryMultiCallable[JobEventRequest, JobEventResponse]
    ListTopicSubscriptions: grpc.UnaryUnaryMultiCallable[Empty, ListTopicSubscriptionsResponse]
    ListInputBindings: grpc.UnaryUnaryMultiCallable[Empty, ListInputBindingsResponse]
    HealthCheck: grpc.UnaryUnaryMultiCallable[Empty, HealthCheckResponse]

    def __init__(self, channel: grpc.Channel) -> None:
        self.channel = channel
        for stub in (AppCallbackStub, AppCallbackAlphaStub, AppCallbackHealthCheckStub):
            self.__dict__.update(stub(channel).__dict__)


def in_background(work: Callable[[], object]) -> threading.Thread:
    """Do `work` in a thread that holds no test up at its end."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread
