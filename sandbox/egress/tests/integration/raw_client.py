"""A client that sends whatever a test wants, also what no HTTP library would."""

import socket
import ssl
from dataclasses import dataclass

import h2.config
import h2.connection
import h2.events

from tests.integration.egress_process import DEADLINE, EgressProcess


@dataclass
class Reply:
    """The head of a response, and what came after it until its end."""

    status: int
    head: str
    body: bytes


def connect(egress: EgressProcess) -> socket.socket:
    return socket.create_connection(("127.0.0.1", egress.port), DEADLINE)


def tunnel(egress: EgressProcess, authority: str) -> socket.socket:
    """The connection after a CONNECT that was answered with 200."""
    connection = connect(egress)
    reply = exchange(connection, f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n")
    assert reply is not None
    assert reply.status == 200
    return connection


def tls_tunnel(
    egress: EgressProcess, authority: str, sni: str | None, alpn: str | None = "http/1.1"
) -> ssl.SSLSocket:
    """A TLS connection in a tunnel. Its certificate is not the subject here."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if alpn:
        context.set_alpn_protocols([alpn])
    return context.wrap_socket(tunnel(egress, authority), server_hostname=sni)


def read_all(connection: socket.socket) -> bytes:
    """All that comes until the other side closes, however it does."""
    data = b""
    try:
        while chunk := connection.recv(65536):
            data += chunk
    except OSError:
        pass
    return data


def exchange(connection: socket.socket, request: str | bytes) -> Reply | None:
    """Sends it and reads one response; None if the connection was closed without one."""
    data = request.encode("latin-1") if isinstance(request, str) else request
    connection.sendall(data)
    received = b""
    while b"\r\n\r\n" not in received:
        chunk = connection.recv(65536)
        if not chunk:
            return None
        received += chunk
    head, _, body = received.partition(b"\r\n\r\n")
    text = head.decode("latin-1")
    length = [line for line in text.lower().split("\r\n") if line.startswith("content-length:")]
    if length:
        while len(body) < int(length[0].partition(":")[2]):
            body += connection.recv(65536)
    return Reply(int(text.split(" ")[1]), text, body)


def status_of(connection: socket.socket, request: str | bytes) -> int | None:
    """What an exchange is answered with; None if it is not."""
    reply = exchange(connection, request)
    return reply.status if reply else None


def h2_client() -> h2.connection.H2Connection:
    """An HTTP/2 client that sends what is malformed too."""
    configuration = h2.config.H2Configuration(
        client_side=True, validate_outbound_headers=False, normalize_outbound_headers=False
    )
    protocol = h2.connection.H2Connection(configuration)
    protocol.initiate_connection()
    return protocol


def h2_status(connection: socket.socket, protocol: h2.connection.H2Connection) -> int | None:
    """Sends what there is; what comes back, or None if stream or connection was closed instead."""
    connection.sendall(protocol.data_to_send())
    while data := connection.recv(65536):
        for event in protocol.receive_data(data):
            if isinstance(event, h2.events.ResponseReceived):
                return int(dict(event.headers or [])[b":status"])
            if isinstance(event, h2.events.StreamReset | h2.events.ConnectionTerminated):
                return None
        connection.sendall(protocol.data_to_send())
    return None
