"""Which version of HTTP the upstream is spoken to in, and what becomes of the client's own."""

import ssl

import httpx
import pytest

from tests.integration.conftest import Starter
from tests.integration.egress_process import DEADLINE, EgressProcess, websocket
from tests.integration.http_client import http_client
from tests.integration.raw_client import exchange, read_all, status_of, tls_tunnel
from tests.integration.stand_in_proxy import StandInProxy
from tests.integration.upstream import CUT, INSPECTED, OLD, Upstream

API = "api.example.com"
UPGRADE = (
    f"Host: {API}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
)


def test_no_request_meets_a_connection_that_is_about_to_close(
    client: httpx.Client, upstream: Upstream, proxy: StandInProxy
) -> None:
    for number in range(50):
        response = client.post(f"https://{INSPECTED}/{number}", content=b"hello")
        assert response.status_code == 200
    assert [seen.path for seen in upstream.seen] == [f"/{number}" for number in range(50)]
    assert {seen.http_version for seen in upstream.seen} == {"2"}
    assert proxy.asked == [f"CONNECT {INSPECTED}:443"]


def test_an_upstream_without_http2_is_spoken_to_without(
    client: httpx.Client, upstream: Upstream
) -> None:
    for _ in range(3):
        assert client.post(f"https://{OLD}/x", content=b"hello").status_code == 200
    assert [(seen.http_version, seen.size) for seen in upstream.seen] == [("1.1", 5)] * 3


def test_a_body_is_never_read_as_another_request(client: httpx.Client, upstream: Upstream) -> None:
    hidden = f"GET /hidden HTTP/1.1\r\nHost: {OLD}\r\n\r\n".encode()
    # An iterator has no length that could be said before.
    response = client.post(f"https://{OLD}/x", content=iter([hidden]))
    assert response.status_code == 200
    assert client.get(f"https://{OLD}/y").status_code == 200
    assert [(seen.path, seen.size) for seen in upstream.seen] == [("/x", len(hidden)), ("/y", 0)]


@pytest.mark.parametrize("host", [API, OLD])
def test_a_websocket_goes_over_http1(
    egress: EgressProcess, upstream: Upstream, trust: ssl.SSLContext, host: str
) -> None:
    url = f"wss://{host}/v1/socket"
    with websocket(url, ssl=trust, proxy=egress.url) as socket:
        socket.send("hello")
        assert socket.recv(DEADLINE) == "hello"
    assert [seen.http_version for seen in upstream.seen] == ["1.1"]


def test_a_websocket_after_a_request_in_the_same_tunnel(
    egress: EgressProcess, upstream: Upstream
) -> None:
    with tls_tunnel(egress, f"{API}:443", API) as connection:
        for _ in range(2):
            assert status_of(connection, f"GET /v1/x HTTP/1.1\r\nHost: {API}\r\n\r\n") == 200
        assert status_of(connection, f"GET /v1/socket HTTP/1.1\r\n{UPGRADE}") == 101
    assert [seen.http_version for seen in upstream.seen] == ["2", "2", "1.1"]


def test_nothing_follows_a_refused_websocket_over_its_connection(
    egress: EgressProcess, upstream: Upstream
) -> None:
    with tls_tunnel(egress, f"{INSPECTED}:443", INSPECTED) as connection:
        request = f"GET /socket HTTP/1.1\r\n{UPGRADE}".replace(API, INSPECTED)
        reply = exchange(connection, request)
        assert reply is not None
        assert reply.status == 200
        assert "connection: close" in reply.head.lower()
        assert read_all(connection) == b""
    assert [seen.http_version for seen in upstream.seen] == ["1.1"]


def test_a_body_of_unknown_length_leaves_the_tunnel_open(
    client: httpx.Client, upstream: Upstream, proxy: StandInProxy
) -> None:
    upstream.first_event_read.set()
    for _ in range(3):
        assert client.get(f"https://{API}/v1/events").text == "data: 1\n\ndata: 2\n\n"
    assert proxy.asked == [f"CONNECT {API}:443"]


def test_a_body_that_breaks_off_does_not_look_complete(client: httpx.Client) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        client.get(f"https://{CUT}/x")


def test_requests_that_break_off_are_forgotten_while_their_connection_goes_on(
    another: Starter,
) -> None:
    egress = another().start()
    fields = {f"x-{number}": "v" * 1000 for number in range(50)}
    peaks: list[int] = []
    with http_client(egress, "2") as client:
        for many in (100, 400):
            for _ in range(many):
                with pytest.raises(httpx.RemoteProtocolError):
                    client.get(f"https://{CUT}/x", headers=fields)
            peaks.append(egress.peak_memory())
    # Their heads alone are 20 MB.
    assert peaks[1] - peaks[0] < 10


def test_trailers_of_an_answer_do_no_harm(client: httpx.Client, upstream: Upstream) -> None:
    for _ in range(2):
        response = client.get(f"https://{API}/v1/trailers", headers={"TE": "trailers"})
        assert response.text == "before the trailers"
    assert [seen.header("te") for seen in upstream.seen] == [["trailers"]] * 2


@pytest.mark.parametrize("host", [API, OLD])
def test_a_client_that_waits_for_100_continue_is_told_to(
    egress: EgressProcess, upstream: Upstream, host: str
) -> None:
    head = f"POST /v1/x HTTP/1.1\r\nHost: {host}\r\nContent-Length: 5\r\n"
    with tls_tunnel(egress, f"{host}:443", host) as connection:
        assert status_of(connection, head + "Expect: 100-continue\r\n\r\n") == 100
        assert status_of(connection, "hello") == 200
    assert upstream.seen[0].size == 5
    assert upstream.seen[0].header("expect") == []
