"""mitmproxy's side of looking through bodies: what streams is searched, and cut off on a find.

A request's body is searched for placeholders, an answer's for credentials. Neither is kept: only
an answer of a known small size is, so that it can be replaced as a whole.
"""

from collections import deque
from collections.abc import Callable, Iterator
from typing import cast

from mitmproxy import http
from mitmproxy.proxy import layer
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers import http as http_layer
from mitmproxy.proxy.layers.http._events import (
    ErrorCode,
    HttpEvent,
    RequestData,
    RequestProtocolError,
    ResponseData,
    ResponseHeaders,
    ResponseProtocolError,
)

from egress import backpressure, headers
from egress.content_decoding import Gunzip, Undecodable
from egress.echo import HELD, Echoes, EchoRefused
from egress.placeholders import Leak, LeakInBody, Placeholders

# So many bytes of a request's body are passed on before others have their turn.
_TURN = 1 << 18

Search = Callable[[bytes], Iterator[bytes]]

_WITHOUT_BODY = frozenset({101, 204, 304})
_ECHOES = "egress.echoes"
_REFUSED = "egress.refused"


class Cut(Exception):
    """What a stream raises to end this request; the client gets the answer if it has none yet."""

    def __init__(self, why: str, answer: http.Response) -> None:
        super().__init__(why)
        self.answer = answer


def search_request(
    flow: http.HTTPFlow,
    placeholders: Placeholders,
    refuse: Callable[[Leak | Undecodable], http.Response],
) -> None:
    """Takes gzip off the body, as pipelock refuses it packed, and looks for placeholders in it.

    `refuse` says what to answer.
    """
    gunzip: Gunzip | None = None
    fields = tuple(flow.request.headers.fields)
    if headers.is_gzip(fields):
        gunzip = Gunzip()
        fields = headers.of_unpacked(fields)
        flow.request.headers = http.Headers(fields)
    elif not placeholders:
        return
    search = placeholders.body(fields)

    def stream(data: bytes) -> Iterator[bytes]:
        try:
            if data:
                for piece in gunzip.feed(data) if gunzip else (data,):
                    yield from search.feed(piece)
            else:
                if gunzip:
                    gunzip.finish()
                yield from _pieces(search.finish())
        except LeakInBody as found:
            raise Cut("a placeholder is in the body", refuse(found.leak)) from None
        except Undecodable as error:
            raise Cut("the body is malformed", refuse(error)) from None

    flow.request.stream = stream


def expect_no_echo(flow: http.HTTPFlow, echoes: Echoes) -> None:
    """From now on: what the answer must not repeat."""
    flow.metadata[_ECHOES] = echoes


def echoes_of(flow: http.HTTPFlow) -> Echoes:
    """What was said of this flow."""
    echoes = flow.metadata.get(_ECHOES)
    return echoes if isinstance(echoes, Echoes) else Echoes()


def search_answer_head(flow: http.HTTPFlow, refuse: Callable[[str], http.Response]) -> None:
    """Looks through the answer's head, and sees to it that the body will be."""
    echoes, answer = echoes_of(flow), flow.response
    if not echoes or answer is None:
        return
    try:
        answer.headers = http.Headers(echoes.head(tuple(answer.headers.fields)))
        answer.data.reason = echoes.whole(answer.data.reason)
        body = echoes.body(", ".join(answer.headers.get_all("content-encoding")))
    except EchoRefused as error:
        # Nothing of it is sent; see InspectedStream.
        answer.stream = False
        flow.metadata[_REFUSED] = Cut(str(error), refuse(str(error)))
        return
    if answer.status_code in _WITHOUT_BODY or flow.request.method == "HEAD":
        return
    length = answer.headers.get("content-length", "")
    if body.decodes:
        del answer.headers["content-encoding"]
        answer.headers.pop("content-length", None)
        if flow.request.http_version == "HTTP/1.1":
            answer.headers["Transfer-Encoding"] = "chunked"
    elif length.isascii() and length.isdigit() and int(length) <= HELD:
        answer.stream = False
        return

    def stream(data: bytes) -> list[bytes]:
        try:
            return _pieces(body.feed(data) if data else body.finish())
        except EchoRefused as error:
            raise Cut(str(error), refuse(str(error))) from None

    answer.stream = stream


def search_whole_answer(flow: http.HTTPFlow, refuse: Callable[[str], http.Response]) -> None:
    """Looks through what was held, and through trailers."""
    echoes, answer = echoes_of(flow), flow.response
    if not echoes or answer is None or _REFUSED in flow.metadata:
        return
    try:
        if answer.trailers:
            answer.trailers = http.Headers(echoes.head(tuple(answer.trailers.fields)))
    except EchoRefused:
        answer.trailers = None
    if answer.stream or not answer.raw_content:
        return
    try:
        body = echoes.body(", ".join(answer.headers.get_all("content-encoding")))
        answer.raw_content = body.feed(answer.raw_content) + body.finish()
    except EchoRefused as error:
        flow.response = refuse(str(error))


def _pieces(data: bytes) -> list[bytes]:
    # An empty one would end a chunked body.
    return [data] if data else []


class InspectedStream(http_layer.HttpStream):
    """A request and its answer, each of which may be cut off."""

    def __init__(self, context: Context, stream_id: int) -> None:
        super().__init__(context, stream_id)
        # Parts of a request's body that are searched and passed on once there is room for them.
        self._unsent: deque[HttpEvent] = deque()
        self._unsent_size = 0
        self._pieces: Iterator[bytes] | None = None
        self._turn = 0
        self._waits_for_room = False

    def state_stream_request_body(self, event: HttpEvent) -> layer.CommandGenerator[None]:
        """Passes the body on, a piece at a time: a few bytes may unpack to many."""
        if not callable(self.flow.request.stream):
            yield from super().state_stream_request_body(event)
            return
        if isinstance(event, RequestData):
            if not event.data:
                # To the search it would be the end.
                return
            self._unsent_size += backpressure.size_of(event.data)
        self._unsent.append(event)
        if not self._waits_for_room:
            yield from self._send_on()

    def there_is_room(self) -> layer.CommandGenerator[None]:
        """Goes on with the body."""
        self._waits_for_room = False
        self._turn = 0
        yield from self._send_on()

    def _send_on(self) -> layer.CommandGenerator[None]:
        try:
            while self._unsent and self._streams_request():
                event = self._unsent[0]
                if isinstance(event, RequestData):
                    search = cast("Search", self.flow.request.stream)
                    self._pieces = self._pieces or search(event.data)
                    for piece in self._pieces:
                        # One that is empty was searched for this long all the same.
                        self._turn += len(piece) or _TURN
                        self._waits_for_room = self._turn >= _TURN
                        if piece:
                            data = RequestData(self.stream_id, piece)
                            yield http_layer.SendHttp(data, self.context.server)
                        if self._waits_for_room:
                            yield backpressure.Room()
                            return
                    self._pieces = None
                    self._unsent_size -= backpressure.size_of(event.data)
                else:
                    yield from super().state_stream_request_body(event)
                self._unsent.popleft()
        except Cut as cut:
            yield from self._cut_off(cut)
        if not self._streams_request():
            self._unsent.clear()
            self._unsent_size = 0

    def _streams_request(self) -> bool:
        over = self.server_state == self.state_errored
        return not over and bool(self.client_state == self.state_stream_request_body)

    def state_wait_for_response_headers(
        self, event: ResponseHeaders
    ) -> layer.CommandGenerator[None]:
        """Reads the answer's head, and sends another one if it must not be seen."""
        yield from super().state_wait_for_response_headers(event)
        cut = self.flow.metadata.get(_REFUSED)
        if isinstance(cut, Cut) and self.server_state == self.state_consume_response_body:
            yield from self._cut_off(cut)

    def state_stream_response_body(self, event: HttpEvent) -> layer.CommandGenerator[None]:
        """Passes the answer's body on."""
        if isinstance(event, ResponseData) and not event.data:
            return
        try:
            yield from super().state_stream_response_body(event)
        except Cut as cut:
            yield from self._cut_off(cut)

    def _cut_off(self, cut: Cut) -> layer.CommandGenerator[None]:
        yield http_layer.SendHttp(
            RequestProtocolError(self.stream_id, str(cut), ErrorCode.CANCEL), self.context.server
        )
        if self.server_state in (self.state_stream_response_body, self.state_done):
            yield http_layer.SendHttp(
                ResponseProtocolError(self.stream_id, str(cut), ErrorCode.KILL),
                self.context.client,
            )
            self.flow.live = False
        else:
            self.flow.metadata[_REFUSED] = cut
            self.flow.response = cut.answer
            self.client_state = self.state_done
            yield from self.send_response()
        self.client_state = self.server_state = self.state_errored
