"""What is too long is refused, and what is short enough passes."""

import contextlib
import ssl

import httpx
import pytest
from websockets.exceptions import ConnectionClosed

from tests.integration.egress_process import DEADLINE, EgressProcess, websocket
from tests.integration.raw_client import (
    connect,
    exchange,
    h2_client,
    h2_status,
    read_all,
    status_of,
    tls_tunnel,
)
from tests.integration.stand_in_proxy import StandInProxy
from tests.integration.upstream import LONG, OLD, Upstream

API = "api.example.com"
OPEN = "open.example.com"


def test_a_head_below_the_limits_passes(client: httpx.Client, upstream: Upstream) -> None:
    fields = {f"x-{number}": "v" * 200 for number in range(150)}
    response = client.get(f"https://{OPEN}/{'p' * 8000}?q={'q' * 7000}", headers=fields)
    assert response.status_code == 200
    assert len(upstream.seen[0].path) == 8001


@pytest.mark.usefixtures("nothing_leaves")
@pytest.mark.parametrize(
    ("path", "fields", "status"),
    [
        ("/" + "p" * 17_000, {}, 414),
        ("/x?" + "%25" * 6_000, {}, 414),
        ("/x", {f"x-{number}": "v" for number in range(220)}, 431),
        ("/x", {"x-long": "v" * 70_000}, 431),
    ],
    ids=["path", "query", "count", "size"],
)
def test_a_head_above_them_is_refused(
    client: httpx.Client, path: str, fields: dict[str, str], status: int
) -> None:
    assert client.get(f"https://{OPEN}{path}", headers=fields).status_code == status


@pytest.mark.usefixtures("nothing_leaves")
def test_the_connection_is_closed_after_it(egress: EgressProcess) -> None:
    with connect(egress) as connection:
        field = f"X: {'v' * 70_000}\r\n"
        reply = exchange(connection, f"GET http://{OPEN}/ HTTP/1.1\r\nHost: {OPEN}\r\n{field}\r\n")
        assert reply is not None
        assert reply.status == 431
        assert "connection: close" in reply.head.lower()
        assert read_all(connection) == b""
    egress.wait_for(lambda line: line["event"] == "mitmproxy" and "431" in line["message"])


@pytest.mark.parametrize("host", [API, OLD], ids=["http2-upstream", "http1-upstream"])
def test_trailers_of_a_request_are_dropped(
    egress: EgressProcess, upstream: Upstream, host: str
) -> None:
    head = f"POST /v1/x HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\nTrailer: X-A\r\n"
    with tls_tunnel(egress, f"{host}:443", host) as connection:
        for _ in range(2):
            assert (
                status_of(
                    connection, head + "\r\n5\r\nhello\r\n0\r\nX-A: 1\r\nAuthorization: x\r\n\r\n"
                )
                == 200
            )
    assert [seen.size for seen in upstream.seen] == [5, 5]
    assert upstream.seen[0].header("x-a") == []


@pytest.mark.usefixtures("nothing_leaves")
def test_trailers_of_a_denied_request_do_no_harm(egress: EgressProcess) -> None:
    request = (
        f"POST /v2/x HTTP/1.1\r\nHost: {API}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: 1\r\n\r\n"
    )
    with tls_tunnel(egress, f"{API}:443", API) as connection:
        for _ in range(2):
            assert status_of(connection, request) == 403


def test_trailers_that_are_too_long_end_the_request(egress: EgressProcess) -> None:
    head = f"POST /v1/x HTTP/1.1\r\nHost: {API}\r\nTransfer-Encoding: chunked\r\n\r\n"
    with tls_tunnel(egress, f"{API}:443", API) as connection:
        assert status_of(connection, head + f"5\r\nhello\r\n0\r\nX: {'v' * 70_000}\r\n") == 431


def h2_exchange(
    egress: EgressProcess, host: str, length: str, parts: list[bytes], trailers: bool = False
) -> int | None:
    """The status of a POST in HTTP/2; None if its stream or connection was closed instead."""
    protocol = h2_client()
    head = [(":method", "POST"), (":scheme", "https"), (":authority", host), (":path", "/v1/x")]
    protocol.send_headers(1, [*head, ("content-length", length)], end_stream=not parts)
    for number, part in enumerate(parts):
        protocol.send_data(1, part, end_stream=number == len(parts) - 1 and not trailers)
    if trailers:
        protocol.send_headers(1, [("x-a", "1")], end_stream=True)
    with tls_tunnel(egress, f"{host}:443", host, alpn="h2") as connection:
        return h2_status(connection, protocol)


@pytest.mark.parametrize("host", [API, OLD])
def test_an_http2_body_of_the_declared_length_passes(egress: EgressProcess, host: str) -> None:
    assert h2_exchange(egress, host, "5", [b"hel", b"lo"]) == 200
    assert h2_exchange(egress, host, "5", [b"hello"], trailers=True) == 200
    assert h2_exchange(egress, host, "0", []) == 200


@pytest.mark.parametrize("host", [API, OLD])
@pytest.mark.parametrize(
    ("parts", "trailers"),
    [([], False), ([b"hel"], False), ([b"hello!"], False), ([b"hel"], True)],
    ids=["none", "short", "long", "short-with-trailers"],
)
def test_an_http2_body_of_another_length_is_refused(
    egress: EgressProcess, host: str, parts: list[bytes], trailers: bool
) -> None:
    assert h2_exchange(egress, host, "5", parts, trailers) in {400, None}


@pytest.mark.parametrize(
    "field",
    ["Transfer_Encoding: chunked", "Content_Length: 9", "content.length: 9", "HOST_: x"],
)
def test_what_a_lax_server_reads_as_framing_is_taken_out(
    egress: EgressProcess, upstream: Upstream, field: str
) -> None:
    head = f"POST /lax HTTP/1.1\r\nHost: {OPEN}\r\nContent-Length: 5\r\n{field}\r\n\r\n"
    with tls_tunnel(egress, f"{OPEN}:443", OPEN) as connection:
        assert status_of(connection, head + "hello") == 200
    # One that was refused in a test before may have come late.
    (seen,) = (seen for seen in upstream.seen if seen.path == "/lax")
    names = {name for name, _ in seen.headers}
    assert names.isdisjoint({"transfer_encoding", "content_length", "content.length"})


def test_the_head_of_an_answer_is_bounded(client: httpx.Client, proxy: StandInProxy) -> None:
    assert client.get(f"https://{LONG}/x").status_code == 502
    assert proxy.asked == [f"CONNECT {LONG}:443"]


def test_a_message_of_a_websocket_is_bounded(egress: EgressProcess) -> None:
    trust = ssl.create_default_context(cafile=str(egress.ca_file))
    url = f"wss://{API}/v1/socket"
    with websocket(url, ssl=trust, proxy=egress.url, max_size=None) as socket:
        # Nobody can make a few bytes many.
        assert socket.protocol.extensions == []
        socket.send("hello")
        assert socket.recv(DEADLINE) == "hello"
        with contextlib.suppress(ConnectionClosed):
            socket.send(b"x" * (17 * 1024 * 1024))
        with pytest.raises(ConnectionClosed, match="1009"):
            socket.recv(DEADLINE)
