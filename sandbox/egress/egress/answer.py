"""What egress answers by itself: denials, and what it says about itself. [pure]"""

import json
from dataclasses import dataclass
from datetime import datetime

from egress.decision import ASKABLE, Deny, Reason
from egress.hostname import DEFAULT_PORTS
from egress.route_fields import OWN_NAME
from egress.routes import Route, Routes

_SHOWN = 200


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, content type and body."""

    status: int
    content_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class State:
    """What is in force, for those who ask."""

    routes: Routes
    file: str
    loaded: datetime | None
    note: str | None
    reload_error: str | None
    ca_certificate: bytes | None


def denial(deny: Deny, method: str, host: str, port: int, path: str) -> Answer:
    """Says which rule is missing, and how to ask for it."""
    body: dict[str, object] = {
        "error": "denied by egress",
        "reason": deny.reason.value,
        "message": deny.message,
    }
    if deny.reason in ASKABLE:
        arguments: dict[str, object] = {"host": host[:_SHOWN]}
        if method != "CONNECT":
            arguments |= {"paths": [_prefix(path)], "methods": [method[:_SHOWN]]}
        if deny.reason is Reason.PORT or port not in DEFAULT_PORTS.values():
            arguments["ports"] = [port]
        body["how_to_ask"] = (
            f"ask the operator for a route: call propose_egress_route of the MCP server supervise"
            f" with a justification and {json.dumps(arguments)}; when it is approved, send the"
            " request again"
        )
        body["allowed"] = f"http://{OWN_NAME}/allowlist"
    return _json(deny.status, body)


def echo_refused(why: str) -> Answer:
    """A 502 in place of an answer that the agent must not see."""
    message = f"{why}; the operator can have it replaced: echo: redact, in the route's auth"
    body: dict[str, object] = {"error": "refused by egress", "reason": "credential-echo"}
    return _json(502, body | {"message": message})


def _prefix(path: str) -> str:
    """Covers the path; of one that is too long to be shown, what is above it."""
    return path if len(path) <= _SHOWN else path[:_SHOWN].rpartition("/")[0] + "/"


def own(path: str, method: str, state: State) -> Answer:
    """What is answered under egress's own name; none of it leaves the proxy."""
    if method not in {"GET", "HEAD"}:
        return _json(405, {"error": "egress answers GET only"})
    match path:
        case "/allowlist":
            return _json(200, _allowlist(state))
        case "/health":
            ready = state.loaded is not None
            return _json(
                200 if ready else 503, {"ready": ready, "routes": len(state.routes.routes)}
            )
        case "/ca.pem" if state.ca_certificate is not None:
            return Answer(200, "application/x-pem-file", state.ca_certificate)
        case _:
            paths = "/allowlist, /ca.pem and /health"
            return _json(
                404,
                {"error": f"egress answers {paths} here; use it as an HTTP proxy for other hosts"},
            )


def _allowlist(state: State) -> dict[str, object]:
    return {
        "routes": [_route(route) for route in state.routes.routes],
        "file": state.file,
        "loaded": state.loaded.isoformat(timespec="seconds") if state.loaded else None,
        "note": state.note,
        "reload_error": state.reload_error,
    }


def _route(route: Route) -> dict[str, object]:
    shown: dict[str, object] = {"host": route.host}
    if route.paths:
        shown["paths"] = list(route.paths)
    if route.methods:
        shown["methods"] = list(route.methods)
    if route.ports:
        shown["ports"] = list(route.ports)
    if route.auth:
        auth = route.auth
        keys = {"scheme": auth.scheme, "token_env": auth.token_env, "header": auth.header}
        keys |= {"parameter": auth.parameter, "placeholder": auth.placeholder}
        shown["auth"] = {key: value for key, value in keys.items() if value}
    if not route.scans_responses:
        shown["scan"] = {"responses": "none"}
    return shown


def _json(status: int, body: dict[str, object]) -> Answer:
    text = json.dumps(body, ensure_ascii=True, indent=2) + "\n"
    return Answer(status, "application/json", text.encode("ascii"))
