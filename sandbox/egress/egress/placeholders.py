"""The dummies that the agent holds in place of credentials. [pure]

One counts in the one place where it is declared, on its own route. Anywhere else it is an attempt
to find out what it stands for, or to have it carried to somebody else, and is refused.
"""

import base64
import binascii
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from egress import headers, query_parameter
from egress.content_decoding import ContentDecoder, Undecodable
from egress.routes import Auth, Route, Routes
from egress.secret_search import Found, StreamSearch, finds
from egress.target import MalformedTarget, parse_target

# How a scheme of Authorization begins.
_SCHEMES = {"bearer": "Bearer", "token": "token", "basic": "Basic"}


_SHOWN = 100


@dataclass(frozen=True, slots=True)
class Leak:
    """A placeholder where it must not be: whose it is, where it is, and where it would count."""

    token: str
    place: str
    declared: str

    def __str__(self) -> str:
        return (
            f"the placeholder of {self.token} is in {self.place[:_SHOWN]}; egress takes it only in"
            f" {self.declared}, so this request has gone nowhere: take it out"
        )


class Placeholders:
    """All that are declared."""

    __slots__ = ("_declared", "_tokens")

    def __init__(self, routes: Routes) -> None:
        self._tokens: dict[bytes, str] = {}
        self._declared: dict[str, list[str]] = {}
        for route in routes.routes:
            if route.auth and route.auth.placeholder:
                self._tokens[route.auth.placeholder.lower().encode("ascii")] = route.auth.token_env
                self._declared.setdefault(route.auth.token_env, []).append(
                    _place(route, route.auth)
                )

    def _leak(self, token: str, place: str) -> Leak:
        return Leak(token, place, " or ".join(dict.fromkeys(self._declared[token])))

    def __bool__(self) -> bool:
        return bool(self._tokens)

    def leak(self, host: str, target: str, fields: headers.Fields, own: list[Auth]) -> Leak | None:
        """The first that is in the head of a request, and not in a place of `own`."""
        if not self._tokens:
            return None
        for auth in own:
            if auth.scheme == "query" and holds(auth, target, ()):
                target = query_parameter.without(target, auth.parameter or "")
        found = self._in(_readings_of_target(target))
        if found:
            return self._leak(found, "the URL")
        if found := self._in([host.encode("latin-1", "replace")]):
            return self._leak(found, "the host's name")
        for field in fields:
            if any(auth.scheme != "query" and holds(auth, "", (field,)) for auth in own):
                continue
            if found := self._in(_readings_of_field(*field)):
                return self._leak(found, f"the header {field[0].decode('latin-1')}")
        return None

    def _in(self, readings: Iterable[bytes]) -> str | None:
        for reading in readings:
            if text := finds(reading, self._tokens):
                return self._tokens[text]
        return None

    def in_message(self, content: bytes) -> Leak | None:
        """One in a message of a WebSocket."""
        found = self._in([content])
        return self._leak(found, "a WebSocket message") if found else None

    def body(self, fields: headers.Fields) -> "BodySearch":
        """What looks through a request's body."""
        encodings = headers.values(fields, b"content-encoding")
        texts = {text: self._leak(token, "the body") for text, token in self._tokens.items()}
        return BodySearch(texts, encodings)


class LeakInBody(Exception):
    """A placeholder is in the body; no piece that has all of it has been handed on."""

    def __init__(self, leak: Leak) -> None:
        super().__init__("a placeholder in the body")
        self.leak = leak


class BodySearch:
    """Hands a request's body on as it came, as long as there is no placeholder in it."""

    def __init__(self, leaks: dict[bytes, Leak], encodings: list[bytes]) -> None:
        self._leaks = leaks
        self._raw = StreamSearch(leaks, any_case=True)
        self._decoded = StreamSearch(leaks, any_case=True)
        self._decoder: ContentDecoder | None = None
        try:
            encoding = b",".join(encodings).decode("latin-1")
            self._decoder = ContentDecoder(encoding) if encoding else None
        except Undecodable:
            # As it is then: pipelock refuses what it can't read.
            self._decoder = None

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What may go on, in the end; nothing for each part of the search. Raises LeakInBody."""
        try:
            if self._decoder:
                for piece in self._decoder.decode(data):
                    self._decoded.feed(piece)
                    yield b""
        except Undecodable:
            self._decoder = None
        except Found as found:
            raise LeakInBody(self._leaks[found.text]) from None
        try:
            yield self._raw.feed(data)
        except Found as found:
            raise LeakInBody(self._leaks[found.text]) from None

    def finish(self) -> bytes:
        """The rest."""
        return self._raw.finish()


def _place(route: Route, auth: Auth) -> str:
    """Where the placeholder of this route counts."""
    match auth.scheme:
        case "query":
            place = f"the parameter {auth.parameter} of the query"
        case "header":
            place = f"the header {auth.header}"
        case scheme:
            place = f"the header Authorization, as {_SCHEMES[scheme]}"
    paths = f" below {', '.join(route.paths)}" if route.paths else ""
    return f"{place}, of requests to {route.host}{paths}"


def holds(auth: Auth, target: str, fields: headers.Fields) -> bool:
    """Whether the placeholder is where this credential goes."""
    if auth.placeholder is None:
        return False
    if auth.scheme == "query":
        return query_parameter.values(target, auth.parameter or "") == [auth.placeholder]
    name = (auth.header_name or "").lower().encode("ascii")
    return any(_carries(auth, value) for value in headers.values(fields, name))


def _carries(auth: Auth, value: bytes) -> bool:
    text = value.decode("latin-1").strip()
    if auth.scheme == "header":
        return text == auth.placeholder
    scheme, _, rest = text.partition(" ")
    if scheme.lower() != _SCHEMES[auth.scheme].lower():
        return False
    if auth.scheme != "basic":
        return rest.strip() == auth.placeholder
    # Clients differ in the user that they send with a key.
    password = _from_base64(rest.strip().encode("latin-1")).partition(b":")[2]
    return password.decode("latin-1") == auth.placeholder


def _from_base64(text: bytes) -> bytes:
    try:
        return base64.b64decode(text)
    except (binascii.Error, ValueError):
        return b""


def _readings_of_target(target: str) -> Iterator[bytes]:
    yield target.encode("latin-1", "replace")
    try:
        parsed = parse_target(target)
    except MalformedTarget:
        yield unquote_to_bytes(target)
        return
    for reading in (*parsed.readings, parsed.query):
        yield reading.encode("utf-8", "replace")


def _readings_of_field(name: bytes, value: bytes) -> Iterator[bytes]:
    yield name
    yield value
    yield unquote_to_bytes(value)
    scheme, _, rest = value.strip().partition(b" ")
    if scheme.lower() == b"basic":
        yield _from_base64(rest.strip())
