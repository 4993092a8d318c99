"""What is left of the agent's request headers, and what is added to them. [pure]

Header names are compared with "_", "." and the like read as "-", because CGI and WSGI servers can't
tell these apart.
"""

import re
from collections.abc import Iterable

from egress.routes import Route

Fields = tuple[tuple[bytes, bytes], ...]
# Name and value of the header that a credential goes into.
Credential = tuple[str, str]
# Normal names of the headers that only egress sets, on any route.
Reserved = frozenset[bytes]

# Meant for the next hop only (RFC 9110, section 7.6.1), and for us as a proxy.
_HOP = frozenset({b"proxy-authorization", b"proxy-connection", b"keep-alive", b"trailer"})
# Ours alone: pipelock has to leave this header unscanned, for it has the operator's tokens in it.
# `Reserved` are those of the same kind that the routes name.
_AUTHORIZATION = b"authorization"
# With these some servers and frameworks take another host or path than the one decided on.
_OVERRIDES = frozenset(
    {
        *(b"x-original-url", b"x-rewrite-url", b"x-original-uri", b"x-original-host"),
        *(b"x-forwarded-host", b"x-forwarded-server", b"x-forwarded-prefix", b"x-host"),
        *(b"forwarded", b"x-http-host-override"),
    }
)
# They say where a request ends or goes, or belong to one connection alone.
_NO_CREDENTIAL = frozenset(
    {
        *(b"host", b"content-length", b"transfer-encoding", b"te", b"upgrade", b"connection"),
        *(b"expect", b"content-type", b"content-encoding", b"accept-encoding", b"range"),
        *(b"http2-settings", b"max-forwards", b"via"),
    }
)
_METHOD_OVERRIDES = frozenset({b"x-http-method-override", b"x-http-method", b"x-method-override"})
_CREDENTIAL = re.compile(
    rb"(?:.*-)?(?:authorization|cookie2?|token|(?:api|auth|access|secret)-?key)"
)
_UPGRADE = frozenset({b"upgrade", b"http2-settings"})
_CONNECTION = frozenset({b"close", b"keep-alive"})
# What says where a message ends, and how it is passed on. Only in its one spelling does it mean the
# same to everybody.
_FRAMING = frozenset(
    {
        *(b"transfer-encoding", b"content-length", b"content-encoding", b"host", b"expect"),
        *(b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"upgrade"),
    }
)
_SEPARATOR = re.compile(rb"[^a-z0-9]")
_LINE_BREAK = re.compile(rb"[\r\n\x00]")


def normal_name(name: bytes) -> bytes:
    """A header's name as a lax server might read it."""
    return _SEPARATOR.sub(b"-", name.strip().lower())


def values(fields: Iterable[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    """All values of a header, in their order."""
    return [value for key, value in fields if key.lower() == name]


def malformed(fields: Fields) -> bool:
    """Whether a header could become two on its way: line breaks, also the folded ones."""
    return any(_LINE_BREAK.search(value) or _LINE_BREAK.search(name) for name, value in fields)


def can_carry_a_credential(name: bytes) -> bool:
    """Whether a header of this name may be set to a credential."""
    normal = normal_name(name)
    refused = _NO_CREDENTIAL | _HOP | _OVERRIDES | _METHOD_OVERRIDES
    return normal not in refused and not normal.startswith((b"proxy-", b"sec-"))


def method_overrides(fields: Fields) -> list[str]:
    """The methods that some frameworks would take in place of the request's own."""
    return [
        value.strip().decode("latin-1").upper()
        for name, value in fields
        if normal_name(name) in _METHOD_OVERRIDES
    ]


def has_reserved(fields: Fields, reserved: Reserved = frozenset()) -> bool:
    """Whether the agent sent an Authorization of its own, or another that never leaves."""
    return any(normal_name(name) in reserved | {_AUTHORIZATION} for name, _ in fields)


def announces_body(fields: Fields) -> bool:
    """Whether a body follows, as far as headers tell; HTTP/2 needs none for that."""
    lengths = values(fields, b"content-length")
    return any(value.strip() != b"0" for value in lengths) or any(
        normal_name(name) == b"transfer-encoding" for name, _ in fields
    )


def is_websocket(fields: Fields) -> bool:
    """Whether a WebSocket is asked for, and nothing else besides."""
    upgrade = [value.lower() for value in values(fields, b"upgrade")]
    return upgrade == [b"websocket"] and values(fields, b"sec-websocket-version") == [b"13"]


def is_gzip(fields: Fields) -> bool:
    """Whether the body is packed with gzip, and with nothing else."""
    codings = [value.strip().lower() for value in values(fields, b"content-encoding")]
    return codings in ([b"gzip"], [b"x-gzip"])


def of_unpacked(fields: Fields) -> Fields:
    """The same for the body without its coding, of a length that nobody knows yet."""
    gone = (b"content-encoding", b"content-length")
    return tuple(field for field in fields if field[0].lower() not in gone)


def forwarded(
    fields: Fields,
    route: Route,
    credential: Credential | None,
    reserved: Reserved = frozenset(),
) -> Fields:
    """The headers that go on: ours in, and out with what only the agent should not send."""
    websocket = is_websocket(fields)
    result: list[tuple[bytes, bytes]] = []
    for name, value in fields:
        normal = normal_name(name)
        if normal in _FRAMING and name.lower() != normal:
            continue
        if normal in reserved or _dropped(normal, value, route, websocket):
            continue
        if name.lower() != b"connection":
            result.append((name, value))
        elif tokens := _connection(value, websocket):
            result.append((name, tokens))
    if credential is not None:
        result.append((credential[0].encode("ascii"), credential[1].encode("ascii")))
    return tuple(result)


def _dropped(name: bytes, value: bytes, route: Route, websocket: bool) -> bool:
    return (
        name in _HOP
        # The one value that HTTP/2 knows, for the next hop may speak it.
        or (name == b"te" and value.strip().lower() != b"trailers")
        or name == _AUTHORIZATION
        or name in _OVERRIDES
        or (name in _UPGRADE and not websocket)
        # A few bytes could become any number of them, and a message is held whole.
        or name == b"sec-websocket-extensions"
        or (route.auth is not None and _CREDENTIAL.fullmatch(name) is not None)
    )


def _connection(value: bytes, websocket: bool) -> bytes:
    # A name that is listed here is dropped by the next proxy, with whatever we have set it to.
    allowed = _CONNECTION | ({b"upgrade"} if websocket else set())
    tokens = [token.strip() for token in value.split(b",")]
    return b", ".join(token for token in tokens if token.lower() in allowed)
