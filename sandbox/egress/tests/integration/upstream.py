"""The web server behind everything: HTTP/1.1, HTTP/2 and WebSockets, with TLS and without.

It remembers what reached it. Nothing that it answers repeats a request's headers, so that a token
that the agent sees was not shown by it; but for what is below /echo/, which does nothing else.
"""

import asyncio
import gzip
import hashlib
import json
import socket
import ssl
import threading
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import brotli  # type: ignore[import-untyped]
import trustme
import zstandard
from hypercorn.asyncio import serve
from hypercorn.config import Config

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

# Names of which the stand-in proxy ends the TLS.
INSPECTED = "inspected.example.com"
OLD = "old.example.com"
CUT = "cut.example.com"
LONG = "long.example.com"
NAMES = (
    "api.example.com",
    "open.example.com",
    "basic.example.com",
    "odd.example.com",
    "evil.example",
    INSPECTED,
    OLD,
    CUT,
    LONG,
)
DOWNLOAD_CHUNKS = 2000
CHUNK = b"x" * 100_000


@dataclass
class Seen:
    """One request as it arrived."""

    method: str
    path: str
    query: str
    scheme: str
    http_version: str
    headers: list[tuple[str, str]]
    size: int = 0
    digest: str = ""
    complete: bool = False

    def header(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]


@dataclass
class Upstream:
    """Runs the server in a thread."""

    directory: Path
    seen: list[Seen] = field(default_factory=list)
    first_event_read: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        authority = trustme.CA()
        certificate = authority.issue_cert(*NAMES)
        self.ca_file = self.directory / "upstream-ca.pem"
        authority.cert_pem.write_to_path(str(self.ca_file))
        self._key = self.directory / "upstream-key.pem"
        self._chain = self.directory / "upstream-chain.pem"
        certificate.private_key_pem.write_to_path(str(self._key))
        for blob in certificate.cert_chain_pems:
            blob.write_to_path(str(self._chain), append=True)
        self._tls = _listener()
        self._plain = _listener()
        self.tls_port: int = self._tls.getsockname()[1]
        self.plain_port: int = self._plain.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run)

    def tls_context(self, offers: list[str]) -> ssl.SSLContext:
        """For whoever ends the upstream's TLS in its place."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self._chain, self._key)
        context.set_alpn_protocols(offers)
        return context

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self.first_event_read.set()
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop.close()

    def _run(self) -> None:
        config = Config()
        config.bind = [f"fd://{self._tls.detach()}"]
        config.insecure_bind = [f"fd://{self._plain.detach()}"]
        config.certfile = str(self._chain)
        config.keyfile = str(self._key)
        config.accesslog = config.errorlog = None
        config.graceful_timeout = 0.1
        application: Any = self._application
        self._loop.run_until_complete(
            serve(application, config, shutdown_trigger=self._stop.wait, mode="asgi")
        )

    async def _application(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return
        seen = Seen(
            method=scope.get("method", "GET"),
            path=scope["raw_path"].decode(),
            query=scope["query_string"].decode(),
            scheme=scope["scheme"],
            http_version=scope["http_version"],
            headers=[(key.decode(), value.decode("latin-1")) for key, value in scope["headers"]],
        )
        self.seen.append(seen)
        if scope["type"] == "websocket":
            await _echo(receive, send)
        elif seen.path == "/v1/events":
            await self._events(send)
        elif seen.path == "/v1/trailers":
            await send({"type": "http.response.start", "status": 200, "trailers": True})
            await send({"type": "http.response.body", "body": b"before the trailers"})
            await send({"type": "http.response.trailers", "headers": [(b"x-last", b"1")]})
        elif "/echo/" in seen.path:
            await _read(receive, seen)
            await _repeat(send, seen)
        elif seen.path == "/v1/redirect":
            location = [(b"location", b"https://evil.example/elsewhere")]
            await _answer(send, 302, b"", location)
        elif seen.path == "/v1/download":
            await _start(send, 200)
            for _ in range(DOWNLOAD_CHUNKS):
                await send({"type": "http.response.body", "body": CHUNK, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        else:
            await _read(receive, seen)
            await _answer(send, 200, b"reached " + seen.path.encode())

    async def _events(self, send: Send) -> None:
        await _start(send, 200, [(b"content-type", b"text/event-stream")])
        await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
        # The second event exists only once the client has read the first one.
        await asyncio.to_thread(self.first_event_read.wait, 60)
        await send({"type": "http.response.body", "body": b"data: 2\n\n"})


async def _repeat(send: Send, seen: Seen) -> None:
    """Answers with the request's headers and query, in the way that the path says."""
    text = json.dumps([seen.headers, seen.query]).encode()
    how, _, pieces = seen.path.rpartition("/")[2].partition("-")
    if how == "location":
        location = [(b"location", b"https://evil.example/?" + b"&".join(_values(seen)))]
        await _answer(send, 302, b"", location)
    elif how == "trailers":
        await send({"type": "http.response.start", "status": 200, "trailers": True})
        await send({"type": "http.response.body", "body": b"before the trailers"})
        trailers = [(b"x-echo", b" ".join(_values(seen)))]
        await send({"type": "http.response.trailers", "headers": trailers})
    elif how == "compress":
        await _answer(send, 200, text, [(b"content-encoding", b"compress")])
    elif not pieces:
        await _answer(send, 200, ENCODE[how](text), _encoding(how))
    else:
        await _start(send, 200, _encoding(how))
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        data = ENCODE[how](b"before " * 20 + text)
        for at in range(len(data)):
            await send({"type": "http.response.body", "body": data[at : at + 1], "more_body": True})
        await send({"type": "http.response.body", "body": b""})


ENCODE: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda data: data,
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstandard.compress,
}


def _encoding(how: str) -> list[tuple[bytes, bytes]]:
    return [] if how == "plain" else [(b"content-encoding", how.encode())]


def _values(seen: Seen) -> list[bytes]:
    return [value.encode("latin-1") for _, value in seen.headers] + [seen.query.encode()]


def _listener() -> socket.socket:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    return listener


async def _read(receive: Receive, seen: Seen) -> None:
    digest = hashlib.sha256()
    while True:
        message = await receive()
        body = message.get("body", b"")
        seen.size += len(body)
        digest.update(body)
        if message["type"] != "http.request" or not message.get("more_body"):
            seen.digest = digest.hexdigest()
            seen.complete = message["type"] == "http.request"
            return


async def _echo(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while True:
        message = await receive()
        if message["type"] != "websocket.receive":
            return
        text = message.get("text") or ""
        if text.startswith("close: "):
            await send({"type": "websocket.close", "code": 4001, "reason": text})
            return
        await send(
            {"type": "websocket.send", "text": message.get("text"), "bytes": message.get("bytes")}
        )


async def _start(send: Send, status: int, headers: list[tuple[bytes, bytes]] | None = None) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers or []})


async def _answer(
    send: Send, status: int, body: bytes, headers: list[tuple[bytes, bytes]] | None = None
) -> None:
    length = (b"content-length", str(len(body)).encode())
    await _start(send, status, [*(headers or []), length])
    await send({"type": "http.response.body", "body": body})
