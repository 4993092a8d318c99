"""What an agent without any permission sends, without an end; and what of it egress keeps.

Each has an egress of its own, whose memory is measured. `egress/check -s -k attacks` prints the
table of docs/sidecars.md.
"""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import hpack
import pytest

from tests.integration.conftest import Starter
from tests.integration.egress_process import DEADLINE, EgressProcess
from tests.integration.raw_client import connect, h2_client, read_all, status_of, tls_tunnel, tunnel

API = "api.example.com"
# egress has about 80 MB before the first request.
MEMORY = 200
# When the attacker gives up. Where it is not cut off it reads the answers, unless it is to wait.
MOST = 300 * 1024 * 1024
# More than any limit of egress's, and less than it reads on for.
ANSWERED = 512 * 1024
MOST_READING = 30 * 1024 * 1024
PLAIN = b"GET http://nowhere.invalid/ HTTP/1.1\r\nHost: nowhere.invalid\r\n"
INSIDE = b"GET /x HTTP/1.1\r\nHost: api.example.com\r\n"


def in_the_open(egress: EgressProcess) -> socket.socket:
    return connect(egress)


def in_a_tunnel(egress: EgressProcess) -> socket.socket:
    return tls_tunnel(egress, f"{API}:443", API)


def over_http2(egress: EgressProcess) -> socket.socket:
    return tls_tunnel(egress, f"{API}:443", API, alpn="h2")


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return (
        struct.pack("!I", len(payload))[1:]
        + bytes([kind, flags])
        + struct.pack("!I", stream)
        + payload
    )


def forever(start: bytes, part: bytes) -> Iterator[bytes]:
    yield start
    repeated = part * max(1, 65536 // len(part))
    while True:
        yield repeated


def denied_head(number: int, size: int) -> bytes:
    fields = [
        *(
            (":method", "GET"),
            (":scheme", "https"),
            (":authority", "evil.example"),
            (":path", "/x"),
        ),
        *((f"x-{i}-{number}", "A" * 8000) for i in range(size // 8000)),
    ]
    return hpack.Encoder().encode(fields)


def heads_of_frames() -> Iterator[bytes]:
    """A head in CONTINUATION frames without END_HEADERS."""
    yield h2_client().data_to_send()
    yield frame(1, 0x1, 1, b"")
    while True:
        yield frame(9, 0, 1, b"\x00\x01x\x7f\x81\xff\x7f" * 2000)


def many_http2_requests(size: int, flags: int, reset: bool) -> Iterator[bytes]:
    yield h2_client().data_to_send()
    for number in range(1, 2**24, 2):
        head = denied_head(number, size)
        yield frame(1, flags, number, head[:16384] if len(head) > 16384 else head)
        for start in range(16384, len(head), 16384):
            yield frame(
                9, 4 if start + 16384 >= len(head) else 0, number, head[start : start + 16384]
            )
        if reset:
            yield frame(3, 0, number, struct.pack("!I", 8))


def settings_without_end() -> Iterator[bytes]:
    yield h2_client().data_to_send()
    number = 0
    while True:
        items = b"".join(struct.pack("!HI", (number + i) % 65000 + 500, 1) for i in range(2000))
        number += 2000
        yield frame(4, 0, 0, items)


def client_hello() -> Iterator[bytes]:
    """A TLS handshake message of 16 MB, in small records."""
    body = b"\x01\xff\xff\xff" + b"\x03\x03" + b"A" * 8186
    yield b"\x16\x03\x01" + struct.pack("!H", len(body)) + body
    yield from forever(b"", b"\x16\x03\x01\x20\x00" + b"A" * 8192)


def tunnels() -> Iterator[bytes]:
    filler = b"X: " + b"A" * 15000 + b"\r\n"
    while True:
        yield b"CONNECT evil.example:443 HTTP/1.1\r\nHost: x\r\n" + filler * 4 + b"\r\n"


@dataclass(frozen=True)
class Attack:
    """What is sent over one connection."""

    name: str
    opened: Callable[[EgressProcess], socket.socket]
    data: Callable[[], Iterator[bytes]]
    # How the answer has to begin; None if there need not be one.
    answer: bytes | None = None
    reads: bool = True


FIELD = b"X: " + b"A" * 8000 + b"\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
ATTACKS = [
    Attack("head without end", in_the_open, lambda: forever(PLAIN, FIELD), b"HTTP/1.1 431 "),
    Attack(
        "head of small fields", in_the_open, lambda: forever(PLAIN, b"a:\r\n"), b"HTTP/1.1 431 "
    ),
    Attack(
        "URL without end", in_the_open, lambda: forever(b"GET http://x/", b"%25"), b"HTTP/1.1 414 "
    ),
    Attack(
        "head of a CONNECT",
        in_the_open,
        lambda: forever(b"CONNECT api.example.com:443 HTTP/1.1\r\n", FIELD),
        b"HTTP/1.1 431 ",
    ),
    Attack(
        "CONNECT's authority", in_the_open, lambda: forever(b"CONNECT ", b"a."), b"HTTP/1.1 414 "
    ),
    Attack("empty lines", in_the_open, lambda: forever(b"", b"\r\n")),
    Attack("head in a tunnel", in_a_tunnel, lambda: forever(INSIDE, FIELD), b"HTTP/1.1 431 "),
    Attack("URL in a tunnel", in_a_tunnel, lambda: forever(b"GET /", b"%25"), b"HTTP/1.1 414 "),
    Attack("trailers", in_a_tunnel, lambda: forever(INSIDE + CHUNKED + b"0\r\n", FIELD)),
    Attack("chunk's line", in_a_tunnel, lambda: forever(INSIDE + CHUNKED + b"1;", b"x")),
    Attack("ClientHello", lambda e: tunnel(e, f"{API}:443"), client_hello),
    Attack("HTTP/2 head", over_http2, heads_of_frames),
    Attack("HTTP/2 requests", over_http2, lambda: many_http2_requests(60000, 1, False)),
    Attack(
        "HTTP/2 requests that do not end", over_http2, lambda: many_http2_requests(100, 4, False)
    ),
    Attack("HTTP/2 requests taken back", over_http2, lambda: many_http2_requests(100, 5, True)),
    Attack("HTTP/2 settings", over_http2, settings_without_end),
    Attack(
        "pipelined requests",
        in_the_open,
        lambda: forever(b"", b"GET /allowlist HTTP/1.1\r\n\r\n"),
        reads=False,
    ),
    Attack("denied CONNECT requests, one after another", in_the_open, tunnels),
]


class Reader:
    """Reads what comes back, and keeps its beginning."""

    def __init__(self, connection: socket.socket) -> None:
        self.beginning = b""
        self.begun = threading.Event()
        self._connection = connection
        self._thread = threading.Thread(target=self._read)

    def _read(self) -> None:
        try:
            while data := self._connection.recv(65536):
                self.beginning = (self.beginning + data)[:1000]
                self.begun.set()
        except OSError:
            return

    def __enter__(self) -> "Reader":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()


def send(
    connection: socket.socket,
    parts: Iterator[bytes],
    most: int,
    answered: threading.Event | None = None,
) -> tuple[int, str]:
    """How much went out, and how it ended; it goes on for long only once it is answered."""
    sent = 0
    try:
        for part in parts:
            connection.sendall(part)
            sent += len(part)
            if answered and sent > ANSWERED:
                # A connection that is closed while more comes takes an unread answer with it.
                answered.wait(DEADLINE)
            if sent > most:
                connection.shutdown(socket.SHUT_RDWR)
                return sent, "all was taken"
    except TimeoutError:
        return sent, "it has to wait"
    except OSError:
        return sent, "closed"
    return sent, "all was taken"


def rate(egress: EgressProcess, name: str, sent: float, end: str) -> None:
    peak = egress.peak_memory()
    print(f"\n| {name} | {sent:.1f} MB, {end} | {peak} MB |")  # noqa: T201
    assert peak < MEMORY
    # It answers others still.
    with connect(egress) as connection:
        assert status_of(connection, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n") == 200


@pytest.mark.usefixtures("nothing_leaves")
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_what_has_no_end_is_not_kept(another: Starter, attack: Attack) -> None:
    egress = another().start()
    with attack.opened(egress) as connection:
        if attack.reads:
            connection.settimeout(DEADLINE)
            with Reader(connection) as reader:
                most = MOST if attack.answer else MOST_READING
                answered = reader.begun if attack.answer else None
                sent, end = send(connection, attack.data(), most, answered)
            if attack.answer:
                assert end == "closed"
                assert reader.beginning.startswith(attack.answer)
        else:
            # As long as one send may wait; whoever reads no answer has to.
            connection.settimeout(2)
            sent, end = send(connection, attack.data(), MOST)
            assert end != "all was taken"
    rate(egress, attack.name, sent / 1e6, end)


@pytest.mark.usefixtures("nothing_leaves")
def test_nothing_is_kept_of_what_was_refused(another: Starter) -> None:
    egress = another().start()
    peaks: list[int] = []
    for many in (50, 200):
        for _ in range(many):
            with connect(egress) as connection:
                assert status_of(connection, PLAIN + b"X: y\r\n" * 12_000) == 431
        peaks.append(egress.peak_memory())
    # Each has sent 70 kB.
    assert peaks[1] - peaks[0] < 10


@pytest.mark.usefixtures("nothing_leaves")
@pytest.mark.parametrize("kind", ["silent", "half a head", "half a ClientHello"])
def test_connections_without_end_make_room_for_others(another: Starter, kind: str) -> None:
    egress = another().start()
    begun = {
        "silent": b"",
        "half a head": PLAIN + FIELD * 7,
        "half a ClientHello": b"\x16\x03\x01\x3f\x00" + b"\x01\x00\xff\xff" + b"A" * 8000,
    }
    opened: list[socket.socket] = []
    for _ in range(400):
        connection = connect(egress)
        connection.sendall(begun[kind])
        opened.append(connection)
    # The oldest has gone; the newest is there.
    assert read_all(opened[0]) == b""
    rate(egress, f"400 connections: {kind}", 400 * len(begun[kind]) / 1e6, "the oldest are closed")
    for connection in opened:
        connection.close()


def test_small_parts_of_a_body_are_not_kept_either(another: Starter) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        egress = another(upstream_port=silent.getsockname()[1]).start()
        with in_a_tunnel(egress) as connection:
            connection.settimeout(2)
            head = b"POST /v1/x HTTP/1.1\r\nHost: api.example.com\r\n" + CHUNKED
            sent, end = send(connection, forever(head, b"1\r\nx\r\n"), MOST)
        assert end == "it has to wait"
        rate(egress, "body in parts of one byte, before the upstream answers", sent / 1e6, end)
