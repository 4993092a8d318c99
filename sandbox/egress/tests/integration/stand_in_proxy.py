"""A stand-in for pipelock: a small forward proxy that lets everything through.

It shows what leaves egress, and proves nothing about pipelock. Every name leads to the local
upstream: port 80 to its plain side, any other port to its TLS side. The TLS of some names it ends
itself: of INSPECTED as pipelock does where it reads it, of OLD for a server without HTTP/2, and of
CUT for one whose answers break off, and of LONG for one whose answers have a head of some MB.
"""

import asyncio
import contextlib
import re
import threading
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.errors
import h2.events

from tests.integration.upstream import CUT, INSPECTED, LONG, OLD, Upstream

# What is spoken to them in TLS.
OFFERS = {INSPECTED: ["h2", "http/1.1"], OLD: ["http/1.1"], CUT: ["h2"], LONG: ["http/1.1"]}


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
            host = authority.partition(":")[0]
            plain = port == "80" or host in OFFERS
            local = self.upstream.plain_port if plain else self.upstream.tls_port
            back, there = await asyncio.open_connection("127.0.0.1", local)
            if method == "CONNECT":
                writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
                if host in OFFERS:
                    await writer.start_tls(self.upstream.tls_context(OFFERS[host]))
                if host == CUT:
                    await _cut_off(reader, writer)
                elif host == LONG:
                    there.close()
                    await _long_head(reader, writer)
                elif host == INSPECTED and _alpn(writer) != "h2":
                    await _one_answer(reader, writer, back, there)
            else:
                # As every forward proxy does: the origin is sent the path alone.
                there.write(head.replace(f"http://{authority}".encode(), b"", 1))
            await asyncio.gather(_relay(reader, there), _relay(back, writer))
        writer.close()


def _alpn(writer: asyncio.StreamWriter) -> str | None:
    selected: str | None = writer.get_extra_info("ssl_object").selected_alpn_protocol()
    return selected


async def _cut_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers each request with half a body, of no known length, and an error."""
    protocol = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
    protocol.initiate_connection()
    while True:
        writer.write(protocol.data_to_send())
        data = await reader.read(65536)
        if not data:
            return
        for event in protocol.receive_data(data):
            if isinstance(event, h2.events.RequestReceived) and event.stream_id:
                protocol.send_headers(event.stream_id, [(":status", "200")])
                protocol.send_data(event.stream_id, b"half of")
                protocol.reset_stream(event.stream_id, h2.errors.ErrorCodes.INTERNAL_ERROR)


async def _long_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers with a head of some MB."""
    await reader.readuntil(b"\r\n\r\n")
    field = b"X: " + b"v" * 8000 + b"\r\n"
    writer.write(b"HTTP/1.1 200 OK\r\n" + field * 500 + b"\r\n")
    await reader.read()


async def _one_answer(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    back: asyncio.StreamReader,
    there: asyncio.StreamWriter,
) -> None:
    """Relays one request, and does not say that there will be no answer to a second one.

    The connection is closed only when that second one comes, so that it always comes too early to
    know better.
    """
    head = await reader.readuntil(b"\r\n\r\n")
    there.write(head.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    request = asyncio.create_task(_relay(reader, there))
    answer = await back.readuntil(b"\r\n\r\n")
    writer.write(re.sub(rb"(?i)connection: close\r\n", b"", answer))
    while data := await back.read(65536):
        writer.write(data)
    # Ends with the second request, as there is nobody left whom it could be passed to.
    await request
    writer.close()


async def _relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
