"""How it is said where a body ends, where one side speaks HTTP/2 and the other HTTP/1. [pure]

HTTP/2's frames say it, so that no header has to. mitmproxy passes the headers on as they are.
"""

from mitmproxy import http

WRONG_LENGTH = "the request's body is not as long as its content-length says"
_WITHOUT_BODY = frozenset({204, 304})


def frame_request(request: http.Request) -> None:
    """Chunks a request with a body that goes to an HTTP/1 upstream: one that came by HTTP/2, or
    whose body is unpacked on its way.

    Without length or chunks the upstream would read the body as another request, on which nobody
    has decided.
    """
    if not {"content-length", "transfer-encoding"}.intersection(map(str.lower, request.headers)):
        request.headers["Transfer-Encoding"] = "chunked"


def declared_length(request: http.Request) -> int | None:
    """What the head says of the body's length; None if it says nothing that is a length."""
    value = request.headers.get("content-length", "")
    return int(value) if value.isascii() and value.isdigit() else None


def frame_response(request: http.Request, response: http.Response) -> None:
    """Chunks a response that goes to an HTTP/1 client.

    mitmproxy would end it by closing the connection, and one that was cut off would look complete.
    """
    if (
        request.http_version == "HTTP/1.1"
        and response.is_http2
        and request.method != "HEAD"
        and response.status_code not in _WITHOUT_BODY
        and "content-length" not in response.headers
    ):
        response.headers["Transfer-Encoding"] = "chunked"
