"""What routes.yaml says: data only. `routes_file.py` reads it."""

from dataclasses import dataclass
from typing import Literal

from egress.hostname import DEFAULT_PORTS, pattern_matches
from egress.target import Target

Scheme = Literal["bearer", "basic", "token", "header", "query"]
SCHEMES: tuple[Scheme, ...] = ("bearer", "basic", "token", "header", "query")

# What becomes of an answer that repeats the credential.
Echo = Literal["refuse", "redact"]
ECHOES: tuple[Echo, ...] = ("refuse", "redact")

# What has no body, and so may pass where pipelock judges heads only.
BODILESS_METHODS = ("GET", "HEAD")
# What a route without `methods` allows.
COMMON_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
# What has to be named. WebDAV's are not among the common ones since git can push with them.
# TRACE and CONNECT can't be named: TRACE sends the injected token back to the agent.
OTHER_METHODS = (
    *("COPY", "LOCK", "MKCOL", "MOVE", "PROPFIND", "PROPPATCH", "QUERY", "REPORT", "SEARCH"),
    "UNLOCK",
)


@dataclass(frozen=True, slots=True)
class Auth:
    """The credential that is injected: how, and the name of its token."""

    scheme: Scheme
    token_env: str
    # For `header` alone, in the operator's spelling.
    header: str | None = None
    # For `query` alone.
    parameter: str | None = None
    # For `basic`; without it the token is "user:password".
    user: str | None = None
    # What the agent holds in its place; without one the credential goes into every request.
    placeholder: str | None = None
    echo: Echo = "refuse"

    @property
    def header_name(self) -> str | None:
        """The header that it goes into; None for one of the query."""
        return None if self.scheme == "query" else self.header or "Authorization"


@dataclass(frozen=True, slots=True)
class Route:
    """One entry. Empty `paths`, `methods` and `ports` are those that were left out."""

    host: str
    paths: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()
    auth: Auth | None = None
    # Whether pipelock looks into answers; if not, it judges heads, and no request has a body.
    scans_responses: bool = True

    def allows_port(self, scheme: str, port: int) -> bool:
        """Whether a request of this scheme may go to this port."""
        return port in self.ports if self.ports else DEFAULT_PORTS.get(scheme) == port

    def allows_tunnel(self, port: int) -> bool:
        """Whether a request of any scheme may go to this port."""
        return port in (self.ports or tuple(DEFAULT_PORTS.values()))

    def longest_prefix(self, target: Target) -> int | None:
        """The length of the longest prefix that the path is below; None if there is none."""
        if not self.paths:
            return 0
        return max((len(path) for path in self.paths if target.below(path)), default=None)

    def allows_method(self, method: str) -> bool:
        """Whether the method is one of the route's."""
        return method in (self.methods or COMMON_METHODS)


@dataclass(frozen=True, slots=True)
class Routes:
    """All routes that are in force. None of them is deny-all."""

    routes: tuple[Route, ...] = ()

    def for_host(self, name: str) -> list[Route]:
        """The routes whose host covers this name, in the file's order."""
        return [route for route in self.routes if pattern_matches(route.host, name)]

    def credentials(self, host: str | None = None) -> list[Auth]:
        """Each credential of this host, or of all."""
        auths = (route.auth for route in self.routes if host is None or route.host == host)
        return list(dict.fromkeys(auth for auth in auths if auth))

    def reserved_headers(self) -> frozenset[bytes]:
        """Normal names of the headers that only egress sets, on whatever route."""
        names = (auth.header for auth in self.credentials() if auth.header)
        return frozenset(name.lower().replace("_", "-").encode("ascii") for name in names)
