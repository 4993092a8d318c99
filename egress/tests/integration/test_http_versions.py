"""Which version of HTTP the upstream is spoken to in, and what becomes of the client's own."""

from collections.abc import Iterator

import httpx
import pytest

from tests.integration.egress_process import EgressProcess
from tests.integration.http_client import http_client
from tests.integration.upstream import OLD, Upstream


@pytest.fixture(params=["1.1", "2"], ids=["http1-client", "http2-client"])
def client(request: pytest.FixtureRequest, egress: EgressProcess) -> Iterator[httpx.Client]:
    with http_client(egress, request.param) as client:
        yield client


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
