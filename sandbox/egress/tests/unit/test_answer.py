import json
from datetime import UTC, datetime

from egress import answer
from egress.answer import State
from egress.decision import Deny, Reason
from egress.routes import Auth, Route, Routes

STATE = State(
    routes=Routes(
        (
            Route("api.example.com", ("/v1/",), ("GET",), (), Auth("bearer", "EGRESS_TOKEN_1")),
            Route("*.example.org", ports=(8443,)),
        )
    ),
    file="/etc/egress/routes.yaml",
    loaded=datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC),
    note=None,
    reload_error=None,
    ca_certificate=b"-----BEGIN CERTIFICATE-----\n",
)


def test_a_denial_says_what_is_missing_and_how_to_ask_for_it() -> None:
    denied = Deny(Reason.PATH, "the routes for a.example allow other paths only: /v1/")
    body = json.loads(answer.denial(denied, "POST", "a.example", 443, "/v2/x").body)
    assert body["reason"] == "no-route-for-path"
    assert body["message"] == denied.message
    assert "propose_egress_route" in body["how_to_ask"]
    assert asked_for(denied, "POST", "a.example", 443, "/v2/x") == {
        "host": "a.example",
        "paths": ["/v2/x"],
        "methods": ["POST"],
    }


def asked_for(denied: Deny, method: str, host: str, port: int, path: str) -> object:
    """The arguments for propose_egress_route in a denial."""
    text = json.loads(answer.denial(denied, method, host, port, path).body)["how_to_ask"]
    return json.loads(text[text.index("{") : text.rindex("}") + 1])


def test_a_tunnel_is_asked_for_as_a_whole_and_by_its_port() -> None:
    host, port = Deny(Reason.HOST, "m"), Deny(Reason.PORT, "m")
    assert asked_for(host, "CONNECT", "a.example", 443, "") == {"host": "a.example"}
    assert asked_for(host, "CONNECT", "a.example", 8443, "") == {
        "host": "a.example",
        "ports": [8443],
    }
    assert asked_for(port, "CONNECT", "a.example", 443, "") == {"host": "a.example", "ports": [443]}


def test_of_a_long_path_what_is_above_is_asked_for() -> None:
    denied = Deny(Reason.PATH, "m")
    asked = asked_for(denied, "GET", "a.example", 443, "/v2/" + "x" * 1000)
    assert asked == {"host": "a.example", "paths": ["/v2/"], "methods": ["GET"]}


def test_what_no_route_can_allow_is_not_to_be_asked_for() -> None:
    body = json.loads(answer.denial(Deny(Reason.GIT_PUSH, "x"), "POST", "a", 443, "/").body)
    assert "how_to_ask" not in body


def test_a_denial_stays_short() -> None:
    long = "x" * 100_000
    assert len(answer.denial(Deny(Reason.HOST, "m"), long, long, 443, long).body) < 2000


def test_the_allowlist_has_the_routes() -> None:
    shown = answer.own("/allowlist", "GET", STATE)
    assert shown.status == 200
    assert json.loads(shown.body) == {
        "routes": [
            {
                "host": "api.example.com",
                "paths": ["/v1/"],
                "methods": ["GET"],
                "auth": {"scheme": "bearer", "token_env": "EGRESS_TOKEN_1"},
            },
            {"host": "*.example.org", "ports": [8443]},
        ],
        "file": "/etc/egress/routes.yaml",
        "loaded": "2020-01-02T03:04:05+00:00",
        "note": None,
        "reload_error": None,
    }


def test_health_is_bad_until_routes_are_loaded() -> None:
    waiting = State(Routes(), "f", None, None, None, None)
    assert answer.own("/health", "GET", STATE).status == 200
    assert answer.own("/health", "GET", waiting).status == 503
    assert answer.own("/ca.pem", "GET", waiting).status == 404


def test_there_is_nothing_else() -> None:
    assert answer.own("/ca.pem", "GET", STATE).body == STATE.ca_certificate
    assert answer.own("/", "GET", STATE).status == 404
    assert answer.own("/allowlist", "POST", STATE).status == 405
