import time

import pytest

from egress.limits import MAX_FIELDS, MAX_HEAD, MAX_LINE, excess
from egress.target import MalformedTarget, parse_target


def status(target: str, *fields: tuple[bytes, bytes]) -> int | None:
    found = excess(target, fields)
    return found.status if found else None


def test_what_is_at_the_limit_is_taken() -> None:
    assert status("/" * MAX_LINE, *[(b"x", b"")] * MAX_FIELDS) is None
    assert status("/", (b"x", b"v" * (MAX_HEAD - 33))) is None


def test_what_is_above_it_is_not() -> None:
    assert status("/" * (MAX_LINE + 1)) == 414
    assert status("/", *[(b"x", b"")] * (MAX_FIELDS + 1)) == 431
    assert status("/", (b"x", b"v" * (MAX_HEAD - 32))) == 431


def test_a_path_of_8_mb_is_not_decoded() -> None:
    before = time.process_time()
    with pytest.raises(MalformedTarget, match="longer"):
        parse_target("/" + "%252525" * 1_200_000)
    # To read it once takes longer.
    assert time.process_time() - before < 0.5


def test_the_longest_one_is_read_in_every_layer() -> None:
    target = parse_target("/" + "%2541" * 3_000)
    assert target.readings[-1] == "/" + "A" * 3_000
