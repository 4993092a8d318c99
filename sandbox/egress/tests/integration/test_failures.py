"""What happens when a part fails: the addon, mitmproxy's hold on it, or what is behind egress."""

import ssl
from pathlib import Path

import httpx
import pytest

from tests.integration.conftest import TOKEN, Starter
from tests.integration.egress_process import EgressProcess, broken, free_port
from tests.integration.raw_client import exchange, read_all, tls_tunnel, tunnel
from tests.integration.stand_in_proxy import StandInProxy
from tests.integration.upstream import Upstream

EX_SOFTWARE = 70
API = "api.example.com"


def get(egress: EgressProcess, url: str = f"https://{API}/v1/x") -> httpx.Response:
    trust = ssl.create_default_context(cafile=str(egress.ca_file))
    with httpx.Client(proxy=egress.url, verify=trust, trust_env=False, timeout=60) as client:
        return client.get(url)


@pytest.mark.usefixtures("nothing_leaves")
def test_an_exception_in_a_decision_denies(another: Starter, entrypoint: Path) -> None:
    broken(
        entrypoint,
        "decision.py",
        "    if headers.malformed(",
        "    raise RuntimeError(str(request))\n    if headers.malformed(",
    )
    egress = another(entrypoint=entrypoint).start()
    response = get(egress)
    assert response.status_code == 403
    assert response.json()["reason"] == "internal-error"
    logged = egress.wait_for(lambda line: line["event"] == "internal-error")
    assert logged["hook"] == "requestheaders"
    assert "RuntimeError at " in logged["error"]
    assert API not in logged["error"]


@pytest.mark.usefixtures("nothing_leaves")
def test_an_exception_at_a_connect_denies(another: Starter, entrypoint: Path) -> None:
    broken(
        entrypoint,
        "decision.py",
        "    if over_tls:",
        "    raise RuntimeError(host)\n    if over_tls:",
    )
    egress = another(entrypoint=entrypoint).start()
    with pytest.raises(httpx.ProxyError, match="403"):
        get(egress)


@pytest.mark.usefixtures("nothing_leaves")
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("            case decision.Allow() as allowed:", "{}                raise RuntimeError"),
        ("        request.stream = True", "{}        raise RuntimeError"),
        ("        guarded_stream.grant(http_flow, permit)", "{}        raise RuntimeError"),
        ("        if http_flow.response is None and guarded", "        raise RuntimeError\n{}"),
        ("        if data.client.id not in self._permitted", "        raise RuntimeError\n{}"),
    ],
    ids=["decided", "half-allowed", "allowed", "request", "server_connect"],
)
def test_an_exception_in_a_hook_lets_nothing_out(
    another: Starter, entrypoint: Path, old: str, new: str
) -> None:
    with_break = new.format(old if new.startswith("        raise") else old + "\n")
    broken(entrypoint, "addon.py", old, with_break)
    egress = another(entrypoint=entrypoint).start()
    with tls_tunnel(egress, f"{API}:443", API) as connection:
        reply = exchange(connection, f"GET /v1/x HTTP/1.1\r\nHost: {API}\r\n\r\n")
    assert reply is None or reply.status in {403, 502}
    egress.wait_for(lambda line: line["event"] == "internal-error")


def test_an_exception_in_responseheaders_gives_the_agent_nothing(
    another: Starter, entrypoint: Path, upstream: Upstream
) -> None:
    broken(
        entrypoint,
        "addon.py",
        "        response = http_flow.response\n",
        "        raise RuntimeError\n        response = http_flow.response\n",
    )
    egress = another(entrypoint=entrypoint).start()
    with tls_tunnel(egress, f"{API}:443", API) as connection:
        request = f"GET /v1/x HTTP/1.1\r\nHost: {API}\r\n\r\n"
        connection.sendall(request.encode())
        assert b"reached" not in read_all(connection)
    assert len(upstream.seen) == 1


@pytest.mark.usefixtures("nothing_leaves")
def test_a_log_that_can_not_be_written_lets_nothing_out(another: Starter, entrypoint: Path) -> None:
    broken(
        entrypoint,
        "log.py",
        "        now = datetime",
        '        if values.get("decision") == "allow" and values.get("path"):\n'
        "            raise OSError\n        now = datetime",
    )
    egress = another(entrypoint=entrypoint).start()
    assert get(egress).status_code == 403


@pytest.mark.usefixtures("nothing_leaves")
@pytest.mark.parametrize("hook", ["requestheaders", "http_connect"])
def test_without_its_hook_a_request_has_no_permit(
    another: Starter, entrypoint: Path, hook: str
) -> None:
    for name in {"requestheaders", "request", hook}:
        broken(entrypoint, "addon.py", f"def {name}(", f"def not_{name}(")
    egress = another(entrypoint=entrypoint).start()
    response = get(egress)
    assert response.status_code == 502
    assert "egress has not let this out" in response.text


@pytest.mark.usefixtures("nothing_leaves")
@pytest.mark.parametrize(
    "data", [b"SSH-2.0-x\r\n\r\n", b"\x00\x01\x02\r\n\r\n"], ids=["ssh", "binary"]
)
def test_raw_tcp_finds_no_connection_even_if_mitmproxy_takes_it(
    another: Starter, entrypoint: Path, data: bytes
) -> None:
    broken(entrypoint, "mitmproxy_options.py", '"rawtcp": False', '"rawtcp": True')
    script = entrypoint.read_text().replace("rawtcp=false", "rawtcp=true")
    entrypoint.write_text(script)
    egress = another(entrypoint=entrypoint).start()
    for connection in (
        tunnel(egress, f"{API}:443"),
        tls_tunnel(egress, f"{API}:443", API, alpn=None),
    ):
        with connection:
            connection.sendall(data)
            assert read_all(connection) == b""
        egress.wait_for(lambda line: line["event"] == "connection-refused")


@pytest.mark.parametrize("change", ["removed", "changed"])
def test_when_mitmproxy_unloads_the_addon_the_process_ends(
    another: Starter, entrypoint: Path, change: str
) -> None:
    egress = another(entrypoint=entrypoint).start()
    script = entrypoint.parent / "egress" / "script.py"
    if change == "removed":
        script.unlink()
    else:
        script.write_text("syntax error")
    assert egress.wait() == EX_SOFTWARE


@pytest.mark.parametrize("module", ["script.py", "addon.py", "decision.py"])
def test_an_addon_that_can_not_be_loaded_is_no_proxy(
    another: Starter, entrypoint: Path, module: str
) -> None:
    (entrypoint.parent / "egress" / module).write_text("syntax error")
    egress = another(entrypoint=entrypoint)
    egress.spawn()
    assert egress.wait() == 1


def test_an_upload_that_fails_after_100_continue_gets_an_answer(another: Starter) -> None:
    egress = another(upstream_port=free_port()).start()
    head = f"POST /v1/x HTTP/1.1\r\nHost: {API}\r\nContent-Length: 5\r\n"
    with tls_tunnel(egress, f"{API}:443", API) as connection:
        connection.sendall((head + "Expect: 100-continue\r\n\r\n").encode())
        told = read_all(connection)
    assert told.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 502 ")


def test_the_upstream_proxy_is_down(another: Starter) -> None:
    egress = another(upstream_port=free_port()).start()
    response = get(egress)
    assert response.status_code == 502
    assert TOKEN not in response.text + str(response.headers)
    failed = egress.wait_for(lambda line: line["event"] == "request-failed")
    assert failed["host"] == API


def test_the_upstream_proxys_ca_is_another(
    another: Starter, upstream: Upstream, tmp_path: Path
) -> None:
    # egress's own certificate authority has signed nothing upstream.
    first = another().start()
    assert first.stop() == 0
    other = tmp_path / "other-ca.pem"
    other.write_bytes(first.ca_file.read_bytes())
    egress = another(variables={"EGRESS_UPSTREAM_CA": str(other)}).start()
    response = get(egress)
    assert response.status_code == 502
    assert upstream.seen == []


def test_the_agent_can_end_no_more_than_its_own_connection(
    another: Starter, proxy: StandInProxy
) -> None:
    egress = another().start()
    with tls_tunnel(egress, f"{API}:443", API) as connection:
        connection.sendall(
            b"POST /v1/x HTTP/1.1\r\nHost: api.example.com\r\nContent-Length: 9\r\n\r\nab"
        )
    assert get(egress).status_code == 200
    assert egress.process.poll() is None
    assert "CONNECT api.example.com:443" in proxy.asked
