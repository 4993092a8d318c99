"""mitmproxy's WebSockets, with an end to the message that they hold.

What a ping, a pong or a close says is searched as messages are; mitmproxy asks nobody about it.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

import wsproto.events
from mitmproxy import http
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.layers import websocket
from wsproto.connection import ConnectionState
from wsproto.frame_protocol import CloseReason

from egress.limits import MAX_MESSAGE

# An empty frame takes memory too.
_FRAME = 64
# mitmproxy copies all of a frame for each part of it that comes; a longer one goes on in two.
_MAX_FRAME = 1024 * 1024


# Whether it is the client's, and what it says; what goes on of that.
Search = Callable[[bool, bytes], bytes]
_SEARCH = "egress.websocket"


def search(flow: http.HTTPFlow, searched: Search) -> None:
    """From now on: what looks through what control frames say."""
    flow.metadata[_SEARCH] = searched


class SearchedConnection(websocket.WebsocketConnection):
    """One side of a WebSocket."""

    search: Callable[[bytes], bytes] | None = None

    def events(self) -> Iterator[wsproto.events.Event]:
        """What has come from this side."""
        for event in super().events():
            if self.search and isinstance(event, wsproto.events.Ping | wsproto.events.Pong):
                yield replace(event, payload=self.search(bytes(event.payload)))
            elif self.search and isinstance(event, wsproto.events.CloseConnection) and event.reason:
                reason = self.search(event.reason.encode()).decode(errors="replace")
                yield replace(event, reason=reason)
            else:
                yield event


class BoundedWebsocketLayer(websocket.WebsocketLayer):
    """Both directions of one WebSocket."""

    client_ws: SearchedConnection
    server_ws: SearchedConnection

    def relay_messages(self, event: events.Event) -> layer.CommandGenerator[None]:
        """Ends it where a message is too long; RFC 6455, section 7.4.1: 1009."""
        searched: Search = self.flow.metadata[_SEARCH]
        self.client_ws.search = lambda said: searched(True, said)
        self.server_ws.search = lambda said: searched(False, said)
        yield from super().relay_messages(event)
        for side in (self.client_ws, self.server_ws):
            if len(side.frame_buf[-1]) > _MAX_FRAME:
                side.frame_buf.append(b"")
        if any(_held(side) > MAX_MESSAGE for side in (self.client_ws, self.server_ws)):
            too_big = wsproto.events.CloseConnection(code=CloseReason.MESSAGE_TOO_BIG)
            for side in (self.client_ws, self.server_ws):
                side.frame_buf = [b""]
                if side.state is ConnectionState.OPEN:
                    yield side.send2(too_big)
                yield commands.CloseConnection(side.conn)
            self.flow.live = False
            self._handle_event = self.done


def _held(side: websocket.WebsocketConnection) -> int:
    return sum(len(frame) + _FRAME for frame in side.frame_buf)


def install() -> None:
    """Applies it to every WebSocket from now on."""
    websocket.WebsocketLayer = BoundedWebsocketLayer  # type: ignore[misc]
    websocket.WebsocketConnection = SearchedConnection  # type: ignore[misc]
