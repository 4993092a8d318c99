"""How many connections clients may have, and how long without a request under way.

One that is slow on purpose, a byte now and then, counts as idle: what matters is when its last
request was answered, not when it last sent something. Where there is no room for a new one, the one
that has been idle for longest makes it, so that nobody locks the health check out.
"""

import asyncio
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

from mitmproxy import connection
from mitmproxy.proxy import server

MOST_OF_ONE_ADDRESS = 256
MOST = 512
# For the handshakes and the head of a request, and between two requests.
IDLE_SECONDS = 120.0
# For the last bytes of one that is closed.
_FLUSH_SECONDS = 60.0


@dataclass
class Held:
    """One connection."""

    address: str
    since: float
    under_way: set[Hashable] = field(default_factory=set)


class Connections[Key: Hashable]:
    """All that there are."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._held: dict[Key, Held] = {}

    def admit(self, key: Key, address: str) -> tuple[bool, Key | None]:
        """Whether there is room for a new one, and which one has to go for it."""
        of_address = [k for k, held in self._held.items() if held.address == address]
        full = len(of_address) >= MOST_OF_ONE_ADDRESS
        victim: Key | None = None
        if full or len(self._held) >= MOST:
            idle = [k for k in (of_address if full else self._held) if self.idle(k) is not None]
            if not idle:
                return False, None
            victim = max(idle, key=lambda k: self.idle(k) or 0.0)
            del self._held[victim]
        self._held[key] = Held(address, self._clock())
        return True, victim

    def idle(self, key: Key) -> float | None:
        """For how many seconds no request has been under way; None if one is."""
        held = self._held.get(key)
        return None if held is None or held.under_way else self._clock() - held.since

    def begin(self, key: Key, request: Hashable) -> None:
        """A request that may leave is under way."""
        if key in self._held:
            self._held[key].under_way.add(request)

    def end(self, key: Key, request: Hashable) -> None:
        """It is not any more."""
        held = self._held.get(key)
        if held is not None and request in held.under_way:
            held.under_way.remove(request)
            held.since = self._clock()

    def leave(self, key: Key) -> None:
        """It was closed."""
        self._held.pop(key, None)


_connections: Connections[connection.Client] = Connections()
_handlers: dict[connection.Client, server.ConnectionHandler] = {}
_handle_client = server.ConnectionHandler.handle_client
_handle_connection = server.ConnectionHandler.handle_connection


def begin(client: connection.Client, request: Hashable) -> None:
    """A request of this client's that may leave is under way."""
    _connections.begin(client, request)


def end(client: connection.Client, request: Hashable) -> None:
    """It is not any more."""
    _connections.end(client, request)


async def handle_client(handler: server.ConnectionHandler) -> None:
    """What mitmproxy does with a new connection."""
    client = handler.client
    admitted, victim = _connections.admit(client, str(client.peername[0]))
    if victim is not None:
        _abort(_handlers[victim])
    if not admitted:
        _abort(handler)
        return
    _handlers[client] = handler
    watch = asyncio.get_running_loop().create_task(_watch(handler))
    try:
        await _handle_client(handler)
    finally:
        watch.cancel()
        _connections.leave(client)
        del _handlers[client]


async def handle_connection(
    handler: server.ConnectionHandler, which: connection.Connection
) -> None:
    """What mitmproxy does with a connection to either side, as long as there is one."""
    writer = handler.transports[which].writer
    try:
        await _handle_connection(handler, which)
    finally:
        # mitmproxy leaves it open where it was told to close while it still received; and what the
        # other side does not take would be kept for ever.
        if isinstance(writer, asyncio.StreamWriter):
            writer.close()
            asyncio.get_running_loop().call_later(_FLUSH_SECONDS, writer.transport.abort)


async def _watch(handler: server.ConnectionHandler) -> None:
    while True:
        idle = _connections.idle(handler.client) or 0.0
        if idle >= IDLE_SECONDS:
            _abort(handler)
            return
        await asyncio.sleep(IDLE_SECONDS - idle)


def _abort(handler: server.ConnectionHandler) -> None:
    """Closes it, with what it has not read: it would be kept for a client that never reads."""
    io = handler.transports.get(handler.client)
    if io is not None and isinstance(io.writer, asyncio.StreamWriter):
        io.writer.transport.abort()
        if io.handler is not None:
            io.handler.cancel("closed by egress")


def install() -> None:
    """Applies it to every connection from now on."""
    handler_class: Any = server.ConnectionHandler
    handler_class.handle_client = handle_client
    handler_class.handle_connection = handle_connection
