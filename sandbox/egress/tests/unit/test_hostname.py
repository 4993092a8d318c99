import pytest
from hypothesis import given
from hypothesis import strategies as st

from egress.hostname import canonical_name, is_address, pattern_matches, split_authority

LABEL = st.from_regex(r"[a-z_]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
NAME = st.lists(LABEL, min_size=1, max_size=5).map(".".join)


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("api.example.com", "api.example.com"),
        ("API.Example.COM", "api.example.com"),
        ("api.example.com.", "api.example.com"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("_egress.local", "_egress.local"),
    ],
)
def test_one_name_has_one_spelling(spelling: str, name: str) -> None:
    assert canonical_name(spelling) == name


@pytest.mark.parametrize(
    "text",
    [
        *("", ".", "..", "a..b", ".a.b", "a.b..", "-a.b", "a-.b", "a b", "a/b", "a%2eb", "a\x00.b"),
        *("user@api.example.com", "api.example.com@evil.example", "api.example.com:443"),
        *("[::1]", "::1", "127.0.0.1", "127.0.0.1.", "2130706433", "0x7f.1", "0177.0.0.1", "1.0x7"),
        # IDNA would make a plain "a", "ss" and "." of these.
        *("\uff41pi.example.com", "stra\xdfe.example", "api\u3002example.com"),
        *("a" * 64 + ".example", ".".join(["a" * 60] * 5)),
    ],
)
def test_what_is_no_host_name_has_no_spelling(text: str) -> None:
    assert canonical_name(text) is None


@given(NAME, st.booleans(), st.data())
def test_case_and_the_roots_dot_make_no_difference(
    name: str, dot: bool, data: st.DataObject
) -> None:
    upper = data.draw(st.lists(st.booleans(), min_size=len(name), max_size=len(name)))
    spelled = "".join(c.upper() if u else c for c, u in zip(name, upper, strict=True))
    assert canonical_name(spelled + ("." if dot else "")) == name


@given(st.text(max_size=60))
def test_a_canonical_name_is_its_own_canonical_name(text: str) -> None:
    name = canonical_name(text)
    if name is not None:
        assert canonical_name(name) == name
        assert name.isascii()
        assert not is_address(name)


@given(NAME, st.integers(1, 65535))
def test_an_authority_is_a_name_and_a_port(name: str, port: int) -> None:
    assert split_authority(name) == (name, None)
    assert split_authority(f"{name}:{port}") == (name, port)


@pytest.mark.parametrize(
    "text",
    [
        *("a.b:", "a.b:x", "a.b:0", "a.b:65536", "a.b:443:443", "a.b:+1", "a.b: 1", "a.b:\uff11"),
        *("u@a.b", "u:p@a.b", "[::1]:443", "a.b, c.d", "a.b c.d", ""),
    ],
)
def test_anything_else_is_no_authority(text: str) -> None:
    assert split_authority(text) is None


@given(NAME, NAME)
def test_a_wildcard_covers_names_below_and_no_others(domain: str, label: str) -> None:
    assert pattern_matches(f"*.{domain}", f"{label}.{domain}")
    assert not pattern_matches(f"*.{domain}", domain)
    assert not pattern_matches(f"*.{domain}", f"x{domain}")
    assert not pattern_matches(f"*.{domain}", f"{domain}.{label}") or f"{domain}.{label}".endswith(
        f".{domain}"
    )


@given(NAME, NAME)
def test_an_exact_host_covers_itself_only(host: str, name: str) -> None:
    assert pattern_matches(host, name) == (host == name)
