"""mitmproxy's HTTP stream, with four things changed.

It opens no connection for a request that has no permit: should the addon not be there any more
(mitmproxy unloads a script whose file has gone), nothing leaves. A request that is answered here is
answered at once, where mitmproxy would first keep all of its body in memory. A WebSocket gets a
connection of its own, as mitmproxy has none over HTTP/2. And a body keeps its end where it goes
from HTTP/2 to HTTP/1.
"""

from dataclasses import dataclass

from mitmproxy import http
from mitmproxy.connection import Connection
from mitmproxy.proxy import layer
from mitmproxy.proxy.layers import http as http_layer
from mitmproxy.proxy.layers.http._events import (
    ErrorCode,
    RequestHeaders,
    ResponseProtocolError,
)

from egress import framing
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

    def state_wait_for_request_headers(self, event: RequestHeaders) -> layer.CommandGenerator[None]:
        """Reads the request's head, and sends the answer if there is one already."""
        self._body_follows = not event.end_stream
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
