"""Bodies that stream: nothing is decided late, and nothing is kept in memory."""

import gzip
import hashlib
import ssl
import threading
from collections.abc import Iterator

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from tests.integration.conftest import TOKEN
from tests.integration.egress_process import DEADLINE, EgressProcess, websocket
from tests.integration.raw_client import status_of, tls_tunnel
from tests.integration.upstream import CHUNK, DOWNLOAD_CHUNKS, OLD, Upstream

API = "api.example.com"
MEGABYTE = b"0123456789abcdef" * 65536
UPLOAD = 200
# mitmproxy alone has about 75 MB; a body that was kept would add its 200 to it.
MEMORY = 180


@pytest.fixture(params=[API, OLD], ids=["http2-upstream", "http1-upstream"])
def host(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def test_an_event_arrives_before_the_next_one_exists(
    client: httpx.Client, host: str, upstream: Upstream
) -> None:
    with client.stream("GET", f"https://{host}/v1/events") as response:
        events = response.iter_text()
        assert next(events) == "data: 1\n\n"
        # Until here the upstream has not made the second event.
        upstream.first_event_read.set()
        assert "".join(events) == "data: 2\n\n"


@pytest.mark.parametrize("chunked", [False, True], ids=["content-length", "chunked"])
def test_a_large_upload_passes_whole_in_bounded_memory(
    client: httpx.Client, host: str, egress: EgressProcess, upstream: Upstream, chunked: bool
) -> None:
    length = {} if chunked else {"Content-Length": str(UPLOAD * len(MEGABYTE))}
    body = (MEGABYTE for _ in range(UPLOAD))
    response = client.post(f"https://{host}/v1/upload", content=body, headers=length)
    assert response.status_code == 200
    digest = hashlib.sha256()
    for _ in range(UPLOAD):
        digest.update(MEGABYTE)
    assert upstream.seen[0].size == UPLOAD * len(MEGABYTE)
    assert upstream.seen[0].digest == digest.hexdigest()
    assert egress.peak_memory() < MEMORY


@pytest.mark.parametrize("chunked", [False, True], ids=["content-length", "chunked"])
def test_a_body_behind_gzip_arrives_unpacked(
    client: httpx.Client, host: str, egress: EgressProcess, upstream: Upstream, chunked: bool
) -> None:
    text = "".join(f"line {number}\n" for number in range(1_000_000)).encode()
    packed = gzip.compress(text, compresslevel=1)
    pieces = (packed[at : at + 10_000] for at in range(0, len(packed), 10_000))
    fields = {"Content-Encoding": "gzip"}
    url = f"https://{host}/v1/upload"
    response = client.post(url, content=pieces if chunked else packed, headers=fields)
    assert response.status_code == 200
    assert client.get(f"https://{host}/v1/next").status_code == 200
    seen = upstream.seen[0]
    assert seen.header("content-encoding") == []
    assert (seen.size, seen.digest) == (len(text), hashlib.sha256(text).hexdigest())
    assert egress.peak_memory() < MEMORY


def test_a_body_that_unpacks_to_much_is_unpacked_as_fast_as_it_is_taken(
    client: httpx.Client, host: str, egress: EgressProcess, upstream: Upstream
) -> None:
    size = 150 * len(MEGABYTE)
    packed = gzip.compress(bytes(size))
    pieces = (packed[at : at + 8000] for at in range(0, len(packed), 8000))
    response = client.post(
        f"https://{host}/v1/upload", content=pieces, headers={"Content-Encoding": "gzip"}
    )
    assert response.status_code == 200
    assert upstream.seen[0].size == size
    assert egress.peak_memory() < MEMORY


@pytest.mark.parametrize(
    "packed",
    [b"no gzip", gzip.compress(b"x")[:-1], gzip.compress(b"")[:9]],
    ids=["something else", "cut short", "cut in its head"],
)
def test_a_body_that_is_not_the_gzip_it_should_be_is_refused(
    client: httpx.Client, host: str, egress: EgressProcess, upstream: Upstream, packed: bytes
) -> None:
    response = client.post(
        f"https://{host}/v1/upload", content=packed, headers={"Content-Encoding": "gzip"}
    )
    assert response.status_code == 403
    assert response.json()["reason"] == "malformed-body"
    assert client.get(f"https://{host}/v1/next").status_code == 200
    # What has left of it has ended with an error.
    assert [seen.path for seen in upstream.seen if seen.complete] == ["/v1/next"]
    assert egress.peak_memory() < MEMORY


def test_a_large_download_passes_whole_in_bounded_memory(
    client: httpx.Client, host: str, egress: EgressProcess
) -> None:
    size = 0
    with client.stream("GET", f"https://{host}/v1/download") as response:
        for chunk in response.iter_raw():
            size += len(chunk)
    assert size == DOWNLOAD_CHUNKS * len(CHUNK)
    assert egress.peak_memory() < MEMORY


@pytest.mark.usefixtures("nothing_leaves")
@pytest.mark.parametrize("framing", ["Content-Length: 209715200", "Transfer-Encoding: chunked"])
def test_a_denied_upload_is_answered_before_its_body_is_sent(
    egress: EgressProcess, framing: str
) -> None:
    head = f"POST /v2/x HTTP/1.1\r\nHost: api.example.com\r\n{framing}\r\n"
    with tls_tunnel(egress, "api.example.com:443", "api.example.com") as connection:
        assert status_of(connection, head + "Expect: 100-continue\r\n\r\n") == 403


@pytest.mark.usefixtures("nothing_leaves")
def test_a_denied_upload_that_goes_on_all_the_same_is_not_kept(egress: EgressProcess) -> None:
    size = UPLOAD * len(MEGABYTE)
    head = f"POST /v2/x HTTP/1.1\r\nHost: api.example.com\r\nContent-Length: {size}\r\n\r\n"
    with tls_tunnel(egress, "api.example.com:443", "api.example.com") as connection:
        assert status_of(connection, head) == 403
        for _ in range(UPLOAD):
            connection.sendall(MEGABYTE)
        assert status_of(connection, "GET /v2/y HTTP/1.1\r\nHost: api.example.com\r\n\r\n") == 403
    assert egress.peak_memory() < MEMORY


def test_an_allowed_upload_reaches_upstream_while_it_is_sent(
    client: httpx.Client, host: str, upstream: Upstream
) -> None:
    arrived = threading.Event()

    def body() -> Iterator[bytes]:
        yield b"first"
        # The request is at the upstream already, though its body has no end yet.
        while not upstream.seen:
            assert not arrived.wait(0.01)
        yield b"last"

    assert client.post(f"https://{host}/v1/x", content=body()).status_code == 200
    assert upstream.seen[0].size == 9


def test_a_websocket_passes_in_both_directions(
    egress: EgressProcess, upstream: Upstream, trust: ssl.SSLContext
) -> None:
    url = "wss://api.example.com/v1/socket"
    mine = {"Authorization": "Bearer agent-s3cret"}
    with websocket(url, ssl=trust, proxy=egress.url, additional_headers=mine) as socket:
        messages: list[str | bytes] = ["hello", b"\x00\xff", "x" * 300_000]
        for message in messages:
            socket.send(message)
            assert socket.recv(DEADLINE) == message
    (seen,) = upstream.seen
    assert seen.header("authorization") == [f"Bearer {TOKEN}"]
    assert egress.wait_for_decision(path="/v1/socket")["decision"] == "allow"


def test_a_websocket_is_not_kept_in_memory(egress: EgressProcess, trust: ssl.SSLContext) -> None:
    url = "wss://api.example.com/v1/socket"
    with websocket(url, ssl=trust, proxy=egress.url, compression=None, max_size=None) as socket:
        for _ in range(UPLOAD):
            socket.send(MEGABYTE)
            assert len(socket.recv(DEADLINE)) == len(MEGABYTE)
    assert egress.peak_memory() < MEMORY


@pytest.mark.usefixtures("nothing_leaves")
def test_a_websocket_needs_a_route_as_well(egress: EgressProcess, trust: ssl.SSLContext) -> None:
    url = "wss://api.example.com/v2/socket"
    with pytest.raises(InvalidStatus, match="403"), websocket(url, ssl=trust, proxy=egress.url):
        pass
