from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egress.decision import Allow, Deny, Own, Reason, Request, decide, decide_connect
from egress.routes import Auth, Route, Routes

TOKEN = Auth("bearer", "EGRESS_TOKEN_1")
ROUTES = Routes(
    (
        Route("api.example.com", ("/v1/",), ("GET", "POST"), (), TOKEN),
        Route("open.example.com"),
        Route("*.wild.example"),
        Route("odd.example.com", ports=(8443,)),
        Route("dav.example.com", methods=("PROPFIND", "GET")),
    )
)


def request(host: str = "api.example.com", target: str = "/v1/x", **changes: object) -> Request:
    """An https request in its tunnel, with everything in agreement."""
    plain = Request(
        method="GET",
        scheme="https",
        host=host,
        port=443,
        target=target,
        tunnel=(host, 443),
        sni=host,
        authorities=(host,),
        origin_form=False,
        headers=((b"Host", host.encode("utf-8")),),
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def plain_request(host: str, **changes: object) -> Request:
    """An http request, sent to the proxy with an absolute target."""
    http = {"scheme": "http", "port": 80, "tunnel": None, "sni": None}
    return request(host, **(http | changes))  # type: ignore[arg-type]


def reason(asked: Request, routes: Routes = ROUTES) -> Reason | None:
    decided = decide(routes, asked)
    return decided.reason if isinstance(decided, Deny) else None


def test_what_a_route_names_is_allowed() -> None:
    decided = decide(ROUTES, request())
    assert decided == Allow("api.example.com", ROUTES.routes[0])


def test_without_routes_everything_is_denied() -> None:
    assert reason(request(), Routes()) is Reason.NO_ROUTES
    denied = decide_connect(Routes(), "api.example.com", 443, over_tls=False)
    assert denied is not None
    assert denied.reason is Reason.NO_ROUTES


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (request("evil.example"), Reason.HOST),
        (request("evil.api.example.com"), Reason.HOST),
        (request("wild.example"), Reason.HOST),
        (request(target="/v2/x"), Reason.PATH),
        (request(target="/v1"), Reason.PATH),
        (request(target="/v1/../v2"), Reason.TARGET),
        (request(method="DELETE"), Reason.METHOD),
        (request(method="get"), Reason.METHOD),
        (request("open.example.com", "/x", method="TRACE"), Reason.METHOD),
        (request("open.example.com", "/x", method="LOCK"), Reason.METHOD),
        (request("dav.example.com", "/x", method="POST"), Reason.METHOD),
        (request(target="/v1/?api_key=mine"), Reason.CREDENTIAL),
    ],
)
def test_what_no_route_allows_is_denied(asked: Request, expected: Reason) -> None:
    assert reason(asked) is expected


def test_a_method_that_is_named_is_allowed() -> None:
    assert reason(request("dav.example.com", "/x", method="PROPFIND")) is None


@pytest.mark.parametrize("port", [80, 443, 8080, 8443, 22, 53])
def test_a_port_is_the_schemes_own_or_one_of_the_routes(port: int) -> None:
    def at(host: str) -> Reason | None:
        named = f"{host}:{port}"
        return reason(request(host, "/v1/x", port=port, tunnel=(host, port), authorities=(named,)))

    assert at("open.example.com") is (None if port == 443 else Reason.PORT)
    assert at("odd.example.com") is (None if port == 8443 else Reason.PORT)


HOST = b"Host"
EVIL = "evil.example"
API = "api.example.com"


@pytest.mark.parametrize(
    "changes",
    [
        {"host": EVIL},
        {"tunnel": (EVIL, 443)},
        {"tunnel": ("open.example.com", 443)},
        {"tunnel": (API, 8443)},
        {"sni": EVIL},
        {"sni": "open.example.com"},
        {"sni": None},
        {"sni": ""},
        {"authorities": (EVIL,)},
        {"authorities": (API, EVIL)},
        {"authorities": (EVIL, API)},
        {"authorities": ()},
        {"authorities": ("",)},
        {"authorities": (f"{API}:80",)},
        {"authorities": (f"user@{API}",)},
        {"authorities": (f"{API}, {EVIL}",)},
        {"authorities": (f"{API}/",)},
        {"headers": ((HOST, API.encode()), (b"host", API.encode()))},
        {"scheme": "ftp"},
        {"tunnel": None},
    ],
)
def test_every_place_that_names_the_host_has_to_agree(changes: dict[str, object]) -> None:
    assert reason(replace(request(), **changes)) is Reason.MISMATCH  # type: ignore[arg-type]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "[::1]", "2130706433", "0x7f.1", "a b", ""])
def test_an_address_is_no_host(host: str) -> None:
    assert reason(request(host)) is Reason.ADDRESS
    denied = decide_connect(ROUTES, host, 443, over_tls=False)
    assert denied is not None
    assert denied.reason is Reason.ADDRESS


def test_case_and_trailing_dot_make_no_difference() -> None:
    spelled = "API.Example.com."
    decided = decide(ROUTES, request(spelled, sni=API, authorities=("api.EXAMPLE.com:443",)))
    assert isinstance(decided, Allow)
    assert decided.host == API


def test_a_credential_needs_https() -> None:
    assert reason(plain_request(API)) is Reason.HTTPS
    assert reason(plain_request("open.example.com")) is None
    in_tunnel = plain_request(API, tunnel=(API, 80))
    assert reason(in_tunnel) is Reason.HTTPS
    to_the_https_port = plain_request(API, port=443, tunnel=(API, 443), authorities=(f"{API}:443",))
    assert reason(to_the_https_port) is Reason.PORT


@pytest.mark.parametrize(
    "changes",
    [
        {"target": "/v1/r.git/git-receive-pack", "method": "POST"},
        {"target": "/v1/r.git/info/refs?service=git-receive-pack"},
        {"headers": ((b"Content-Type", b"application/x-Git-Receive-Pack-request"),)},
        {"headers": ((b"Accept", b"application/x-git-receive-pack-result"),)},
    ],
)
@pytest.mark.parametrize("host", [API, "open.example.com", "a.wild.example"])
def test_a_git_push_is_denied_on_every_route(host: str, changes: dict[str, object]) -> None:
    assert reason(request(host, **changes)) is Reason.GIT_PUSH  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [b"a\r\nHost: x", b"a\nb", b"a\x00b", b"a\r\n folded"])
def test_a_header_that_could_become_two_is_denied(value: bytes) -> None:
    assert reason(request(headers=((b"X", value),))) is Reason.HEADERS


@pytest.mark.parametrize(
    "name", [b"X-HTTP-Method-Override", b"x_http_method", b"X-Method-Override"]
)
def test_a_header_that_changes_the_method_is_a_second_method(name: bytes) -> None:
    assert reason(request(headers=((name, b"delete"),))) is Reason.METHOD
    assert reason(request(headers=((name, b"post"),))) is None


def test_a_request_for_egress_itself_goes_nowhere() -> None:
    own = plain_request("_egress.local", target="/allowlist?x")
    assert decide(ROUTES, own) == Own("/allowlist")
    direct = plain_request("egress", port=9099, origin_form=True, target="/health")
    assert decide(ROUTES, direct) == Own("/health")
    # Not even when it names a host that has a route.
    direct = plain_request("open.example.com", origin_form=True, target="/x")
    assert decide(ROUTES, direct) == Own("/x")


@pytest.mark.parametrize(
    ("host", "port", "over_tls", "expected"),
    [
        (API, 443, False, None),
        (API, 80, False, None),
        (API.upper() + ".", 443, False, None),
        (API, 443, True, Reason.MISMATCH),
        (API, 22, False, Reason.PORT),
        (API, 53, False, Reason.PORT),
        ("odd.example.com", 8443, False, None),
        ("odd.example.com", 443, False, Reason.PORT),
        (EVIL, 443, False, Reason.HOST),
        ("_egress.local", 80, False, Reason.HOST),
        ("127.0.0.1", 443, False, Reason.ADDRESS),
    ],
)
def test_a_tunnel_goes_to_a_routes_host_and_port(
    host: str, port: int, over_tls: bool, expected: Reason | None
) -> None:
    denied = decide_connect(ROUTES, host, port, over_tls)
    assert (denied.reason if denied else None) is expected


def test_the_closest_route_gives_the_credential() -> None:
    def auth(name: str) -> Auth:
        return Auth("bearer", f"EGRESS_TOKEN_{name}")

    routes = Routes(
        (
            Route("*.example.com"),
            Route("*.b.example.com"),
            Route("a.b.example.com", auth=auth("ALL")),
            Route("a.b.example.com", ("/x/",), auth=auth("X")),
            Route("a.b.example.com", ("/x/y/", "/z/"), auth=auth("XY")),
            Route("a.b.example.com", ("/x/y/",), ("PROPFIND",), auth=auth("DAV")),
        )
    )

    def credential(host: str, target: str, method: str = "GET") -> str | None:
        decided = decide(routes, request(host, target, method=method))
        assert isinstance(decided, Allow)
        return decided.route.auth.token_env if decided.route.auth else None

    assert credential("a.b.example.com", "/") == "EGRESS_TOKEN_ALL"
    assert credential("a.b.example.com", "/x/1") == "EGRESS_TOKEN_X"
    assert credential("a.b.example.com", "/x/y/1") == "EGRESS_TOKEN_XY"
    assert credential("a.b.example.com", "/z/1") == "EGRESS_TOKEN_XY"
    assert credential("a.b.example.com", "/x/y/1", "PROPFIND") == "EGRESS_TOKEN_DAV"
    assert credential("c.b.example.com", "/") is None


NAMES = st.sampled_from(
    [
        API,
        EVIL,
        API.upper(),
        API + ".",
        "open.example.com",
        "",
        "127.0.0.1",
        f"{API}:443",
        f"u@{API}",
    ]
)
PORTS = st.sampled_from([80, 443, 8443])


@given(
    st.builds(
        Request,
        method=st.sampled_from(["GET", "POST", "TRACE", "get"]),
        scheme=st.sampled_from(["http", "https", "ftp", ""]),
        host=NAMES,
        port=PORTS,
        target=st.sampled_from(["/v1/x", "/v1/../x", "/", "*", ""]),
        tunnel=st.none() | st.tuples(NAMES, PORTS),
        sni=st.none() | NAMES,
        authorities=st.lists(NAMES, max_size=3).map(tuple),
        origin_form=st.booleans(),
        headers=st.lists(NAMES.map(lambda n: (b"Host", n.encode())), max_size=2).map(tuple),
    )
)
def test_a_credential_goes_out_only_if_all_agree(asked: Request) -> None:
    decided = decide(ROUTES, asked)
    if isinstance(decided, Allow) and decided.route.auth:
        plain = {API, API.upper(), API + "."}
        assert decided.host == API
        assert asked.scheme == "https"
        assert asked.port == 443
        assert asked.tunnel is not None
        assert asked.tunnel[0] in plain
        assert asked.host in plain
        assert asked.sni in plain
        assert asked.authorities
        assert set(asked.authorities) <= plain | {f"{API}:443"}
        assert asked.target == "/v1/x"
        assert asked.method in {"GET", "POST"}
