"""Request targets, read in every way in which a server might read them.

Servers differ: some decode %2F before they route, some merge slashes, take a backslash for a
slash, or cut ";parameters" off. A path is only taken for what it is if all of these readings
agree, and a target that could mean something else altogether is refused.
"""

import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from egress.limits import MAX_LINE

# How often a target may be encoded over and over. Links inside links reach three or four.
_MAX_LAYERS = 8
_PLAIN = re.compile(r"[\x21-\x7e]+")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SLASHES = re.compile(r"/{2,}")
_GIT_PUSH = "git-receive-pack"
_CREDENTIAL_KEYS = frozenset(
    {"access_token", "accesstoken", "api_key", "apikey", "auth_token", "authtoken", "private_token"}
)


class MalformedTarget(ValueError):
    """A target that different servers would read differently; the text says why."""


@dataclass(frozen=True, slots=True)
class Target:
    """A request target: the path as it was sent, all its readings, and the decoded query."""

    path: str
    readings: tuple[str, ...]
    query: str
    query_keys: frozenset[str]

    def below(self, prefix: str) -> bool:
        """Whether the path is at or below this prefix, in every reading."""
        return all(_below(reading, prefix) for reading in self.readings)

    @property
    def is_git_push(self) -> bool:
        """Whether this is either request of a push over git's smart HTTP."""
        return any(_GIT_PUSH in text.lower() for text in (*self.readings, self.query))

    def has_credential_besides(self, parameter: str | None = None) -> bool:
        """Whether the query has a parameter that is known to carry a credential, but for ours."""
        ours = {parameter.lower().replace("-", "_")} if parameter else set()
        return not (self.query_keys - ours).isdisjoint(_CREDENTIAL_KEYS)


def parse_target(raw: str) -> Target:
    """Reads "/path?query"; raises MalformedTarget.

    Each layer of encoding is read once, so that the length bounds the time.
    """
    if len(raw) > MAX_LINE:
        raise MalformedTarget(f"the target is longer than {MAX_LINE} bytes")
    if not raw.startswith("/"):
        raise MalformedTarget("the target does not start with a slash")
    if not _PLAIN.fullmatch(raw):
        raise MalformedTarget("the target has characters that need to be percent-encoded")
    if "#" in raw:
        raise MalformedTarget("the target has a fragment")
    path, _, query = raw.partition("?")
    if _BAD_ESCAPE.search(path):
        raise MalformedTarget("the path has a percent sign that is no escape")
    return Target(path, _readings(path), _decode_query(query), _query_keys(query))


def _readings(path: str) -> tuple[str, ...]:
    readings: list[str] = []
    layer = path
    for _ in range(_MAX_LAYERS):
        readings.append(layer)
        readings.append(_as_a_lax_server_would(layer))
        decoded = _decode(layer)
        if decoded == layer:
            return tuple(dict.fromkeys(readings))
        layer = decoded
    raise MalformedTarget("the path is percent-encoded over and over")


def _decode(text: str) -> str:
    try:
        decoded = unquote_to_bytes(text).decode("utf-8")
    except UnicodeDecodeError:
        raise MalformedTarget("the path is not UTF-8") from None
    if _CONTROL.search(decoded):
        raise MalformedTarget("the path has a control character")
    return decoded


def _as_a_lax_server_would(text: str) -> str:
    # Tomcat reads "..;x" as "..", Windows servers drop trailing spaces and read "\" as "/".
    segments = [segment.split(";", 1)[0].rstrip() for segment in text.replace("\\", "/").split("/")]
    if any(segment in {".", ".."} for segment in segments):
        raise MalformedTarget("the path has a dot segment")
    return _SLASHES.sub("/", "/".join(segments))


def _below(reading: str, prefix: str) -> bool:
    if prefix.endswith("/"):
        return reading.startswith(prefix)
    return reading == prefix or reading.startswith(prefix + "/")


def _decode_query(query: str) -> str:
    # Bytes, as a query need not be UTF-8.
    layer = query.encode("ascii")
    for _ in range(_MAX_LAYERS):
        decoded = unquote_to_bytes(layer)
        if decoded == layer:
            return decoded.decode("latin-1")
        layer = decoded
    raise MalformedTarget("the query is percent-encoded over and over")


def _query_keys(query: str) -> frozenset[str]:
    pairs = re.split("[&;]", query)
    return frozenset(
        _decode_query(pair.partition("=")[0]).lower().replace("-", "_") for pair in pairs
    )
