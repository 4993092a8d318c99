import pytest
from hypothesis import given
from hypothesis import strategies as st

from egress import headers
from egress.routes import Auth, Route

OPEN = Route("open.example.com")
AUTH = Route("api.example.com", auth=Auth("bearer", "EGRESS_TOKEN_1"))
WEBSOCKET = (
    (b"Connection", b"keep-alive, Upgrade"),
    (b"Upgrade", b"websocket"),
    (b"Sec-WebSocket-Version", b"13"),
    (b"Sec-WebSocket-Key", b"x"),
)

CREDENTIALS = [
    *(b"Authorization", b"AUTHORIZATION", b"authorization", b"Proxy-Authorization", b"Cookie"),
    *(b"Cookie2", b"X-Api-Key", b"X_Api_Key", b"api-key", b"ApiKey", b"x-goog-api-key"),
    *(b"X-Auth-Token", b"X-Access-Token", b"Private-Token", b"Job-Token", b"X-Amz-Security-Token"),
    *(b"X-Auth-Key", b"X-Forwarded-Authorization", b"X-Vault-Token", b"Token", b"X_Authorization"),
]
ORDINARY = [
    *(b"Host", b"Accept", b"Content-Type", b"Content-Length", b"User-Agent", b"Idempotency-Key"),
    *(b"X-Author", b"Tokenizer", b"Range", b"If-None-Match", b"anthropic-version"),
]


@pytest.mark.parametrize("name", CREDENTIALS)
def test_the_agents_credentials_are_stripped_where_ours_goes_in(name: bytes) -> None:
    sent = headers.forwarded(((name, b"mine"),), AUTH, ("Authorization", "Bearer ours"))
    assert sent == ((b"Authorization", b"Bearer ours"),)


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_headers_go_on(name: bytes) -> None:
    assert headers.forwarded(((name, b"x"),), AUTH, ("Authorization", "Bearer ours"))[0] == (
        name,
        b"x",
    )


AUTHORIZATION = [b"Authorization", b"AUTHORIZATION", b"authorization"]


@pytest.mark.parametrize("name", [*AUTHORIZATION, b"Proxy-Authorization"])
def test_the_agents_authorization_leaves_on_no_route(name: bytes) -> None:
    assert headers.forwarded(((name, b"mine"),), OPEN, None) == ()


@pytest.mark.parametrize("name", AUTHORIZATION)
def test_an_authorization_of_the_agents_is_noticed(name: bytes) -> None:
    assert headers.has_reserved(((b"Host", b"x"), (name, b"mine")))
    assert not headers.has_reserved(((b"X-Authorization", b"mine"), (b"Host", name)))


@pytest.mark.parametrize("name", [b"Cookie", b"X-Api-Key", b"X-Authorization"])
def test_what_pipelock_scans_may_be_the_agents_own_on_a_route_without_auth(name: bytes) -> None:
    assert headers.forwarded(((name, b"mine"),), OPEN, None) == ((name, b"mine"),)


@pytest.mark.parametrize(
    "name", [b"X-Original-URL", b"x_rewrite_url", b"X-Forwarded-Host", b"Forwarded"]
)
def test_what_names_another_host_or_path_is_stripped(name: bytes) -> None:
    assert headers.forwarded(((name, b"/admin"),), OPEN, None) == ()


@pytest.mark.parametrize("value", [b"gzip", b"trailers, deflate;q=0.5", b""])
def test_te_is_for_trailers_or_for_nobody(value: bytes) -> None:
    assert headers.forwarded(((b"TE", value),), OPEN, None) == ()
    assert headers.forwarded(((b"TE", b"Trailers"),), OPEN, None) == ((b"TE", b"Trailers"),)


def test_the_connection_header_can_not_drop_our_credential() -> None:
    fields = ((b"Connection", b"Authorization, close"), (b"Connection", b"Host"))
    sent = headers.forwarded(fields, AUTH, ("Authorization", "Bearer ours"))
    assert sent == (
        (b"Connection", b"close"),
        (b"Authorization", b"Bearer ours"),
    )


def test_a_websocket_is_asked_for_and_nothing_else() -> None:
    assert headers.is_websocket(WEBSOCKET)
    assert headers.forwarded(WEBSOCKET, OPEN, None) == WEBSOCKET


@pytest.mark.parametrize("upgrade", [b"h2c", b"tcp", b"websocket, h2c", b"TLS/1.0", b""])
def test_no_other_upgrade_is_passed_on(upgrade: bytes) -> None:
    fields = (
        (b"Connection", b"Upgrade, HTTP2-Settings"),
        (b"Upgrade", upgrade),
        (b"HTTP2-Settings", b"x"),
    )
    assert not headers.is_websocket(fields)
    assert headers.forwarded(fields, OPEN, None) == ()


def test_two_upgrades_are_no_websocket() -> None:
    assert not headers.is_websocket((*WEBSOCKET, (b"upgrade", b"tcp")))
    assert not headers.is_websocket(WEBSOCKET[:2])


FIELDS = st.lists(
    st.tuples(st.sampled_from(CREDENTIALS + ORDINARY), st.binary(max_size=8)), max_size=8
).map(tuple)


@given(FIELDS)
def test_exactly_one_credential_goes_out_and_it_is_ours(fields: headers.Fields) -> None:
    sent = headers.forwarded(fields, AUTH, ("Authorization", "Bearer ours"))
    assert headers.values(sent, b"authorization") == [b"Bearer ours"]
    assert {name for name, _ in sent} <= {b"Authorization", *ORDINARY}


@pytest.mark.parametrize(
    "name",
    [
        *(b"Transfer_Encoding", b"content_length", b"Content.Length", b"Transfer~Encoding"),
        *(b"Host ", b"keep_alive", b"Content_Encoding", b"x.original.url", b"Te "),
    ],
)
def test_what_is_read_as_framing_by_some_is_stripped(name: bytes) -> None:
    assert headers.forwarded(((name, b"trailers"),), OPEN, None) == ()


@pytest.mark.parametrize("name", [b"Transfer-Encoding", b"CONTENT-LENGTH", b"content-encoding"])
def test_framing_itself_stays(name: bytes) -> None:
    assert headers.forwarded(((name, b"x"),), OPEN, None) == ((name, b"x"),)


def test_a_websocket_offers_no_compression() -> None:
    fields = (*WEBSOCKET, (b"Sec-WebSocket-Extensions", b"permessage-deflate"))
    assert headers.forwarded(fields, OPEN, None) == headers.forwarded(WEBSOCKET, OPEN, None)
