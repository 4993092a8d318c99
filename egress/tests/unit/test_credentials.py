from egress.credentials import Credentials
from egress.routes import Auth, Route, Routes, Scheme

SECRET = "s3cret-value"


def routes(scheme: Scheme, name: str = "EGRESS_TOKEN_1") -> Routes:
    return Routes((Route("api.example.com", auth=Auth(scheme, name)),))


def test_the_tokens_leave_the_environment() -> None:
    environment = {"EGRESS_TOKEN_1": SECRET, "EGRESS_TOKEN_B": "x", "PATH": "/bin"}
    credentials = Credentials.take_from(environment)
    assert environment == {"PATH": "/bin"}
    assert credentials.header(Auth("bearer", "EGRESS_TOKEN_1")) == f"Bearer {SECRET}"
    assert credentials.header(Auth("token", "EGRESS_TOKEN_1")) == f"token {SECRET}"


def test_basic_is_user_and_password() -> None:
    credentials = Credentials({"EGRESS_TOKEN_1": "user:pass"})
    assert credentials.problems(routes("basic")) == []
    assert credentials.header(Auth("basic", "EGRESS_TOKEN_1")) == "Basic dXNlcjpwYXNz"
    (problem,) = Credentials({"EGRESS_TOKEN_1": SECRET}).problems(routes("basic"))
    assert problem == "EGRESS_TOKEN_1 has to be user:password, as its scheme is basic"


def test_a_missing_or_unusable_token_is_named_without_its_value() -> None:
    (missing,) = Credentials({}).problems(routes("bearer"))
    assert missing == "EGRESS_TOKEN_1 is not set, but a route has it as its token_env"
    for value in (f"{SECRET}\n", f"{SECRET}\r\nX: y", f" {SECRET}", f"{SECRET}é"):
        (problem,) = Credentials({"EGRESS_TOKEN_1": value}).problems(routes("bearer"))
        assert problem == "EGRESS_TOKEN_1 has characters that no HTTP header can carry"


def test_no_token_shows_up_in_a_representation() -> None:
    assert SECRET not in repr(Credentials({"EGRESS_TOKEN_1": SECRET}))
    assert not hasattr(Credentials({}), "__dict__")
