"""What a hostile agent tries. None of it opens a connection."""

import socket
import ssl
import subprocess
from pathlib import Path

import pytest

from tests.integration.conftest import TOKEN
from tests.integration.egress_process import EgressProcess
from tests.integration.raw_client import (
    Reply,
    connect,
    exchange,
    h2_client,
    h2_status,
    read_all,
    status_of,
    tls_tunnel,
    tunnel,
)

API = "api.example.com"

pytestmark = pytest.mark.usefixtures("nothing_leaves")


def denied(reply: Reply | None, reason: str) -> None:
    assert reply is not None
    assert reply.status == 403
    assert f'"reason": "{reason}"' in reply.body.decode()


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x00\x01\x02\x03\x04raw bytes",
        b"EHLO evil.example\r\n",
        b"\x00\x1d\xaa\xaa\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x04evil\x07example\x00\x00\x10\x00\x01",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
    ids=["ssh", "binary", "smtp", "dns", "h2-prior-knowledge"],
)
@pytest.mark.parametrize("way", ["plain", "tls", "tls-alpn"])
def test_raw_bytes_in_a_tunnel(egress: EgressProcess, data: bytes, way: str) -> None:
    raw: socket.socket
    if way == "plain":
        raw = tunnel(egress, f"{API}:443")
    else:
        alpn = "http/1.1" if way == "tls-alpn" else None
        raw = tls_tunnel(egress, f"{API}:443", API, alpn)
    with raw:
        raw.sendall(data + b"\r\n\r\n")
        answer = read_all(raw)
    assert answer == b"" or answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 403"))


@pytest.mark.parametrize(
    "authority",
    [
        *(
            "evil.example:443",
            f"{API}:22",
            f"{API}:53",
            f"{API}:8443",
            "127.0.0.1:443",
            "[::1]:443",
        ),
        *("2130706433:443", "0x7f.1:443", f"{API}.evil.example:443", f"evil-{API}:443"),
        "_egress.local:80",
    ],
)
def test_a_tunnel_elsewhere(egress: EgressProcess, authority: str) -> None:
    with connect(egress) as connection:
        assert (
            status_of(connection, f"CONNECT {authority} HTTP/1.1\r\nHost: {API}:443\r\n\r\n") == 403
        )


@pytest.mark.parametrize(
    "authority", [f"user@{API}:443", f"{API}:443@evil.example:443", API, "", ":443"]
)
def test_a_tunnel_to_something_malformed(egress: EgressProcess, authority: str) -> None:
    with connect(egress) as connection:
        assert (
            status_of(connection, f"CONNECT {authority} HTTP/1.1\r\nHost: {API}:443\r\n\r\n") == 400
        )


@pytest.mark.parametrize(
    ("authority", "sni", "host"),
    [
        (f"{API}:443", "evil.example", API),
        (f"{API}:443", "open.example.com", API),
        (f"{API}:443", API, "evil.example"),
        (f"{API}:443", "evil.example", "evil.example"),
        (f"{API}:443", None, API),
        (f"{API}:443", API, f"{API}:8443"),
        (f"{API}:443", API, f"user@{API}"),
        (f"{API}:443", API, f"{API}, evil.example"),
        (f"{API}:443", API, f"{API}\r\nHost: evil.example"),
        (f"{API}:443", API, f"evil.example\r\nHost: {API}"),
        (f"{API}:443", API, f"{API}\r\nHost: {API}"),
        (f"{API}:443", API, ""),
        ("open.example.com:443", API, API),
        ("open.example.com:443", "open.example.com", API),
    ],
)
def test_names_that_do_not_agree(
    egress: EgressProcess, authority: str, sni: str | None, host: str
) -> None:
    with tls_tunnel(egress, authority, sni) as connection:
        reply = exchange(connection, f"GET /v1/x HTTP/1.1\r\nHost: {host}\r\n\r\n")
        denied(reply, "host-mismatch")
        assert TOKEN not in str(reply)


def test_no_host_header(egress: EgressProcess) -> None:
    with tls_tunnel(egress, f"{API}:443", API) as connection:
        denied(exchange(connection, "GET /v1/x HTTP/1.1\r\n\r\n"), "host-mismatch")


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("https://evil.example/v1/x", "host-mismatch"),
        ("http://evil.example/v1/x", "host-mismatch"),
        (f"https://{API}:8443/v1/x", "host-mismatch"),
        (f"https://{API}/v2/x", "no-route-for-path"),
    ],
)
def test_an_absolute_target_in_a_tunnel(egress: EgressProcess, target: str, reason: str) -> None:
    with tls_tunnel(egress, f"{API}:443", API) as connection:
        denied(exchange(connection, f"GET {target} HTTP/1.1\r\nHost: {API}\r\n\r\n"), reason)


def test_a_tunnel_in_a_tunnel(egress: EgressProcess) -> None:
    with tls_tunnel(egress, f"{API}:443", API) as connection:
        request = "CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n"
        reply = exchange(connection, request)
        assert reply is not None
        assert reply.status in {400, 403}


@pytest.mark.parametrize(
    ("request_line", "host", "reason"),
    [
        # https without TLS: the token would be injected into what came in plain text.
        (f"GET https://{API}/v1/x", API, "host-mismatch"),
        (f"GET http://{API}/v1/x", API, "https-required"),
        (f"GET http://{API}:443/v1/x", f"{API}:443", "no-route-for-port"),
        ("GET http://open.example.com/x", "evil.example", "host-mismatch"),
        ("GET http://evil.example/x", "open.example.com", "host-mismatch"),
        ("GET http://open.example.com:22/x", "open.example.com:22", "no-route-for-port"),
        ("GET http://127.0.0.1/x", "127.0.0.1", "malformed-host"),
        ("GET http://[::1]/x", "[::1]", "malformed-host"),
        ("GET http://0x7f.1/x", "0x7f.1", "malformed-host"),
        ("TRACE http://open.example.com/x", "open.example.com", "no-route-for-method"),
    ],
)
def test_plain_http(egress: EgressProcess, request_line: str, host: str, reason: str) -> None:
    with connect(egress) as connection:
        reply = exchange(connection, f"{request_line} HTTP/1.1\r\nHost: {host}\r\n\r\n")
        denied(reply, reason)
        assert TOKEN not in str(reply)


@pytest.mark.parametrize("port", [80, 443])
def test_plain_http_in_a_tunnel_gets_no_token(egress: EgressProcess, port: int) -> None:
    with tunnel(egress, f"{API}:{port}") as connection:
        host = API if port == 80 else f"{API}:{port}"
        reply = exchange(connection, f"GET /v1/x HTTP/1.1\r\nHost: {host}\r\n\r\n")
        denied(reply, "https-required" if port == 80 else "no-route-for-port")


def test_a_request_to_egress_instead_of_through_it(egress: EgressProcess) -> None:
    with connect(egress) as connection:
        assert status_of(connection, "GET /x HTTP/1.1\r\nHost: open.example.com\r\n\r\n") == 404


def test_tls_to_the_proxy_itself(egress: EgressProcess) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with context.wrap_socket(connect(egress), server_hostname=API) as connection:
        assert (
            status_of(connection, f"CONNECT {API}:443 HTTP/1.1\r\nHost: {API}:443\r\n\r\n") == 403
        )


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("/v1/../v2/x", "malformed-target"),
        ("/v1/%2e%2e/v2/x", "malformed-target"),
        ("/v1/%252e%252e/v2/x", "malformed-target"),
        ("/v1/..%2fv2/x", "malformed-target"),
        ("/v1/..;/v2/x", "malformed-target"),
        ("/v1/..\\v2/x", "malformed-target"),
        ("/v1/%00", "malformed-target"),
        ("/v1/\xe9", "malformed-target"),
        ("//v1/x", "no-route-for-path"),
        ("/V1/x", "no-route-for-path"),
        ("/v1%2fx", "no-route-for-path"),
        ("/%76%31/x", "no-route-for-path"),
        ("/v1", "no-route-for-path"),
        ("*", "malformed-target"),
    ],
)
def test_a_way_around_the_path(egress: EgressProcess, target: str, reason: str) -> None:
    with tls_tunnel(egress, f"{API}:443", API) as connection:
        denied(exchange(connection, f"GET {target} HTTP/1.1\r\nHost: {API}\r\n\r\n"), reason)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ("X-HTTP-Method-Override: DELETE", "no-route-for-method"),
        ("X_Http_Method_Override: delete", "no-route-for-method"),
        ("X-Folded: a\r\n b", "malformed-headers"),
        ("Content-Type: application/x-git-receive-pack-request", "git-push"),
    ],
)
def test_a_header_that_changes_the_meaning(egress: EgressProcess, fields: str, reason: str) -> None:
    with tls_tunnel(egress, f"{API}:443", API) as connection:
        denied(
            exchange(connection, f"POST /v1/x HTTP/1.1\r\nHost: {API}\r\n{fields}\r\n\r\n"), reason
        )


@pytest.mark.parametrize(
    "fields",
    [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Content-Length: 5\r\nContent-Length: 6",
        "Transfer-Encoding: chunked, identity",
        "Authorization : x",
        "Bad\x01Name: x",
    ],
)
def test_request_smuggling(egress: EgressProcess, fields: str) -> None:
    with tls_tunnel(egress, f"{API}:443", API) as connection:
        request = f"POST /v1/x HTTP/1.1\r\nHost: {API}\r\n{fields}\r\n\r\n0\r\n\r\n"
        assert status_of(connection, request) == 400


@pytest.mark.parametrize(
    "target",
    [
        "/r.git/info/refs?service=git-receive-pack",
        "/r.git/info/refs?SERVICE=Git-Receive-Pack",
        "/r.git/info/refs?service=git%2Dreceive%2Dpack",
        "/r.git/%67it-receive-pack",
        "/r.git/GIT-RECEIVE-PACK",
        "/r.git/git%252dreceive-pack",
        "/r.git//git-receive-pack/",
    ],
)
@pytest.mark.parametrize("host", ["open.example.com", "basic.example.com"])
def test_a_git_push_in_another_spelling(egress: EgressProcess, host: str, target: str) -> None:
    with tls_tunnel(egress, f"{host}:443", host) as connection:
        request = f"POST {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n"
        denied(exchange(connection, request), "git-push")


def git(*arguments: str, directory: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(directory)} | variables
    return subprocess.run(
        ["git", "-C", directory, *arguments],
        env=environment | {"GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_git_itself_can_not_push(egress: EgressProcess, tmp_path: Path) -> None:
    git("init", "--quiet", directory=tmp_path)
    author = ("-c", "user.name=agent", "-c", "user.email=agent@example.com")
    git(*author, "commit", "--quiet", "--allow-empty", "-m", "x", directory=tmp_path)
    pushed = git(
        "push",
        "https://open.example.com/r.git",
        "HEAD:refs/heads/x",
        directory=tmp_path,
        https_proxy=egress.url,
        GIT_SSL_CAINFO=str(egress.ca_file),
    )
    assert pushed.returncode != 0
    assert "403" in pushed.stderr
    assert egress.wait_for_decision(method="GET", path="/r.git/info/refs")["reason"] == "git-push"


def h2_request(
    egress: EgressProcess,
    headers: list[tuple[str, str]],
    authority: str = f"{API}:443",
    sni: str = API,
) -> int | None:
    """The status of one HTTP/2 request; None if the stream or connection was closed instead."""
    protocol = h2_client()
    protocol.send_headers(1, headers, end_stream=True)
    with tls_tunnel(egress, authority, sni, alpn="h2") as connection:
        assert connection.selected_alpn_protocol() == "h2"
        return h2_status(connection, protocol)


def h2_headers(**changes: str) -> list[tuple[str, str]]:
    pseudo = {"method": "GET", "scheme": "https", "authority": API, "path": "/v1/x"} | changes
    return [(f":{name}", value) for name, value in pseudo.items()]


@pytest.mark.parametrize(
    "headers",
    [
        h2_headers(authority="evil.example"),
        [*h2_headers(), ("host", "evil.example")],
        [*h2_headers(authority="evil.example"), ("host", API)],
        [*h2_headers(), ("host", API), ("host", API)],
        h2_headers(authority=f"user@{API}"),
        h2_headers(path="/v2/x"),
        h2_headers(path="/v1/../v2/x"),
        h2_headers(path="v1/x"),
        h2_headers(path="https://evil.example/v1/x"),
        h2_headers(path="/v1/x y"),
        # mitmproxy shows it to its addons in capital letters, and sends it on as it is.
        h2_headers(method="get"),
        h2_headers(method="TRACE"),
        h2_headers(method="CONNECT"),
        [*h2_headers(), ("x", "a\r\nhost: evil.example")],
    ],
)
def test_http2_that_means_something_else(
    egress: EgressProcess, headers: list[tuple[str, str]]
) -> None:
    assert h2_request(egress, headers) in {400, 403, None}
