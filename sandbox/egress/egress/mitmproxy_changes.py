"""The parts of mitmproxy that are replaced before the port is open."""

from importlib import import_module

# Each has a function `install`.
CHANGED = (
    "backpressure",
    "bounded_http1",
    "bounded_http2",
    "bounded_tls",
    "bounded_websocket",
    "connections",
    "guarded_stream",
)


def install() -> None:
    """Replaces them."""
    for name in CHANGED:
        import_module(f"egress.{name}").install()
