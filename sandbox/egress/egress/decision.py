"""Whether a request may leave, and why not. [pure]

Everything is denied but what a route allows. Nothing is corrected on the way to a decision: what
could be read in two ways is denied too.
"""

from dataclasses import dataclass
from enum import Enum

from egress import headers, limits
from egress.hostname import DEFAULT_PORTS, canonical_name, split_authority
from egress.route_fields import OWN_NAME
from egress.routes import COMMON_METHODS, Route, Routes
from egress.target import MalformedTarget, Target, parse_target


class Reason(Enum):
    """Why something is denied; the value is what the log and the answer say."""

    NO_ROUTES = "no-routes"
    HOST = "no-route-for-host"
    PORT = "no-route-for-port"
    PATH = "no-route-for-path"
    METHOD = "no-route-for-method"
    HTTPS = "https-required"
    MISMATCH = "host-mismatch"
    ADDRESS = "malformed-host"
    TARGET = "malformed-target"
    HEADERS = "malformed-headers"
    TOO_LARGE = "head-too-large"
    CREDENTIAL = "credential-in-query"
    LEAK = "placeholder-leak"
    GIT_PUSH = "git-push"
    BODY = "body-not-scanned"
    ENCODING = "malformed-body"
    SCAN = "refused-by-pipelock"
    INTERNAL = "internal-error"


# What an operator can put right with a route.
ASKABLE = frozenset({Reason.NO_ROUTES, Reason.HOST, Reason.PORT, Reason.PATH, Reason.METHOD})


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it was observed, before anything of it was corrected or sent on."""

    method: str
    scheme: str
    host: str
    port: int
    target: str
    # Where the CONNECT went in whose tunnel this request came; None outside of one.
    tunnel: tuple[str, int] | None
    # What the TLS handshake named; None without TLS and without SNI.
    sni: str | None
    # :authority, the authority of an absolute target, and every Host header.
    authorities: tuple[str, ...]
    # A target such as "/path", which a client sends to a server, not to a proxy.
    origin_form: bool
    headers: headers.Fields


@dataclass(frozen=True, slots=True)
class Allow:
    """It may go to this host, by this route."""

    host: str
    route: Route


@dataclass(frozen=True, slots=True)
class Deny:
    """It may not."""

    reason: Reason
    message: str
    status: int = 403


@dataclass(frozen=True, slots=True)
class Own:
    """It is meant for egress itself and goes nowhere."""

    path: str


def decide_connect(routes: Routes, host: str, port: int, over_tls: bool) -> Deny | None:
    """Whether a tunnel may be opened. What goes through it is decided request by request."""
    if over_tls:
        return Deny(Reason.MISMATCH, "the proxy is spoken to in plain HTTP: use http://, not https")
    name = canonical_name(host)
    if name is None:
        return Deny(Reason.ADDRESS, "a tunnel goes to a host name, not to an address")
    if name == OWN_NAME:
        return Deny(Reason.HOST, f"{OWN_NAME} is asked without a tunnel, by http://{OWN_NAME}/")
    candidates = routes.for_host(name)
    if not candidates:
        return _no_host(routes, name)
    if not any(route.allows_tunnel(port) for route in candidates):
        return Deny(Reason.PORT, f"no route for {name} allows port {port}")
    return None


def decide(routes: Routes, request: Request) -> Allow | Deny | Own:
    """Whether this request may leave."""
    excess = limits.excess(request.target, request.headers)
    if excess is not None:
        return Deny(Reason.TOO_LARGE, excess.message, excess.status)
    if headers.malformed(request.headers):
        return Deny(Reason.HEADERS, "a header has a line break in it")
    if request.tunnel is None and request.scheme == "http":
        own = _own_path(request)
        if own is not None:
            return Own(own)
    name = canonical_name(request.host)
    if name is None:
        return Deny(Reason.ADDRESS, "requests go to a host name, not to an address")
    mismatch = _mismatch(name, request)
    if mismatch is not None:
        return Deny(Reason.MISMATCH, mismatch)
    try:
        target = parse_target(request.target)
    except MalformedTarget as error:
        return Deny(Reason.TARGET, str(error))
    if target.is_git_push or _is_git_push(request.headers):
        return Deny(
            Reason.GIT_PUSH,
            "git pushes go through git-gate, which scans them, never through egress",
        )
    return _route(routes, request, name, target)


def _own_path(request: Request) -> str | None:
    addressed = request.origin_form or canonical_name(request.host) == OWN_NAME
    return request.target.partition("?")[0] if addressed else None


def _mismatch(name: str, request: Request) -> str | None:
    """Every place that names the host has to name the same one."""
    if request.scheme not in DEFAULT_PORTS:
        return "the scheme is neither http nor https"
    if request.tunnel is not None:
        host, port = request.tunnel
        if canonical_name(host) != name or port != request.port:
            return "the request names another host than its CONNECT"
    if len(headers.values(request.headers, b"host")) > 1:
        return "the request has more than one Host header"
    if not request.authorities:
        return "the request has no Host header"
    expected = (name, request.port)
    for authority in request.authorities:
        named = split_authority(authority)
        if named is None:
            return "the Host header is no host name"
        if (named[0], named[1] or DEFAULT_PORTS[request.scheme]) != expected:
            return "the Host header names another host than the request's target"
    if request.scheme == "https":
        if request.tunnel is None:
            return "https goes through a CONNECT, so that TLS covers it from end to end"
        if request.sni is None:
            return "the TLS handshake names no host (SNI)"
        if canonical_name(request.sni) != name:
            return "the TLS handshake (SNI) names another host than the request"
    return None


def _is_git_push(fields: headers.Fields) -> bool:
    types = headers.values(fields, b"content-type") + headers.values(fields, b"accept")
    return any(b"git-receive-pack" in value.lower() for value in types)


def _route(routes: Routes, request: Request, name: str, target: Target) -> Allow | Deny:
    at_host = routes.for_host(name)
    if not at_host:
        return _no_host(routes, name)
    at_port = [route for route in at_host if route.allows_port(request.scheme, request.port)]
    if not at_port:
        message = f"no route for {name} allows {request.scheme} on port {request.port}"
        return Deny(Reason.PORT, message)
    at_path = [
        (route, length) for route in at_port if (length := route.longest_prefix(target)) is not None
    ]
    if not at_path:
        known = ", ".join(sorted({path for route in at_port for path in route.paths}))
        return Deny(Reason.PATH, f"the routes for {name} allow other paths only: {known}")
    # A header that overrides the method makes two of one; both have to be allowed.
    methods = [request.method, *headers.method_overrides(request.headers)]
    allowed = [
        (route.host == name, length, len(route.host), route)
        for route, length in at_path
        if all(route.allows_method(method) for method in methods)
    ]
    if not allowed:
        known = ", ".join(sorted({m for r, _ in at_path for m in r.methods or COMMON_METHODS}))
        return Deny(Reason.METHOD, f"the routes for this path of {name} allow {known} only")
    # The exact host before a wildcard, then the longest prefix, then the longest wildcard.
    route = max(allowed, key=lambda candidate: candidate[:3])[3]
    if not route.scans_responses:
        if request.scheme != "https":
            # pipelock reads plain http also where it leaves TLS alone, and cuts long answers short.
            return Deny(Reason.HTTPS, f"the route for {name} is for downloads, so it needs https")
        if headers.announces_body(request.headers) or headers.is_websocket(request.headers):
            message = (
                f"the route for {name} is for downloads: a body that leaves could not be scanned"
            )
            return Deny(Reason.BODY, message)
    if route.auth is not None:
        if request.scheme != "https":
            return Deny(Reason.HTTPS, f"the route for {name} has a credential, so it needs https")
        if target.has_credential_besides(route.auth.parameter):
            return Deny(
                Reason.CREDENTIAL, "egress injects the credential here: take yours out of the query"
            )
    return Allow(name, route)


def _no_host(routes: Routes, name: str) -> Deny:
    if not routes.routes:
        return Deny(Reason.NO_ROUTES, "no route is in force, so everything is denied")
    return Deny(Reason.HOST, f"no route names the host {name}")
