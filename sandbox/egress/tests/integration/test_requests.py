"""What the agent's usual clients see: allowed and denied requests, and the injected credential."""

import json
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.integration.conftest import PASSWORD, TOKEN
from tests.integration.egress_process import EgressProcess
from tests.integration.raw_client import exchange, status_of, tls_tunnel
from tests.integration.stand_in_proxy import StandInProxy
from tests.integration.upstream import Upstream


@pytest.fixture
def client(egress: EgressProcess) -> Iterator[httpx.Client]:
    trust = ssl.create_default_context(cafile=str(egress.ca_file))
    with httpx.Client(proxy=egress.url, verify=trust, trust_env=False, timeout=60) as client:
        yield client


def curl(egress: EgressProcess, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["curl", "-q", "-sS", "-i", "--proxy", egress.url, "--cacert", egress.ca_file, *arguments],
        env={},
        capture_output=True,
        text=True,
        check=False,
    )


def test_curl_gets_an_allowed_path_and_not_the_token(
    egress: EgressProcess, upstream: Upstream, proxy: StandInProxy
) -> None:
    shown = curl(egress, "https://api.example.com/v1/allowed?key=query-s3cret")
    assert shown.returncode == 0
    assert "reached /v1/allowed" in shown.stdout
    assert TOKEN not in shown.stdout + shown.stderr
    (seen,) = upstream.seen
    assert seen.header("authorization") == [f"Bearer {TOKEN}"]
    assert seen.query == "key=query-s3cret"
    assert proxy.asked == ["CONNECT api.example.com:443"]
    logged = egress.wait_for_decision(path="/v1/allowed")
    assert logged["decision"] == "allow"
    assert logged["route"] == "api.example.com"
    assert logged["credential"] == "EGRESS_TOKEN_1"


def test_python_gets_an_allowed_path_and_not_the_token(
    client: httpx.Client, upstream: Upstream
) -> None:
    response = client.post("https://api.example.com/v1/python", content=b"hello")
    assert response.status_code == 200
    assert TOKEN not in response.text + str(response.headers)
    assert upstream.seen[0].size == 5
    assert upstream.seen[0].header("authorization") == [f"Bearer {TOKEN}"]


def test_whatever_credential_the_agent_sends_is_replaced(
    client: httpx.Client, upstream: Upstream
) -> None:
    mine = {
        "Authorization": "Bearer agent-s3cret",
        "Proxy-Authorization": "Basic agent-s3cret",
        "Cookie": "session=agent-s3cret",
        "X-Api-Key": "agent-s3cret",
        "X_Api_Key": "agent-s3cret",
    }
    assert client.get("https://api.example.com/v1/x", headers=mine).status_code == 200
    assert client.get("https://basic.example.com/", headers=mine).status_code == 200
    bearer, basic = upstream.seen
    assert "agent-s3cret" not in str(bearer.headers) + str(basic.headers)
    assert bearer.header("authorization") == [f"Bearer {TOKEN}"]
    assert basic.header("authorization") == [httpx.BasicAuth(*PASSWORD.split(":"))._auth_header]


def test_without_auth_no_authorization_leaves_and_the_log_says_so(
    client: httpx.Client, egress: EgressProcess, upstream: Upstream
) -> None:
    mine = {"Proxy-Authorization": "Basic agent-s3cret", "X-Api-Key": "for pipelock to scan"}
    client.get("https://open.example.com/without", headers=mine)
    assert "authorization_removed" not in egress.wait_for_decision(path="/without")
    for scheme in ("http", "https"):
        authorization = {"Authorization": "Bearer agent-s3cret"}
        client.get(f"{scheme}://open.example.com/with", headers=mine | authorization)
        logged = egress.wait_for_decision(path="/with", scheme=scheme)
        assert logged["decision"] == "allow"
        assert logged["authorization_removed"] is True
    for seen in upstream.seen:
        assert seen.header("authorization") == seen.header("proxy-authorization") == []
        assert seen.header("x-api-key") == ["for pipelock to scan"]


@pytest.mark.usefixtures("nothing_leaves")
@pytest.mark.parametrize(
    ("method", "url", "reason"),
    [
        ("GET", "https://api.example.com/v2/x?key=query-s3cret", "no-route-for-path"),
        ("DELETE", "https://api.example.com/v1/x", "no-route-for-method"),
        ("GET", "https://api.example.com/v1/x?access_token=query-s3cret", "credential-in-query"),
        ("GET", "http://evil.example/x?key=query-s3cret", "no-route-for-host"),
        ("GET", "http://api.example.com/v1/x", "https-required"),
    ],
)
def test_a_denial_is_a_403_that_says_why(
    client: httpx.Client, egress: EgressProcess, method: str, url: str, reason: str
) -> None:
    response = client.request(method, url, headers={"Authorization": "Bearer agent-s3cret"})
    assert response.status_code == 403
    assert response.json()["reason"] == reason
    if reason.startswith("no-route"):
        assert "propose_egress_route" in response.json()["how_to_ask"]
    logged = egress.wait_for_decision(reason=reason)
    assert logged["method"] == method
    assert "?" not in logged["path"]


@pytest.mark.usefixtures("nothing_leaves")
def test_a_tunnel_to_a_denied_host_is_refused_before_any_connection(
    client: httpx.Client, egress: EgressProcess
) -> None:
    with pytest.raises(httpx.ProxyError, match="403 Forbidden by egress: no-route-for-host"):
        client.get("https://evil.example/")
    shown = curl(egress, "https://evil.example/")
    assert "HTTP/1.1 403 Forbidden by egress: no-route-for-host" in shown.stdout
    assert shown.returncode == 56


def test_a_connection_goes_on_after_a_denial(egress: EgressProcess, upstream: Upstream) -> None:
    with tls_tunnel(egress, "api.example.com:443", "api.example.com") as connection:
        for method, path, body, status in [
            ("POST", "/v2/x", "a" * 50_000, 403),
            ("HEAD", "/v2/x", "", 403),
            ("POST", "/v1/x", "b" * 50_000, 200),
            ("GET", "/v2/x", "", 403),
            ("GET", "/v1/y", "", 200),
        ]:
            reply = exchange(
                connection,
                f"{method} {path} HTTP/1.1\r\nHost: api.example.com\r\n"
                f"Content-Length: {len(body)}\r\n\r\n{body}",
            )
            assert reply is not None
            assert reply.status == status
    assert [seen.path for seen in upstream.seen] == ["/v1/x", "/v1/y"]


def test_a_redirect_is_passed_through_and_its_target_decided_anew(
    client: httpx.Client, upstream: Upstream, proxy: StandInProxy
) -> None:
    response = client.get("https://api.example.com/v1/redirect")
    assert response.status_code == 302
    with pytest.raises(httpx.ProxyError, match="no-route-for-host"):
        client.get("https://api.example.com/v1/redirect", follow_redirects=True)
    assert [seen.path for seen in upstream.seen] == ["/v1/redirect"] * 2
    assert set(proxy.asked) == {"CONNECT api.example.com:443"}


def test_plain_http_goes_where_no_credential_is_at_stake(
    client: httpx.Client, upstream: Upstream, proxy: StandInProxy
) -> None:
    assert client.get("http://open.example.com/plain").text == "reached /plain"
    assert upstream.seen[0].scheme == "http"
    assert proxy.asked == ["GET http://open.example.com/plain"]


def test_another_port_is_open_if_the_route_says_so(
    client: httpx.Client, upstream: Upstream, proxy: StandInProxy
) -> None:
    assert client.get("https://odd.example.com:8443/x").status_code == 200
    assert upstream.seen[0].header("host") == ["odd.example.com:8443"]
    assert proxy.asked == ["CONNECT odd.example.com:8443"]
    with pytest.raises(httpx.ProxyError, match="no-route-for-port"):
        client.get("https://odd.example.com/x")


@pytest.mark.parametrize("target", ["/v1/x", "https://api.Example.com/v1/x"])
def test_upstream_sees_one_spelling_of_the_host_and_the_path_alone(
    egress: EgressProcess, upstream: Upstream, proxy: StandInProxy, target: str
) -> None:
    with tls_tunnel(egress, "API.Example.com.:443", "api.EXAMPLE.com") as connection:
        assert (
            status_of(connection, f"GET {target} HTTP/1.1\r\nHost: API.example.COM:443\r\n\r\n")
            == 200
        )
    assert proxy.asked == ["CONNECT api.example.com:443"]
    assert upstream.seen[0].header("host") == ["api.example.com"]
    assert upstream.seen[0].path == "/v1/x"


def test_http2_from_end_to_end(egress: EgressProcess, upstream: Upstream, tmp_path: Path) -> None:
    body = tmp_path / "body"
    body.write_bytes(b"x" * 100_000)
    each = ["--http2", "-o", "/dev/null", "-w", "%{http_version} %{http_code}\n"]
    each += ["--proxy", egress.url, "--cacert", str(egress.ca_file)]
    post = ("-H", "Content-Type: x/y", "--data-binary", f"@{body}")
    shown = curl(
        egress,
        *(*each, *post, "https://api.example.com/v1/h2", "--next"),
        *(*each, *post, "https://api.example.com/v2/h2", "--next"),
        *(*each, "https://api.example.com/v1/after"),
    )
    assert shown.stdout.splitlines() == ["2 200", "2 403", "2 200"]
    assert [(seen.path, seen.http_version, seen.size) for seen in upstream.seen] == [
        ("/v1/h2", "2", 100_000),
        ("/v1/after", "2", 0),
    ]
    assert upstream.seen[0].header("authorization") == [f"Bearer {TOKEN}"]
    assert TOKEN not in shown.stdout + shown.stderr


@pytest.mark.usefixtures("nothing_leaves")
def test_egress_says_what_is_allowed_and_hands_its_certificate_out(
    client: httpx.Client, egress: EgressProcess
) -> None:
    shown = client.get("http://_egress.local/allowlist")
    routes = shown.json()["routes"]
    assert [route["host"] for route in routes][:2] == ["api.example.com", "basic.example.com"]
    assert routes[0]["auth"] == {"scheme": "bearer", "token_env": "EGRESS_TOKEN_1"}
    assert TOKEN not in shown.text
    assert PASSWORD not in shown.text
    certificate = client.get("http://_egress.local/ca.pem").text
    assert certificate == egress.ca_file.read_text()
    assert "PRIVATE" not in certificate
    assert client.get("http://_egress.local/nothing").status_code == 404
    assert client.get("http://_egress.local/").status_code == 404
    # Asked directly, as a readiness check does.
    assert httpx.get(f"{egress.url}/health", trust_env=False).json()["ready"] is True


def test_the_ca_key_is_private(egress: EgressProcess) -> None:
    keys = [file for file in egress.confdir.iterdir() if b"PRIVATE" in file.read_bytes()]
    assert [file.name for file in keys] == ["mitmproxy-ca.pem"]
    for file in egress.confdir.iterdir():
        assert file.stat().st_mode & 0o777 == 0o600
    assert egress.ca_file.stat().st_mode & 0o777 == 0o644


def test_the_tokens_are_not_in_the_environment_of_any_child(egress: EgressProcess) -> None:
    # The kernel keeps what the process was started with, for its own user only.
    environ = Path(f"/proc/{egress.process.pid}/environ")
    assert environ.stat().st_mode & 0o077 == 0
    children = Path(f"/proc/{egress.process.pid}/task/{egress.process.pid}/children")
    assert children.read_text() == ""


def test_the_log_is_json_lines_only(egress: EgressProcess, client: httpx.Client) -> None:
    client.get("https://api.example.com/v1/last-line")
    egress.wait_for_decision(path="/v1/last-line")
    for line in egress.output:
        assert {"time", "event"} <= json.loads(line).keys()
