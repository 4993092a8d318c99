import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egress.credentials import Credentials
from egress.echo import HELD, Echoes, EchoRefused
from egress.routes import Auth

SECRET = b"s3cret-of-the-operator"
CREDENTIALS = Credentials({"EGRESS_TOKEN_1": SECRET.decode()})
REFUSE = Echoes.of(CREDENTIALS, [Auth("bearer", "EGRESS_TOKEN_1")])
REDACT = Echoes.of(CREDENTIALS, [Auth("bearer", "EGRESS_TOKEN_1", echo="redact")])
STARS = b"*" * len(SECRET)


def in_pieces(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def through(echoes: Echoes, coding: str, data: bytes, size: int) -> bytes:
    guard = echoes.body(coding)
    return b"".join(map(guard.feed, in_pieces(data, size))) + guard.finish()


def test_both_on_one_host_means_refuse() -> None:
    auths = [Auth("bearer", "EGRESS_TOKEN_1", echo=echo) for echo in ("redact", "refuse")]
    assert Echoes.of(CREDENTIALS, auths) == REFUSE


@given(st.integers(1, 60), st.sampled_from(["", "gzip"]))
def test_an_answer_that_repeats_it_is_cut_off_before_it(size: int, coding: str) -> None:
    text = b"it says: " + SECRET + b" and more"
    data = gzip.compress(text) if coding else text
    guard = REFUSE.body(coding)
    pieces: list[bytes] = []
    with pytest.raises(EchoRefused, match="the answer repeats a credential"):
        pieces.extend(map(guard.feed, in_pieces(data, size)))
    handed_on = b"".join(pieces)
    assert data.startswith(handed_on)
    assert coding or SECRET[:1] not in handed_on[len(b"it says: ") :]


@given(st.integers(1, 60), st.sampled_from(["", "gzip"]))
def test_it_can_be_replaced(size: int, coding: str) -> None:
    text = b"it says: " + SECRET + b" and " + SECRET[:5]
    data = gzip.compress(text) if coding else text
    assert through(REDACT, coding, data, size) == text.replace(SECRET, STARS)


@given(st.binary(max_size=300), st.integers(1, 60), st.sampled_from(["", "gzip"]))
def test_any_other_answer_stays_as_it_is(text: bytes, size: int, coding: str) -> None:
    data = gzip.compress(text) if coding else text
    assert through(REFUSE, coding, data, size) == data


def test_of_a_coded_answer_no_beginning_is_handed_on() -> None:
    # Not compressed, so that each byte of it comes at a known place.
    data = gzip.compress(b"says " + SECRET, 0)
    at = data.index(SECRET)
    guard = REFUSE.body("gzip")
    assert guard.feed(data[:at]) == data[:at]
    assert guard.feed(data[at : at + len(SECRET) - 1]) == b""
    with pytest.raises(EchoRefused):
        guard.feed(data[at + len(SECRET) - 1 :])


def test_what_waits_is_bounded() -> None:
    # Whatever piece it comes in, it ends with the first letter.
    data = gzip.compress(SECRET[:1] * 2 * HELD, 0)
    guard = REFUSE.body("gzip")
    guard.feed(data[:100])
    with pytest.raises(EchoRefused, match="over and over"):
        list(map(guard.feed, in_pieces(data[100:], 4096)))


def test_what_can_not_be_looked_into_is_refused() -> None:
    with pytest.raises(EchoRefused, match="a coding that egress can't look into"):
        REFUSE.body("compress")
    with pytest.raises(EchoRefused, match="not what its Content-Encoding says"):
        REFUSE.body("gzip").feed(b"plain text, all of it")


def test_headers_are_looked_through() -> None:
    fields = ((b"Location", b"/?key=" + SECRET), (b"X-Other", b"x"))
    with pytest.raises(EchoRefused):
        REFUSE.head(fields)
    assert REDACT.head(fields) == ((b"Location", b"/?key=" + STARS), (b"X-Other", b"x"))
    assert REFUSE.head(fields[1:]) == fields[1:]


@pytest.mark.parametrize(
    ("offered", "asked"),
    [
        (b"gzip, deflate, br, zstd", b"gzip, deflate, br, zstd"),
        (b"compress, GZIP;q=0.5, *;q=0.1", b"GZIP;q=0.5"),
        (b"*", b"identity"),
        (b"", b"identity"),
    ],
)
def test_only_what_can_be_looked_into_is_asked_for(offered: bytes, asked: bytes) -> None:
    fields = ((b"Accept-Encoding", offered), (b"Accept", b"*/*"))
    assert REFUSE.accepted(fields) == ((b"Accept", b"*/*"), (b"Accept-Encoding", asked))
    assert REDACT.accepted(fields)[1] == (b"Accept-Encoding", b"identity")
