import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egress.routes import Auth, Route
from egress.routes_file import MAX_BYTES, BadRoutes, Problem, load_routes, parse_routes

KEY = "token_env: EGRESS_TOKEN_1"

GOOD = """\
routes:
  - host: api.example.com          # exact
    paths: ["/v1/", "/health"]
    methods: [GET, POST]
    auth: {scheme: bearer, token_env: EGRESS_TOKEN_1}
  - host: "*.example.org"
    ports: [443, 8443]
"""


def errors(text: str) -> list[str]:
    with pytest.raises(BadRoutes) as raised:
        parse_routes(text.encode(), "routes.yaml")
    return [str(problem) for problem in raised.value.problems]


def one_route(text: str) -> list[str]:
    return errors(f"routes:\n  - host: a.example\n    {text}\n")


def test_a_good_file_is_read() -> None:
    loaded = parse_routes(GOOD.encode(), "routes.yaml")
    auth = Auth("bearer", "EGRESS_TOKEN_1")
    assert loaded.note is None
    assert loaded.routes.routes == (
        Route("api.example.com", ("/v1/", "/health"), ("GET", "POST"), (), auth),
        Route("*.example.org", (), (), (443, 8443)),
    )


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "routes:\n", "routes: []\n", "~\n"])
def test_an_empty_file_denies_all_and_says_so(text: str) -> None:
    loaded = parse_routes(text.encode(), "routes.yaml")
    assert loaded.routes.routes == ()
    assert loaded.note == "routes.yaml has no routes: everything is denied"


def test_a_missing_file_denies_all_and_says_so(tmp_path: Path) -> None:
    loaded = load_routes(tmp_path / "routes.yaml")
    assert loaded.routes.routes == ()
    assert loaded.note == f"{tmp_path}/routes.yaml does not exist: everything is denied"


def test_a_file_that_is_none_can_not_be_read(tmp_path: Path) -> None:
    with pytest.raises(BadRoutes, match="can't be read: Is a directory"):
        load_routes(tmp_path)


def test_all_errors_come_at_once_in_order_each_with_its_place() -> None:
    text = """\
routs: []
routes:
  - host: API.example.com
    path: ["/v1/"]
    methods: [get]
  - paths: ["v1", "/a/../b"]
  - host: a.example
    ports: [70000, 53]
    auth: {scheme: digest, token_env: HOME}
  - nothing
"""
    places = [(e.split(": ", 1)[0], e.split(": ", 1)[1]) for e in errors(text)]
    assert [place for place, _ in places] == [
        *("routes.yaml:1:1", "routes.yaml:3:11", "routes.yaml:4:5", "routes.yaml:5:15"),
        *("routes.yaml:6:5", "routes.yaml:6:13", "routes.yaml:6:19"),
        *("routes.yaml:8:13", "routes.yaml:8:20", "routes.yaml:9:20", "routes.yaml:9:39"),
        "routes.yaml:10:5",
    ]
    assert places[0][1] == 'unknown key "routs"; the file can have: routes'
    assert places[1][1] == '"API.example.com" is not in its plain form; write "api.example.com"'
    assert places[4][1] == 'a route has no "host"; add it'


@pytest.mark.parametrize(
    ("host", "what"),
    [
        *(("https://a.example", "no host name"), ("a.example/v1", "no host name")),
        *(("a.example:443", "no host name"), ("u@a.example", "no host name")),
        *(("*", "no host name"), ("a.*.example", "no host name"), ("*a.example", "no host name")),
        *(("bücher.example", "no host name"), ("a.example.", 'write "a.example"')),
        *(("*.Example.com", r'write "\*\.example\.com"'), ("127.0.0.1", "is an address")),
        *(
            ("[::1]", "is an address"),
            ("0x7f.1", "is an address"),
            ("2130706433.", "is an address"),
        ),
        *(("*.com", "top-level domain"), ("_egress.local", "answered by egress itself")),
        ("a._egress.local", "answered by egress itself"),
    ],
)
def test_a_host_is_a_plain_name(host: str, what: str) -> None:
    (error,) = errors(f"routes:\n  - host: '{host}'\n")
    assert error.startswith("routes.yaml:2:11: ")
    assert re.search(what, error)


@pytest.mark.parametrize(
    "path",
    ["v1", "", "//", "/a//b", "/a/./b", "/a/..", "/a%2f", "/a?b", "/a#b", "/a b", "/a;b", "/é"],
)
def test_a_path_reads_the_same_to_every_server(path: str) -> None:
    (error,) = one_route(f"paths: ['{path}']")
    assert "is no path prefix" in error


@pytest.mark.parametrize("method", ["get", "TRACE", "CONNECT", "FETCH", ""])
def test_a_method_is_a_known_one_and_never_reflects_or_tunnels(method: str) -> None:
    (error,) = one_route(f"methods: ['{method}']")
    assert "is no method that can be allowed" in error


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("paths: []", '"paths" is empty'),
        ("methods: []", '"methods" is empty'),
        ("ports: []", '"ports" is empty'),
        ("paths: /v1/", '"paths" has to be a list'),
        ("paths: [1]", "has to be a text"),
        ("paths: [[/a]]", "has to be a text"),
        ("methods: [GET, GET]", '"GET" is there twice'),
        ("ports: ['443']", "has to be a whole number"),
        ("ports: [443, 443]", "443 is there twice"),
        ("ports: [0]", "from 1 to 65535"),
        ("ports: [0x1bb]", "from 1 to 65535"),
        ("ports: [{}]", "has to be a whole number"),
        ("auth: bearer", "has to be a mapping"),
        ("auth: {scheme: bearer}", 'no "token_env"'),
        ("auth: {scheme: bearer, token_env: PATH}", "can't hold a token"),
        ("auth: {scheme: bearer, token_env: EGRESS_TOKEN_}", "can't hold a token"),
        ("auth: {scheme: Bearer, token_env: EGRESS_TOKEN_1}", "is no scheme"),
        ("auth: {scheme: bearer, token_env: EGRESS_TOKEN_1, token: x}", 'unknown key "token"'),
        (f"auth: {{{KEY}, scheme: header}}", 'the scheme header needs "header": the header'),
        (f"auth: {{{KEY}, scheme: query}}", 'the scheme query needs "parameter": the parameter'),
        (
            f"auth: {{{KEY}, scheme: bearer, header: x-api-key}}",
            '"header" is for the scheme header, not for bearer; remove it',
        ),
        (f"auth: {{{KEY}, scheme: bearer, parameter: k}}", '"parameter" is for the scheme query'),
        (f"auth: {{{KEY}, scheme: header, header: k, user: u}}", '"user" is for the scheme basic'),
        (f"auth: {{{KEY}, scheme: header, header: 'a b'}}", "is no name of a header"),
        (f"auth: {{{KEY}, scheme: header, header: ''}}", "is no name of a header"),
        (f"auth: {{{KEY}, scheme: header, header: 1}}", "has to be a text"),
        (f"auth: {{{KEY}, scheme: query, parameter: 'a&b'}}", "is no name of a parameter"),
        (f"auth: {{{KEY}, scheme: basic, user: 'a:b'}}", "is no user"),
        (f"auth: {{{KEY}, scheme: bearer, placeholder: 'a b c d e f g h'}}", "be a placeholder"),
        (f"auth: {{{KEY}, scheme: bearer, placeholder: short-one}}", "by chance"),
        (f"auth: {{{KEY}, scheme: bearer, placeholder: aaaaaaaaaaaaaaaab}}", "by chance"),
        (f"auth: {{{KEY}, scheme: bearer, echo: warn}}", "is one of refuse, redact"),
        ("auth: {scheme: bearer, token_env: EGRESS_TOKEN_FILE_1}", "can't hold a token"),
        ("host: b.example", '"host" is there twice'),
        ("? [x]\n    : y", "a key has to be a text"),
        ("paths: &a [/x/]", "anchors and aliases are not allowed"),
        ("paths: !!python/tuple [/x/]", "without a tag"),
        ("methods: [!!int GET]", "has to be a text"),
    ],
)
def test_what_is_not_as_it_should_be_is_an_error(text: str, what: str) -> None:
    assert any(what in error for error in one_route(text))


@pytest.mark.parametrize(
    "name",
    [
        *("Host", "host", "Content-Length", "content_length", "Transfer-Encoding", "Connection"),
        *("Keep-Alive", "TE", "Trailer", "Upgrade", "Proxy-Authorization", "Proxy-Connection"),
        *("X-Forwarded-Host", "X-HTTP-Method-Override", "Expect", "Sec-WebSocket-Protocol"),
        *("Transfer_Encoding", "Content-Encoding", "X-Original-URL", "Forwarded"),
    ],
)
def test_a_header_that_says_where_a_request_goes_or_ends_carries_no_credential(name: str) -> None:
    (error,) = one_route(f"auth: {{{KEY}, scheme: header, header: {name}}}")
    assert error.startswith("routes.yaml:3:")
    assert f'"{name}" says where a request goes, or where it ends' in error


@pytest.mark.parametrize(
    ("text", "auth"),
    [
        (
            "scheme: header, header: x-goog-api-key",
            Auth("header", "EGRESS_TOKEN_1", header="x-goog-api-key"),
        ),
        (
            "scheme: header, header: PRIVATE-TOKEN, echo: redact",
            Auth("header", "EGRESS_TOKEN_1", header="PRIVATE-TOKEN", echo="redact"),
        ),
        (
            "scheme: query, parameter: key",
            Auth("query", "EGRESS_TOKEN_1", parameter="key"),
        ),
        ("scheme: basic, user: me@x", Auth("basic", "EGRESS_TOKEN_1", user="me@x")),
        (
            'scheme: bearer, placeholder: "sk-ant-dummy-0001"',
            Auth("bearer", "EGRESS_TOKEN_1", placeholder="sk-ant-dummy-0001"),
        ),
    ],
)
def test_each_form_of_a_credential_is_read(text: str, auth: Auth) -> None:
    file = f"routes:\n  - host: a.example\n    auth: {{{KEY}, {text}}}\n"
    loaded = parse_routes(file.encode(), "routes.yaml")
    assert loaded.routes.routes == (Route("a.example", auth=auth),)
    assert [(use.host, use.auth, use.line, use.column) for use in loaded.uses] == [
        ("a.example", auth, 3, 23)
    ]


def two_placeholders(first: str, second: str, token: str) -> str:
    return (
        "routes:\n  - host: a.example\n"
        f"    auth: {{{KEY}, scheme: bearer, placeholder: {first}}}\n"
        "  - host: b.example\n"
        f"    auth: {{token_env: {token}, scheme: bearer, placeholder: {second}}}\n"
    )


def test_one_placeholder_stands_for_one_credential() -> None:
    # On several routes, of course.
    text = two_placeholders("sk-dummy-0001", "sk-dummy-0001", "EGRESS_TOKEN_1")
    assert len(parse_routes(text.encode(), "routes.yaml").routes.routes) == 2
    for second in ("sk-dummy-0001", "SK-Dummy-0001"):
        (error,) = errors(two_placeholders("sk-dummy-0001", second, "EGRESS_TOKEN_2"))
        assert error == (
            f'routes.yaml:5:68: the placeholder "{second}" is used twice: it stands for'
            " EGRESS_TOKEN_1 in line 3; choose another one for EGRESS_TOKEN_2"
        )


@pytest.mark.parametrize(
    ("first", "second"),
    [("sk-dummy-0001", "my-sk-dummy-0001"), ("sk-dummy-00012", "sk-DUMMY-0001")],
)
@pytest.mark.parametrize("token", ["EGRESS_TOKEN_1", "EGRESS_TOKEN_2"])
def test_no_placeholder_is_part_of_another(first: str, second: str, token: str) -> None:
    (error,) = errors(two_placeholders(first, second, token))
    assert "and that of line 3 are part of each other; choose another one" in error


def test_a_wildcard_gets_no_credential() -> None:
    text = (
        "routes:\n  - host: '*.a.example'\n    auth: {scheme: bearer, token_env: EGRESS_TOKEN_1}\n"
    )
    (error,) = errors(text)
    assert error.startswith("routes.yaml:3:11: auth needs an exact host")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("", ""),
        ("methods: [GET]", ""),
        ("methods: [GET, POST]", "methods: [POST]"),
        ("paths: [/a/, /b/]", "paths: [/b/]"),
        ("ports: [443, 8443]", ""),
    ],
)
def test_the_same_host_path_and_method_twice_is_an_error(first: str, second: str) -> None:
    text = f"routes:\n  - host: a.example\n    {first}\n  - host: a.example\n    {second}\n"
    (error,) = errors(text)
    assert error.startswith("routes.yaml:4:5: a.example already has ")
    assert "in the route of line 2" in error


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("methods: [GET]", "methods: [POST]"),
        ("paths: [/a/]", ""),
        ("ports: [8443]", ""),
        ("methods: [LOCK]", ""),
    ],
)
def test_routes_that_do_not_overlap_are_fine(first: str, second: str) -> None:
    text = f"routes:\n  - host: a.example\n    {first}\n  - host: a.example\n    {second}\n"
    assert len(parse_routes(text.encode(), "routes.yaml").routes.routes) == 2


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("routes: [", "routes.yaml:1:10: is not YAML"),
        ("routes:\n\t- host: a", "routes.yaml:2:1: is not YAML"),
        ("routes: []\n---\nroutes: []\n", "routes.yaml:2:1: is not YAML"),
        ("routes: *a", "routes.yaml:1:9: is not YAML"),
        ("- host: a.example\n", "routes.yaml:1:1: the file has to be a mapping"),
        ("routes: {host: a.example}", 'routes.yaml:1:9: "routes" has to be a list'),
        ("just text", "routes.yaml:1:1: the file has to be a mapping"),
        ("a: \x07", "routes.yaml: is not YAML"),
        ("[" * 5000, "routes.yaml"),
    ],
)
def test_what_is_no_file_of_routes_is_refused(text: str, where: str) -> None:
    assert errors(text)[0].startswith(where)


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(BadRoutes, match="is not UTF-8 at byte 2"):
        parse_routes(b"# \xff", "routes.yaml")
    with pytest.raises(BadRoutes, match="is larger than"):
        parse_routes(b"#" * (MAX_BYTES + 1), "routes.yaml")


@given(
    st.one_of(st.text(max_size=200), st.text("routes:[]{}-*&!ahost.example /\n\"'", max_size=80))
)
def test_any_text_gives_routes_or_errors_with_the_files_name(text: str) -> None:
    problems: list[Problem] | None = None
    try:
        parse_routes(text.encode("utf-8", "surrogatepass"), "routes.yaml")
    except BadRoutes as error:
        problems = error.problems
    assert problems is None or problems
    assert all(str(problem).startswith("routes.yaml") for problem in problems or [])


@given(st.data())
def test_one_changed_character_never_opens_more_hosts_unseen(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(GOOD) - 1))
    changed = GOOD[:at] + data.draw(st.characters(max_codepoint=127)) + GOOD[at + 1 :]
    try:
        routes = parse_routes(changed.encode(), "routes.yaml").routes
    except BadRoutes:
        return
    for route in routes.routes:
        assert route.host in changed
        assert all(path in changed for path in route.paths)
