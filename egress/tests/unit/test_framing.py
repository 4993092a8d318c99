import pytest
from mitmproxy import http

from egress.framing import frame_request


@pytest.mark.parametrize(
    ("client", "length", "chunked"),
    [
        ("HTTP/2.0", None, True),
        ("HTTP/2.0", "3", False),
        ("HTTP/1.1", "3", False),
        ("HTTP/1.1", None, False),
    ],
)
def test_a_body_that_came_over_http2_has_a_length_or_chunks(
    client: str, length: str | None, chunked: bool
) -> None:
    request = http.Request.make("POST", "https://api.example.com/")
    request.http_version = client
    request.headers = http.Headers([(b"content-length", length.encode())] if length else [])
    frame_request(request)
    assert ("transfer-encoding" in request.headers) is chunked
