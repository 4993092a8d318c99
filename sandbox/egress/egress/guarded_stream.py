"""mitmproxy's HTTP stream, with six things changed.

It opens no connection for a request that has no permit: should the addon not be there any more
(mitmproxy unloads a script whose file has gone), nothing leaves. A request that is answered here is
answered at once, where mitmproxy would first keep all of its body in memory. A WebSocket gets a
connection of its own, as mitmproxy has none over HTTP/2. A body keeps its end where it goes
from HTTP/2 to HTTP/1, and has the length that its head says. And what was refused is forgotten;
mitmproxy would keep it as long as its connection.
"""

from dataclasses import dataclass

from mitmproxy import flow as mitmproxy_flow
from mitmproxy import http
from mitmproxy.connection import Connection
from mitmproxy.proxy import events, layer
from mitmproxy.proxy.layers import http as http_layer
from mitmproxy.proxy.layers.http._events import (
    ErrorCode,
    RequestData,
    RequestEndOfMessage,
    RequestHeaders,
    RequestProtocolError,
    ResponseProtocolError,
)
from mitmproxy.proxy.layers.http._hooks import HttpErrorHook, HttpRequestHeadersHook

from egress import backpressure, connections, framing
from egress.inspected_bodies import InspectedStream

_KEY = "egress.permit"

# pipelock closes an HTTP/1.1 connection after each answer without saying so; a request that meets
# this would fail. Over HTTP/2 it does not, so that is offered whatever the client speaks.
OFFERS = (b"h2", b"http/1.1")
WEBSOCKET_OFFERS = (b"http/1.1",)


@dataclass(frozen=True, slots=True)
class Permit:
    """Where this one request may go."""

    scheme: str
    host: str
    port: int
    websocket: bool
    # Whether a body may follow; nothing else knows of one that HTTP/2 did not announce.
    body: bool = True


def grant(flow: http.HTTPFlow, permit: Permit) -> None:
    """Lets this request leave."""
    flow.metadata[_KEY] = permit


def revoke(flow: http.HTTPFlow) -> None:
    """Keeps this request from leaving."""
    flow.metadata.pop(_KEY, None)


def permit_of(flow: http.HTTPFlow) -> Permit | None:
    """The permit, if there is one."""
    permit = flow.metadata.get(_KEY)
    return permit if isinstance(permit, Permit) else None


class _ConnectionFor(http_layer.GetHttpConnection):
    """Asks for a connection, new or in use."""

    websocket = False

    def connection_spec_matches(self, connection: Connection) -> bool:
        """Whether one that is in use will do."""
        return not self.websocket and super().connection_spec_matches(connection)


class GuardedHttpStream(InspectedStream):
    """One request and its response."""

    _body_follows = False
    _received = 0
    # What the head says of the body's length; of an unpacked one it is not sent on.
    _declared: int | None = None
    # Bytes that wait for the connection to the upstream; and that were last said to wait for it.
    _waiting = _counted = 0

    def handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        """Counts what is kept while it waits."""
        yield from super().handle_event(event)
        if not self._paused:
            self._waiting = 0
        elif isinstance(event, RequestData):
            self._waiting += backpressure.size_of(event.data)
        waiting = self._waiting + self._unsent_size
        if waiting != self._counted:
            self._counted = waiting
            backpressure.waits(self.context.client, f"stream {id(self)}", waiting)

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        if isinstance(event, RequestData):
            self._received += len(event.data)
        elif isinstance(event, RequestEndOfMessage) and self._is_cut_short():
            yield from self._refuse_length()
            event = RequestProtocolError(
                self.stream_id, framing.WRONG_LENGTH, ErrorCode.GENERIC_CLIENT_ERROR
            )
        if isinstance(event, events.Wakeup):
            yield from self.there_is_room()
        else:
            yield from super()._handle_event(event)
        errored = self.client_state == self.state_errored
        failed = self.server_state == self.state_errored
        over = errored or failed or self.client_state == self.server_state == self.state_done
        if over and not self.child_layer:
            connections.end(self.context.client, self)
        if errored:
            yield http_layer.DropStream(self.stream_id)

    def _is_cut_short(self) -> bool:
        streaming = self.client_state == self.state_stream_request_body
        return streaming and self._declared not in (None, self._received)

    def _refuse_length(self) -> layer.CommandGenerator[None]:
        wrong = ResponseProtocolError(
            self.stream_id, framing.WRONG_LENGTH, ErrorCode.REQUEST_VALIDATION_FAILED
        )
        yield http_layer.SendHttp(wrong, self.context.client)

    def check_invalid(self, request: bool) -> layer.CommandGenerator[bool]:
        """Refuses a head as malformed; also one whose body has ended before it began."""
        ended = request and self.flow.request.is_http2 and not self._body_follows
        if not ended or not framing.declared_length(self.flow.request):
            return (yield from super().check_invalid(request))
        self.flow.error = mitmproxy_flow.Error(framing.WRONG_LENGTH)
        yield HttpRequestHeadersHook(self.flow)
        yield HttpErrorHook(self.flow)
        yield from self._refuse_length()
        self.flow.live = False
        self.client_state = self.server_state = self.state_errored
        return True

    def state_wait_for_request_headers(self, event: RequestHeaders) -> layer.CommandGenerator[None]:
        """Reads the request's head, and sends the answer if there is one already."""
        self._body_follows = not event.end_stream
        self._declared = framing.declared_length(event.request)
        yield from super().state_wait_for_request_headers(event)
        if self.client_state == self.state_consume_request_body and self.flow.response:
            self.client_state = self.state_done
            yield from self.send_response()
            # What is left of the body is read and forgotten.
            self.client_state = self.server_state = self.state_errored

    def make_server_connection(self) -> layer.CommandGenerator[bool]:
        """Opens a connection if the permit is for exactly this one."""
        request = self.flow.request
        permit = permit_of(self.flow)
        wanted = (request.scheme, request.host, request.port)
        if permit is None or wanted != (permit.scheme, permit.host, permit.port):
            return (yield from self._not_connected("egress has not let this out"))
        if self._body_follows and not permit.body:
            return (yield from self._not_connected("egress has not let this out"))
        asked = _ConnectionFor(
            (request.host, request.port),
            request.scheme == "https",
            self.flow.server_conn.via,
            self.flow.server_conn.transport_protocol,
        )
        asked.websocket = permit.websocket
        connection, error = yield asked
        if error:
            return (yield from self._not_connected(error))
        connections.begin(self.context.client, self)
        self.context.server = self.flow.server_conn = connection
        if self._body_follows and connection.alpn != b"h2":
            framing.frame_request(request)
        return True

    def _not_connected(self, why: str) -> layer.CommandGenerator[bool]:
        yield from self.handle_protocol_error(
            ResponseProtocolError(self.stream_id, why, ErrorCode.CONNECT_FAILED)
        )
        return False


def install() -> None:
    """Makes it the stream of every connection from now on."""
    http_layer.HttpStream = GuardedHttpStream  # type: ignore[misc]
