import gzip
import zlib
from collections.abc import Callable

import brotli  # type: ignore[import-untyped]
import pytest
import zstandard

from egress.content_decoding import ContentDecoder, Gunzip, Undecodable

TEXT = b"what the server says, " * 50_000


def raw_deflate(data: bytes) -> bytes:
    compress = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compress.compress(data) + compress.flush()


ENCODE: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstandard.compress,
}


def decoded(coding: str, pieces: list[bytes]) -> bytes:
    decoder = ContentDecoder(coding)
    return b"".join(part for piece in pieces for part in decoder.decode(piece))


@pytest.mark.parametrize("coding", ENCODE)
@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_each_coding_is_taken_off_in_pieces(coding: str, size: int) -> None:
    data = ENCODE[coding](TEXT)
    assert decoded(coding, [data[at : at + size] for at in range(0, len(data), size)]) == TEXT


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_what_comes_behind_the_first_member_is_decoded_too(coding: str) -> None:
    data = ENCODE[coding](b"one") + ENCODE[coding](b"two")
    assert decoded(coding, [data]) == b"onetwo"
    assert decoded(coding, [data[at : at + 1] for at in range(len(data))]) == b"onetwo"


def test_deflate_may_come_without_its_frame() -> None:
    assert decoded("deflate", [raw_deflate(TEXT)]) == TEXT


def test_codings_on_top_of_each_other_are_taken_off() -> None:
    assert decoded("gzip, identity, BR", [brotli.compress(gzip.compress(TEXT))]) == TEXT
    assert decoded("", [TEXT]) == decoded("identity", [TEXT]) == TEXT


@pytest.mark.parametrize("coding", ENCODE)
def test_what_is_something_else_is_told(coding: str) -> None:
    with pytest.raises(Undecodable):
        decoded(coding, [b"\x0fthis is nothing of the kind, whatever it is called" * 9])


def test_a_coding_that_is_not_known_is_told() -> None:
    with pytest.raises(Undecodable):
        ContentDecoder("compress")


@pytest.mark.parametrize("coding", ENCODE)
def test_a_bomb_ends_and_no_piece_of_it_is_large(coding: str) -> None:
    bomb = ContentDecoder(coding).decode(ENCODE[coding](bytes(100 << 20)))
    sizes: list[int] = []
    with pytest.raises(Undecodable):
        sizes.extend(len(piece) for piece in bomb)
    assert max(sizes) <= 4 << 20


def unpacked(pieces: list[bytes]) -> bytes:
    gunzip = Gunzip()
    found = b"".join(part for piece in pieces for part in gunzip.feed(piece))
    gunzip.finish()
    return found


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_a_body_that_is_sent_on_unpacked_is_whole(size: int) -> None:
    data = gzip.compress(TEXT) + gzip.compress(b"more")
    assert unpacked([data[at : at + size] for at in range(0, len(data), size)]) == TEXT + b"more"
    assert unpacked([]) == b""


def test_a_body_that_ends_too_early_or_goes_on_as_something_else_is_told() -> None:
    packed = gzip.compress(b"a body")
    for end in range(1, len(packed)):
        with pytest.raises(Undecodable):
            unpacked([packed[:end]])
    with pytest.raises(Undecodable):
        unpacked([packed + b"x"])


def test_a_body_is_unpacked_no_further_than_it_is_asked_for() -> None:
    pieces = Gunzip().feed(gzip.compress(bytes(1 << 30)))
    assert 0 < len(next(pieces)) <= 1 << 18
