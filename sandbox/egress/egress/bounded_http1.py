"""mitmproxy's HTTP/1, with an end to what it keeps of a message that has none.

A head, trailers or a chunk's line that is longer than `limits.py` says is refused before it is
parsed, on both sides and in the answer to our own CONNECT. Trailers are dropped, as mitmproxy fails
at them. Only a few requests may come before the first one is answered, since their answers would
wait in memory for a client that reads none of them.
"""

from logging import WARNING

from h11 import Data, EndOfMessage
from h11._readers import ChunkedReader
from h11._receivebuffer import ReceiveBuffer
from mitmproxy.connection import Server
from mitmproxy.net.http.status_codes import CONTINUE
from mitmproxy.proxy import commands, context, events, layer
from mitmproxy.proxy.layers import http as http_layer
from mitmproxy.proxy.layers.http import _http1, _upstream_proxy
from mitmproxy.proxy.layers.http._base import ReceiveHttp
from mitmproxy.proxy.layers.http._events import (
    ErrorCode,
    HttpEvent,
    RequestProtocolError,
    ResponseHeaders,
    ResponseProtocolError,
)

from egress.limits import FIELDS, HEAD, LINE, MAX_FIELDS, MAX_HEAD, MAX_LINE, Excess

# Of what has come too early, beside what one read brings.
_MAX_EARLY = 64 * 1024
_MAX_PIPELINED = 8
# A connection that is closed while there is something to read takes the answer with it (RFC 9112,
# section 9.6), so for so many bytes and seconds it is read on.
_LINGER_BYTES = 1024 * 1024
_LINGER_SECONDS = 2.0


class BoundedBuffer(ReceiveBuffer):
    """What was received, until a line or a head of it is complete."""

    def maybe_extract_lines(self) -> list[bytearray] | None:
        """A head or trailers, once they are complete; raises Excess."""
        lines = super().maybe_extract_lines()
        if not lines:
            # Each of many empty lines is a head without lines.
            if len(self) > MAX_LINE and self._data.find(b"\n", 0, MAX_LINE) < 0:
                raise LINE.again()
            if len(self) > MAX_HEAD:
                raise HEAD.again()
        elif len(lines[0]) > MAX_LINE:
            raise LINE.again()
        elif len(lines) > MAX_FIELDS + 1:
            raise FIELDS.again()
        elif sum(map(len, lines)) > MAX_HEAD:
            raise HEAD.again()
        return lines

    def maybe_extract_next_line(self) -> bytearray | None:
        """The line before a chunk, once it is complete; raises Excess."""
        line = super().maybe_extract_next_line()
        if (len(self) if line is None else len(line)) > MAX_LINE:
            raise HEAD.again()
        return line


class TrailerlessReader(ChunkedReader):
    """Reads a chunked body up to its end, without the trailers there."""

    def __call__(self, buf: ReceiveBuffer) -> Data | EndOfMessage | None:
        """The next part of the body."""
        event = super().__call__(buf)
        return EndOfMessage() if isinstance(event, EndOfMessage) else event


class BoundedHttp1Server(_http1.Http1Server):
    """The client's side."""

    def __init__(self, context: context.Context) -> None:
        super().__init__(context)
        self.buf = BoundedBuffer()
        self._pipelined = 0
        self._refused = False
        self._discarded = 0

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        if self._refused:
            yield from self._linger(event)
            return
        try:
            yield from super()._handle_event(event)
        except Excess as excess:
            yield from self._refuse(excess)
            return
        if self.state == self.wait and len(self.buf) > _MAX_EARLY:
            self.buf = BoundedBuffer()
            yield from self.wait(events.ConnectionClosed(self.conn))

    def send(self, event: HttpEvent) -> layer.CommandGenerator[None]:
        """Passes on what is for the client."""
        yield from super().send(event)
        if isinstance(event, ResponseHeaders) and event.response.status_code == CONTINUE:
            # mitmproxy would take it for the answer, and give no other where the request fails.
            self.response = None

    def mark_done(
        self, *, request: bool = False, response: bool = False
    ) -> layer.CommandGenerator[None]:
        """Closes where too many requests are waiting already."""
        over = (self.request_done or request) and (self.response_done or response)
        if over and not self._upgraded():
            self._pipelined = self._pipelined + 1 if self.buf else 0
            if self._pipelined > _MAX_PIPELINED:
                yield commands.CloseConnection(self.conn)
                self.state = self.done
                return
        yield from super().mark_done(request=request, response=response)

    def _upgraded(self) -> bool:
        return (
            self.request is not None
            and self.response is not None
            and _http1.should_make_pipe(self.request, self.response)
        )

    def _refuse(self, excess: Excess) -> layer.CommandGenerator[None]:
        """Answers, unless an answer has begun, and closes."""
        self._refused = True
        self.buf = BoundedBuffer()
        client = self.conn.peername[0] if self.conn.peername else "?"
        yield commands.Log(f"{client}: {excess.message}: {excess.status}", WARNING)
        begun = self.state == self.read_body
        # A trailer is none of the target.
        status = HEAD.status if begun else excess.status
        if not self.response:
            yield commands.SendData(self.conn, _http1.make_error_response(status, excess.message))
        if begun:
            yield ReceiveHttp(
                RequestProtocolError(self.stream_id, excess.message, ErrorCode.GENERIC_CLIENT_ERROR)
            )
        yield commands.RequestWakeup(_LINGER_SECONDS)

    def _linger(self, event: events.Event) -> layer.CommandGenerator[None]:
        if isinstance(event, events.DataReceived):
            self._discarded += len(event.data)
        elif isinstance(event, HttpEvent):
            # The answer of somebody who has not heard of it yet.
            return
        if not isinstance(event, events.DataReceived) or self._discarded > _LINGER_BYTES:
            yield commands.CloseConnection(self.conn)


class BoundedHttp1Client(_http1.Http1Client):
    """The upstream's side."""

    def __init__(self, context: context.Context) -> None:
        super().__init__(context)
        self.buf = BoundedBuffer()

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        over = self.response_done and self.state != self.passthrough
        if over and isinstance(event, events.DataReceived):
            # More than its answer, while the request still goes on; mitmproxy would fail at it.
            return
        try:
            yield from super()._handle_event(event)
        except Excess as excess:
            self.buf = BoundedBuffer()
            yield commands.CloseConnection(self.conn)
            self.state = self.done
            if self.stream_id is not None:
                yield ReceiveHttp(
                    ResponseProtocolError(
                        self.stream_id,
                        f"the answer: {excess.message}",
                        ErrorCode.GENERIC_SERVER_ERROR,
                    )
                )


class BoundedUpstreamProxy(_upstream_proxy.HttpUpstreamProxy):
    """The answer to our own CONNECT."""

    def __init__(self, ctx: context.Context, tunnel_conn: Server, send_connect: bool) -> None:
        super().__init__(ctx, tunnel_conn, send_connect)
        self.buf = BoundedBuffer()

    def receive_handshake_data(
        self, data: bytes
    ) -> layer.CommandGenerator[tuple[bool, str | None]]:
        """Fails where the answer is too long."""
        try:
            return (yield from super().receive_handshake_data(data))
        except Excess as excess:
            return False, f"the upstream proxy's answer: {excess.message}"


def install() -> None:
    """Applies it to every connection from now on."""
    _http1.ChunkedReader = TrailerlessReader  # type: ignore[attr-defined]
    http_layer.Http1Server = BoundedHttp1Server  # type: ignore[attr-defined]
    http_layer.Http1Client = BoundedHttp1Client  # type: ignore[attr-defined]
    _upstream_proxy.HttpUpstreamProxy = BoundedUpstreamProxy  # type: ignore[misc]
