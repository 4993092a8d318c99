"""How it is said where a body ends, where one side speaks HTTP/2 and the other HTTP/1. [pure]

HTTP/2's frames say it, so that no header has to. mitmproxy passes the headers on as they are.
"""

from mitmproxy import http


def frame_request(request: http.Request) -> None:
    """Chunks a request with a body that goes to an HTTP/1 upstream.

    Without length or chunks the upstream would read the body as another request, on which nobody
    has decided.
    """
    if request.is_http2 and "content-length" not in request.headers:
        request.headers["Transfer-Encoding"] = "chunked"
