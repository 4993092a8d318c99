"""Routes whose answers are not looked into: what may be written, and what may leave."""

from typing import Any

import pytest

from egress.decision import Allow, Deny, Reason, decide
from egress.routes import Route, Routes
from egress.routes_file import BadRoutes, parse_routes
from egress.scan import ScanApi
from egress.settings import BadSettings, read_settings
from tests.scan_api import ScanApiStandIn
from tests.unit.test_decision import plain_request, request

DOWNLOADS = Routes((Route("files.example.com", methods=("GET", "HEAD"), scans_responses=False),))


def errors(text: str) -> list[str]:
    with pytest.raises(BadRoutes) as raised:
        parse_routes(text.encode(), "routes.yaml")
    return [str(problem) for problem in raised.value.problems]


def test_a_route_for_downloads_is_read() -> None:
    text = "routes: [{host: files.example.com, methods: [GET, HEAD], scan: {responses: none}}]\n"
    assert parse_routes(text.encode(), "routes.yaml").routes == DOWNLOADS


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("methods: [GET], scan: {responses: some}", 'write "none"'),
        ("methods: [GET], scan: {}", '"scan" has no "responses"'),
        ("methods: [GET], scan: none", '"scan" has to be a mapping'),
        ("methods: [GET], scan: {responses: none, requests: none}", 'unknown key "requests"'),
        ("scan: {responses: none}", "methods: [GET, HEAD]"),
        ("methods: [GET, POST], scan: {responses: none}", "methods: [GET, HEAD]"),
    ],
)
def test_anything_else_is_refused_with_its_line(keys: str, expected: str) -> None:
    (problem,) = errors(f"routes:\n  - {{host: files.example.com, {keys}}}\n")
    assert problem.startswith("routes.yaml:2:"), problem
    assert expected in problem


@pytest.mark.parametrize(
    "other", ["files.example.com", '"*.example.com"', '"*.files.example.com"', '"*.b.c.example"']
)
def test_no_other_route_reaches_a_host_that_pipelock_leaves_alone(other: str) -> None:
    hosts = ("files.example.com", '"*.files.example.com"', '"*.c.example"')
    routes = "".join(
        f"  - {{host: {host}, methods: [GET], scan: {{responses: none}}}}\n" for host in hosts
    )
    (problem,) = errors(f"routes:\n{routes}  - {{host: {other}, paths: [/x], methods: [POST]}}\n")
    assert problem.startswith("routes.yaml:5:")
    assert 'which has another "scan"' in problem


def test_only_a_head_without_a_body_leaves_and_over_tls() -> None:
    def reason(asked: Any) -> Reason | None:
        decided = decide(DOWNLOADS, asked)
        return decided.reason if isinstance(decided, Deny) else None

    host = (b"Host", b"files.example.com")
    asked = request("files.example.com", headers=(host, (b"Content-Length", b"0")))
    assert decide(DOWNLOADS, asked) == Allow("files.example.com", DOWNLOADS.routes[0])
    websocket = ((b"Upgrade", b"websocket"), (b"Sec-WebSocket-Version", b"13"))
    for fields in (
        ((b"Content-Length", b"1"),),
        ((b"transfer_encoding", b"chunked"),),
        websocket,
    ):
        asked = request("files.example.com", headers=(host, *fields))
        assert reason(asked) is Reason.BODY, fields
    assert reason(request("files.example.com", method="POST")) is Reason.METHOD
    assert reason(plain_request("files.example.com")) is Reason.HTTPS


URL = "https://files.example.com/a?b=c"
CLEAN = {"status": "completed", "decision": "allow"}


def test_pipelock_is_asked_about_url_and_headers() -> None:
    with ScanApiStandIn() as api:
        scan = ScanApi("127.0.0.1", api.port)
        assert scan.refusal(URL, ((b"X-One", b"1"), (b"X-Two", b"\xff"))) is None
    assert api.asked == [
        {"kind": "url", "input": {"url": URL}},
        {"kind": "dlp", "input": {"text": "X-One: 1\nX-Two: \xff"}},
    ]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (
            {"status": "completed", "decision": "deny", "findings": [{"message": "a key"}]},
            "pipelock refuses it: a key",
        ),
        ({"status": "error", "errors": [{"message": "too many"}]}, "too many"),
        ({"status": "completed"}, "no verdict"),
        (["allow"], "did not answer"),
        (b"{", "did not answer"),
    ],
)
@pytest.mark.parametrize("before", [[], [CLEAN]], ids=["url", "headers"])
def test_whatever_is_no_clear_yes_is_a_no(before: list[Any], answer: Any, expected: str) -> None:
    with ScanApiStandIn() as api:
        api.answers = [*before, answer]
        assert expected in str(ScanApi("127.0.0.1", api.port).refusal(URL, ()))


def test_without_the_api_nothing_leaves() -> None:
    with ScanApiStandIn() as api:
        gone = api.port
    assert "did not answer" in str(ScanApi("127.0.0.1", gone).refusal(URL, ()))


def test_where_the_api_is_has_to_be_an_address() -> None:
    assert read_settings({}).scan_api is None
    given = read_settings({"EGRESS_SCAN_API": "http://127.0.0.1:8890"}).scan_api
    assert given == ScanApi("127.0.0.1", 8890)
    for bad in ("127.0.0.1:8890", "https://127.0.0.1:1", "http://h:0", "http://h:1/x"):
        with pytest.raises(BadSettings, match="is no address"):
            read_settings({"EGRESS_SCAN_API": bad})
