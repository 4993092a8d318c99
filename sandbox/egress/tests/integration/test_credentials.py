"""Credentials as they are: where they go, their placeholders, and answers that repeat them."""

import base64
import json
import socket
import ssl
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import brotli  # type: ignore[import-untyped]
import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from tests.integration.conftest import Starter
from tests.integration.egress_process import DEADLINE, EgressProcess, websocket
from tests.integration.http_client import http_client
from tests.integration.raw_client import connect, exchange
from tests.integration.stand_in_proxy import StandInProxy
from tests.integration.upstream import ENCODE, INSPECTED, OLD, Upstream

KEY = "real-k3y-of-the-operator"
SECOND = "second-k3y-of-the-operator"
IN_QUERY = "query-k3y/of+the&operator"
PASSWORD = "passw0rd-of-the-operator"
REDACTED = "redacted-k3y-of-the-operator"
DUMMY = "sk-ant-dummy-0001"
DUMMY_2 = "glpat-dummy-0002"
DUMMY_3 = "AIza-dummy-0003"
DUMMY_4 = "basic-dummy-0004"
ROUTES = f"""\
routes:
  - host: api.example.com
    paths: ["/v1/"]
    auth: {{scheme: header, header: X-Api-Key, token_env: EGRESS_TOKEN_KEY, placeholder: {DUMMY}}}
  - host: api.example.com
    paths: ["/v2/"]
    auth: {{scheme: bearer, token_env: EGRESS_TOKEN_SECOND, placeholder: {DUMMY_2}}}
  - host: odd.example.com
    auth: {{scheme: query, parameter: key, token_env: EGRESS_TOKEN_QUERY, placeholder: {DUMMY_3}}}
  - host: basic.example.com
    auth: {{scheme: basic, user: me, token_env: EGRESS_TOKEN_BASIC, placeholder: {DUMMY_4}}}
  - host: {INSPECTED}
    auth: {{scheme: header, header: PRIVATE-TOKEN, token_env: EGRESS_TOKEN_KEY}}
  - host: {OLD}
    auth: {{scheme: bearer, token_env: EGRESS_TOKEN_REDACTED, echo: redact}}
  - host: open.example.com
"""
SECRETS = {
    "EGRESS_TOKEN_KEY": KEY,
    "EGRESS_TOKEN_SECOND": SECOND,
    "EGRESS_TOKEN_QUERY": IN_QUERY,
    "EGRESS_TOKEN_REDACTED": REDACTED,
}


def write_secret(directory: Path, name: str, content: str, mode: int = 0o400) -> Path:
    file = directory / name
    file.unlink(missing_ok=True)
    file.write_text(content)
    file.chmod(mode)
    return file


@pytest.fixture(scope="module")
def module_egress(
    tmp_path_factory: pytest.TempPathFactory,
    session_upstream: Upstream,
    session_proxy: StandInProxy,
) -> Iterator[EgressProcess]:
    secrets = tmp_path_factory.mktemp("secrets")
    for name, value in SECRETS.items():
        write_secret(secrets, name, value + "\n")
    password = write_secret(tmp_path_factory.mktemp("other"), "password", PASSWORD)
    egress = EgressProcess(
        tmp_path_factory.mktemp("egress"),
        session_proxy.port,
        session_upstream.ca_file,
        ROUTES,
        {"EGRESS_TOKENS_DIR": str(secrets), "EGRESS_TOKEN_FILE_BASIC": str(password)},
    ).start()
    yield egress
    environment = Path(f"/proc/{egress.process.pid}/environ").read_text()
    assert egress.stop() == 0
    everything = environment + "".join(egress.output)
    for secret in (*SECRETS.values(), PASSWORD, "real-k3y", "query-k3y"):
        assert secret not in everything
    assert "internal-error" not in everything
    assert "Traceback" not in everything


@pytest.fixture
def egress(module_egress: EgressProcess, upstream: Upstream, proxy: StandInProxy) -> EgressProcess:
    return module_egress


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


def test_each_scheme_puts_the_real_one_in_the_place_of_the_placeholder(
    client: httpx.Client, egress: EgressProcess, upstream: Upstream
) -> None:
    client.post(
        "https://api.example.com/v1/a", headers={"x-api-key": DUMMY}, content=b"hello"
    ).raise_for_status()
    client.get(
        "https://api.example.com/v2/b", headers={"Authorization": f"Bearer {DUMMY_2}"}
    ).raise_for_status()
    client.get(f"https://odd.example.com/c?a=1&key={DUMMY_3}&b=%2F").raise_for_status()
    client.get("https://basic.example.com/d", auth=("x", DUMMY_4)).raise_for_status()
    key, bearer, query, password = upstream.seen
    assert key.header("x-api-key") == [KEY]
    assert key.size == 5
    assert bearer.header("authorization") == [f"Bearer {SECOND}"]
    assert query.query == "a=1&b=%2F&key=query-k3y%2Fof%2Bthe%26operator"
    assert password.header("authorization") == [basic(f"me:{PASSWORD}")]
    for seen in upstream.seen:
        assert "dummy" not in str(seen)
    logged = egress.wait_for_decision(path="/d")
    assert logged["credential"] == "EGRESS_TOKEN_BASIC"
    assert "authorization_removed" not in logged


def test_without_the_placeholder_the_credential_stays_at_home(
    client: httpx.Client, egress: EgressProcess, upstream: Upstream
) -> None:
    mine = {"X-Api-Key": "agent-s3cret", "Authorization": "Bearer agent-s3cret"}
    for url in ("api.example.com/v1/none", "odd.example.com/none?key=agent-s3cret&a=1"):
        assert client.get(f"https://{url}", headers=mine).status_code == 200
    logged = egress.wait_for_decision(path="/v1/none")
    assert logged["placeholder_missing"] is True
    assert "credential" not in logged
    assert [seen.query for seen in upstream.seen] == ["", "a=1"]
    assert all(secret not in str(upstream.seen) for secret in ("agent-s3cret", *SECRETS.values()))


def test_what_has_no_placeholder_goes_into_every_request(
    client: httpx.Client, upstream: Upstream
) -> None:
    client.get(f"https://{INSPECTED}/x", headers={"private-token": "agent-s3cret"})
    client.get(f"https://{OLD}/x")
    private, bearer = upstream.seen
    assert private.header("private-token") == [KEY]
    assert bearer.header("authorization") == [f"Bearer {REDACTED}"]


def test_a_header_that_a_route_names_is_never_the_agents_own(
    client: httpx.Client, egress: EgressProcess, upstream: Upstream
) -> None:
    mine = {"X-Api-Key": "agent-s3cret", "private_token": "agent-s3cret", "X-Other-Key": "mine"}
    client.get("https://open.example.com/reserved", headers=mine)
    assert upstream.seen[0].header("x-other-key") == ["mine"]
    assert "agent-s3cret" not in str(upstream.seen)
    assert egress.wait_for_decision(path="/reserved")["authorization_removed"] is True


@pytest.mark.usefixtures("nothing_leaves")
@pytest.mark.parametrize("version", ["1.1", "2"])
@pytest.mark.parametrize(
    ("url", "headers", "token"),
    [
        ("https://open.example.com/x", {"X-Api-Key": DUMMY}, "EGRESS_TOKEN_KEY"),
        ("http://open.example.com/x", {"X-Api-Key": DUMMY}, "EGRESS_TOKEN_KEY"),
        ("http://evil.example/x", {"X-Api-Key": DUMMY}, "EGRESS_TOKEN_KEY"),
        (f"http://evil.example/x?a={DUMMY}", {}, "EGRESS_TOKEN_KEY"),
        (f"http://{DUMMY}.evil.example/x", {}, "EGRESS_TOKEN_KEY"),
        ("https://api.example.com/v2/x", {"X-Api-Key": DUMMY}, "EGRESS_TOKEN_KEY"),
        ("https://api.example.com/v1/x", {"X-Other": DUMMY}, "EGRESS_TOKEN_KEY"),
        ("https://api.example.com/v1/x", {"Authorization": f"Bearer {DUMMY}"}, "EGRESS_TOKEN_KEY"),
        (f"https://api.example.com/v1/{DUMMY}", {"X-Api-Key": DUMMY}, "EGRESS_TOKEN_KEY"),
        (f"https://odd.example.com/x?key={DUMMY}", {}, "EGRESS_TOKEN_KEY"),
        ("https://odd.example.com/x", {"Cookie": f"a={DUMMY_3}"}, "EGRESS_TOKEN_QUERY"),
        ("https://api.example.com/v1/x", {"X-Api-Key": DUMMY_2}, "EGRESS_TOKEN_SECOND"),
        ("https://open.example.com/x", {"Authorization": basic(f"a:{DUMMY_4}")}, "EGRESS_TOKEN_BA"),
    ],
)
def test_a_placeholder_in_any_other_place_is_an_attempted_leak(
    egress: EgressProcess, version: str, url: str, headers: dict[str, str], token: str
) -> None:
    # Without TLS it is HTTP/1.1.
    with http_client(egress, version if url.startswith("https") else "1.1") as client:
        response = client.get(url, headers=headers)
    assert response.status_code == 403
    said = response.json()
    assert said["reason"] == "placeholder-leak"
    assert f"the placeholder of {token}" in said["message"]
    assert "how_to_ask" not in said
    host = httpx.URL(url).host
    leak = egress.wait_for(
        lambda line: line["event"] == "placeholder-leak" and line["host"] == host
    )
    assert leak["token"].startswith(token)
    assert egress.wait_for_decision(reason="placeholder-leak")["decision"] == "deny"


@pytest.mark.usefixtures("nothing_leaves")
def test_in_a_connect_it_is_one_too(egress: EgressProcess) -> None:
    with socket.create_connection(("127.0.0.1", egress.port), DEADLINE) as connection:
        reply = exchange(
            connection,
            "CONNECT open.example.com:443 HTTP/1.1\r\nHost: open.example.com:443\r\n"
            f"Proxy-Authorization: Bearer {DUMMY}\r\n\r\n",
        )
    assert reply is not None
    assert reply.head.startswith("HTTP/1.1 403 Forbidden by egress: placeholder-leak")


@pytest.mark.usefixtures("nothing_leaves")
def test_on_its_own_host_a_wrong_path_is_only_that(
    client: httpx.Client, egress: EgressProcess
) -> None:
    response = client.get("https://api.example.com/v3/x", headers={"x-api-key": DUMMY})
    assert response.json()["reason"] == "no-route-for-path"


@pytest.mark.parametrize("host", ["api.example.com/v1", "open.example.com", OLD])
@pytest.mark.parametrize("chunked", [False, True], ids=["content-length", "chunked"])
def test_a_placeholder_in_a_body_is_refused_and_does_not_arrive(
    client: httpx.Client, egress: EgressProcess, upstream: Upstream, host: str, chunked: bool
) -> None:
    pieces = [b"x" * 70_000, b"{" + DUMMY[:9].encode(), DUMMY[9:].encode() + b"}", b"y" * 70_000]
    body = iter(pieces) if chunked else b"".join(pieces)
    headers = {"x-api-key": DUMMY} if "api" in host else {}
    response = client.post(f"https://{host}/body", content=body, headers=headers)
    assert response.status_code == 403
    assert response.json()["reason"] == "placeholder-leak"
    assert "is in the body" in response.json()["message"]
    egress.wait_for(lambda line: line.get("place") == "the body" and line["host"] in host)
    # Whatever has arrived of it is no whole request.
    assert all(seen.size <= 70_000 + 10 for seen in upstream.seen)
    # And the client may go on.
    assert client.get("https://open.example.com/after").status_code == 200


def test_a_body_that_only_looks_like_it_arrives_as_it_is(
    client: httpx.Client, upstream: Upstream
) -> None:
    body = (DUMMY[:-1].encode() + b" ") * 5000 + DUMMY[:-1].encode()
    pieces = (body[at : at + 1000] for at in range(0, len(body), 1000))
    assert client.post("https://open.example.com/x", content=pieces).status_code == 200
    assert upstream.seen[0].size == len(body)


@pytest.mark.parametrize("how", [*ENCODE, "location", "compress"])
def test_an_answer_that_repeats_the_credential_is_refused(
    client: httpx.Client, egress: EgressProcess, how: str
) -> None:
    response = client.get(f"https://{INSPECTED}/echo/{how}")
    assert response.status_code == 502
    said = response.json()
    assert said["reason"] == "credential-echo"
    assert "k3y" not in response.text + str(response.headers)
    logged = egress.wait_for(lambda line: line["event"] == "credential-echo")
    assert logged["host"] == INSPECTED
    # The client may go on.
    assert client.get("https://open.example.com/after").status_code == 200


@pytest.mark.parametrize("how", ENCODE)
def test_one_that_streams_is_cut_off_before_it(
    client: httpx.Client, egress: EgressProcess, how: str
) -> None:
    url = f"https://{INSPECTED}/echo/{how}-pieces"
    received: list[bytes] = []
    with client.stream("GET", url) as response:
        assert response.status_code == 200
        with pytest.raises(httpx.RemoteProtocolError):
            received.extend(response.iter_raw())
    assert b"k3y" not in b"".join(received)
    assert egress.wait_for(lambda line: line["event"] == "credential-echo")["host"] == INSPECTED


def test_trailers_that_repeat_it_are_left_out(client: httpx.Client) -> None:
    assert client.get(f"https://{INSPECTED}/echo/trailers").text == "before the trailers"


def test_a_credential_in_the_query_or_a_basic_one_is_not_repeated_either(
    client: httpx.Client,
) -> None:
    for url, auth in (
        (f"https://odd.example.com/echo/plain?key={DUMMY_3}", None),
        ("https://basic.example.com/echo/plain", ("me", DUMMY_4)),
    ):
        response = client.get(url, auth=auth)
        assert response.status_code == 502
        assert response.json()["reason"] == "credential-echo"


@pytest.mark.parametrize("how", [*ENCODE, *(f"{how}-pieces" for how in ENCODE)])
def test_it_can_be_replaced_in_the_answer(client: httpx.Client, how: str) -> None:
    response = client.get(f"https://{OLD}/echo/{how}")
    assert response.status_code == 200
    text = response.text.removeprefix("before " * 20)
    assert ["authorization", "Bearer " + "*" * len(REDACTED)] in json.loads(text)[0]
    assert REDACTED not in response.text


def test_what_has_no_body_keeps_its_head(client: httpx.Client) -> None:
    response = client.head(f"https://{OLD}/echo/gzip")
    assert response.headers["content-encoding"] == "gzip"
    assert "content-length" in response.headers
    assert client.get("https://open.example.com/after").status_code == 200


def test_it_can_be_replaced_in_a_header(client: httpx.Client) -> None:
    response = client.get(f"https://{OLD}/echo/location")
    assert response.status_code == 302
    assert "*" * len(REDACTED) in response.headers["location"]


def opened(egress: EgressProcess) -> ClientConnection:
    return websocket(
        "wss://api.example.com/v1/ws",
        ssl=ssl.create_default_context(cafile=str(egress.ca_file)),
        proxy=egress.url,
        additional_headers={"x-api-key": DUMMY},
    )


def test_what_else_a_websocket_says_is_looked_through(egress: EgressProcess) -> None:
    with opened(egress) as connection:
        connection.ping(DUMMY)
        egress.wait_for(lambda line: line.get("place") == "a WebSocket message")
        assert connection.ping(b"hello").wait(DEADLINE)
        connection.send(f"close: no such key: {KEY}")
        with pytest.raises(ConnectionClosed) as closed:
            connection.recv(DEADLINE)
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4001, "")
    assert egress.wait_for(lambda line: line["event"] == "credential-echo")["host"]


def test_messages_of_a_websocket_are_looked_through(
    egress: EgressProcess, upstream: Upstream
) -> None:
    with opened(egress) as connection:
        connection.send(f"say {DUMMY}")
        egress.wait_for(lambda line: line.get("place") == "a WebSocket message")
        # The upstream sends back what it gets: the second one has not come from it.
        connection.send(f"say {KEY}")
        egress.wait_for(lambda line: line["event"] == "credential-echo")
        connection.send("say hello")
        assert connection.recv() == "say hello"
    assert upstream.seen[0].header("x-api-key") == [KEY]


def test_curl_sees_the_dummy_and_the_upstream_the_real_one(
    egress: EgressProcess, upstream: Upstream
) -> None:
    shown = subprocess.run(
        [
            *("curl", "-q", "-sS", "-v", "--proxy", egress.url, "--cacert", egress.ca_file),
            *("-H", f"x-api-key: {DUMMY}", "https://api.example.com/v1/messages"),
        ],
        env={},
        capture_output=True,
        text=True,
        check=True,
    )
    assert upstream.seen[0].header("x-api-key") == [KEY]
    assert KEY not in shown.stdout + shown.stderr


def test_others_are_answered_while_a_body_is_searched_that_unpacks_to_much(
    egress: EgressProcess,
) -> None:
    packer = brotli.Compressor()
    parts = [packer.process(bytes(60 << 20)) + packer.flush() for _ in range(10)]
    url, fields = "https://open.example.com/x", {"Content-Encoding": "br"}
    answers = 0
    with ThreadPoolExecutor() as threads, http_client(egress, "1.1") as client:
        upload = threads.submit(client.post, url, content=iter(parts), headers=fields)
        while not upload.done():
            with connect(egress) as connection:
                reply = exchange(connection, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            assert reply is not None
            answers += 1
    assert upload.result().status_code == 200
    # Where the body held all others up it was the first one, and one for each part at most.
    assert answers > len(parts)


def test_the_allowlist_tells_where_a_placeholder_counts_and_no_token(egress: EgressProcess) -> None:
    shown = httpx.get(f"{egress.url}/allowlist", trust_env=False)
    assert shown.json()["routes"][0]["auth"] == {
        "scheme": "header",
        "token_env": "EGRESS_TOKEN_KEY",
        "header": "X-Api-Key",
        "placeholder": DUMMY,
    }
    assert "k3y" not in shown.text


ONE = "routes:\n  - host: api.example.com\n    auth: {scheme: bearer, token_env: EGRESS_TOKEN_1}\n"


def test_a_reload_reads_the_secrets_again_and_a_bad_one_changes_nothing(
    another: Starter, upstream: Upstream, tmp_path: Path
) -> None:
    file = write_secret(tmp_path, "key", "first-k3y\n")
    egress = another(ONE, tokens={"EGRESS_TOKEN_FILE_1": str(file)}).start()

    def sent() -> list[str]:
        with http_client(egress, "1.1") as client:
            assert client.get("https://api.example.com/v1/x").status_code == 200
        return upstream.seen[-1].header("authorization")

    assert sent() == ["Bearer first-k3y"]
    write_secret(tmp_path, "key", "other-k3y\n", 0o444)
    egress.reload()
    warned = egress.wait_for(lambda line: line["event"] == "token-warning")
    assert (warned["token"], warned["file"]) == ("EGRESS_TOKEN_1", str(file))
    assert sent() == ["Bearer other-k3y"]
    for break_it, what in (
        (lambda: write_secret(tmp_path, "key", "\n"), "is empty"),
        (file.unlink, "is missing"),
    ):
        break_it()
        egress.reload()
        message = egress.wait_for(lambda line: line["event"] == "reload-failed")["message"]
        assert message.startswith(
            f"{egress.routes_file}:3:39: the route for api.example.com needs EGRESS_TOKEN_1:"
            f" its file {file} {what}"
        )
        assert sent() == ["Bearer other-k3y"]


@pytest.mark.usefixtures("nothing_leaves")
def test_a_secret_that_can_not_be_had_ends_the_start(another: Starter, tmp_path: Path) -> None:
    egress = another(ONE, tokens={"EGRESS_TOKEN_FILE_1": str(tmp_path / "key")})
    egress.spawn()
    assert egress.wait() == 78
    (line,) = egress.output
    assert line.startswith(
        f"egress: {egress.routes_file}:3:39: the route for api.example.com needs"
    )
    assert f"its file {tmp_path}/key is missing; write the token into it" in line
