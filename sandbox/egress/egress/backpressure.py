"""Lets the client wait while an HTTP/2 upstream is slower than it.

Over HTTP/1 the socket's buffer makes it wait. What HTTP/2's flow control holds back mitmproxy would
keep in memory, however much that becomes. And a body that is unpacked or searched here waits
between its pieces, as a few bytes of it can become many.
"""

import asyncio
from collections.abc import Iterable
from weakref import WeakKeyDictionary

from mitmproxy.connection import Client
from mitmproxy.proxy import commands, events, layer, server
from mitmproxy.proxy.layers import http as http_layer
from mitmproxy.proxy.layers.http._events import RequestData
from mitmproxy.proxy.layers.http._http2 import Http2Client

# Bytes of one client's that may wait; beside them, what the upstream's window and sockets hold.
_MOST = 1024 * 1024
# What a piece of a body takes beside its bytes, of which it may have one.
_PIECE = 256


class Backlog:
    """What waits to be sent for one client."""

    def __init__(self) -> None:
        self._sizes: dict[str, int] = {}
        self._small = asyncio.Event()
        self._small.set()

    def update(self, connection: str, size: int) -> None:
        """So much waits for this connection now."""
        if size:
            self._sizes[connection] = size
        else:
            self._sizes.pop(connection, None)
        if sum(self._sizes.values()) > _MOST:
            self._small.clear()
        else:
            self._small.set()

    async def small(self) -> None:
        """Returns once more may be read."""
        await self._small.wait()


# All that waits; and that part of it which upstreams have not taken.
_backlogs: WeakKeyDictionary[Client, Backlog] = WeakKeyDictionary()
_sent: WeakKeyDictionary[Client, Backlog] = WeakKeyDictionary()
# So that a client with many requests has one turn at a time, as others have.
_turns: WeakKeyDictionary[Client, asyncio.Lock] = WeakKeyDictionary()


class MeasuredHttp2Client(Http2Client):
    """An HTTP/2 connection to an upstream that says how much it holds back."""

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        try:
            yield from super()._handle_event(event)
        finally:
            is_held_back(self.context.client, self.conn.id, sum(self._held_back()))

    def close_connection(self, msg: str) -> layer.CommandGenerator[None]:
        """Nobody waits for what can't be sent any more."""
        yield from super().close_connection(msg)
        self.h2_conn.stream_buffers.clear()
        self.stream_queue.clear()

    def _held_back(self) -> Iterable[int]:
        for chunks in self.h2_conn.stream_buffers.values():
            yield from (size_of(chunk.data) for chunk in chunks)
        for queued in self.stream_queue.values():
            yield from (size_of(e.data) for e in queued if isinstance(e, RequestData))


def size_of(data: bytes) -> int:
    """What a piece of a body takes in memory."""
    return len(data) + _PIECE


def waits(client: Client, what: str, size: int) -> None:
    """So much of this client's waits, for whatever."""
    _backlogs.setdefault(client, Backlog()).update(what, size)


def is_held_back(client: Client, upstream: str, size: int) -> None:
    """So much of this client's waits for an HTTP/2 upstream."""
    _sent.setdefault(client, Backlog()).update(upstream, size)
    waits(client, upstream, size)


class Room(commands.RequestWakeup):
    """Asks to be woken in this client's turn, once upstreams have taken what they were sent."""

    def __init__(self) -> None:
        super().__init__(0.0)


_drain_writers = server.ConnectionHandler.drain_writers
_wakeup = server.ConnectionHandler.wakeup


async def drain_writers(handler: server.ConnectionHandler) -> None:
    """What mitmproxy awaits before it reads more from one side."""
    await _drain_writers(handler)  # type: ignore[no-untyped-call]
    client = handler.transports.get(handler.client)
    # An upstream has to be read on: what makes room is in it.
    if client is not None and client.handler is asyncio.current_task():
        backlog = _backlogs.get(handler.client)
        if backlog is not None:
            await backlog.small()


async def wakeup(handler: server.ConnectionHandler, request: commands.RequestWakeup) -> None:
    """What mitmproxy does for those who ask to be woken."""
    if not isinstance(request, Room):
        await _wakeup(handler, request)
        return
    async with _turns.setdefault(handler.client, asyncio.Lock()):
        await asyncio.sleep(0)
        await _drain_writers(handler)  # type: ignore[no-untyped-call]
        # Not for all that waits: that is what its own body waits for.
        await _sent.setdefault(handler.client, Backlog()).small()
        task = asyncio.current_task()
        if task is not None:
            handler.wakeup_timer.discard(task)
        await handler.server_event(events.Wakeup(request))


def install() -> None:
    """Applies it to every connection from now on."""
    http_layer.Http2Client = MeasuredHttp2Client  # type: ignore[attr-defined]
    server.ConnectionHandler.drain_writers = drain_writers  # type: ignore[method-assign]
    server.ConnectionHandler.wakeup = wakeup  # type: ignore[assignment, method-assign]
