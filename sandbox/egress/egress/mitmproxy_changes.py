"""The parts of mitmproxy that are replaced before the port is open."""

from egress import (
    backpressure,
    bounded_http1,
    bounded_http2,
    bounded_tls,
    bounded_websocket,
    connections,
    guarded_stream,
)

CHANGED = (
    backpressure,
    bounded_http1,
    bounded_http2,
    bounded_tls,
    bounded_websocket,
    connections,
    guarded_stream,
)
