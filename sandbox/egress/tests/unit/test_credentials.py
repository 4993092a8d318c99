import pytest

from egress.credentials import Credentials
from egress.routes import Auth

SECRET = "s3cret-value"
NAME = "EGRESS_TOKEN_1"


def credentials(token: str = SECRET) -> Credentials:
    return Credentials({NAME: token})


@pytest.mark.parametrize(
    ("auth", "header"),
    [
        (Auth("bearer", NAME), ("Authorization", f"Bearer {SECRET}")),
        (Auth("token", NAME), ("Authorization", f"token {SECRET}")),
        (Auth("header", NAME, header="x-api-key"), ("x-api-key", SECRET)),
        (Auth("basic", NAME, user="me"), ("Authorization", "Basic bWU6czNjcmV0LXZhbHVl")),
        (Auth("query", NAME, parameter="key"), None),
    ],
)
def test_each_scheme_has_its_header(auth: Auth, header: tuple[str, str] | None) -> None:
    assert credentials().header(auth) == header


def test_basic_without_a_user_is_user_and_password() -> None:
    auth = Auth("basic", NAME)
    assert credentials("user:pass").problem(auth) is None
    assert credentials("user:pass").header(auth) == ("Authorization", "Basic dXNlcjpwYXNz")
    assert credentials("pass").problem(Auth("basic", NAME, user="user")) is None
    problem = credentials().problem(auth)
    assert problem is not None
    assert "has to be user:password" in problem


@pytest.mark.parametrize("value", [f"{SECRET}\n", f"{SECRET}\r\nX: y", f" {SECRET}", f"{SECRET}é"])
def test_an_unusable_token_is_told_without_its_value(value: str) -> None:
    problem = credentials(value).problem(Auth("bearer", NAME))
    assert problem is not None
    assert problem.startswith("it has characters that no HTTP header can carry")
    assert SECRET not in problem


@pytest.mark.parametrize(
    "placeholder", ["s3cret-value", "S3CRET-VALUE", "my-s3cret-value-2", "ret-value"]
)
def test_a_placeholder_tells_nothing_of_its_token(placeholder: str) -> None:
    problem = credentials().problem(Auth("bearer", NAME, placeholder=placeholder))
    assert problem is not None
    assert "placeholder is part of it" in problem


def test_a_parameter_is_encoded() -> None:
    assert credentials("a b&c=d/e").parameter(Auth("query", NAME, parameter="key")) == (
        "a%20b%26c%3Dd%2Fe"
    )


def test_an_answer_could_repeat_a_credential_in_each_form_in_which_it_was_sent() -> None:
    assert credentials("a long/token").texts(Auth("bearer", NAME)) == {
        b"a long/token",
        b"a%20long%2Ftoken",
        b"a%20long%2ftoken",
        b"a%20long/token",
    }
    assert credentials().texts(Auth("basic", NAME, user="me")) == {
        b"s3cret-value",
        b"me:s3cret-value",
        b"bWU6czNjcmV0LXZhbHVl",
    }
    # What is as short as that stands in any answer.
    short = {b"dXNlcjpwdw==", b"user%3Apw", b"user%3apw"}
    assert credentials("user:pw").texts(Auth("basic", NAME)) == short
    assert credentials("short").too_short([Auth("bearer", NAME)]) == [NAME]


def test_no_token_shows_up_in_a_representation() -> None:
    assert SECRET not in repr(credentials())
    assert not hasattr(credentials(), "__dict__")
