import pytest
from hypothesis import given
from hypothesis import strategies as st

from egress import query_parameter


@pytest.mark.parametrize(
    ("target", "rest"),
    [
        ("/v1", "/v1"),
        ("/v1?key=x", "/v1"),
        ("/v1?a=1&key=x&b=2", "/v1?a=1&b=2"),
        ("/v1?key=x&b=2", "/v1?b=2"),
        ("/v1?a=1;KEY=x", "/v1?a=1"),
        ("/v1?%6bey=x&key", "/v1"),
        ("/v1?a=1;b=2&key=x;c", "/v1?a=1;b=2;c"),
        ("/v1?keys=x&a=?key=y", "/v1?keys=x&a=?key=y"),
    ],
)
def test_one_parameter_goes_and_the_rest_stays_as_it_is(target: str, rest: str) -> None:
    assert query_parameter.without(target, "key") == rest
    joint = "&" if "?" in rest else "?"
    assert query_parameter.replaced(target, "key", "ours") == f"{rest}{joint}key=ours"


def test_values_are_decoded() -> None:
    assert query_parameter.values("/v1?key=a%2Db&x=1;Key=c+d", "key") == ["a-b", "c d"]


@given(st.text("ab=&;%6k1ey?-_+", max_size=30))
def test_exactly_one_value_goes_out_and_it_is_ours(query: str) -> None:
    sent = query_parameter.replaced(f"/v1?{query}", "key", "ours")
    assert query_parameter.values(sent, "key") == ["ours"]
