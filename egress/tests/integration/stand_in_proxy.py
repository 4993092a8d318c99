"""A stand-in for pipelock: a small forward proxy that lets everything through.

It shows what leaves egress, and proves nothing about pipelock. Every name leads to the local
upstream: port 80 to its plain side, any other port to its TLS side.
"""

import asyncio
import contextlib
import threading
from dataclasses import dataclass, field

from tests.integration.upstream import Upstream


@dataclass
class StandInProxy:
    """Runs the proxy in a thread, and remembers where it was asked to go."""

    upstream: Upstream
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._run()))

    def start(self) -> None:
        self._thread.start()
        self._ready.wait()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop.close()

    async def _run(self) -> None:
        server = await asyncio.start_server(self._client, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            method, target, _ = head.split(b"\r\n")[0].decode().split(" ")
            self.asked.append(f"{method} {target}")
            authority = target.removeprefix("http://").partition("/")[0]
            port = authority.partition(":")[2] or "80"
            local = self.upstream.plain_port if port == "80" else self.upstream.tls_port
            back, there = await asyncio.open_connection("127.0.0.1", local)
            if method == "CONNECT":
                writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            else:
                # As every forward proxy does: the origin is sent the path alone.
                there.write(head.replace(f"http://{authority}".encode(), b"", 1))
            await asyncio.gather(_relay(reader, there), _relay(back, writer))
        writer.close()


async def _relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
