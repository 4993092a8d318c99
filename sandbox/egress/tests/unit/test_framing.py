import pytest
from mitmproxy import http

from egress.framing import frame_request, frame_response


def framed(
    response: http.Response,
    method: str = "GET",
    client: str = "HTTP/1.1",
    upstream: str = "HTTP/2.0",
) -> http.Response:
    request = http.Request.make(method, "https://api.example.com/")
    request.http_version = client
    response.http_version = upstream
    frame_response(request, response)
    return response


def without_length(status: int = 200) -> http.Response:
    response = http.Response.make(status)
    del response.headers["content-length"]
    return response


@pytest.mark.parametrize("status", [200, 404, 500])
def test_a_body_without_length_is_chunked_for_an_http1_client(status: int) -> None:
    response = framed(without_length(status))
    assert response.headers["transfer-encoding"] == "chunked"


def test_a_length_is_enough() -> None:
    assert "transfer-encoding" not in framed(http.Response.make(200, b"abc")).headers


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)], ids=str)
def test_what_has_no_body_has_no_chunks(method: str, status: int) -> None:
    assert "transfer-encoding" not in framed(without_length(status), method).headers


@pytest.mark.parametrize(
    ("client", "upstream"),
    [("HTTP/2.0", "HTTP/2.0"), ("HTTP/1.1", "HTTP/1.1"), ("HTTP/1.0", "HTTP/2.0")],
)
def test_only_http1_1_over_http2_needs_chunks(client: str, upstream: str) -> None:
    response = framed(without_length(), client=client, upstream=upstream)
    assert "transfer-encoding" not in response.headers


@pytest.mark.parametrize(
    ("fields", "framed"),
    [
        ([], [(b"Transfer-Encoding", b"chunked")]),
        ([(b"content-length", b"3")], [(b"content-length", b"3")]),
        ([(b"Transfer-Encoding", b"gzip, chunked")], [(b"Transfer-Encoding", b"gzip, chunked")]),
    ],
)
def test_a_body_has_a_length_or_chunks(
    fields: list[tuple[bytes, bytes]], framed: list[tuple[bytes, bytes]]
) -> None:
    request = http.Request.make("POST", "https://api.example.com/")
    request.headers = http.Headers(fields)
    frame_request(request)
    assert list(request.headers.fields) == framed
