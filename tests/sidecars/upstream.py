"""The web behind the sidecars: every name, HTTP/1.1, HTTP/2 and WebSockets, with TLS and without.

Prints a JSON object for each request as it arrived. Its answers never repeat a request's headers:
what the agent sees of a token was not shown to it from here.

upstream.py DIRECTORY   puts the certificate of its CA there, as upstream-ca.pem
"""

import asyncio
import hashlib
import json
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import downloads
import forge
import trustme
from hypercorn.asyncio import serve
from hypercorn.config import Config

# Whose client one of the tests runs.
MAKER = "api.anthropic.com"
NAMES = (
    *("api.example.com", "late.example.com", "raw.example.com", "denied.example.com"),
    *("files.example.com", MAKER, forge.API, forge.GIT),
)
DOWNLOADS = downloads.all_files()

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

# Set by a request for /v1/release: the second event of /v1/events waits for it.
released = asyncio.Event()


async def application(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Answers one request."""
    if scope["type"] == "lifespan":
        return
    path = scope["path"]
    if scope["type"] == "websocket":
        note(scope, path, 0, "")
        await echo(receive, send)
        return
    size, digest, text = await body(receive)
    host = note(scope, path, size, digest)
    if host == MAKER and path == "/v1/messages":
        await say_hello(send, json.loads(text)["model"])
        return
    if host in (forge.API, forge.GIT):
        status, fields, answer = await forge.answer(host, scope, text)
        await send({"type": "http.response.start", "status": status, "headers": fields})
        await send({"type": "http.response.body", "body": answer})
        return
    if path in DOWNLOADS:
        await download(scope, send, DOWNLOADS[path])
        return
    if path == "/v1/events":
        await start(send, "text/event-stream")
        await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
        await released.wait()
        await send({"type": "http.response.body", "body": b"data: 2\n\n"})
        return
    if path == "/v1/release":
        released.set()
    if path == "/v1/redirect":
        await start(send, "text/plain", 302, [(b"location", b"https://late.example.com/stolen")])
    else:
        await start(send, "text/plain")
    await send({"type": "http.response.body", "body": f"reached {path}\n".encode()})


async def download(scope: dict[str, Any], send: Send, file: downloads.Download) -> None:
    """A file, as fast as it is taken."""
    length = (b"content-length", str(file.size).encode())
    await start(send, file.content_type, 200, [length])
    for part in file if scope["method"] != "HEAD" else ():
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def body(receive: Receive) -> tuple[int, str, bytes]:
    """Its size, what it was, and its first megabyte."""
    size, digest, text = 0, hashlib.sha256(), b""
    while True:
        message = await receive()
        part = message.get("body", b"")
        size += len(part)
        digest.update(part)
        text += part[: max(0, 1_000_000 - len(text))]
        if message["type"] != "http.request" or not message.get("more_body"):
            return size, digest.hexdigest(), text


def note(scope: dict[str, Any], path: str, size: int, digest: str) -> str:
    """Prints what arrived; the host that it was for."""
    headers = {key.decode(): value.decode("latin-1") for key, value in scope["headers"]}
    seen = {"scheme": scope["scheme"], "http": scope["http_version"], "path": path}
    seen |= {"method": scope.get("method", "GET"), "query": scope["query_string"].decode()}
    seen |= {"host": headers.get("host", ""), "headers": headers, "size": size, "sha256": digest}
    print(json.dumps(seen), flush=True)
    return headers.get("host", "")


async def say_hello(send: Send, model: str) -> None:
    """As a model's API streams an answer."""
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": model, "content": []}
    usage = {"input_tokens": 1, "output_tokens": 1}
    text = {"type": "text_delta", "text": "hello from the stub"}
    await start(send, "text/event-stream")
    for event in (
        {"type": "message_start", "message": message | {"stop_reason": None, "usage": usage}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": text},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage},
        {"type": "message_stop"},
    ):
        line = f"event: {event['type']}\ndata: {json.dumps(event)}\n\n"
        await send({"type": "http.response.body", "body": line.encode(), "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def start(
    send: Send, content_type: str, status: int = 200, more: Sequence[tuple[bytes, bytes]] = ()
) -> None:
    """The head of an answer."""
    headers = [(b"content-type", content_type.encode()), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def echo(receive: Receive, send: Send) -> None:
    """A WebSocket that sends back what comes."""
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        text, data = message.get("text"), message.get("bytes")
        await send({"type": "websocket.send", "text": text, "bytes": data})


def main() -> None:
    """Until it is killed."""
    directory = Path(sys.argv[1])
    forge.make_repository()
    authority = trustme.CA()
    certificate = authority.issue_cert(*NAMES)
    key, chain = Path("/tmp/key.pem"), Path("/tmp/chain.pem")
    certificate.private_key_pem.write_to_path(str(key))
    for blob in certificate.cert_chain_pems:
        blob.write_to_path(str(chain), append=True)
    authority.cert_pem.write_to_path(str(directory / "upstream-ca.pem"))
    # On stderr: stdout is what has arrived.
    print("certificate is made", file=sys.stderr, flush=True)
    config = Config()
    config.bind, config.insecure_bind = ["0.0.0.0:443"], ["0.0.0.0:80"]
    config.certfile, config.keyfile = str(chain), str(key)
    config.accesslog = config.errorlog = None
    served: Any = application
    asyncio.run(serve(served, config, mode="asgi"))


main()
