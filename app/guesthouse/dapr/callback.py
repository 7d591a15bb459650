"""The services by which a sidecar hands events to its application: AppCallback and AppCallbackAlpha.

Each method converts its request to an event, has it answered, and converts the reply to its response. Interface:
`dapr/proto/runtime/v1/appcallback.proto`. The Alpha methods share their messages with the stable ones; a sidecar before
1.17 (bulk) or 1.18 (jobs) calls only the Alpha methods.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import TypeVar

import grpc
from dapr.proto.common.v1.common_pb2 import InvokeRequest, InvokeResponse
from dapr.proto.runtime.v1 import appcallback_pb2_grpc
from dapr.proto.runtime.v1.appcallback_pb2 import (
    BindingEventRequest,
    BindingEventResponse,
    BulkSubscribeConfig,
    JobEventRequest,
    JobEventResponse,
    ListInputBindingsResponse,
    ListTopicSubscriptionsResponse,
    TopicEventBulkRequest,
    TopicEventBulkRequestEntry,
    TopicEventBulkResponse,
    TopicEventBulkResponseEntry,
    TopicEventRequest,
    TopicEventResponse,
    TopicRoutes,
    TopicRule,
    TopicSubscription,
)
from google.protobuf.any_pb2 import Any
from google.protobuf.empty_pb2 import Empty

from guesthouse.dapr import convert, status
from guesthouse.dapr.listing import Listing, Subscription
from guesthouse.dapr.unary import UnaryCalls
from guesthouse.event import Event, Failure, Reason

_log = logging.getLogger(__name__)

Request = TypeVar("Request")
Response = TypeVar("Response")
Method = Callable[["Callback", Request, grpc.ServicerContext], Response]

Fetched = Callable[[Listing], None]
"""Is called with the listing each time that a sidecar has asked for its subscriptions. Must be quick."""


def _nobody(_listing: Listing) -> None: ...


def answered(method: Method[Request, Response]) -> Method[Request, Response]:
    """Answer any exception of a method by a status. gRPC itself would send the exception's text, as UNKNOWN."""

    @functools.wraps(method)
    def call(self: Callback, request: Request, context: grpc.ServicerContext) -> Response:
        try:
            return method(self, request, context)
        except status.NotOk as answered:
            status.abort_with(context, answered)
        except Exception as error:
            status.abort(context, status.logged_failure(error))

    return call


class Callback(appcallback_pb2_grpc.AppCallbackServicer, appcallback_pb2_grpc.AppCallbackAlphaServicer):
    """AppCallback and AppCallbackAlpha."""

    def __init__(self, calls: UnaryCalls, listing: Listing, fetched: Fetched = _nobody) -> None:
        self._calls = calls
        self._fetched = fetched
        self.asked = False  # whether a sidecar has ever asked which events it may send
        self.set_listing(listing)

    def set_listing(self, listing: Listing) -> None:
        """Tell sidecars of this listing from now on."""
        self._listing = listing
        # Made once: a sidecar asks at its start, waits a short time for the answers, and does not ask again.
        self._subscriptions = ListTopicSubscriptionsResponse(
            subscriptions=[_topic_subscription(subscription) for subscription in listing.subscriptions]
        )
        self._bindings = ListInputBindingsResponse(bindings=listing.bindings)

    def add_to(self, server: grpc.Server) -> None:
        """Register both services."""
        appcallback_pb2_grpc.add_AppCallbackServicer_to_server(self, server)  # type: ignore[no-untyped-call]
        appcallback_pb2_grpc.add_AppCallbackAlphaServicer_to_server(self, server)  # type: ignore[no-untyped-call]

    @answered
    def OnInvoke(self, request: InvokeRequest, context: grpc.ServicerContext) -> InvokeResponse:
        """A service invocation."""
        reply = self._calls.answer(convert.invoke_event, request, context)
        headers = reply.headers
        if reply.answer is not None:
            if status.code_of(reply.answer) is not grpc.StatusCode.OK:
                raise status.NotOk(reply, reply.answer)
            headers = (*headers, (status.STATUS_KEY, str(reply.answer.status)))
        if headers:  # they cost one more message on the wire
            context.send_initial_metadata(headers)
        return InvokeResponse(data=Any(value=reply.body), content_type=reply.content_type)

    @answered
    def OnBindingEvent(self, request: BindingEventRequest, context: grpc.ServicerContext) -> BindingEventResponse:
        """An event of an input binding.

        `states` and `to` of the response stay empty: a sidecar ignores the one and spoils what the other sends on. What
        is to be sent on goes out by calls of our own (`outputs`).
        """
        try:
            reply = self._calls.answer(convert.binding_event, request, context)
        except Failure as failure:
            if not failure.drop:
                raise
            _log.warning("dropped an event of binding %s: %s", request.name, failure)
            return BindingEventResponse()
        return BindingEventResponse(data=reply.body)

    @answered
    def OnTopicEvent(self, request: TopicEventRequest, context: grpc.ServicerContext) -> TopicEventResponse:
        """One message of a topic."""
        failure = self._topic_failure(convert.topic_event, request, context)
        if failure is not None:
            details = status.rich_status(failure).SerializeToString()
            context.set_trailing_metadata(((status.TOPIC_DETAILS_KEY, details),))
        return TopicEventResponse(status=status.topic_status(failure))

    @answered
    def OnBulkTopicEvent(self, request: TopicEventBulkRequest, context: grpc.ServicerContext) -> TopicEventBulkResponse:
        """Many messages of a topic. Each has an answer of its own, and one that fails does not fail the others.

        They are answered one after the other, so that one bulk takes one slot of its guest at a time.
        """

        def to_event(entry: TopicEventBulkRequestEntry, metadata: convert.Metadata) -> Event:
            return convert.bulk_entry_event(request, entry, metadata)

        failures = ((entry.entry_id, self._topic_failure(to_event, entry, context)) for entry in request.entries)
        return TopicEventBulkResponse(
            statuses=[
                TopicEventBulkResponseEntry(entry_id=entry_id, status=status.topic_status(failure))
                for entry_id, failure in failures
            ]
        )

    @answered
    def OnJobEvent(self, request: JobEventRequest, context: grpc.ServicerContext) -> JobEventResponse:
        """A scheduled job."""
        self._calls.answer(convert.job_event, request, context)
        return JobEventResponse()

    OnBulkTopicEventAlpha1 = OnBulkTopicEvent
    OnJobEventAlpha1 = OnJobEvent

    def ListTopicSubscriptions(self, request: Empty, context: grpc.ServicerContext) -> ListTopicSubscriptionsResponse:
        """The topics of the application. A sidecar asks without a token."""
        self.asked = True
        self._fetched(self._listing)
        return self._subscriptions

    def ListInputBindings(self, request: Empty, context: grpc.ServicerContext) -> ListInputBindingsResponse:
        """The input bindings of the application. A sidecar asks without a token."""
        self.asked = True
        return self._bindings

    def _topic_failure(
        self,
        to_event: Callable[[Request, convert.Metadata], Event],
        request: Request,
        context: grpc.ServicerContext,
    ) -> Failure | None:
        """Answer one message; None when that went well. Raises only where the whole call is refused."""
        try:
            self._calls.answer(to_event, request, context)
        except Exception as error:
            failure = status.logged_failure(error)
            if failure.reason is Reason.DENIED:
                raise
            return failure
        return None


def _topic_subscription(subscription: Subscription) -> TopicSubscription:
    message = TopicSubscription(
        pubsub_name=subscription.pubsub,
        topic=subscription.topic,
        metadata=dict(subscription.metadata),
        dead_letter_topic=subscription.dead_letter,
    )
    # Without routes, the sidecar sends everything, with an empty path.
    if subscription.rules or subscription.default:
        rules = [TopicRule(match=rule.match, path=rule.path) for rule in subscription.rules]
        message.routes.CopyFrom(TopicRoutes(rules=rules, default=subscription.default))
    if (bulk := subscription.bulk) is not None:
        config = BulkSubscribeConfig(
            enabled=True, max_messages_count=bulk.max_messages, max_await_duration_ms=bulk.max_await_ms
        )
        message.bulk_subscribe.CopyFrom(config)
    return message
