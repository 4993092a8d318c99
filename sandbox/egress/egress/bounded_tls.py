"""mitmproxy's reading of a ClientHello, with an end.

It would keep up to 16 MB, and read all of them again with each record.
"""

from typing import Any

from mitmproxy.proxy import layer
from mitmproxy.proxy.layers import tls

# Twice what OpenSSL takes in a record. With keys that resist quantum computers it is some 2 KiB.
MAX_CLIENT_HELLO = 32 * 1024

_receive_handshake_data = tls.ClientTLSLayer.receive_handshake_data


def receive_handshake_data(
    client: tls.ClientTLSLayer, data: bytes
) -> layer.CommandGenerator[tuple[bool, str | None]]:
    """What mitmproxy calls with each part of the handshake."""
    result = yield from _receive_handshake_data(client, data)
    if not client.client_hello_parsed and len(client.recv_buffer) > MAX_CLIENT_HELLO:
        client.recv_buffer.clear()
        return False, "Cannot parse ClientHello: it is too long"
    return result


_receive_data = tls.ClientTLSLayer.receive_data


def receive_data(client: tls.ClientTLSLayer, data: bytes) -> layer.CommandGenerator[None]:
    """What mitmproxy calls after the handshake, and fails at where that has failed early."""
    if client.tls:
        yield from _receive_data(client, data)


def install() -> None:
    """Applies it to every connection from now on."""
    layer_class: Any = tls.ClientTLSLayer
    layer_class.receive_data = receive_data
    layer_class.receive_handshake_data = receive_handshake_data
