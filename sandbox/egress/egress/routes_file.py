"""Reads routes.yaml: text to `Routes`, or every error at its place.

The file is walked as YAML nodes, not as values, since only nodes know their line and column, and
since duplicate keys, tags and aliases would be gone in values.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from egress import route_fields
from egress.hostname import DEFAULT_PORTS, patterns_overlap
from egress.routes import (
    BODILESS_METHODS,
    COMMON_METHODS,
    SCHEMES,
    Auth,
    Echo,
    Route,
    Routes,
)

# Far more than a file that somebody approves entry by entry.
MAX_BYTES = 1 << 20

# mitmproxy would speak DNS instead of HTTP there.
_DNS_PORTS = frozenset({53, 5353})

# Which scheme of `auth` has which key.
_OF_SCHEME = {"header": "header", "parameter": "query", "user": "basic"}
_EXAMPLES = {
    "header": "the header that the key goes into, such as x-api-key",
    "parameter": "the parameter of the query that the key goes into, such as key",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One error, or the reason why a file allows nothing."""

    file: str
    message: str
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        place = "" if self.line is None else f":{self.line}:{self.column}"
        return f"{self.file}{place}: {self.message}"


@dataclass(frozen=True, slots=True)
class TokenUse:
    """Where the file names a token."""

    host: str
    auth: Auth
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Loaded:
    """The routes of a good file; `note` says why there are none."""

    routes: Routes
    note: str | None = None
    uses: tuple[TokenUse, ...] = ()


class BadRoutes(Exception):
    """A file that can't be used; all that is wrong with it."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


def load_routes(path: Path) -> Loaded:
    """Reads the file anew by its path, as another one may have taken its place."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return Loaded(Routes(), f"{path} does not exist: everything is denied")
    except OSError as error:
        raise BadRoutes([Problem(str(path), f"can't be read: {error.strerror}")]) from None
    return parse_routes(data, str(path))


def parse_routes(data: bytes, file: str) -> Loaded:
    """The routes in this text; raises BadRoutes."""
    if len(data) > MAX_BYTES:
        raise BadRoutes([Problem(file, f"is larger than {MAX_BYTES} bytes")])
    try:
        text = data.decode("utf-8")
        root = YAML(typ="safe", pure=True).compose(text)
    except UnicodeDecodeError as error:
        raise BadRoutes([Problem(file, f"is not UTF-8 at byte {error.start}")]) from None
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = "; ".join(part for part in (error.context, error.problem) if part)
        place = (mark.line + 1, mark.column + 1) if mark else (None, None)
        raise BadRoutes([Problem(file, f"is not YAML: {what}", *place)]) from None
    except (YAMLError, ValueError, RecursionError) as error:
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadRoutes([Problem(file, f"is not YAML: {line}")]) from None
    reader = _Reader(file)
    routes = reader.document(root)
    if reader.problems:
        raise BadRoutes(sorted(reader.problems, key=lambda p: (p.line or 0, p.column or 0)))
    note = None if routes else f"{file} has no routes: everything is denied"
    return Loaded(Routes(tuple(routes)), note, tuple(reader.uses))


@dataclass
class _Reader:
    """Collects problems on its way through the nodes."""

    file: str
    problems: list[Problem] = field(default_factory=list)
    # Which entry was the first to have each host, path, port and method.
    seen: dict[tuple[str, str, int, str], Node] = field(default_factory=dict)
    uses: list[TokenUse] = field(default_factory=list)
    # Placeholders in small letters, whose they are, and the line.
    placeholders: dict[str, tuple[str, int]] = field(default_factory=dict)
    scanned: list[tuple[Route, Node]] = field(default_factory=list)

    def problem(self, node: Node, message: str) -> None:
        mark = node.start_mark
        self.problems.append(Problem(self.file, message, mark.line + 1, mark.column + 1))

    def document(self, root: Node | None) -> list[Route]:
        if root is None or _is_null(root):
            return []
        keys = self.mapping(root, "the file", required=("routes",), optional=())
        node = keys.get("routes")
        if node is None or _is_null(node):
            return []
        routes = (self.route(item) for item in self.sequence(node, "routes"))
        return [route for route in routes if route]

    def route(self, node: Node) -> Route | None:
        before = len(self.problems)
        optional = ("paths", "methods", "ports", "auth", "scan")
        keys = self.mapping(node, "a route", required=("host",), optional=optional)
        host = self.text(keys.get("host"), route_fields.host)
        paths = self.texts(keys.get("paths"), "paths", route_fields.path)
        methods = self.texts(keys.get("methods"), "methods", route_fields.method)
        ports = self.ports(keys.get("ports"))
        auth = self.auth(keys.get("auth"), host)
        scans_responses = self.scan(keys.get("scan"), methods)
        if host is None or len(self.problems) > before:
            return None
        route = Route(host, paths, methods, ports, auth, scans_responses)
        self.check_duplicate(node, route)
        self.check_same_scan(node, route)
        return route

    def mapping(
        self, node: Node, what: str, required: tuple[str, ...], optional: tuple[str, ...]
    ) -> dict[str, Node]:
        if not isinstance(node, MappingNode) or not self.plain(node, "map"):
            if not isinstance(node, MappingNode):
                self.problem(node, f"{what} has to be a mapping of keys")
            return {}
        known = required + optional
        found: dict[str, Node] = {}
        for key, value in node.value:
            name = key.value if isinstance(key, ScalarNode) else None
            if name not in known:
                shown = f'unknown key "{name}"' if name is not None else "a key has to be a text"
                self.problem(key, f"{shown}; {what} can have: {', '.join(known)}")
            elif name in found:
                self.problem(key, f'"{name}" is there twice; remove one')
            elif self.plain(key, "str"):
                found[name] = value
        missing = [name for name in required if name not in found]
        for name in missing:
            self.problem(node, f'{what} has no "{name}"; add it')
        return found

    def sequence(self, node: Node, what: str) -> list[Node]:
        if not isinstance(node, SequenceNode):
            self.problem(node, f'"{what}" has to be a list')
            return []
        return list(node.value) if self.plain(node, "seq") else []

    def plain(self, node: Node, kind: str) -> bool:
        # An alias is the anchor's node once more, so there is none where there is no anchor.
        if node.anchor:
            self.problem(node, "anchors and aliases are not allowed; write the value out")
            return False
        if node.tag != f"tag:yaml.org,2002:{kind}":
            expected = {"str": "a text; put it in quotes", "int": "a whole number"}
            self.problem(node, f"this has to be {expected.get(kind, 'without a tag')}")
            return False
        return True

    def text(self, node: Node | None, check: Callable[[str], str]) -> str | None:
        if node is None:
            return None
        if not isinstance(node, ScalarNode):
            self.problem(node, "this has to be a text")
            return None
        if not self.plain(node, "str"):
            return None
        try:
            return check(node.value)
        except ValueError as error:
            self.problem(node, str(error))
            return None

    def texts(self, node: Node | None, what: str, check: Callable[[str], str]) -> tuple[str, ...]:
        if node is None:
            return ()
        items = self.sequence(node, what)
        if isinstance(node, SequenceNode) and not items:
            self.problem(node, f'"{what}" is empty; leave it out to allow every one')
        found: list[str] = []
        for item in items:
            value = self.text(item, check)
            if value is not None and value in found:
                self.problem(item, f'"{value}" is there twice; remove one')
            elif value is not None:
                found.append(value)
        return tuple(found)

    def ports(self, node: Node | None) -> tuple[int, ...]:
        if node is None:
            return ()
        items = self.sequence(node, "ports")
        if isinstance(node, SequenceNode) and not items:
            self.problem(node, '"ports" is empty; leave it out to allow 443 and 80')
        found: list[int] = []
        for item in items:
            if not isinstance(item, ScalarNode):
                self.problem(item, "a port has to be a whole number")
            elif self.plain(item, "int"):
                port = int(item.value) if re.fullmatch("[0-9]{1,5}", item.value) else 0
                if not 1 <= port <= 65535:
                    self.problem(item, "a port is a number from 1 to 65535")
                elif port in _DNS_PORTS:
                    self.problem(item, f"port {port} is DNS, which is not let through; remove it")
                elif port in found:
                    self.problem(item, f"{port} is there twice; remove one")
                else:
                    found.append(port)
        return tuple(found)

    def auth(self, node: Node | None, host: str | None) -> Auth | None:
        if node is None:
            return None
        optional = ("header", "parameter", "user", "placeholder", "echo")
        keys = self.mapping(node, '"auth"', required=("scheme", "token_env"), optional=optional)
        scheme = self.text(keys.get("scheme"), route_fields.scheme)
        token_env = self.text(keys.get("token_env"), route_fields.token_env)
        header = self.text(keys.get("header"), route_fields.header)
        parameter = self.text(keys.get("parameter"), route_fields.parameter)
        user = self.text(keys.get("user"), route_fields.user)
        placeholder = self.text(keys.get("placeholder"), route_fields.placeholder)
        echo = self.text(keys.get("echo"), route_fields.echo)
        if host and host.startswith("*."):
            self.problem(node, "auth needs an exact host, or every name below would get the token")
        if scheme:
            self.check_scheme(node, scheme, keys)
        if placeholder and token_env:
            self.check_placeholder(keys["placeholder"], placeholder, token_env)
        for known in SCHEMES:
            if scheme == known and token_env:
                treatment: Echo = "redact" if echo == "redact" else "refuse"
                auth = Auth(known, token_env, header, parameter, user, placeholder, treatment)
                mark = keys["token_env"].start_mark
                self.uses.append(TokenUse(host or "", auth, mark.line + 1, mark.column + 1))
                return auth
        return None

    def check_scheme(self, node: Node, scheme: str, keys: dict[str, Node]) -> None:
        """Each scheme has the one key that belongs to it."""
        for key, owner in _OF_SCHEME.items():
            if key in keys and scheme != owner:
                self.problem(
                    keys[key], f'"{key}" is for the scheme {owner}, not for {scheme}; remove it'
                )
            elif key not in keys and scheme == owner and key != "user":
                self.problem(node, f'the scheme {scheme} needs "{key}": {_EXAMPLES[key]}')

    def check_placeholder(self, node: Node, placeholder: str, token: str) -> None:
        """One placeholder tells of one credential, wherever it is found."""
        folded = placeholder.lower()
        line = node.start_mark.line + 1
        for other, (owner, at) in self.placeholders.items():
            if other == folded and owner != token:
                self.problem(
                    node,
                    f'the placeholder "{placeholder}" is used twice: it stands for {owner} in line'
                    f" {at}; choose another one for {token}",
                )
                return
            if other != folded and (other in folded or folded in other):
                self.problem(
                    node,
                    f'the placeholder "{placeholder}" and that of line {at} are part of each'
                    " other; choose another one",
                )
                return
        self.placeholders.setdefault(folded, (token, line))

    def scan(self, node: Node | None, methods: tuple[str, ...]) -> bool:
        """Whether answers are looked into."""
        if node is None:
            return True
        keys = self.mapping(node, '"scan"', required=("responses",), optional=())
        self.text(keys.get("responses"), route_fields.scanned_responses)
        if not methods or not set(methods) <= set(BODILESS_METHODS):
            self.problem(
                node,
                '"scan" is for downloads, as bodies that leave could not be scanned either; write'
                " methods: [GET, HEAD] in this route",
            )
        return False

    def check_same_scan(self, node: Node, route: Route) -> None:
        """No other route may reach what is covered, as pipelock leaves a whole host alone."""
        for other, first in self.scanned:
            if other.scans_responses != route.scans_responses and patterns_overlap(
                other.host, route.host
            ):
                self.problem(
                    node,
                    f"{route.host} is also reached by the route of line"
                    f' {first.start_mark.line + 1}, which has another "scan"; pipelock treats a'
                    " host in one way, so write the same in both",
                )
                return
        self.scanned.append((route, node))

    def check_duplicate(self, node: Node, route: Route) -> None:
        for path in route.paths or ("",):
            for port in route.ports or DEFAULT_PORTS.values():
                for method in route.methods or COMMON_METHODS:
                    first = self.seen.setdefault((route.host, path, port, method), node)
                    if first is not node:
                        what = f'{method} on "{path}"' if path else f"{method} on every path"
                        line = first.start_mark.line + 1
                        self.problem(
                            node,
                            f"{route.host} already has {what}, in the route of line {line};"
                            " keep one of them",
                        )
                        return


def _is_null(node: Node) -> bool:
    return isinstance(node, ScalarNode) and node.tag == "tag:yaml.org,2002:null"
