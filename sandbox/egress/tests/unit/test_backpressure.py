import asyncio
from typing import Any

from mitmproxy.connection import Client

from egress import backpressure

MANY = 10 * 1024 * 1024


def client() -> Client:
    return Client(peername=("172.18.0.3", 1), sockname=("172.18.0.2", 2))


class Handler:
    """A connection's, as far as it is asked."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.transports: dict[object, object] = {}
        self.wakeup_timer: set[object] = set()
        self._drain_lock = asyncio.Lock()
        self.woken: list[object] = []

    async def server_event(self, event: object) -> None:
        self.woken.append(event)


async def passes(handler: Any, turns: int = 10) -> bool:
    """Whether there is room within so many turns of the loop."""
    task = asyncio.ensure_future(backpressure.wakeup(handler, backpressure.Room()))
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    return bool(handler.woken)


def test_a_body_does_not_wait_for_itself() -> None:
    async def check() -> None:
        handler = Handler(client())
        backpressure.waits(handler.client, "its own body", MANY)
        assert await passes(handler)

    asyncio.run(check())


def test_a_body_waits_for_what_an_upstream_has_not_taken() -> None:
    async def check() -> None:
        handler = Handler(client())
        backpressure.is_held_back(handler.client, "upstream", MANY)
        assert not await passes(handler)
        backpressure.is_held_back(handler.client, "upstream", 0)
        assert await passes(handler)

    asyncio.run(check())
