from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egress.secret_search import Found, StreamSearch

SECRET = b"aabaabac"
PIECES = st.lists(
    st.binary(max_size=6) | st.sampled_from([b"a", b"b", b"aab", SECRET]), max_size=12
)


def cut(data: bytes, at: list[int]) -> list[bytes]:
    edges = [0, *sorted(at), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


@given(PIECES)
def test_what_is_refused_is_found_wherever_the_pieces_end(pieces: list[bytes]) -> None:
    search = StreamSearch([SECRET])
    fed = handed_on = b""
    for piece in pieces:
        fed += piece
        if SECRET in fed:
            with pytest.raises(Found):
                search.feed(piece)
            break
        handed_on += search.feed(piece)
        # What waits is at the end, and short.
        assert fed.startswith(handed_on)
        assert len(fed) - len(handed_on) < len(SECRET)
    else:
        assert handed_on + search.finish() == fed
    # Not even the beginning of it has gone on.
    assert handed_on == fed[: fed.find(SECRET)][: len(handed_on)] or SECRET not in fed


@given(st.binary(max_size=20), st.binary(max_size=20), st.lists(st.integers(0, 48), max_size=5))
def test_what_is_redacted_is_stars_of_the_same_length(
    before: bytes, after: bytes, at: list[int]
) -> None:
    data = before + SECRET + after
    search = StreamSearch([], [SECRET])
    handed_on = b"".join(search.feed(piece) for piece in cut(data, at)) + search.finish()
    assert len(handed_on) == len(data)
    assert SECRET not in handed_on
    assert b"*" * len(SECRET) in handed_on


def test_what_can_be_no_beginning_does_not_wait() -> None:
    search = StreamSearch([b"token"])
    assert search.feed(b"data: 1\n\n") == b"data: 1\n\n"
    assert not search.waits
    assert search.feed(b"data: to") == b"data: "
    assert search.waits
    assert search.feed(b"day\n\n") == b"today\n\n"


def test_letters_may_be_of_any_case() -> None:
    search = StreamSearch([b"dummy"], any_case=True)
    assert search.feed(b"a DU") == b"a "
    with pytest.raises(Found):
        search.feed(b"Mmy")


def test_the_longest_is_redacted_as_a_whole() -> None:
    search = StreamSearch([], [b"token", b"user:token"])
    assert search.feed(b"user:token token ") == b"********** ***** "
