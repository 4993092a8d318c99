"""Requests on a route whose answers are not looked into, with a scan API in pipelock's place."""

import ssl
from collections.abc import Iterator

import httpx
import pytest

from tests.integration.conftest import Starter
from tests.integration.egress_process import EgressProcess
from tests.integration.http_client import http_client
from tests.integration.stand_in_proxy import StandInProxy
from tests.integration.upstream import Upstream
from tests.scan_api import ScanApiStandIn

HOST = "open.example.com"
ROUTES = f"routes:\n  - {{host: {HOST}, methods: [GET, HEAD], scan: {{responses: none}}}}\n"
SECRET = "planted-s3cret"


@pytest.fixture
def scan_api() -> Iterator[ScanApiStandIn]:
    with ScanApiStandIn(SECRET) as api:
        yield api


@pytest.fixture(params=["1.1", "2"], ids=["http1-client", "http2-client"])
def client(
    request: pytest.FixtureRequest, another: Starter, scan_api: ScanApiStandIn
) -> Iterator[httpx.Client]:
    egress = another(ROUTES, variables={"EGRESS_SCAN_API": scan_api.url}).start()
    with http_client(egress, request.param) as client:
        yield client


def test_pipelock_judges_what_leaves(
    client: httpx.Client, upstream: Upstream, proxy: StandInProxy, scan_api: ScanApiStandIn
) -> None:
    url = f"https://{HOST}/x?a=b"
    assert client.get(url).status_code == 200
    assert scan_api.asked[0] == {"kind": "url", "input": {"url": url}}
    assert scan_api.asked[1]["kind"] == "dlp"
    assert "python-httpx" in scan_api.asked[1]["input"]["text"]
    upstream.seen.clear()
    for target, fields in ((f"/x?{SECRET}", {}), ("/x", {"X-Note": SECRET})):
        refused = client.get(f"https://{HOST}{target}", headers=fields)
        assert (refused.status_code, refused.json()["reason"]) == (403, "refused-by-pipelock")
        assert refused.json()["message"] == "pipelock refuses it: a secret"
    assert upstream.seen == []


def test_a_body_does_not_leave_however_it_is_sent(client: httpx.Client, upstream: Upstream) -> None:
    url = f"https://{HOST}/x"
    announced = client.request("GET", url, content=b"hello")
    assert (announced.status_code, announced.json()["reason"]) == (403, "body-not-scanned")
    # HTTP/2 announces none that has no length; HTTP/1.1 chunks it.
    assert client.request("GET", url, content=iter([b"hello"])).status_code in {403, 502}
    assert upstream.seen == []


def test_without_an_answer_of_the_scan_api_nothing_leaves(
    another: Starter, upstream: Upstream
) -> None:
    def refusal(egress: EgressProcess) -> str:
        trust = ssl.create_default_context(cafile=str(egress.ca_file))
        with httpx.Client(proxy=egress.url, verify=trust, trust_env=False, timeout=60) as client:
            refused = client.get(f"https://{HOST}/x")
        assert refused.status_code == 403
        message: str = refused.json()["message"]
        return message

    egress = another(ROUTES).start()
    assert refusal(egress) == "EGRESS_SCAN_API is not set"
    egress.stop()
    with ScanApiStandIn(SECRET) as api:
        gone = api.url
    egress = another(ROUTES, variables={"EGRESS_SCAN_API": gone}).start()
    assert "did not answer" in refusal(egress)
    assert upstream.seen == []
