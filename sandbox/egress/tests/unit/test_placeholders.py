import base64
import gzip
from collections.abc import Iterator

import brotli  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st

from egress.headers import Fields
from egress.placeholders import BodySearch, LeakInBody, Placeholders, holds
from egress.routes import Auth, Route, Routes

DUMMY = "sk-ant-dummy-0001"
HEADER = Auth("header", "EGRESS_TOKEN_1", header="x-api-key", placeholder=DUMMY)
BEARER = Auth("bearer", "EGRESS_TOKEN_1", placeholder=DUMMY)
TOKEN = Auth("token", "EGRESS_TOKEN_1", placeholder=DUMMY)
BASIC = Auth("basic", "EGRESS_TOKEN_1", user="me", placeholder=DUMMY)
QUERY = Auth("query", "EGRESS_TOKEN_1", parameter="key", placeholder=DUMMY)


def placeholders(auth: Auth = HEADER) -> Placeholders:
    return Placeholders(Routes((Route("api.example.com", ("/v1/",), auth=auth),)))


def place(
    auth: Auth = HEADER,
    *,
    host: str = "api.example.com",
    target: str = "/v1/x",
    fields: Fields = (),
    own: bool = True,
) -> str | None:
    leak = placeholders(auth).leak(host, target, fields, [auth] if own else [])
    return leak.place if leak else None


def basic(text: str) -> bytes:
    return b"Basic " + base64.b64encode(text.encode())


RIGHT: list[tuple[Auth, str, Fields]] = [
    (HEADER, "/v1/x", ((b"X-Api-Key", DUMMY.encode()),)),
    (BEARER, "/v1/x", ((b"authorization", b"bearer  " + DUMMY.encode()),)),
    (TOKEN, "/v1/x", ((b"Authorization", b"token " + DUMMY.encode()),)),
    (BASIC, "/v1/x", ((b"Authorization", basic(f"me:{DUMMY}")),)),
    (BASIC, "/v1/x", ((b"Authorization", basic(f"x-access-token:{DUMMY}")),)),
    (QUERY, f"/v1/x?a=1&key={DUMMY}", ()),
    (QUERY, "/v1/x?key=sk%2dant-dummy-0001", ()),
]


@pytest.mark.parametrize(("auth", "target", "fields"), RIGHT)
def test_it_counts_where_it_is_declared_on_its_own_route_alone(
    auth: Auth, target: str, fields: Fields
) -> None:
    assert holds(auth, target, fields)
    assert place(auth, target=target, fields=fields) is None
    assert place(auth, target=target, fields=fields, own=False) is not None


@pytest.mark.parametrize(
    ("auth", "target", "fields"),
    [
        (HEADER, "/v1/x", ((b"Authorization", b"Bearer " + DUMMY.encode()),)),
        (HEADER, "/v1/x", ((b"x_api_key", DUMMY.encode()),)),
        (HEADER, "/v1/x", ((b"x-api-key", b"Bearer " + DUMMY.encode()),)),
        (HEADER, "/v1/x", ((b"x-api-key", DUMMY.encode() + b"1"),)),
        (HEADER, "/v1/x", ((b"x-api-key", DUMMY.upper().encode()),)),
        (HEADER, "/v1/x", ((b"x-api-key", DUMMY.encode()), (b"x-other", DUMMY.encode()))),
        (HEADER, "/v1/x", ((DUMMY.encode(), b"x"),)),
        (HEADER, "/v1/x", ((b"x-other", b"a; b=sk%2Dant-dummy-0001"),)),
        (HEADER, "/v1/x", ((b"Authorization", basic(f"{DUMMY}:x")),)),
        (HEADER, f"/v1/{DUMMY}", ()),
        (HEADER, f"/v1/x?key={DUMMY}", ()),
        (HEADER, "/v1/x?a=%73k-ant-%2564ummy-0001", ()),
        (HEADER, f"/v1/x?a=%%&key={DUMMY}", ()),
        (BEARER, "/v1/x", ((b"Authorization", b"token " + DUMMY.encode()),)),
        (BEARER, "/v1/x", ((b"Authorization", DUMMY.encode()),)),
        (BASIC, "/v1/x", ((b"Authorization", basic(f"{DUMMY}:{DUMMY}1")),)),
        (QUERY, f"/v1/x?other={DUMMY}", ()),
        (QUERY, f"/v1/x?key={DUMMY}&key=x", ()),
        (QUERY, f"/v1/x?key={DUMMY}&a={DUMMY}", ()),
        (QUERY, f"/v1/{DUMMY}?key={DUMMY}", ()),
    ],
)
def test_anywhere_else_it_is_a_leak(auth: Auth, target: str, fields: Fields) -> None:
    assert place(auth, target=target, fields=fields) is not None


def test_a_name_can_carry_it_too() -> None:
    assert place(host=f"{DUMMY}.evil.example") == "the host's name"


def test_what_is_said_names_the_place_and_where_it_counts() -> None:
    leak = placeholders().leak("a.example", "/", ((b"x-other", DUMMY.encode()),), [])
    assert str(leak) == (
        "the placeholder of EGRESS_TOKEN_1 is in the header x-other; egress takes it only in the"
        " header x-api-key, of requests to api.example.com below /v1/, so this request has gone"
        " nowhere: take it out"
    )


def test_without_placeholders_nothing_is_searched() -> None:
    assert not Placeholders(Routes((Route("a.example", auth=Auth("bearer", "EGRESS_TOKEN_1")),)))


def fed(search: BodySearch, data: bytes, size: int) -> Iterator[bytes]:
    for at in range(0, len(data), size):
        yield from search.feed(data[at : at + size])


@given(st.integers(1, 40), st.sampled_from([b"", b"gzip"]))
def test_a_body_is_searched_across_its_pieces(size: int, coding: bytes) -> None:
    text = b"a long text with " * 3 + DUMMY.upper().encode() + b" in it"
    data = gzip.compress(text) if coding else text
    search = placeholders().body(((b"Content-Encoding", coding),))
    pieces: list[bytes] = []
    with pytest.raises(LeakInBody) as raised:
        pieces.extend(fed(search, data, size))
    handed_on = b"".join(pieces)
    assert raised.value.leak.place == "the body"
    assert data.startswith(handed_on)
    assert coding or DUMMY[:2].upper().encode() not in handed_on


@pytest.mark.parametrize("coding", [b"", b"gzip", b"compress", b"br"])
def test_a_body_without_one_stays_as_it_is(coding: bytes) -> None:
    data = b"sk-ant-dummy-000 sk-ant-" * 100
    search = placeholders().body(((b"Content-Encoding", coding),) if coding else ())
    assert b"".join(fed(search, data, 7)) + search.finish() == data


def test_a_body_that_unpacks_to_much_is_searched_in_parts() -> None:
    search = placeholders().body(((b"Content-Encoding", b"br"),))
    parts = search.feed(brotli.compress(bytes(50 << 20) + DUMMY.encode()))
    # Others have their turn after each.
    assert [next(parts) for _ in range(12)] == [b""] * 12
    with pytest.raises(LeakInBody):
        list(parts)
